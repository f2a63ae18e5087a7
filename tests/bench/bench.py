"""What a query, a connection, a megabyte and an idle session cost, through several poolers in turns on one cluster.

A target is started for its cell and stopped behind it, so that nothing else is at work. CPU is what the kernel has
accounted to the target's processes, and to those of the servers, over what the client has counted. Rounds go over all
targets in turn; a cell shows the median. Failed transactions are shown, not hidden.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

import api
import balance
import failover
import report
from accounts import memory
from idle import allow_many
from loads import BULK, MODES, bulk, load
from servers import Servers, answers, free_port
from targets import ABOUT, ROUTING, Targets

BULK_TARGETS = ["direct", "relay", "pgbouncer", "pgpool", "drop-in", "sample-epoll", "sample-uring"]
IDLE = [("pgbouncer", 1000), ("sample-epoll-4", 1000), ("sample-epoll-4", 10000),
        ("sample-uring-4", 1000), ("sample-uring-4", 10000)]
PARTS = ["queries", "bulk", "memory", "routing", "failover", "api", "balance"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="the pgbalancer to measure")
    parser.add_argument("--bin", required=True, help="directory of PostgreSQL's programs")
    parser.add_argument("--cluster", required=True, help="scripts/cluster")
    parser.add_argument("--parts", default=",".join(PARTS), help="with commas; the default is all")
    parser.add_argument("--only", help="targets, with commas: " + ",".join(ABOUT))
    parser.add_argument("--modes", default=",".join(MODES), help="with commas; the default is all")
    parser.add_argument("--clients", default="1,8,32,200", help="with commas")
    parser.add_argument("--seconds", type=int, default=5, help="length of a cell")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=1000, help="size of a bulk load")
    parser.add_argument("--quick", action="store_true", help="8 and 32 clients, -S only, 3 seconds, 200 MB")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file: what was measured is added to it")
    parser.add_argument("--write", type=pathlib.Path, help="writes the tables of --results into this page, and measures nothing")
    found = parser.parse_args()
    if found.quick:
        found.clients, found.modes, found.seconds, found.megabytes = "8,32", "simple,extended,prepared", 3, 200
    return found


def queries(options, servers, targets, names, results):
    for mode in options.modes.split(","):
        for clients in map(int, options.clients.split(",")):
            targets.tls = "tls" in mode
            # The relays do not survive a client that goes while a server still speaks.
            cells = {name: [] for name in names if not ("connect" in mode and "relay" in name)}
            for _ in range(options.rounds):
                for name in cells:
                    with targets.running(name, clients) as (ports, roots):
                        row = load(servers, ports, roots, mode, clients, options.seconds) if ports else None
                    if row:
                        cells[name].append(row)
            targets.tls = False
            results.setdefault("queries", {})[f"{mode}, {clients} clients"] = cells
            print(report.query_table(f"{mode}, {clients} clients", cells), flush=True)


def bulks(options, servers, targets, names, results):
    for kind in BULK:
        cells = {name: [] for name in BULK_TARGETS if name in names}
        for _ in range(options.rounds):
            for name in cells:
                with targets.running(name, 1) as (ports, roots):
                    if ports:
                        cells[name].append(bulk(servers, ports[0], roots, kind, options.megabytes))
        results.setdefault("bulk", {})[kind] = cells
        print(report.bulk_table(kind, cells), flush=True)


def idle(servers, targets, name, count):
    """Memory in KiB of a target that holds so many silent sessions, before a server that only pretends."""
    script, port = str(pathlib.Path(__file__).parent / "idle.py"), free_port()
    server = subprocess.Popen([sys.executable, script, "serve", str(port)])
    try:
        while not answers(port):
            pass
        with targets.running(name, count, [port]) as (ports, roots):
            if not ports:
                return None
            clients = subprocess.Popen([sys.executable, script, "hold", str(ports[0]), str(count)],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            held = clients.stdout.readline().strip()
            found = memory(roots) if held == str(count) else None
            clients.communicate()
            return found
    finally:
        server.kill()
        server.wait()


def memories(_options, servers, targets, names, results):
    found = {}
    for name in [name for name in ("pgpool", "drop-in") if name in names]:
        with targets.running(name, 32) as (ports, roots):
            if ports:
                load(servers, ports, roots, "simple", 32, 1)
                found[f"{name}: 32 children, each has served"] = memory(roots)
    for name, count in IDLE:
        if name in names or name.rpartition("-")[0] in names:
            found[f"{name}: {count} idle sessions"] = idle(servers, targets, name, count)
    results["memory"] = found
    print(report.memory_table(found), flush=True)


def routing(options, servers, targets, _names, results):
    for mode in [mode for mode in options.modes.split(",") if mode in ("simple", "extended", "prepared")]:
        cells = {name: [] for name in ROUTING}
        for _ in range(options.rounds):
            for name in cells:
                with targets.running(name, 32) as (ports, roots):
                    row = load(servers, ports, roots, mode, 32, options.seconds) if ports else None
                if row:
                    cells[name].append(row)
        results.setdefault("routing", {})[mode] = cells
        print(report.routing_table(mode, cells), flush=True)


def failovers(options, _servers, _targets, _names, results):
    results["failover"] = failover.measure(options, os.path.abspath(options.program))
    print(report.failover_tables(results["failover"]), flush=True)


def apis(options, servers, targets, _names, results):
    results["api"] = api.measure(options, servers, targets)
    print(report.api_tables(results["api"]), flush=True)


def balances(options, servers, targets, _names, results):
    results["balance"] = balance.measure(options, servers, targets)
    print(balance.tables(results["balance"]), flush=True)


def main():
    options = arguments()
    os.environ["PATH"] += ":/usr/sbin"
    # The servers have TLS; who is to use it says so.
    os.environ["PGSSLMODE"] = "disable"
    results = json.loads(options.results.read_text()) if options.results and options.results.exists() else {}
    if options.write:
        report.write(options.write, results)
        return
    allow_many()
    names = options.only.split(",") if options.only else list(ABOUT)
    with Servers(options.bin, options.cluster) as servers:
        targets = Targets(servers, os.path.abspath(options.program))
        targets.build_floor()
        parts = {"queries": queries, "bulk": bulks, "memory": memories, "routing": routing, "failover": failovers,
                 "api": apis, "balance": balances}
        for part in options.parts.split(","):
            parts[part](options, servers, targets, names, results)
            if options.results:
                options.results.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
