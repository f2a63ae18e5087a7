"""From results to Markdown: the tables, and what of our targets was reached."""
import statistics

import balance
from failover import EVENTS

BEGIN = "<!-- written by make bench: from here on nothing is written by hand -->"

BULK_NAMES = {"copy-out": "COPY TO", "select": "SELECT", "copy-in": "COPY FROM"}


def medians(cells):
    return {name: [statistics.median(column) for column in zip(*rows)] for name, rows in cells.items() if rows}


def ratio(median, name, other, column):
    if name not in median or other not in median or not median[other][column]:
        return "–"
    return f"{median[name][column] / median[other][column]:.2f}"


def query_table(title, cells):
    unit = "connection" if title.startswith("connect") else "transaction" if title.startswith("tpcb") else "query"
    lines = [f"\n### {title}\n",
             f"| target | CPU µs a {unit} | to pgbouncer | to pgpool-II | server CPU µs | to direct | to direct-3 | a second | failed |",
             "|---|---|---|---|---|---|---|---|---|"]
    median = medians(cells)
    for name in cells:
        if name not in median:
            lines.append(f"| {name} | not measured | | | | | | | |")
            continue
        own, server, speed, _ = median[name]
        lines.append(f"| {name} | {own:.1f} | {ratio(median, name, 'pgbouncer', 0)} | {ratio(median, name, 'pgpool', 0)} "
                     f"| {server:.1f} | {ratio(median, name, 'direct', 1)} | {ratio(median, name, 'direct-3', 1)} "
                     f"| {speed:.0f} | {max(row[3] for row in cells[name]):.0f} |")
    return "\n".join(lines)


def bulk_table(kind, cells):
    lines = [f"\n### bulk: {BULK_NAMES[kind]}\n", "| target | CPU ms a MB | to the relay | MB/s |", "|---|---|---|---|"]
    median = medians(cells)
    for name, (own, speed) in median.items():
        lines.append(f"| {name} | {own:.3f} | {ratio(median, name, 'relay', 0)} | {speed:.0f} |")
    return "\n".join(lines)


def routing_table(mode, cells):
    lines = [f"\n### what routing costs: {mode}, 32 clients\n",
             "| target | CPU µs a query, routed | nothing balanced | ratio |", "|---|---|---|---|"]
    median = medians(cells)
    for routed in [name for name in cells if name.endswith("-routed")]:
        plain = routed.replace("-routed", "-unrouted")
        if routed in median and plain in median:
            lines.append(f"| {routed.removesuffix('-routed')} | {median[routed][0]:.1f} | {median[plain][0]:.1f} "
                         f"| {ratio(median, routed, plain, 0)} |")
    return "\n".join(lines)


def memory_table(found):
    lines = ["\n### memory\n", "| what | PSS of all processes, MiB |", "|---|---|"]
    for what, kib in found.items():
        lines.append(f"| {what} | {kib / 1024:.1f} |" if kib else f"| {what} | not measured |")
    return "\n".join(lines)


def failover_tables(found):
    lines = []
    for event, cells in found.items():
        lines += [f"\n### {EVENTS[event]}\n",
                  "| target | errors | connections broken | longest time in which no client got anything, s | SQLSTATEs |",
                  "|---|---|---|---|---|"]
        for name, rows in cells.items():
            if not rows:
                lines.append(f"| {name} | does not apply | | | |")
                continue
            numbers = [statistics.median(row[key] for row in rows) for key in ("errors", "broken", "silence")]
            codes = sorted({code for row in rows for code in row["codes"]})
            lines.append(f"| {name} | {numbers[0]:.0f} | {numbers[1]:.0f} | {numbers[2]:.1f} | {' '.join(codes)} |")
    return "\n".join(lines)


def api_tables(found):
    lines = ["\n### answers of the API, 1,000 rows of pooled connections\n",
             "| GET | KB | quiet: p50, ms | p99 | longest | under load: p50, ms | p99 | longest | 200 a second: % of a core |",
             "|---|---|---|---|---|---|---|---|---|"]
    for path, (middle, late, longest, length) in found["quiet"].items():
        load = " | ".join(f"{value:.2f}" for value in found["load"][path][:3])
        lines.append(f"| {path} | {length / 1e3:.1f} | {middle:.2f} | {late:.2f} | {longest:.2f} | {load} | {found['cost'][path][0]:.1f} |")
    for name, (share, pace) in found["cost"].items():
        if not name.startswith("/"):
            lines.append(f"| {name} ({pace:.0f} a second) | | | | | | | | {share:.1f} |")
    lines += ["\n### transactions a second while the API is asked 200 times a second, in turns\n",
              "| | median | all rounds |", "|---|---|---|"]
    for name, about in (("without", "nobody asks"), ("asked", "asked")):
        values = found["speed"][name]
        lines.append(f"| {about} | {statistics.median(values):.0f} | {', '.join(f'{value:.0f}' for value in values)} |")
    return "\n".join(lines)


def api_reached(found):
    worst = max(found["load"], key=lambda path: found["load"][path][1])
    late = found["load"][worst][1]
    share = found["cost"]["in turns, as a monitor asks"][0]
    without, asked = (statistics.median(found["speed"][name]) for name in ("without", "asked"))
    return [("API: p99 of every GET under load", "< 10 ms", f"{late:.1f} ms ({worst})", late < 10),
            ("API: 200 requests a second, of a core", "< 5 %", f"{share:.1f} %", share < 5),
            ("API: queries a second while it is asked, to without", "≥ 0.95", f"{asked / without:.2f}", asked >= without * 0.95)]


