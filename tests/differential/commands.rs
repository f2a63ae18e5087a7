//! The same command lines to Debian's pgpool-II and to ours, under the name `pgpool`: exit code, stream, and what is said.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use regex::Regex;

use super::PGPOOL;
use crate::harness::balancer::{Conf, Program};
use crate::harness::{Balancer, process, shared, wait};

/// What stands in the pid file when a command is run.
#[derive(Clone, Copy, Debug)]
enum PidFile {
    None,
    Text(&'static str),
}

/// Options and command (process 1 is somebody else's), the pid file, the exit code, what both say (the file's own text is FILE), and why ours
/// says something else, if it does.
type Row = (&'static str, PidFile, i32, &'static str, &'static str);

const ROWS: &[Row] = &[
    ("stop", PidFile::None, 3, "FATAL: could not read pid file", ""),
    ("reload", PidFile::None, 1, "FATAL: could not read pid file", ""),
    ("-m fast stop", PidFile::Text("999999999"), 3, "FATAL: could not stop process with pid: 999999999", ""),
    (
        "reload",
        PidFile::Text("999999999"),
        1,
        "FATAL: could not reload configuration file pid: 999999999",
        "",
    ),
    ("stop", PidFile::Text("1"), 3, "FATAL: could not stop process with pid: 1", ""),
    ("reload", PidFile::Text("1"), 1, "FATAL: could not reload configuration file pid: 1", ""),
    ("stop", PidFile::Text(""), 3, "FATAL: could not read pid file", "theirs says that the file is empty"),
    ("-f /nowhere stop", PidFile::None, 3, "WARNING: could not open configuration file: \"/nowhere\"", ""),
    ("-f /nowhere reload", PidFile::None, 1, "FATAL: could not read pid file", ""),
    ("-f bad.conf stop", PidFile::None, 3, "FATAL: ", ""),
    ("-f bad.conf reload", PidFile::None, 3, "FATAL: ", ""),
    ("-f bad.conf -n", PidFile::None, 3, "FATAL: ", ""),
    ("-v", PidFile::None, 0, "pgpool-II version 4.", ""),
    ("--version", PidFile::None, 0, "pgpool-II version 4.", ""),
    ("-h", PidFile::None, 0, "Usage:", ""),
    ("--help", PidFile::None, 0, "-m, --mode=", ""),
    ("start", PidFile::None, 1, "Usage:", ""),
    ("stop reload", PidFile::None, 1, "Usage:", ""),
    ("-Q", PidFile::None, 1, "Usage:", ""),
    ("--bogus", PidFile::None, 1, "Usage:", ""),
    ("-m", PidFile::None, 1, "Usage:", ""),
    ("-m later stop", PidFile::None, 1, "Usage:", ""),
];

/// Either program, called `pgpool` in a directory of its own.
struct Side {
    balancer: Balancer,
    program: PathBuf,
}

impl Side {
    fn new(program: Program) -> Side {
        let balancer = Balancer::prepared_only(program, Conf::of(shared()).set("num_init_children", "2"));
        let link = balancer.dir.path().join("pgpool");
        std::fs::copy(balancer.program_path(), &link).unwrap();
        process::write(&balancer.dir.path().join("bad.conf"), "port = twelve\n");
        Side { balancer, program: link }
    }

    fn pid_path(&self) -> PathBuf {
        self.balancer.dir.path().join("pgbalancer.pid")
    }

    /// The command with the usual file, unless it names another.
    fn command(&self, words: &str) -> Command {
        let mut command = process::as_server_user(&self.program);
        if !words.contains("-f ") {
            command.arg("-f").arg(self.balancer.conf_path());
        }
        command.args(words.split_whitespace()).current_dir(self.balancer.dir.path()).stdin(Stdio::null());
        command
    }

    /// Exit code and what was said, with the numbers of processes made equal; nothing goes to standard output.
    fn run(&self, words: &str) -> (Option<i32>, String) {
        let output = self.command(words).output().unwrap();
        assert!(output.stdout.is_empty(), "{words}: {}", String::from_utf8_lossy(&output.stdout));
        let prefix = Regex::new(r"(?m)^\d{4}-.*?: main pid \d+: (\w+):  ").unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), prefix.replace_all(&said, "$1: ").into_owned())
    }

