"""What a query costs, through several poolers in turns on one cluster; prints Markdown tables.

A target is started for its cell and stopped behind it, so that nothing else is at work. CPU is what the kernel has
accounted to the target's processes, and to those of the servers, over the statements that pgbench has counted. Rounds go
over all targets in turn; a cell shows the median. Failed transactions are shown, not hidden.
"""
import argparse
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

MODES = ["simple", "extended", "prepared", "connect", "tpcb"]
TICK = os.sysconf("SC_CLK_TCK")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="the pgbalancer to measure")
    parser.add_argument("--bin", required=True, help="directory of PostgreSQL's programs")
    parser.add_argument("--cluster", required=True, help="scripts/cluster")
    parser.add_argument("--only", help="targets, with commas: " + ",".join(TARGETS))
    parser.add_argument("--modes", default=",".join(MODES), help="with commas; the default is all")
    parser.add_argument("--clients", default="1,8,32,200", help="with commas")
    parser.add_argument("--seconds", type=int, default=5, help="length of a cell")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="8 and 32 clients, -S only, 3 seconds")
    found = parser.parse_args()
    if found.quick:
        found.clients, found.modes, found.seconds = "8,32", "simple,extended,prepared", 3
    return found


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


def cpu(roots):
    """CPU seconds of these processes and all below them."""
    table = processes()
    members, grown = set(roots), True
    while grown:
        more = {pid for pid, (parent, _) in table.items() if parent in members} - members
        members |= more
        grown = bool(more)
    return sum(table[pid][1] for pid in members if pid in table)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Bench:
    def __init__(self, options):
        self.options = options
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="pgbalancer-bench."))
        os.chmod(self.directory, 0o777)
        self.nodes = []

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        cluster = str(self.directory / "cluster")
        subprocess.run([self.options.cluster, "up", cluster, "2"], check=True, stdout=subprocess.DEVNULL)
        lines = pathlib.Path(cluster, "nodes").read_text().splitlines()
        self.nodes = [int(line.split()[1]) for line in lines]
        for id, port in enumerate(self.nodes):
            self.sql(port, "ALTER SYSTEM SET log_statement = 'none'")
            self.sql(port, "ALTER SYSTEM SET max_connections = 900")
            restart = [f"{self.options.bin}/pg_ctl", "-D", f"{cluster}/node{id}", "-l", f"{cluster}/node{id}.log",
                       "-w", "-s", "-m", "fast", "restart"]
            subprocess.run(self.as_server(restart), check=True, cwd=self.directory)
        # Not postgres: pgpool-II keeps no connections to that database, and so do we.
        self.sql(self.nodes[0], "CREATE DATABASE bench")
        subprocess.run([f"{self.options.bin}/pgbench", *self.at(self.nodes[0]), "-i", "-q", "-s", "10", "bench"],
                       check=True, capture_output=True)

    def __exit__(self, *_):
        subprocess.run([self.options.cluster, "down", str(self.directory / "cluster")], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def as_server(self, command):
        if os.getuid() != 0:
            return command
        return ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups", *command]

    def at(self, port):
        return ["-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]

    def sql(self, port, text):
        subprocess.run([f"{self.options.bin}/psql", "-X", "-q", *self.at(port), "-d", "postgres", "-c", text],
                       check=True, stdout=subprocess.DEVNULL)

    def server_pids(self):
        files = (self.directory / "cluster").glob("node*/postmaster.pid")
        return [int(file.read_text().splitlines()[0]) for file in files]

    def pool_conf(self, name, port, lines):
        backends = [line for id, node in enumerate(self.nodes) for line in
                    (f"backend_hostname{id} = '127.0.0.1'", f"backend_port{id} = {node}", f"backend_weight{id} = 1")]
        path = self.directory / f"{name}.conf"
        path.write_text("\n".join([
            f"port = {port}", "listen_addresses = '127.0.0.1'", f"pcp_port = {free_port()}",
            f"unix_socket_directories = '{self.directory}'", f"socket_dir = '{self.directory}'",
            f"pcp_socket_dir = '{self.directory}'", f"pid_file_name = '{self.directory}/{name}.pid'",
            f"logdir = '{self.directory}'", "sr_check_user = 'postgres'", "sr_check_period = 10",
            "backend_clustering_mode = 'streaming_replication'", "load_balance_mode = on", *backends, *lines]) + "\n")
        return path

    def pgbouncer(self, port, _clients):
        path = self.directory / "pgbouncer.ini"
        users = self.directory / "users.txt"
        users.write_text('"postgres" ""\n')
        path.write_text(f"""[databases]
* = host=127.0.0.1 port={self.nodes[0]}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = trust
auth_file = {users}
pool_mode = session
max_client_conn = 1000
default_pool_size = 250
unix_socket_dir =
""")
        return self.as_server(["pgbouncer", "-q", str(path)])

    def pgpool(self, port, clients):
        conf = self.pool_conf("pgpool", port, [f"num_init_children = {max(32, clients)}", "log_min_messages = error"])
        return ["pgpool", "-n", "-D", "-f", str(conf)]

    def drop_in(self, port, clients):
        conf = self.pool_conf("drop-in", port, [f"num_init_children = {max(32, clients)}"])
        return [self.options.program, "-n", "-f", str(conf)]

    def sample(self, method, workers):
        def command(port, _clients):
            lines = [f"num_init_children = {workers}", "sessions_per_child = 1000", f"io_method = {method}"]
            return [self.options.program, "-n", "-f", str(self.pool_conf("sample", port, lines))]
        return command

    def cell(self, target, mode, clients):
        """CPU a query of target and servers in µs, queries a second, failures; None if it does not start."""
        make = TARGETS[target](self)
        if make is None:
            return self.load(self.nodes[0], [], mode, clients)
        port = free_port()
        command = make(port, clients)
        if not shutil.which(target if target in ("pgbouncer", "pgpool") else self.options.program):
            return None
        with open(self.directory / f"{target}.log", "w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory)
        try:
            until = time.monotonic() + 20
            while not answers(port):
                if process.poll() is not None or time.monotonic() > until:
                    return None
                time.sleep(0.1)
            time.sleep(1)
            return self.load(port, [process.pid], mode, clients)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def load(self, port, roots, mode, clients):
        how = {"connect": ["-S", "-C"], "tpcb": []}.get(mode) or ["-S"]
        if mode in ("extended", "prepared"):
            how += ["-M", mode]
        if mode == "tpcb":
            how = ["-b", "tpcb-like"]
        command = [f"{self.options.bin}/pgbench", *self.at(port), "-n", "-c", str(clients), "-j", "2",
                   "-T", str(self.options.seconds), *how, "bench"]
        servers = self.server_pids()
        before = cpu(roots), cpu(servers)
        run = subprocess.run(command, capture_output=True, text=True, timeout=120 + self.options.seconds)
        time.sleep(0.3)
        after = cpu(roots), cpu(servers)
        count = re.search(r"actually processed: (\d+)", run.stdout)
        done = int(count.group(1)) if count else 0
        if not done:
            return None
        failed = run.stderr.count("aborted") + (run.returncode != 0)
        own, server = ((b - a) / done * 1e6 for a, b in zip(before, after))
        return own, server, done / self.options.seconds, failed


TARGETS = {
    "direct": lambda bench: None,
    "pgbouncer": lambda bench: bench.pgbouncer,
    "pgpool": lambda bench: bench.pgpool,
    "drop-in": lambda bench: bench.drop_in,
    "sample-epoll": lambda bench: bench.sample("epoll", 1),
    "sample-uring": lambda bench: bench.sample("io_uring", 1),
    "sample-uring-2": lambda bench: bench.sample("io_uring", 2),
}


def table(mode, clients, found):
    print(f"\n### {mode}, {clients} clients\n")
    print("| target | CPU µs a query | to pgbouncer | to pgpool-II | server CPU µs | to direct | queries/s | failed |")
    print("|---|---|---|---|---|---|---|---|")
    median = {target: [statistics.median(column) for column in zip(*rows)] for target, rows in found.items() if rows}

    def ratio(target, other, column):
        if target not in median or other not in median or not median[other][column]:
            return "–"
        return f"{median[target][column] / median[other][column]:.2f}"

    for target in found:
        if target not in median:
            print(f"| {target} | does not start here | | | | | | |")
            continue
        own, server, speed, failed = median[target]
        print(f"| {target} | {own:.1f} | {ratio(target, 'pgbouncer', 0)} | {ratio(target, 'pgpool', 0)} | {server:.1f} "
              f"| {ratio(target, 'direct', 1)} | {speed:.0f} | {max(row[3] for row in found[target])} |", flush=True)


def main():
    options = arguments()
    os.environ["PATH"] += ":/usr/sbin"
    targets = options.only.split(",") if options.only else list(TARGETS)
    clients = [int(word) for word in options.clients.split(",")]
    modes = options.modes.split(",")
    # Starting and stopping takes about as long as three seconds of load.
    minutes = len(targets) * len(clients) * len(modes) * options.rounds * (options.seconds + 3) / 60
    print(f"about {minutes:.0f} minutes; {options.rounds} rounds of {options.seconds} s a cell, medians", flush=True)
    with Bench(options) as bench:
        for mode in modes:
            for number in clients:
                found = {target: [] for target in targets}
                for _ in range(options.rounds):
                    for target in targets:
                        row = bench.cell(target, mode, number)
                        if row:
                            found[target].append(row)
                table(mode, number, found)


if __name__ == "__main__":
    main()
