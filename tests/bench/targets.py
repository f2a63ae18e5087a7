"""What is measured: how each target is configured and started."""
import contextlib
import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import time

from servers import SECRET, answers, free_port

# Names and what they are, in the order of the tables.
ABOUT = {
    "direct": "PostgreSQL alone, the primary",
    "direct-3": "PostgreSQL alone, a third of the clients at each of the three servers",
    "relay": "bytes passed on over epoll by one process that parses nothing, to the primary",
    "relay-uring": "the same over io_uring",
    "relay-3": "as relay, a third of the clients at each of the three servers",
    "relay-uring-3": "as relay-uring, a third of the clients at each of the three servers",
    "relay-process": "as relay with a process a client",
    "pgbouncer": "session mode, to the primary",
    "pgpool": "Debian's pgpool-II, reads over three servers",
    "drop-in": "ours with a pgpool.conf as it is: a session a process, reads over three servers",
    "sample-epoll": "ours, one worker with many sessions, reads over three servers",
    "sample-uring": "the same over io_uring",
    "sample-uring-2": "the same with two workers",
    "sample-epoll-1n": "as sample-epoll with one server behind it",
    "sample-uring-1n": "as sample-uring with one server behind it",
}

# What routing costs: all goes to one of three servers, once because a rule says so and once because nothing is balanced.
ROUTING = ["sample-uring-routed", "sample-uring-unrouted", "drop-in-routed", "drop-in-unrouted", "pgpool-routed", "pgpool-unrouted"]


class Targets:
    def __init__(self, servers, program):
        self.servers = servers
        self.program = program
        self.directory = servers.directory
        # Lines for the configuration of pool targets.
        self.more = []
        self.pool_mode = "session"
        # Clients come over TLS; the way to the servers stays in the clear.
        self.tls = False
        (self.directory / "pool_passwd").write_text(f"bencher:TEXT{SECRET}\n")
        (self.directory / "pool_hba.conf").write_text("host all bencher 127.0.0.1/32 scram-sha-256\n"
                                                      "host all all 127.0.0.1/32 trust\n")
        (self.directory / "pcp.conf").write_text(f"bench:{hashlib.md5(SECRET.encode()).hexdigest()}\n")
        (self.directory / "pcppass").write_text(f"*:*:bench:{SECRET}\n")
        (self.directory / "pcppass").chmod(0o600)

    def pcp_environment(self):
        return {**os.environ, "PCPPASSFILE": str(self.directory / "pcppass")}

    def build_floor(self):
        source = pathlib.Path(__file__).parent / "floor"
        for name, libraries in (("relay", []), ("uring", ["-luring"])):
            subprocess.run(["cc", "-O2", "-o", str(self.directory / name), str(source / f"{name}.c"), *libraries],
                           check=True)

    def command(self, name, port, clients, nodes=None):
        """The command line of a target; it writes the files that it needs."""
        if name.startswith("relay"):
            program = "uring" if "uring" in name else "relay"
            ports = self.servers.ports if name.endswith("-3") else self.servers.ports[:1]
            processes = [str(max(32, clients))] if name == "relay-process" else []
            return [str(self.directory / program), str(port), ",".join(map(str, ports)), *processes]
        if name == "pgbouncer":
            return self.pgbouncer(port, nodes or self.servers.ports)
        nodes = nodes or (self.servers.ports[:1] if name.endswith("-1n") else self.servers.ports)
        files = ["-a", str(self.directory / "pool_hba.conf"), "-F", str(self.directory / "pcp.conf")]
        processes = [f"num_init_children = {max(32, clients)}"]
        if name.startswith("pgpool"):
            conf = self.pool_conf(name, port, nodes, [*processes, "log_min_messages = error"])
            return ["pgpool", "-n", "-D", "-f", conf, *files]
        if name.startswith("drop-in"):
            lines = processes
        else:
            method = "epoll" if "epoll" in name else "io_uring"
            workers = 2 if name.endswith("-2") else 4 if name.endswith("-4") else 1
            lines = [f"num_init_children = {workers}", "sessions_per_child = 2500", f"io_method = {method}"]
        conf = self.pool_conf(name, port, nodes, lines)
        return [self.program, "-n", "-D", "-f", conf, *files]

    def pgbouncer(self, port, nodes):
        path, users, rules = (self.directory / name for name in ("pgbouncer.ini", "users.txt", "pgbouncer.hba"))
        users.write_text(f'"postgres" ""\n"bencher" "{SECRET}"\n')
        rules.write_text((self.directory / "pool_hba.conf").read_text())
        path.write_text(f"""[databases]
* = host=127.0.0.1 port={nodes[0]}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = hba
auth_hba_file = {rules}
auth_file = {users}
pool_mode = {self.pool_mode}
server_login_retry = 1
admin_users = postgres
max_client_conn = 10000
default_pool_size = 1100
unix_socket_dir =
server_tls_sslmode = disable
{self.pgbouncer_tls() if self.tls else ""}
""")
        return self.servers.as_server(["pgbouncer", "-q", str(path)])

    def pgbouncer_tls(self):
        cert, key = self.servers.certificate
        return f"client_tls_sslmode = allow\nclient_tls_cert_file = {cert}\nclient_tls_key_file = {key}"

    def pool_tls(self, name, nodes):
        """pgpool-II has one switch for both sides."""
        cert, key = self.servers.certificate
        ours = [] if name.startswith("pgpool") else [f"backend_sslmode{id} = disable" for id in range(len(nodes))]
        return ["ssl = on", f"ssl_cert = '{cert}'", f"ssl_key = '{key}'", *ours]

    def pool_conf(self, name, port, nodes, lines):
        lines = [*lines, *(self.pool_tls(name, nodes) if self.tls else [])]
        weight = (lambda id: int(id == 0)) if name.endswith("routed") else (lambda _id: 1)
        balance = "off" if name.endswith("unrouted") else "on"
        backends = [line for id, node in enumerate(nodes) for line in
                    (f"backend_hostname{id} = '127.0.0.1'", f"backend_port{id} = {node}", f"backend_weight{id} = {weight(id)}")]
        path = self.directory / f"{name}.conf"
        path.write_text("\n".join([
            f"port = {port}", "listen_addresses = '127.0.0.1'", f"pcp_port = {free_port()}",
            f"unix_socket_directories = '{self.directory}'", f"socket_dir = '{self.directory}'",
            f"pcp_socket_dir = '{self.directory}'", f"pid_file_name = '{self.directory}/{name}.pid'",
            f"logdir = '{self.directory}'", "sr_check_user = 'postgres'", "sr_check_period = 10",
            "backend_clustering_mode = 'streaming_replication'", f"load_balance_mode = {balance}", "enable_pool_hba = on",
            "pool_passwd = 'pool_passwd'", *backends, *lines, *self.more]) + "\n")
        return str(path)

    @contextlib.contextmanager
    def running(self, name, clients, nodes=None):
        """Ports with their share of the clients, and the process; no port if it does not start here."""
        if name.startswith("direct"):
            ports = self.servers.ports if name == "direct-3" else self.servers.ports[:1]
            yield ports, []
            return
        port = free_port()
        command = self.command(name, port, clients, nodes)
        if not shutil.which(command[0]):
            yield [], []
            return
        with open(self.directory / f"{name}.log", "w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory)
        try:
            until = time.monotonic() + 20
            while not answers(port) and process.poll() is None and time.monotonic() < until:
                time.sleep(0.1)
            time.sleep(1)
            yield ([port] if process.poll() is None else []), [process.pid]
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
