"""What the REST API costs: how long answers take while there is load, what they cost, and what the load feels of it.

The program holds a thousand connections to servers, so every report over them has as many rows. The one client of the API
speaks HTTP by hand over a connection that stays, and counts from the first byte that it sends to the last that it gets.
"""
import contextlib
import pathlib
import socket
import statistics
import subprocess
import sys
import threading
import time

from accounts import members, processes
from loads import Run, wait_for
from servers import free_port

TARGET = "sample-uring-4"
# Sessions that have asked once and keep what they got: a connection to the primary, which greets them, and two of three another
# one for their read. That makes a thousand.
HELD = 600
CLIENTS = 8
PATHS = ["/api/v1/status", "/api/v1/nodes", "/api/v1/pools", "/api/v1/pools/stats", "/api/v1/processes", "/api/v1/sessions",
         "/api/v1/health/stats", "/api/v1/traffic", "/api/v1/config", "/metrics"]
# What a monitoring system asks for, over and over.
WATCHED = ["/api/v1/status", "/api/v1/nodes", "/api/v1/pools/stats", "/metrics"]
PACE = 200


class Client:
    """A connection to the API, one request at a time."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray(1 << 20)

    def get(self, path):
        """Milliseconds, and bytes of the body."""
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        begun = time.perf_counter()
        self.socket.sendall(request)
        count, view = 0, memoryview(self.buffer)
        whole = None
        while whole is None or count < whole:
            got = self.socket.recv_into(view[count:])
            if not got:
                raise ConnectionError(f"closed after {count} bytes of {path}")
            count += got
            if whole is None and (end := self.buffer.find(b"\r\n\r\n", 0, count)) >= 0:
                whole = end + 4 + self.length(path, bytes(self.buffer[:end]))
                if whole > len(self.buffer):
                    raise ConnectionError(f"{path} is longer than {len(self.buffer)} bytes")
        took = (time.perf_counter() - begun) * 1e3
        return took, count

    @staticmethod
    def length(path, head):
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"{path}: {head!r}")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        return int(fields[b"content-length"])


def rest_process(roots):
    """The process of the API, by its title."""
    for pid in members(roots, processes()):
        with contextlib.suppress(OSError):
            if b"REST" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    raise LookupError("there is no process of the REST API")


@contextlib.contextmanager
def held(port, count):
    script = str(pathlib.Path(__file__).parent / "idle.py")
    clients = subprocess.Popen([sys.executable, script, "hold", str(port), str(count)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if clients.stdout.readline().strip() != str(count):
            raise RuntimeError(f"not all of {count} sessions could be opened")
        yield
    finally:
        clients.communicate()


def latencies(client, count):
    """By path: median, 99th percentile, longest, in milliseconds, and bytes."""
    found = {}
    for path in PATHS:
        times, length = [], 0
        for _ in range(count):
            took, length = client.get(path)
            times.append(took)
        times.sort()
        found[path] = [statistics.median(times), times[int(len(times) * 0.99)], times[-1], length]
    return found


def paced(client, paths, seconds, stop=None):
    """So many requests a second for so long, these paths in turns; how many there were."""
    begun = time.monotonic()
    for number in range(PACE * seconds):
        if stop and stop.is_set():
            return number
        time.sleep(max(0.0, begun + number / PACE - time.monotonic()))
        client.get(paths[number % len(paths)])
    return PACE * seconds


def cost(client, pid, paths, seconds):
    """Of a core, in percent, and requests a second as they came to be."""
    before, begun = processes()[pid][1], time.monotonic()
    done = paced(client, paths, seconds)
    lasted = time.monotonic() - begun
    return [(processes()[pid][1] - before) / lasted * 100, done / lasted]


def speed(servers, port, api, seconds):
    """Transactions a second of pgbench, while the API is asked or not."""
    run = Run(servers, port, "simple", CLIENTS, seconds)
    stop = threading.Event()
    asking = threading.Thread(target=paced, args=(Client(api), WATCHED, seconds + 30, stop)) if api else None
    if asking:
        asking.start()
    wait_for([run], seconds + 1, 60 + seconds)
    stop.set()
    if asking:
        asking.join()
    run.end()
    return statistics.mean(run.speeds[1:seconds + 1])


def measure(options, servers, targets):
    api = free_port()
    targets.more = ["rest_api_enabled = on", f"rest_api_port = {api}", "rest_api_listen_addresses = '127.0.0.1'"]
    try:
        with targets.running(TARGET, HELD) as (ports, roots), held(ports[0], HELD):
            client, pid = Client(api), rest_process(roots)
            found = {"quiet": latencies(client, 300)}
            load = Run(servers, ports[0], "simple", CLIENTS, 600)
            wait_for([load], 1, 60)
            found["load"] = latencies(client, 1000)
            load.process.terminate()
            load.end()
            rests = {path: [path] for path in PATHS} | {"in turns, as a monitor asks": WATCHED, "all in turns": PATHS}
            found["cost"] = {name: cost(client, pid, paths, options.seconds) for name, paths in rests.items()}
            without, asked = [], []
            for _ in range(2 * options.rounds):
                without.append(speed(servers, ports[0], None, options.seconds))
                asked.append(speed(servers, ports[0], api, options.seconds))
            found["speed"] = {"without": without, "asked": asked}
            return found
    finally:
        targets.more = []