def reached(results):
    """The targets we set ourselves, and what was measured."""
    rows = []

    def query(what, target, name, other, column, clients, modes, least=False):
        values = []
        for mode in modes:
            for number in clients:
                median = medians(results.get("queries", {}).get(f"{mode}, {number} clients", {}))
                if name in median and other in median and median[other][column]:
                    values.append((f"{mode} {number}", median[name][column] / median[other][column]))
        if values:
            good = all(value >= target if least else value <= target for _, value in values)
            text = ", ".join(f"{label}: {value:.2f}" for label, value in values)
            rows.append((what, f"{'≥' if least else '≤'} {target}", text, good))

    reads, all_clients = ["simple", "extended", "prepared"], [1, 8, 32, 200]
    query("drop-in, CPU to pgpool-II", 0.5, "drop-in", "pgpool", 0, all_clients,
          [*reads, "tpcb", "connect", "connect-scram"])
    query("the floor of a process a client, CPU to pgpool-II", 0.5, "relay-process", "pgpool", 0, all_clients, reads)
    query("sample over io_uring, CPU to pgbouncer", 0.85, "sample-uring", "pgbouncer", 0, [32, 200], reads)
    query("sample over epoll, CPU to pgbouncer", 1.0, "sample-epoll", "pgbouncer", 0, [32, 200], reads)
    query("the floors over three servers to pgbouncer: a relay over io_uring", 0.85, "relay-uring-3", "pgbouncer", 0, [32, 200], reads)
    query("the floors over three servers to pgbouncer: a relay over epoll", 1.0, "relay-3", "pgbouncer", 0, [32, 200], reads)
    query("sample over io_uring, one server, CPU to pgbouncer", 0.85, "sample-uring-1n", "pgbouncer", 0, [32, 200], reads)
    query("sample over epoll, one server, CPU to pgbouncer", 1.0, "sample-epoll-1n", "pgbouncer", 0, [32, 200], reads)
    query("sample, queries a second to pgbouncer", 1.0, "sample-uring", "pgbouncer", 2, [32, 200], reads, least=True)
    query("sample, one server, queries a second to pgbouncer", 1.0, "sample-uring-1n", "pgbouncer", 2, [32, 200], reads, least=True)
    query("a second worker, queries a second to one", 1.0, "sample-uring-2", "sample-uring", 2, [32, 200], reads, least=True)
    query("server CPU to direct, three servers", 1.1, "sample-uring", "direct-3", 1, [32, 200], reads)
    query("server CPU to direct, one server", 1.1, "sample-uring-1n", "direct", 1, [32, 200], reads)
    query("connections, CPU to pgbouncer", 2.0, "sample-uring", "pgbouncer", 0, [32], ["connect", "connect-scram"])
    for kind, cells in results.get("bulk", {}).items():
        median = medians(cells)
        values = [(name, median[name][0] / median["relay"][0]) for name in ("sample-epoll", "sample-uring", "drop-in")
                  if name in median and "relay" in median]
        if values:
            rows.append((f"bulk, {BULK_NAMES[kind]}: CPU to the relay", "≤ 1.3",
                         ", ".join(f"{name}: {value:.2f}" for name, value in values),
                         all(value <= 1.3 for _, value in values)))
    for mode, cells in results.get("routing", {}).items():
        median = medians(cells)
        for name in ("sample-uring", "drop-in"):
            if f"{name}-routed" in median and f"{name}-unrouted" in median:
                value = median[f"{name}-routed"][0] / median[f"{name}-unrouted"][0]
                rows.append((f"routing, {name}, {mode}: CPU to load_balance_mode = off", "≤ 1.1", f"{value:.2f}", value <= 1.1))
    found = results.get("memory", {})
    theirs = found.get("pgpool: 32 children, each has served")
    for what, kib in found.items():
        if what.startswith("drop-in") and kib and theirs:
            rows.append((f"memory of {what}, to pgpool-II's", "≤ 0.33", f"{kib / theirs:.2f}", kib * 3 <= theirs))
        if what.endswith("10000 idle sessions") and kib:
            rows.append((f"memory of {what}", "≤ 100 MiB", f"{kib / 1024:.1f} MiB", kib <= 100 * 1024))
    if "api" in results:
        rows += api_reached(results["api"])
    lines = ["\n## Targets\n", "| what | target | measured | reached |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {what} | {target} | {text} | {'yes' if good else '**no**'} |"
                                for what, target, text, good in rows)])


def write(page, results):
    parts = [reached(results), "\n## Tables"]
    parts += [query_table(title, cells) for title, cells in results.get("queries", {}).items()]
    parts += [bulk_table(kind, cells) for kind, cells in results.get("bulk", {}).items()]
    parts += [routing_table(mode, cells) for mode, cells in results.get("routing", {}).items()]
    if "memory" in results:
        parts.append(memory_table(results["memory"]))
    if "failover" in results:
        parts.append("\n## While a server dies or hands over")
        parts.append(failover_tables(results["failover"]))
    if "balance" in results:
        parts.append("\n## While a standby is slow")
        parts.append(balance.tables(results["balance"]))
    if "api" in results:
        parts.append(api_tables(results["api"]))
    head = page.read_text().partition(BEGIN)[0]
    page.write_text(head + BEGIN + "\n" + "\n".join(parts) + "\n")
