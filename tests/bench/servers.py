"""The throw-away cluster that everything is measured on: a primary and two standbys, and a server that only pretends."""
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

SECRET = "bench-secret"

# "bencher" proves itself with SCRAM, "postgres" is trusted.
HBA = """local all all trust
host all bencher 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
"""


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


class Servers:
    def __init__(self, bin, script):
        self.bin = bin
        self.script = script
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="pgbalancer-bench."))
        os.chmod(self.directory, 0o777)
        self.ports = []

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        cluster, hba = str(self.directory / "cluster"), self.directory / "hba.conf"
        hba.write_text(HBA)
        subprocess.run([self.script, "up", cluster, "2", str(hba)], check=True, stdout=subprocess.DEVNULL)
        lines = pathlib.Path(cluster, "nodes").read_text().splitlines()
        self.ports = [int(line.split()[1]) for line in lines]
        self.make_certificate()
        for id, port in enumerate(self.ports):
            for name, file in zip(("ssl_cert_file", "ssl_key_file"), self.certificate):
                self.sql(port, f"ALTER SYSTEM SET {name} = '{file}'")
            self.sql(port, "ALTER SYSTEM SET ssl = on")
            self.sql(port, "ALTER SYSTEM SET log_statement = 'none'")
            self.sql(port, "ALTER SYSTEM SET max_connections = 900")
            restart = [f"{self.bin}/pg_ctl", "-D", f"{cluster}/node{id}", "-l", f"{cluster}/node{id}.log",
                       "-w", "-s", "-m", "fast", "restart"]
            subprocess.run(self.as_server(restart), check=True, cwd=self.directory)
        # Not postgres: pgpool-II keeps no connections to that database, and so do we.
        self.sql(self.ports[0], "CREATE DATABASE bench")
        subprocess.run([f"{self.bin}/pgbench", *self.at(self.ports[0]), "-i", "-q", "-s", "10", "bench"],
                       check=True, capture_output=True)
        self.sql(self.ports[0], f"CREATE USER bencher PASSWORD '{SECRET}'")
        self.sql(self.ports[0], "GRANT ALL ON ALL TABLES IN SCHEMA public TO bencher", "bench")
        self.sql(self.ports[0], "CREATE UNLOGGED TABLE bulk (line text)", "bench")

    def make_certificate(self):
        """One for all: certificate and key, as PostgreSQL's users mostly have them (RSA of 2,048 bits)."""
        self.certificate = [str(self.directory / name) for name in ("server.crt", "server.key")]
        cert, key = self.certificate
        subprocess.run(self.as_server(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                                       "/CN=localhost", "-keyout", key, "-out", cert]), check=True, capture_output=True)
        os.chmod(key, 0o600)

    def __exit__(self, *_):
        subprocess.run([self.script, "down", str(self.directory / "cluster")], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def as_server(self, command):
        if os.getuid() != 0:
            return command
        return ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups", *command]

    def at(self, port, user="postgres"):
        return ["-h", "127.0.0.1", "-p", str(port), "-U", user]

    def psql(self, port, text, database="postgres"):
        return [f"{self.bin}/psql", "-X", "-q", "-A", "-t", *self.at(port), "-d", database, "-c", text]

    def sql(self, port, text, database="postgres"):
        subprocess.run(self.psql(port, text, database), check=True, stdout=subprocess.DEVNULL)

    def pids(self):
        files = (self.directory / "cluster").glob("node*/postmaster.pid")
        return [int(file.read_text().splitlines()[0]) for file in files]
