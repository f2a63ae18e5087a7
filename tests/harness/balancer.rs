//! The program under test: a configuration in a directory of its own, the process, its log, its end.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::client::Client;
use super::cluster::{Cluster, Door, Node};
use super::{ports, process, shared, wait};

/// The lines of a configuration. A name set again takes the new value.
#[derive(Clone, Default)]
pub(crate) struct Conf {
    values: BTreeMap<String, String>,
}

impl Conf {
    /// The nodes of a cluster, and little else.
    pub(crate) fn of(cluster: &Cluster) -> Conf {
        Conf::of_nodes(&cluster.nodes.iter().collect::<Vec<_>>())
    }

    /// These nodes, numbered in this order.
    pub(crate) fn of_nodes(nodes: &[&Node]) -> Conf {
        let mut conf = Conf::default()
            .set("backend_clustering_mode", "'streaming_replication'")
            .set("listen_addresses", "'localhost'")
            .set("num_init_children", "8")
            .set("sr_check_user", "'postgres'")
            .set("sr_check_period", "1")
            .set("health_check_period", "0")
            .set("log_per_node_statement", "on");
        for (id, node) in nodes.iter().enumerate() {
            conf = conf
                .set(&format!("backend_hostname{id}"), "'127.0.0.1'")
                .set(&format!("backend_port{id}"), &node.port.to_string())
                .set(&format!("backend_weight{id}"), "1");
        }
        conf
    }

    /// `value` as it stands in the file: strings in quotes.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Conf {
        self.values.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What each node calls itself to the primary, and where its data is: for `auto_failback` and for scripts.
    pub(crate) fn with_places(self, cluster: &Cluster) -> Conf {
        cluster.nodes.iter().fold(self, |conf, node| {
            conf.set(&format!("backend_application_name{}", node.id), &format!("'node{}'", node.id))
                .set(&format!("backend_data_directory{}", node.id), &format!("'{}'", node.data().display()))
        })
    }

    /// Each node's share of the reads.
    pub(crate) fn weights(self, weights: [u32; 3]) -> Conf {
        let each = weights.iter().enumerate();
        each.fold(self, |conf, (id, weight)| conf.set(&format!("backend_weight{id}"), &weight.to_string()))
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.values {
            writeln!(text, "{name} = {value}").unwrap();
        }
        text
    }
}

/// Which program the run is about; see `tests/main.rs`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Program {
    Ours(PathBuf),
    Pgpool(PathBuf),
    /// No program at all: clients talk to the primary.
    Direct,
}

impl Program {
    pub(crate) fn under_test() -> Program {
        match std::env::var("PGBALANCER_PROGRAM") {
            Err(_) => Program::Ours(PathBuf::from(env!("CARGO_BIN_EXE_pgbalancer"))),
            Ok(name) if name == "direct" => Program::Direct,
            Ok(name) if name.ends_with("pgpool") => Program::Pgpool(PathBuf::from(name)),
            Ok(name) => Program::Ours(PathBuf::from(name)),
        }
    }
}

pub(crate) struct Balancer {
    program: Program,
    child: Option<Child>,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) port: u16,
    /// Ports and directories, which only this process can choose.
    places: Conf,
    conf: Conf,
    /// What starts it (nothing: we do), and its options.
    starter: Vec<String>,
    options: Vec<&'static str>,
}

impl Balancer {
    /// Starts it and waits until it knows the role of every node.
    pub(crate) fn start(conf: Conf) -> Balancer {
        let balancer = Balancer::start_unready(conf);
        balancer.wait_roles();
        balancer
    }

    /// Starts it and waits only until it says that it has started.
    pub(crate) fn start_unready(conf: Conf) -> Balancer {
        Balancer::start_program(Program::under_test(), conf, &[])
    }

    /// As `start`, with further files beside the configuration: (name, text).
    pub(crate) fn start_with(conf: Conf, files: &[(&str, &str)]) -> Balancer {
        Balancer::start_program(Program::under_test(), conf, files)
    }

    /// Starts nothing: for commands on its configuration.
    pub(crate) fn prepared_only(program: Program, conf: Conf) -> Balancer {
        let balancer = Balancer::prepared(program, conf, &[]);
        balancer.write_conf();
        balancer
    }

    /// For a configuration that keeps it from saying anything: waits until it listens.
    pub(crate) fn start_silent(conf: Conf) -> Balancer {
        Balancer::start_with_options(conf, &[])
    }

