"""The loads: what a target and the servers behind it spend on them."""
import os
import re
import subprocess
import threading
import time

from accounts import cpu
from servers import SECRET

# Mode: how pgbench is told.
MODES = {
    "simple": ["-S"],
    "extended": ["-S", "-M", "extended"],
    "prepared": ["-S", "-M", "prepared"],
    "tpcb": ["-b", "tpcb-like"],
    "connect": ["-S", "-C"],
    "connect-scram": ["-S", "-C"],
    "tls": ["-S"],
    "connect-tls": ["-S", "-C"],
}

# Bulk load: the statement, and whether the client sends the rows.
BULK = {
    "copy-out": ("COPY (SELECT repeat('x', 1000) FROM generate_series(1, {rows})) TO STDOUT", False),
    "select": ("SELECT repeat('x', 1000) FROM generate_series(1, {rows})", False),
    "copy-in": ("COPY bulk FROM STDIN", True),
}


class Run:
    """One pgbench, whose progress is read while it works."""

    def __init__(self, servers, port, mode, clients, seconds):
        user = "bencher" if mode in ("connect-scram", "connect-tls") else "postgres"
        tls = "require" if "tls" in mode else "disable"
        command = [f"{servers.bin}/pgbench", *servers.at(port, user), "-n", "-c", str(clients),
                   "-j", str(min(2, clients)), "-P", "1", "-T", str(seconds + 2), *MODES[mode], "bench"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env={**os.environ, "PGPASSWORD": SECRET, "PGSSLMODE": tls})
        self.speeds = []
        self.aborted = 0
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stderr:
            speed = re.match(r"progress: [\d.]+ s, ([\d.]+) tps", line)
            if speed:
                self.speeds.append(float(speed.group(1)))
            self.aborted += "aborted" in line

    def end(self):
        """Failures, and all transactions."""
        self.reader.join()
        out = self.process.stdout.read()
        self.process.wait()
        done = re.search(r"actually processed: (\d+)", out)
        return self.aborted + (self.process.returncode != 0), int(done.group(1)) if done else 0


def wait_for(runs, lines, limit):
    until = time.monotonic() + limit
    while any(len(run.speeds) < lines and run.process.poll() is None for run in runs):
        if time.monotonic() > until:
            break
        time.sleep(0.01)


def load(servers, ports, roots, mode, clients, seconds):
    """CPU a transaction of target and servers in µs, transactions a second, failures; None if nothing was done.

    Counted is the steady state, between the first and a later progress line: what it costs to open the
    sessions is another question, which the modes `connect…` ask; there all is counted.
    """
    shares = [clients // len(ports) + (at < clients % len(ports)) for at in range(len(ports))]
    whole = mode.startswith("connect")
    before = cpu(roots), cpu(servers.pids())
    runs = [Run(servers, port, mode, share, seconds) for port, share in zip(ports, shares) if share]
    if not whole:
        wait_for(runs, 1, 60)
        before = cpu(roots), cpu(servers.pids())
        wait_for(runs, seconds + 1, 60 + seconds)
        after = cpu(roots), cpu(servers.pids())
    ends = [run.end() for run in runs]
    if whole:
        time.sleep(0.3)
        after = cpu(roots), cpu(servers.pids())
    failed, done = (sum(column) for column in zip(*ends))
    if not whole:
        done = sum(sum(run.speeds[1:seconds + 1]) for run in runs)
    if not done:
        return None
    own, server = ((b - a) / done * 1e6 for a, b in zip(before, after))
    return own, server, done / (seconds + 2 if whole else seconds), failed


def bulk(servers, port, roots, kind, megabytes):
    """CPU milliseconds of the target a megabyte, and megabytes a second."""
    text, sends = BULK[kind]
    rows = megabytes * 1000
    source = None
    if sends:
        servers.sql(servers.ports[0], "TRUNCATE bulk", "bench")
        source = servers.directory / "bulk.txt"
        if not source.exists():
            source.write_text(("x" * 1000 + "\n") * rows)
    # The connection of the target to the server is there and warm.
    subprocess.run(servers.psql(port, "SELECT 1", "bench"), check=True, stdout=subprocess.DEVNULL)
    before, start = cpu(roots), time.monotonic()
    with open(source or os.devnull) as rows_in:
        subprocess.run(servers.psql(port, text.format(rows=rows), "bench"), check=True, stdin=rows_in,
                       stdout=subprocess.DEVNULL)
    took = time.monotonic() - start
    return (cpu(roots) - before) * 1e3 / megabytes, megabytes / took
