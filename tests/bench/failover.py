"""What clients see while a server dies or hands over: errors, broken connections, seconds without service.

Each run has a cluster of its own, since it ends with another primary. The clients speak the protocol by hand: a library
would hide what matters. A run goes on for the same time behind the event, whatever the target makes of it.
"""
import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
import time

from accounts import at_work_in
from servers import Servers, answers, free_port
from targets import Targets

CLIENTS = 32
TARGETS = ["pgbouncer", "pgpool", "drop-in", "sample-uring"]
EVENTS = {"standby": "kill -9 a standby, clients read",
          "primary": "kill -9 the primary, clients write in transactions",
          "switchover": "planned switchover, clients write in transactions"}
BEFORE, BEHIND = 3, 15


class Broken(Exception):
    """The connection is gone."""


class Told(Exception):
    """The SQLSTATE of an error."""


class Client:
    """A connection that is trusted; one statement at a time."""

    def __init__(self, port):
        try:
            self.socket = socket.create_connection(("127.0.0.1", port), 30)
        except OSError as error:
            raise Broken(str(error)) from error
        packet = struct.pack("!i", 196608) + b"user\0postgres\0database\0bench\0\0"
        self.send(struct.pack("!i", len(packet) + 4) + packet)
        self.until_ready()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Broken(str(error)) from error

    def take(self, count):
        data = b""
        while len(data) < count:
            try:
                more = self.socket.recv(count - len(data))
            except OSError as error:
                raise Broken(str(error)) from error
            if not more:
                raise Broken("closed")
            data += more
        return data

    def until_ready(self):
        code = None
        while True:
            kind, length = struct.unpack("!ci", self.take(5))
            body = self.take(length - 4)
            if kind == b"E":
                code = next(field[1:].decode() for field in body.split(b"\0") if field.startswith(b"C"))
            elif kind == b"Z":
                if code:
                    raise Told(code)
                return

    def query(self, text):
        body = text.encode() + b"\0"
        self.send(b"Q" + struct.pack("!i", len(body) + 4) + body)
        self.until_ready()


