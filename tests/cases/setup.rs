//! compat/setup/pgpool_setup builds a cluster in a directory, as pgpool-II's does.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::balancer::Program;
use crate::harness::recovery::source;
use crate::harness::tools::Ran;
use crate::harness::{Client, Door, ports, process, tools, wait};

/// What the script needs of the tree and the program, where the ordinary user reaches it.
struct Installed {
    dir: tempfile::TempDir,
    program: PathBuf,
}

impl Installed {
    fn new() -> Installed {
        let dir = process::server_dir("installed");
        for part in ["compat/setup", "compat/sql", "conf-samples"] {
            let to = dir.path().join(part);
            std::fs::create_dir_all(&to).unwrap();
            tools::run(Command::new("cp").arg("-a").arg(source(part).join(".")).arg(to)).succeeded();
        }
        let Program::Ours(program) = Program::under_test() else {
            panic!("the script is about this program")
        };
        let program = process::reachable(&program, dir.path());
        Installed { dir, program }
    }

    fn run(&self, at: &Path, arguments: &[&str]) -> Ran {
        run(at, &self.dir.path().join("compat/setup/pgpool_setup"), arguments, Some(&self.program))
    }
}

/// A directory that the script has built a cluster in, which is stopped in the end.
struct Built {
    dir: tempfile::TempDir,
    port: u16,
    installed: Installed,
}

/// So many free ports in a row, which nobody else in this process gets: each is given out once.
fn ports_in_a_row(count: u16) -> u16 {
    let (mut first, mut next) = (0, 0);
    while next == 0 || next - first < count {
        let port = ports::free();
        if port != next {
            first = port;
        }
        next = port + 1;
    }
    first
}

fn run(at: &Path, script: &Path, arguments: &[&str], program: Option<&Path>) -> Ran {
    let mut command = process::as_server_user(script);
    command.current_dir(at).args(arguments).env("PGBIN", tools::pg_bin()).env("PGSOCKET_DIR", at);
    command.env("INITDBARG", "--no-locale -E UTF_8 -N").stdin(std::process::Stdio::null());
    if let Some(program) = program {
        command.env("PGBALANCER", program);
    }
    tools::run(&mut command)
}

impl Built {
    fn new(options: &[&str]) -> Built {
        // Another test may take a port between our look and its use.
        let mut tries = (0..3).map(|_| {
            let (dir, port, installed) = (process::server_dir("setup"), ports_in_a_row(5), Installed::new());
            let built = Built { dir, port, installed };
            let port = port.to_string();
            let ran = built.installed.run(built.dir.path(), &[&["-p", &port], options].concat());
            assert_eq!(ran.ok, ran.out.contains(&format!("pgpool port is {port}\n")), "{}", ran.out);
            if ran.ok { Ok(built) } else { Err(ran.err) }
        });
        let mut errors = String::new();
        let built = tries.find_map(|tried| tried.map_err(|error| errors += &error).ok());
        built.unwrap_or_else(|| panic!("{errors}"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        process::write(&self.path(name), std::fs::read_to_string(self.path(name)).unwrap() + text);
    }

    fn run(&self, name: &str) {
        run(self.dir.path(), &self.path(name), &[], None).succeeded();
    }

    fn door(&self, offset: u16, database: &str) -> Door {
        let (host, user) = ("127.0.0.1".to_owned(), self.user());
        Door { host, port: self.port + offset, user, database: database.to_owned() }
    }

    /// The superuser is who has run the script.
    fn user(&self) -> String {
        let users = std::fs::read_to_string(self.path("etc/pcp.conf")).unwrap();
        users.split(':').next().unwrap().to_owned()
    }

    fn wait_ready(&self) -> Client {
        wait::until("the program to listen", wait::LIMIT, || {
            let door = self.door(0, "test");
            std::net::TcpStream::connect((door.host.as_str(), door.port)).ok()?;
            Client::try_connect(&door, &[]).ok()
        })
    }

    /// Waits until each of the three servers says so.
    fn everywhere(&self, question: &str, answer: &str) {
        for offset in [2, 3, 4] {
            let mut direct = Client::connect(&self.door(offset, "test"));
            wait::until_true(question, || {
                let reply = direct.query(question);
                reply.error().is_none() && reply.value().as_deref() == Some(answer)
            });
        }
    }

    fn nothing_runs(&self) {
        for file in ["run/pgpool.pid", "data0/postmaster.pid", "data1/postmaster.pid", "data2/postmaster.pid"]
        {
            assert!(!self.path(file).exists(), "{file}");
        }
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path("log/pgpool.log")).unwrap_or_default();
            eprintln!("---- the program's log\n{log}\n----");
        }
        if self.path("shutdownall").exists() {
            run(self.dir.path(), &self.path("shutdownall"), &[], None);
        }
    }
}