    /// With these options besides `-n`.
    pub(crate) fn start_with_options(conf: Conf, options: &[&'static str]) -> Balancer {
        let mut balancer = Balancer::prepared_only(Program::under_test(), conf);
        balancer.options.extend(options);
        balancer.start_prepared();
        balancer
    }

    /// Starts a prepared one from this file.
    pub(crate) fn start_as(&mut self, program: &Path) {
        self.program = Program::Ours(program.to_owned());
        self.start_prepared();
    }

    /// Starts a prepared one.
    pub(crate) fn start_prepared(&mut self) {
        self.spawn();
        self.wait_listens();
    }

    /// Starts one that was stopped, in the same place, with these options besides `-n`; its log begins anew.
    pub(crate) fn start_again(&mut self, options: &[&'static str]) {
        self.options = [&["-n"], options].concat();
        self.spawn();
        assert!(self.has_started(), "the program did not start:\n{}", self.log());
    }

    /// As a command that is handed to another one, which gets the directory first.
    pub(crate) fn start_by(conf: Conf, starter: impl FnOnce(&Path) -> Vec<String>) -> Balancer {
        let mut balancer = Balancer::prepared_only(Program::under_test(), conf);
        balancer.starter = starter(balancer.dir.path());
        balancer.start_prepared();
        balancer
    }

    /// Starts it on exactly this file; the port is the last one the file names.
    pub(crate) fn start_text(text: &str) -> Balancer {
        let mut balancer = Balancer::prepared(Program::under_test(), Conf::default(), &[]);
        let mut ports = text.lines().filter_map(|line| line.strip_prefix("port = "));
        balancer.port = ports.next_back().and_then(|port| port.parse().ok()).expect("a port in the file");
        process::write(&balancer.conf_path(), text);
        balancer.start_prepared();
        balancer
    }

    fn wait_listens(&mut self) {
        let port = self.port;
        wait::until_true("the program to listen", || {
            assert!(self.is_running(), "the program ended:\n{}", self.log());
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }

    fn prepared(program: Program, conf: Conf, files: &[(&str, &str)]) -> Balancer {
        let dir = process::server_dir("balancer");
        for (name, text) in files {
            process::write(&dir.path().join(name), text);
        }
        let (starter, options) = (Vec::new(), vec!["-n"]);
        let mut balancer =
            Balancer { program, child: None, dir, port: 0, places: Conf::default(), conf, starter, options };
        balancer.choose_places();
        balancer
    }

    pub(crate) fn start_program(program: Program, conf: Conf, files: &[(&str, &str)]) -> Balancer {
        let mut balancer = Balancer::prepared(program, conf, files);
        if balancer.program == Program::Direct {
            balancer.port = balancer.conf.values["backend_port0"].parse().unwrap();
            return balancer;
        }
        // Another test may have taken the port between our look and the program's, or the memory that a user may lock for
        // rings, which the kernel gives back some time after a program has ended.
        wait::until_true("the program to get what it needs", || {
            balancer.write_conf();
            balancer.spawn();
            if balancer.has_started() {
                return true;
            }
            if balancer.log_contains("ddress already in use") {
                balancer.choose_places();
            } else if !balancer.log_contains("io_uring: Cannot allocate memory") {
                panic!("the program did not start:\n{}", balancer.log());
            }
            false
        });
        balancer
    }

    fn spawn(&mut self) {
        let log = File::create(self.log_path()).unwrap();
        let mut command = self.command(&self.options);
        if let [program, arguments @ ..] = self.starter.as_slice() {
            let mut starter = Command::new(program);
            starter.args(arguments).arg(command.get_program()).args(command.get_args());
            command = starter;
        }
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.child = Some(child);
    }

    fn has_started(&mut self) -> bool {
        wait::until("the program to start", wait::LIMIT, || {
            if self.log_contains("successfully started") {
                return Some(true);
            }
            self.child.as_mut().unwrap().try_wait().unwrap().map(|_| false)
        })
    }

    /// The program on this configuration with other arguments, e.g. `reload`. Its output goes to the caller.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = process::as_server_user(&self.program_path());
        command.arg("-f").arg(self.conf_path()).args(arguments);
        // Relative names of a test must not find files of the project.
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        if !nix::unistd::Uid::effective().is_root() {
            // Who looks into the processes of the program must be root, or this.
            command.env("PGBALANCER_DUMPABLE", "1");
        }
        for (option, name) in [("-a", "pool_hba.conf"), ("-F", "pcp.conf"), ("-k", ".pgpoolkey")] {
            if self.dir.path().join(name).exists() {
                command.arg(option).arg(self.dir.path().join(name));
            }
        }
        command
    }

    pub(crate) fn program_path(&self) -> PathBuf {
        let (Program::Ours(path) | Program::Pgpool(path)) = &self.program else {
            panic!("there is no program in a direct run");
        };
        process::reachable(path, self.dir.path())
    }

    pub(crate) fn conf_path(&self) -> PathBuf {
        self.dir.path().join("pgbalancer.conf")
    }

    /// The child whose title ends so.
    pub(crate) fn child_titled(&self, title: &str) -> Option<i32> {
        self.children().into_iter().find(|pid| {
            let shown = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&shown).trim_end_matches('\0').ends_with(title)
        })
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("pgbalancer.log")
    }

    fn choose_places(&mut self) {
        self.port = ports::free();
        let dir = self.dir.path().display();
        let quoted = format!("'{dir}'");
        // Debian's pgpool-II is older than these two names.
        let old = matches!(self.program, Program::Pgpool(_));
        let (sockets, work) =
            if old { ("socket_dir", "logdir") } else { ("unix_socket_directories", "work_dir") };
        self.places = Conf::default()
            .set("port", &self.port.to_string())
            .set("pcp_port", &ports::free().to_string())
            .set(sockets, &quoted)
            .set("pcp_socket_dir", &quoted)
            .set("wd_ipc_socket_dir", &quoted)
            .set(work, &quoted)
            .set("pid_file_name", &format!("'{dir}/pgbalancer.pid'"));
        if !old {
            let places = std::mem::take(&mut self.places);
            self.places = places.set("rest_api_port", &ports::free().to_string());
        }
        // scripts/test runs all cases once with each; pgpool-II knows no such thing.
        if let (false, Ok(method)) = (old, std::env::var("PGBALANCER_IO_METHOD")) {
            self.places = std::mem::take(&mut self.places).set("io_method", &format!("'{method}'"));
        }
    }

    fn write_conf(&self) {
        process::write(&self.conf_path(), self.places.text() + &self.conf.text());
    }

    /// Writes the configuration anew with other values; the program is not told.
    pub(crate) fn rewrite(&mut self, change: impl FnOnce(Conf) -> Conf) {
        self.conf = change(std::mem::take(&mut self.conf));
        self.write_conf();
    }

    /// The node of the shared cluster that a new session reads from.
    pub(crate) fn reader(&self) -> usize {
        let port = Client::connect(&self.door("postgres")).ask("SELECT inet_server_port()");
        shared().node_of_port(&port)
    }

    pub(crate) fn wait_roles(&self) {
        if self.program == Program::Direct {
            return;
        }
        let nodes = self.conf.values.keys().filter(|name| name.starts_with("backend_hostname")).count();
        let mut client = Client::connect(&self.door("postgres"));
        wait::until_true("the roles of the nodes", || {
            let roles = client.query("SHOW POOL_NODES").succeeded().column("role");
            let count = |role: &str| roles.iter().filter(|of| *of == role).count();
            count("primary") == 1 && count("standby") == nodes - 1
        });
        client.terminate();
    }

    /// The way to PostgreSQL through the program.
    pub(crate) fn door(&self, database: &str) -> Door {
        Door {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: "postgres".to_owned(),
            database: database.to_owned(),
        }
    }

    /// The same over the Unix socket, for programs that understand a path as a host.
    pub(crate) fn local_door(&self, database: &str) -> Door {
        Door { host: self.dir.path().to_str().unwrap().to_owned(), ..self.door(database) }
    }

    /// Where pcp tools knock.
    pub(crate) fn pcp_port(&self) -> u16 {
        self.places.values["pcp_port"].parse().unwrap()
    }

    /// Where the REST API is offered.
    pub(crate) fn rest_port(&self) -> u16 {
        self.places.values["rest_api_port"].parse().unwrap()
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.as_ref().expect("a running program").id() as i32
    }

    pub(crate) fn children(&self) -> Vec<i32> {
        process::children(self.pid())
    }

    /// The child process that serves this client.
    pub(crate) fn worker_of(&self, client: &Client) -> i32 {
        let inode = process::socket_inode(self.port, client.local_port())
            .expect("the program's end of the connection");
        let owner = self.children().into_iter().find(|pid| process::has_socket(*pid, &inode));
        owner.expect("a child process that holds the connection")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for the end of the program.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("a running program");
        wait::until("the program to end", wait::LIMIT, || child.try_wait().unwrap())
    }

    /// Runs `-m MODE stop` and waits for both ends. They must run side by side: `stop` waits until the process is gone, and
    /// it is not gone before we, its parent, have asked how it ended.
    pub(crate) fn stop_by_command(&mut self, mode: &str) -> (Output, ExitStatus) {
        let mut command = self.command(&["-m", mode, "stop"]);
        let stopping = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let status = self.exit();
        (stopping.wait_with_output().unwrap(), status)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    pub(crate) fn reload(&self) {
        self.signal(Signal::SIGHUP);
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    pub(crate) fn log_contains(&self, text: &str) -> bool {
        self.log().contains(text)
    }

    /// Waits for a line that ends with `text` behind `position`, moves that behind it, and returns what lay between.
    pub(crate) fn wait_log_after(&self, position: &mut usize, text: &str) -> String {
        wait::until(&format!("\"{text}\" in the log"), wait::LIMIT, || {
            let log = self.log();
            let new = log.get(*position..)?;
            let end = new.find(&format!("{text}\n"))? + text.len() + 1;
            *position += end;
            Some(new[..end].to_owned())
        })
    }

    pub(crate) fn wait_log(&self, text: &str) {
        wait::until_true(&format!("\"{text}\" in the log"), || self.log_contains(text));
    }

    /// Ends it as fast shutdown does, and hands the directory with its log to whoever still wants to read.
    pub(crate) fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGINT);
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while child.try_wait().unwrap().is_none() {
            if std::time::Instant::now() > end {
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let end = &lines[lines.len().saturating_sub(25)..];
            eprintln!("---- the end of the program's log\n{}\n----", end.join("\n"));
        }
    }
}