class Load:
    """So many clients at work, and what they meet."""

    def __init__(self, port, work):
        self.port, self.work = port, work
        self.done, self.errors, self.broken = [], [], []
        self.going = True
        self.threads = [threading.Thread(target=self.labour, args=(number,)) for number in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def labour(self, number):
        client = None
        while self.going:
            try:
                client = client or Client(self.port)
                self.work(client, number)
                self.done.append(time.monotonic())
            except Told as told:
                self.errors.append((time.monotonic(), str(told)))
                self.roll_back(client)
            except Broken as broken:
                self.broken.append((time.monotonic(), str(broken)))
                client = None
                time.sleep(0.01)

    @staticmethod
    def roll_back(client):
        try:
            client and client.query("ROLLBACK")
        except (Told, Broken):
            pass  # What follows will tell.

    def end(self):
        self.going = False
        for thread in self.threads:
            thread.join()

    def silence(self, since, until):
        """The longest time without a piece of work done."""
        times = [since, *sorted(at for at in list(self.done) if since <= at <= until), until]
        return max(later - sooner for sooner, later in zip(times, times[1:]))


def read(client, number):
    client.query(f"SELECT abalance FROM pgbench_accounts WHERE aid = {number + 1}")


def write(client, number):
    client.query("BEGIN")
    client.query(f"UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = {number + 1}")
    client.query("COMMIT")


class Scene:
    """A cluster and a target in front of it."""

    def __init__(self, servers, targets, name):
        self.servers, self.targets, self.name = servers, targets, name
        self.pcp = free_port()
        # In session mode PAUSE waits until every client has gone.
        targets.pool_mode = "transaction"
        self.cluster = servers.directory / "cluster"

    def data(self, id):
        return self.cluster / f"node{id}"

    def ctl(self, id, *arguments):
        command = [f"{self.servers.bin}/pg_ctl", "-D", str(self.data(id)), "-s", "-w", *arguments]
        subprocess.run(self.servers.as_server(command), check=True, cwd=self.servers.directory,
                       stdout=subprocess.DEVNULL)

    def kill(self, id):
        """All at once, until none is left: one that is being forked would keep the shared memory."""
        while victims := at_work_in(self.data(id)):
            for victim in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
        # Where nobody reaps it, its number seems to be in use.
        (self.data(id) / "postmaster.pid").unlink()
        (self.cluster / f".s.PGSQL.{self.servers.ports[id]}.lock").unlink()

    def start(self, id):
        self.ctl(id, "-l", str(self.cluster / f"node{id}.log"), "start")

    def lines(self):
        """What pool targets need besides what the other parts give them."""
        script = self.servers.directory / "failover.sh"
        ctl = " ".join(self.servers.as_server([f"{self.servers.bin}/pg_ctl"]))
        # A primary that was handed over still runs: what it has written must reach its successor first.
        script.write_text(f"""#!/bin/sh
[ "$1" = "$2" ] || exit 0
[ "$3" = switchover ] && {ctl} -D "$4" -s -w -m fast stop
exec {ctl} -D "$5" -s -w promote
""")
        script.chmod(0o755)
        how = "switchover" if self.event == "switchover" else "failover"
        nodes = [line for id, _ in enumerate(self.servers.ports) for line in (
            f"backend_data_directory{id} = '{self.data(id)}'", f"backend_application_name{id} = 'node{id}'")]
        return [f"failover_command = '{script} %d %P {how} %D %R'", f"pcp_port = {self.pcp}",
                "pcp_listen_addresses = '127.0.0.1'", "auto_failback = on", "auto_failback_interval = 1",
                "sr_check_period = 1", "health_check_period = 1", "health_check_user = 'postgres'", *nodes]

    def run(self, event):
        self.event = event
        if event == "standby" and self.name == "pgbouncer":
            return None  # It knows the primary alone.
        self.targets.more = [] if self.name == "pgbouncer" else self.lines()
        with self.targets.running(self.name, CLIENTS) as (ports, _):
            if not ports:
                return None
            load = Load(ports[0], read if event == "standby" else write)
            try:
                time.sleep(BEFORE)
                begun = time.monotonic()
                getattr(self, event)(ports[0])
                ended = time.monotonic()
                time.sleep(BEHIND)
                silence = load.silence(begun, time.monotonic())
            finally:
                load.end()
            return {"errors": len(load.errors), "broken": len(load.broken), "silence": silence,
                    "codes": sorted({code for _, code in load.errors}), "took": ended - begun}

    def standby(self, _port):
        for round in range(4):
            id = 1 + round % 2
            self.kill(id)
            time.sleep(1)
            self.start(id)
            time.sleep(2)

    def primary(self, port):
        self.kill(0)
        if self.name == "pgbouncer":
            # Whoever runs it has a script that notices, promotes and tells it.
            self.ctl(1, "promote")
            self.point_pgbouncer(port)

    def switchover(self, port):
        if self.name == "pgbouncer":
            self.console(port, "PAUSE")
            self.ctl(0, "-m", "fast", "stop")
            self.ctl(1, "promote")
            self.point_pgbouncer(port)
            self.console(port, "RESUME")
            return
        subprocess.run(["pcp_promote_node", "-h", "127.0.0.1", "-p", str(self.pcp), "-U", "bench", "-w", "-s", "-n", "1"],
                       check=False, stdout=subprocess.DEVNULL, env=self.targets.pcp_environment())

    def point_pgbouncer(self, port):
        path = self.servers.directory / "pgbouncer.ini"
        path.write_text(path.read_text().replace(f"port={self.servers.ports[0]}", f"port={self.servers.ports[1]}"))
        self.console(port, "RELOAD")

    def console(self, port, text):
        subprocess.run(self.servers.psql(port, text, "pgbouncer"), check=False, stdout=subprocess.DEVNULL)


def measure(options, program):
    """By event and target, what each round has met."""
    found = {event: {name: [] for name in TARGETS if not options.only or name in options.only.split(",")}
             for event in EVENTS}
    for _ in range(options.rounds):
        for event, cells in found.items():
            for name, rows in cells.items():
                with Servers(options.bin, options.cluster) as servers:
                    row = Scene(servers, Targets(servers, program), name).run(event)
                if row:
                    rows.append(row)
    return found