#[test]
fn a_streaming_cluster_is_built_started_and_stopped() {
    let built = Built::new(&["-n", "3", "-s"]);
    built.nothing_runs();
    built.run("startall");
    let mut client = built.wait_ready();
    wait::until_equal("primary standby standby".to_owned(), || {
        client.query("SHOW POOL_NODES").succeeded().column("role").join(" ")
    });
    let states = client.query("SHOW POOL_NODES").succeeded().column("replication_state");
    assert_eq!(states, ["", "streaming", "streaming"]);
    client.query("CREATE TABLE t (a int)").succeeded();
    client.query("INSERT INTO t VALUES (1)").succeeded();
    built.everywhere("SELECT count(*) FROM t", "1");
    let functions =
        "SELECT count(*) FROM pg_proc WHERE proname IN ('pgpool_recovery', 'pgpool_remote_start')";
    built.everywhere(functions, "6");
    drop(client);
    built.append("etc/pgpool.conf", "client_idle_limit = 77\n");
    built.run("pgpool_reload");
    wait::until_true("the configuration to be read again", || {
        built
            .wait_ready()
            .query("PGPOOL SHOW client_idle_limit")
            .value()
            .is_some_and(|value| value.contains("77"))
    });
    built.run("shutdownall");
    built.nothing_runs();

    let ports = std::fs::read_to_string(built.path("bashrc.ports")).unwrap();
    assert!(ports.starts_with(&format!(
        "export PGPOOL_PORT={}\nexport PCP_PORT={}\n",
        built.port,
        built.port + 1
    )));
}

fn nodes(client: &mut Client, column: &str) -> String {
    client.query("SHOW POOL_NODES").succeeded().column(column).join(" ")
}

/// The scripts that it sets up do what they are for: one promotes, one makes the other standby follow, one brings the old
/// primary back as a standby.
#[test]
fn a_built_cluster_fails_over_follows_and_recovers() {
    let built = Built::new(&["-n", "3", "-r"]);
    built.append("etc/pgpool.conf", "health_check_period0 = 1\nhealth_check_max_retries0 = 0\n");
    built.run("startall");
    let mut client = built.wait_ready();
    client.query("CREATE TABLE t (a int)").succeeded();
    built.everywhere("SELECT to_regclass('t') IS NOT NULL", "t");
    let pid = std::fs::read_to_string(built.path("data0/postmaster.pid")).unwrap();
    let pid = pid.lines().next().unwrap().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGQUIT).unwrap();
    wait::until_true("the primary to be gone", || !process::is_alive(pid));

    client.query("INSERT INTO t VALUES (1)").succeeded();
    let log = || std::fs::read_to_string(built.path("log/pgpool.log")).unwrap();
    wait::until_true("the standby to follow", || {
        log().contains("follow_primary.sh: node 2: follows node 1")
            && nodes(&mut client, "status") == "down up up"
    });
    assert_eq!(nodes(&mut client, "role"), "standby primary standby");
    client.query("INSERT INTO t VALUES (2)").succeeded();

    let mut recover = Command::new("timeout");
    recover.args(["50", "pcp_recovery_node", "-h", "localhost", "-w", "-U", &built.user(), "-p"]);
    recover.arg((built.port + 1).to_string()).arg("0").env("PCPPASSFILE", built.path("pcppass"));
    assert_eq!(tools::run(&mut recover).out, "pcp_recovery_node -- Command Successful\n", "{}", log());
    wait::until_equal("up up up".to_owned(), || nodes(&mut client, "status"));
    wait::until_equal("streaming  streaming".to_owned(), || nodes(&mut client, "replication_state"));
    built.everywhere("SELECT count(*) FROM t", "2");
}

#[test]
fn a_logical_cluster_replicates_its_tables() {
    let built = Built::new(&["-m", "l", "--no-stop"]);
    for offset in [2, 3] {
        Client::connect(&built.door(offset, "test")).query("CREATE TABLE t (a int PRIMARY KEY)").succeeded();
    }
    let mut subscriber = Client::connect(&built.door(3, "test"));
    subscriber.query("ALTER SUBSCRIPTION setup_1 REFRESH PUBLICATION").succeeded();
    Client::connect(&built.door(2, "test")).query("INSERT INTO t VALUES (1)").succeeded();
    wait::until_true("the row to arrive", || {
        subscriber.query("SELECT count(*) FROM t").value().as_deref() == Some("1")
    });
}

#[test]
fn it_builds_nothing_where_something_is() {
    let dir = process::server_dir("setup");
    process::write(&dir.path().join("mine"), "");
    let installed = Installed::new();
    let ran = installed.run(dir.path(), &[]);
    assert!(!ran.ok && ran.err.contains("is not empty"), "{}", ran.err);

    let dir = process::server_dir("setup");
    let taken = std::net::TcpListener::bind(("127.0.0.1", ports_in_a_row(5))).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ran = installed.run(dir.path(), &["-p", &port]);
    assert!(!ran.ok && ran.err.contains(&format!("listens on port {port} already")), "{}", ran.err);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    for wrong in [&["-n", "two"][..], &["-m", "x"], &["-x"], &["-n"]] {
        assert!(!installed.run(dir.path(), wrong).ok, "{wrong:?}");
    }
    let ran = installed.run(dir.path(), &["-x"]);
    assert!(ran.err.contains("pgpool_setup [-m r|s|n|l|y|i]"), "{}", ran.err);
}
