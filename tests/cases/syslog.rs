//! `log_destination = syslog`, heard at a /dev/log of our own in a mount namespace.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use crate::harness::balancer::Conf;
use crate::harness::{Balancer, Client, process, shared, wait};

/// Makes the directory `$0` the program's /dev: with our socket `log` and the devices that a program needs.
const IN_OUR_DEV: &str = "set -e
for name in null zero full random urandom; do : > \"$0/$name\"; mount --bind /dev/$name \"$0/$name\"; done
mount --rbind \"$0\" /dev
exec \"$@\"";

/// The daemon's end, and what it has heard.
struct Daemon {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Daemon {
    fn start(conf: Conf) -> (Balancer, Daemon) {
        let mut socket = None;
        let balancer = Balancer::start_by(conf, |dir| {
            let dev = dir.join("dev");
            std::fs::create_dir(&dev).unwrap();
            socket = Some(UnixDatagram::bind(dev.join("log")).unwrap());
            process::give_to_server_user(&dev.join("log"));
            let words = ["unshare", "-m", "sh", "-c", IN_OUR_DEV, dev.to_str().unwrap()];
            words.map(str::to_owned).into()
        });
        let socket = socket.unwrap();
        socket.set_nonblocking(true).unwrap();
        (balancer, Daemon { socket, heard: Vec::new() })
    }

    fn listen(&mut self) -> &[String] {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            self.heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        &self.heard
    }

    /// Waits for a line that ends so.
    fn wait(&mut self, end: &str) -> String {
        wait::until(&format!("{end:?} at syslog"), wait::LIMIT, || {
            self.listen().iter().find(|line| line.ends_with(end)).cloned()
        })
    }
}

/// Only root has mount namespaces.
fn can_unshare() -> bool {
    let can = Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
    if !can {
        eprintln!("skipped: this user may not make a mount namespace, so /dev/log cannot be ours");
    }
    can && Path::new("/dev/null").exists()
}

fn conf() -> Conf {
    Conf::of(shared())
        .set("log_destination", "'stderr,syslog'")
        .set("syslog_facility", "'LOCAL3'")
        .set("syslog_ident", "'pooler'")
        .set("log_line_prefix", "'%a: '")
        .set("log_statement", "on")
        .set("log_per_node_statement", "off")
}

#[test]
fn records_reach_syslog_and_standard_error() {
    if !can_unshare() {
        return;
    }
    let (mut balancer, mut daemon) = Daemon::start(conf());
    let mut client = Client::connect(&balancer.door("postgres"));
    let worker = balancer.worker_of(&client);
    // The start says more than the queue of a socket holds that nobody reads.
    daemon.listen();
    client.query("SELECT 'both'").succeeded();
    let line = daemon.wait("LOG:  statement: SELECT 'both'");
    // Facility 19, severity 6; then the local time, the name, the process, the number of the record.
    assert!(line.starts_with("<158>"), "{line}");
    let (_, rest) = line.split_once(" pooler[").unwrap_or_else(|| panic!("{line}"));
    let (pid, rest) = rest.split_once("]: [").unwrap();
    assert_eq!(pid, worker.to_string());
    let (number, rest) = rest.split_once("] ").unwrap();
    assert!(number.parse::<u64>().is_ok(), "{line}");
    assert_eq!(rest, "[unknown]: LOG:  statement: SELECT 'both'");
    balancer.wait_log("LOG:  statement: SELECT 'both'\n");

    let long = format!("SELECT 'first line',\n'{}'", "word ".repeat(400));
    client.query(&long).succeeded();
    daemon.wait("-1] [unknown]: LOG:  statement: SELECT 'first line',");
    let last = daemon.wait("word '");
    let pieces: Vec<&String> = daemon.listen().iter().filter(|line| line.contains("word ")).collect();
    assert_eq!(pieces.len(), 3, "{pieces:?}");
    assert!(pieces.iter().all(|piece| piece.len() < 1024));
    assert!(last.contains("-4] "), "{last}");

    balancer.rewrite(|conf| conf.set("syslog_facility", "'LOCAL0'").set("syslog_ident", "'renamed'"));
    balancer.reload();
    wait::until_true("the other name", || {
        client.query("SELECT 'again'").succeeded();
        let is_new = |line: &&String| line.starts_with("<134>") && line.contains(" renamed[");
        daemon.listen().iter().filter(is_new).any(|line| line.ends_with("SELECT 'again'"))
    });
}

#[test]
fn a_syslog_daemon_that_does_not_read_stops_no_session() {
    if !can_unshare() {
        return;
    }
    let (balancer, mut daemon) = Daemon::start(conf().set("log_destination", "'syslog'"));
    let mut client = Client::connect(&balancer.door("postgres"));
    // More than any queue of datagrams holds.
    for n in 0..2_000 {
        client.query(&format!("SELECT {n}")).succeeded();
    }
    let heard = daemon.listen().iter().filter(|line| line.contains("statement: SELECT ")).count();
    assert!(heard < 2_000, "the daemon's queue has no end, so this shows nothing");
    client.query("SELECT 'heard again'").succeeded();
    daemon.wait("statement: SELECT 'heard again'");
    daemon.wait(&format!("WARNING:  {} log records were lost", 2_000 - heard));
    assert!(!balancer.log_contains("heard again"), "standard error has no part in it");
}
