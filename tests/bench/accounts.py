"""What the kernel has accounted to processes: CPU seconds and memory of a tree."""
import os
import pathlib

TICK = os.sysconf("SC_CLK_TCK")


def processes():
    """Parent and CPU seconds of every process, with those of the children it has waited for."""
    table = {}
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            # In nanoseconds, where stat has ticks: most of a hundred children have less than one.
            own = int((path / "schedstat").read_text().split()[0]) / 1e9
        except OSError:
            continue  # It has just ended.
        table[int(path.name)] = (int(fields[1]), own + sum(map(int, fields[13:15])) / TICK)
    return table


def at_work_in(directory):
    """The processes whose working directory this is, the oldest first."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(path / "cwd") == str(directory) and not (path / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                found.append(int(path.name))
        except OSError:
            continue
    return sorted(found)


def members(roots, table):
    """These processes and all below them."""
    found, grown = set(roots), True
    while grown:
        more = {pid for pid, (parent, _) in table.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found


def cpu(roots):
    """CPU seconds of these processes and all below them."""
    table = processes()
    return sum(table[pid][1] for pid in members(roots, table) if pid in table)


def memory(roots):
    """Proportional set size in KiB of these processes and all below them."""
    total = 0
    for pid in members(roots, processes()):
        try:
            lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total