    fn pid(&self) -> Option<i32> {
        std::fs::read_to_string(self.pid_path()).ok()?.trim_end_matches('\0').parse().ok()
    }

    /// Starts it as a daemon.
    fn start(&self) -> i32 {
        let started = self.command("").stderr(Stdio::null()).status().unwrap();
        assert!(started.success(), "{started:?}");
        let port = self.balancer.port;
        wait::until("the daemon to listen", wait::LIMIT, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
            self.pid().filter(|pid| process::is_alive(*pid))
        })
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if self.pid().is_some_and(process::is_alive) {
            let _ = self.command("-m immediate stop").output();
        }
    }
}

fn sides() -> [Side; 2] {
    [Program::Pgpool(PathBuf::from(PGPOOL)), Program::under_test()].map(Side::new)
}

#[test]
fn commands_end_and_answer_alike() {
    for side in sides() {
        let name = side.balancer.program_path();
        for (words, pid_file, code, text, difference) in ROWS {
            let _ = std::fs::remove_file(side.pid_path());
            match pid_file {
                PidFile::None => {}
                PidFile::Text(text) => process::write(&side.pid_path(), text),
            }
            let (ended, said) = side.run(words);
            assert_eq!(ended, Some(*code), "{} {words} {pid_file:?}: {said}", name.display());
            let theirs = name.starts_with("/usr/sbin");
            if difference.is_empty() || !theirs {
                assert!(said.contains(text), "{} {words} {pid_file:?}: {said}", name.display());
            }
        }
    }
}

#[test]
fn a_live_pid_file_keeps_a_second_one_out_and_a_stale_one_does_not() {
    for side in sides() {
        process::write(&side.pid_path(), "999999999");
        let pid = side.start();
        assert!(pid < 999_999_999);
        for words in ["", "-n"] {
            let (code, said) = side.run(words);
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains(&format!("is another pgpool({pid})")), "{said}");
        }
        assert!(process::is_alive(pid));
        let titled = |title: &str| {
            process::children(pid).into_iter().filter(|of| process::title(*of) == title).count()
        };
        wait::until_equal((2, 1), || {
            (titled("pgpool: wait for connection request"), titled("pgpool: worker process"))
        });
        assert_eq!(side.run("reload"), (Some(0), String::new()));
        let (code, said) = side.run("-m fast stop");
        let begin = format!("LOG: stop request sent to pgpool (pid: {pid}). waiting for termination...\n.");
        assert!(code == Some(0) && said.starts_with(&begin) && said.ends_with(".done.\n"), "{said}");
        assert!(!side.pid_path().exists() && !process::is_alive(pid));
    }
}

/// A process that takes its time: a dot a second, and the signal again after five.
#[test]
fn stop_insists() {
    let ran: Vec<_> = sides()
        .into_iter()
        .map(|side| {
            std::thread::spawn(move || {
                let dir = side.balancer.dir.path();
                // It says when it has become deaf.
                let deaf = "n=0; trap 'n=$((n + 1)); [ $n -lt 2 ] || exit 0' TERM; : >deaf; while :; do sleep 0.1; done";
                let mut command = process::as_server_user(Path::new("/bin/sh"));
                let mut deaf = command.args(["-c", deaf]).current_dir(dir).spawn().unwrap();
                wait::until_true("the process to be deaf", || dir.join("deaf").exists());
                process::write(&side.pid_path(), deaf.id().to_string());
                let stopping = side.command("stop").stderr(Stdio::piped()).spawn().unwrap();
                let begin = Instant::now();
                deaf.wait().unwrap();
                let took = begin.elapsed();
                let said = String::from_utf8(stopping.wait_with_output().unwrap().stderr).unwrap();
                assert!(took > Duration::from_secs(4), "{took:?}: {said}");
                assert_eq!(said.matches("stop request sent to pgpool").count(), 2, "{said}");
                assert!(said.contains("....") && said.ends_with("done.\n"), "{said}");
            })
        })
        .collect();
    ran.into_iter().for_each(|thread| thread.join().unwrap());
}
