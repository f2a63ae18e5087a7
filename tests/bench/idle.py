"""Idle sessions and their memory: a server that only pretends, and clients that ask once and then are silent.

    idle.py serve PORT      pretends to be PostgreSQL until it is killed
    idle.py hold PORT N     opens N sessions, asks once on each, prints a line, and holds them until its input ends
"""
import resource
import selectors
import socket
import struct
import sys


def message(kind, body):
    return kind + struct.pack("!I", len(body) + 4) + body


def greeting(pid):
    values = {"server_version": "15.0", "client_encoding": "UTF8", "server_encoding": "UTF8",
              "standard_conforming_strings": "on", "integer_datetimes": "on", "DateStyle": "ISO, MDY",
              "TimeZone": "UTC", "is_superuser": "on", "session_authorization": "postgres"}
    parameters = b"".join(message(b"S", f"{name}\0{value}\0".encode()) for name, value in values.items())
    return (message(b"R", struct.pack("!I", 0)) + parameters + message(b"K", struct.pack("!II", pid, 7))
            + message(b"Z", b"I"))


ROW = (message(b"T", struct.pack("!H", 1) + b"a\0" + struct.pack("!IHIhih", 0, 0, 25, -1, -1, 0))
       + message(b"D", struct.pack("!HI", 1, 1) + b"1") + message(b"C", b"SELECT 1\0") + message(b"Z", b"I"))


def allow_many():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def serve(port):
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.setblocking(False)
    selector, greeted = selectors.DefaultSelector(), set()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                client, _ = listener.accept()
                selector.register(client, selectors.EVENT_READ)
                continue
            answer(selector, key.fileobj, greeted)


def answer(selector, client, greeted):
    try:
        data = client.recv(65536)
        if not data or data[:1] == b"X":
            selector.unregister(client)
            greeted.discard(client)
            client.close()
        elif client not in greeted:
            greeted.add(client)
            client.sendall(greeting(client.fileno()))
        elif data[:1] == b"Q":
            client.sendall(ROW)
    except OSError:
        selector.unregister(client)
        client.close()


def until_ready(client):
    data = b""
    while not data.endswith(message(b"Z", b"I")):
        more = client.recv(65536)
        if not more:
            raise SystemExit(f"closed: {data!r}")
        data += more


def hold(port, count):
    start = b"user\0postgres\0database\0bench\0\0"
    held = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", port), 20)
        client.sendall(struct.pack("!II", len(start) + 8, 196608) + start)
        until_ready(client)
        client.sendall(message(b"Q", b"SELECT 1\0"))
        until_ready(client)
        held.append(client)
    print(len(held), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    allow_many()
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        hold(int(sys.argv[2]), int(sys.argv[3]))
