"""What clients feel of a standby that is slow, by the way that nodes are chosen.

One of two standbys is stopped and continued by turns. Two loads: so many statements a second, whose latencies count from
when each was due (a client that waits for a slow server does not hide those that should have followed), and as many as
there can be.
"""
import os
import signal
import statistics
import subprocess
import threading
import time

from accounts import members, processes

CLIENTS = 16
RATE = 1500
# Seconds in which nothing is counted: what is learnt is learnt then.
WARM = 2
# Seconds of a turn that the slow standby stands still, and that it runs.
STANDS, RUNS = 0.08, 0.02

STATEMENT = "statement_level_load_balance = on"
TARGETS = {
    "pgpool": ("pgpool", []),
    "pgpool, a choice a statement": ("pgpool", [STATEMENT]),
    "weighted_random": ("sample-uring", []),
    "weighted_random, a choice a statement": ("sample-uring", [STATEMENT]),
    "least_connections": ("sample-uring", ["load_balance_algorithm = least_connections"]),
    "peak_ewma": ("sample-uring", ["load_balance_algorithm = peak_ewma"]),
    "adaptive": ("sample-uring", ["load_balance_algorithm = adaptive"]),
}


class Slowed:
    """A server that stands still most of the time."""

    def __init__(self, postmaster):
        self.postmaster = postmaster
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.turns)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def turns(self):
        looked, its = 0, set()
        while not self.over.is_set():
            if time.monotonic() - looked > 0.5:
                looked, its = time.monotonic(), members([self.postmaster], processes())
            self.signal(its, signal.SIGSTOP)
            time.sleep(STANDS)
            self.signal(its, signal.SIGCONT)
            time.sleep(RUNS)

    @staticmethod
    def signal(pids, number):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass  # It has just ended.


def run(servers, port, seconds, rate):
    """Latencies in ms, sorted, of what ended after the warm-up; and statements a second."""
    prefix = servers.directory / "latencies"
    for old in servers.directory.glob("latencies.*"):
        old.unlink()
    paced = ["-R", str(rate)] if rate else []
    command = [f"{servers.bin}/pgbench", *servers.at(port), "-n", "-S", "-c", str(CLIENTS), "-j", "2", "-T",
               str(seconds + WARM), "-l", f"--log-prefix={prefix}", *paced, "bench"]
    begun = time.time()
    subprocess.run(command, check=True, capture_output=True)
    found = []
    for log in servers.directory.glob("latencies.*"):
        for line in log.read_text().splitlines():
            _, _, micros, _, second, fraction, *_ = line.split()
            if int(second) + int(fraction) / 1e6 >= begun + WARM:
                found.append(int(micros) / 1e3)
    return sorted(found), len(found) / seconds


def cell(servers, port, seconds):
    paced, _ = run(servers, port, seconds, RATE)
    _, speed = run(servers, port, seconds, None)
    return [paced[int(len(paced) * part)] for part in (0.5, 0.95, 0.99)] + [speed]


def measure(options, servers, targets):
    found = {situation: {name: [] for name in TARGETS} for situation in ("equal", "slowed")}
    for _ in range(options.rounds):
        for name, (target, lines) in TARGETS.items():
            targets.more = lines
            with targets.running(target, CLIENTS) as (ports, _roots):
                if ports:
                    found["equal"][name].append(cell(servers, ports[0], options.seconds))
                    with Slowed(servers.pids()[2]):
                        found["slowed"][name].append(cell(servers, ports[0], options.seconds))
    targets.more = []
    return found


def tables(found):
    lines = []
    titles = {"equal": "three servers that are alike",
              "slowed": f"one of two standbys stands still {STANDS * 1e3:.0f} of {(STANDS + RUNS) * 1e3:.0f} ms"}
    for situation, cells in found.items():
        lines += [f"\n### {titles[situation]}\n",
                  f"| how nodes are chosen | p50, ms at {RATE} a second | p95 | p99 | as many as there can be, a second |",
                  "|---|---|---|---|---|"]
        for name, rows in cells.items():
            if rows:
                p50, p95, p99, speed = (statistics.median(column) for column in zip(*rows))
                lines.append(f"| {name} | {p50:.2f} | {p95:.2f} | {p99:.2f} | {speed:.0f} |")
    return "\n".join(lines)
