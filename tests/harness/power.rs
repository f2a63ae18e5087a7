//! The servers of a cluster of one's own: killed, started, promoted, made anew.
//! Only for `Cluster::private`: the other tests of a run need the shared one.

use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cluster::{Cluster, Node};
use super::process::{self, as_server_user, children, is_alive};
use super::{Client, tools, wait};

impl Node {
    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join(format!("node{}", self.id))
    }

    /// Process number of its postmaster, if one runs.
    pub(crate) fn postmaster(&self) -> Option<i32> {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok().filter(|pid| is_alive(*pid))
    }

    /// The server and all its processes end at once, as when the machine is switched off.
    pub(crate) fn kill(&self) {
        let segment = self.shared_memory();
        // Again and again: one that was being forked would keep the shared memory.
        wait::until_true("the server to be gone", || {
            let all = process::at_work_in(&self.data());
            for pid in &all {
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            all.is_empty()
        });
        // Where nobody reaps it, its number seems to be in use.
        let _ = std::fs::remove_file(self.data().join("postmaster.pid"));
        let _ = std::fs::remove_file(self.dir.join(format!(".s.PGSQL.{}.lock", self.port)));
        // The system has room for some thousand, and no machine was switched off that would forget it.
        if let Some(id) = segment {
            tools::run(as_server_user(Path::new("ipcrm")).args(["-m", &id]));
        }
    }

    /// The System V segment by which a server keeps another one out: the second number of the seventh line.
    fn shared_memory(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        text.lines().nth(6)?.split_whitespace().nth(1).map(str::to_owned)
    }

    /// Holds the server and all its processes up, as a dead disk or a cut cable would; `go_on` undoes it.
    pub(crate) fn freeze(&self) {
        self.for_all(Signal::SIGSTOP);
    }

    pub(crate) fn go_on(&self) {
        self.for_all(Signal::SIGCONT);
    }

    /// A process of the server may end before its turn has come.
    fn for_all(&self, signal: Signal) {
        let pid = self.postmaster().expect("a running server");
        let all = std::iter::once(pid).chain(children(pid));
        all.for_each(|pid| {
            let _ = kill(Pid::from_raw(pid), signal);
        });
    }

    /// Starts the server on the data it has, and waits until it takes connections.
    pub(crate) fn start(&self) {
        let log = self.dir.join(format!("node{}.log", self.id));
        self.pg_ctl(&["start", "-w", "-t", "60", "-l", log.to_str().unwrap()]);
    }

    /// `pg_ctl stop -m fast`.
    pub(crate) fn stop(&self) {
        self.pg_ctl(&["stop", "-w", "-m", "fast"]);
    }

    /// Makes the standby a primary.
    pub(crate) fn promote(&self) {
        self.pg_ctl(&["promote", "-w"]);
    }

    fn pg_ctl(&self, arguments: &[&str]) {
        let mut command = as_server_user(&self.bin.join("pg_ctl"));
        command.arg("-D").arg(self.data()).arg("-s").args(arguments);
        tools::run(&mut command).succeeded();
    }

    /// The data directory is made anew as a standby of `primary`, and started.
    pub(crate) fn follow(&self, primary: &Node) {
        self.kill();
        std::fs::remove_dir_all(self.data()).unwrap();
        let from =
            format!("host=127.0.0.1 port={} user=postgres application_name=node{}", primary.port, self.id);
        let mut command = as_server_user(&tools::pg_bin().join("pg_basebackup"));
        command.arg("-D").arg(self.data()).args([
            "-R",
            "-c",
            "fast",
            "-X",
            "stream",
            "--no-sync",
            "-d",
            &from,
        ]);
        tools::run(&mut command).succeeded();
        let conf = self.data().join("postgresql.conf");
        let text = std::fs::read_to_string(&conf).unwrap() + &format!("\nport = {}\n", self.port);
        process::write(&conf, text);
        self.start();
    }
}

impl Cluster {
    /// Waits until so many standbys stream from a node.
    pub(crate) fn wait_streaming(&self, primary: usize, standbys: usize) {
        let mut client = Client::connect(&self.door(primary, "postgres"));
        wait::until_true("the standbys to stream", || {
            let sql = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
            client.ask(sql) == standbys.to_string()
        });
    }
}
