//! `logging_collector = on`: whole lines of many processes in files that change, and nobody who waits for them.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::balancer::Conf;
use crate::harness::{Balancer, Client, process, shared, wait};

fn collecting() -> Conf {
    Conf::of(shared())
        .set("logging_collector", "on")
        .set("log_directory", "'logs'")
        .set("log_filename", "'pool.log'")
        .set("log_line_prefix", "'<%p> '")
        .set("log_statement", "on")
        .set("log_per_node_statement", "off")
}

fn directory(balancer: &Balancer) -> PathBuf {
    balancer.dir.path().join("logs")
}

fn files(balancer: &Balancer) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory(balancer)).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// Everything in the directory of the log.
fn collected(balancer: &Balancer) -> String {
    files(balancer).iter().map(|path| fs::read_to_string(path).unwrap_or_default()).collect()
}

fn wait_collected(balancer: &Balancer, text: &str) {
    wait::until_true(&format!("{text:.60} in the collected log"), || collected(balancer).contains(text));
}

fn logger(balancer: &Balancer) -> i32 {
    wait::until("the logger", wait::LIMIT, || balancer.child_titled("PgpoolLogger"))
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// The statement number `n` of client `who`, long enough for several chunks.
fn long_statement(who: usize, n: usize, length: usize) -> String {
    let letter = char::from(b'a' + u8::try_from(who % 26).unwrap());
    format!("SELECT 1 /*{who}.{n} {}*/", letter.to_string().repeat(length))
}

/// Each client sends its statements, all at once; returns how long the slowest statement took.
fn load(balancer: &Balancer, clients: usize, statements: usize, length: usize) -> Duration {
    let door = balancer.door("postgres");
    std::thread::scope(|scope| {
        let client = |who| {
            let door = &door;
            scope.spawn(move || {
                let mut client = Client::connect(door);
                let time = |n| {
                    let begin = Instant::now();
                    client.query(&long_statement(who, n, length)).succeeded();
                    begin.elapsed()
                };
                (0..statements).map(time).max().unwrap()
            })
        };
        let threads: Vec<_> = (0..clients).map(client).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
    })
}

/// The statements of `load` that stand in the log whole. Every other line that mentions one is in the second set.
fn statements(log: &str, length: usize) -> (BTreeSet<(usize, usize)>, Vec<String>) {
    let (mut whole, mut broken) = (BTreeSet::new(), Vec::new());
    for line in log.lines().filter(|line| line.contains("SELECT 1 /*")) {
        let read = || {
            let (prefix, text) = line.split_once("> LOG:  statement: ")?;
            let name = text.strip_prefix("SELECT 1 /*")?.split(' ').next()?;
            let (who, n) = name.split_once('.')?;
            let (who, n) = (who.parse().ok()?, n.parse().ok()?);
            let pid = prefix.strip_prefix('<')?;
            (pid.parse::<i32>().is_ok() && text == long_statement(who, n, length)).then_some((who, n))
        };
        match read() {
            Some(name) => assert!(whole.insert(name), "twice: {name:?}"),
            None => broken.push(line.chars().take(80).collect()),
        }
    }
    (whole, broken)
}

/// What the collector says was lost.
fn lost(log: &str) -> usize {
    let counts = log
        .lines()
        .filter_map(|line| line.split_once("WARNING:  ")?.1.strip_suffix(" log records were lost"));
    counts.map(|count| count.parse::<usize>().unwrap()).sum()
}

#[test]
fn the_log_moves_to_a_file_and_ends_there() {
    let mut balancer = Balancer::start_silent(collecting().set("log_file_mode", "0640"));
    let mut client = Client::connect(&balancer.door("postgres"));
    client.query("SELECT 'collected'").succeeded();
    wait_collected(&balancer, "LOG:  statement: SELECT 'collected'\n");
    wait_collected(&balancer, "successfully started");
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(directory(&balancer)), 0o700);
    assert_eq!(mode(directory(&balancer).join("pool.log")), 0o640);
    let told = balancer.log();
    assert!(told.contains("LOG:  redirecting log output to logging collector process\n"), "{told}");
    assert!(told.contains("HINT:  Future log output will appear in directory \"logs\".\n"), "{told}");
    assert!(!told.contains("collected'"), "{told}");
    let writer = logger(&balancer);
    // As a terminal or systemd does, to every process.
    for pid in balancer.children() {
        signal(pid, Signal::SIGTERM);
    }
    signal(writer, Signal::SIGINT);
    process::stop(writer);
    balancer.signal(Signal::SIGINT);
    wait::until_true("the end of the others", || balancer.children() == [writer]);
    let since = Instant::now();
    wait::until_true("a while in which it waits for the last lines", || {
        assert!(balancer.is_running(), "it has not waited");
        since.elapsed() > Duration::from_millis(300)
    });
    process::go_on(writer);
    assert_eq!(balancer.exit().code(), Some(0));
    assert!(collected(&balancer).trim_end().ends_with("system is shutdown"), "the last line is there");
    assert!(!process::is_alive(writer));
}

#[test]
fn long_lines_of_many_processes_do_not_mix() {
    let balancer = Balancer::start_silent(collecting());
    let (clients, count, length) = (8, 40, 30_000);
    load(&balancer, clients, count, length);
    wait::until_true("all statements in the log", || {
        let log = collected(&balancer);
        statements(&log, length).0.len() + lost(&log) == clients * count
    });
    let log = collected(&balancer);
    let (whole, broken) = statements(&log, length);
    // A record that found the pipe full is cut off, and counted; no other line is anything but whole.
    assert!(broken.len() <= lost(&log), "{broken:?}");
    assert!(whole.len() > clients * count / 2, "{} lost", lost(&log));
}

#[test]
fn a_killed_logger_is_replaced_and_the_next_one_goes_on_where_it_stopped() {
    let balancer = Balancer::start_silent(collecting());
    let (clients, count, length) = (4, 400, 3_000);
    std::thread::scope(|scope| {
        let work = scope.spawn(|| load(&balancer, clients, count, length));
        let mut killed = BTreeSet::new();
        while !work.is_finished() && killed.len() < 5 {
            let pid = logger(&balancer);
            if killed.insert(pid) {
                wait_collected(&balancer, "statement: SELECT 1 /*");
                signal(pid, Signal::SIGKILL);
            }
        }
        work.join().unwrap();
        assert!(killed.len() > 1);
    });
    let mut client = Client::connect(&balancer.door("postgres"));
    client.query("SELECT 'the last'").succeeded();
    wait_collected(&balancer, "statement: SELECT 'the last'\n");
    let log = collected(&balancer);
    assert!(
        log.contains("exits with status 9 by signal 9\n") && log.contains("LOG:  fork a new logger process")
    );
    let (whole, broken) = statements(&log, length);
    // What a logger had taken out of the pipe and not written is gone with it: at most what it reads in one turn.
    let all = clients * count;
    // Killed between telling a loss and taking it off the count, it leaves it to be told again.
    let missing = all.saturating_sub(whole.len() + lost(&log));
    assert!(missing <= 5 * (4 * 65_536 / length), "{missing} of {all} are missing");
    assert!(broken.len() <= 5 * 2 * clients + lost(&log), "{broken:?}");
}

#[test]
fn a_logger_that_stands_still_stops_no_session() {
    let balancer = Balancer::start_silent(collecting());
    wait_collected(&balancer, "successfully started");
    let writer = logger(&balancer);
    process::stop(writer);
    // Several times what a pipe holds.
    let (clients, count, length) = (4, 100, 20_000);
    let slowest = load(&balancer, clients, count, length);
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    process::go_on(writer);
    wait_collected(&balancer, " log records were lost\n");
    let mut client = Client::connect(&balancer.door("postgres"));
    client.query("SELECT 'moving again'").succeeded();
    wait_collected(&balancer, "statement: SELECT 'moving again'\n");
    let log = collected(&balancer);
    let (whole, broken) = statements(&log, length);
    // Nothing is lost that is not counted. What the end of each session logs can be among the lost, too.
    let (all, others) = (clients * count, clients * 4);
    let told = whole.len() + lost(&log);
    assert!((all..=all + others).contains(&told), "{told} of {all}");
    assert!(!whole.is_empty() && broken.len() <= clients, "{broken:?}");
}

#[test]
fn a_full_disk_stops_no_session_and_the_log_goes_to_standard_error() {
    let mut balancer =
        Balancer::start_silent(collecting().set("log_directory", "'/dev'").set("log_filename", "'full'"));
    let (clients, count, length) = (4, 100, 1_000);
    load(&balancer, clients, count, length);
    balancer.wait_log("LOG:  could not write to log file \"/dev/full\": No space left on device");
    balancer.wait_log("LOG:  statement: SELECT 1 /*");
    assert!(balancer.log().matches("LOG:  statement: ").count() < clients * count, "not all of it");
    assert_eq!(balancer.log().matches("could not write to log file").count(), 1);
    balancer.rewrite(|conf| conf.set("log_directory", "'logs'").set("log_filename", "'pool.log'"));
    balancer.reload();
    wait_collected(&balancer, " log lines were lost: they did not reach the log file\n");
    load(&balancer, 1, 1, length);
    // What still stood in the pipe is written there, too.
    let first = (0, 0);
    wait::until_true("a statement in the file", || {
        statements(&collected(&balancer), length).0.contains(&first)
    });
}

#[test]
fn size_ends_a_file() {
    let conf = collecting().set("log_filename", "'pool-%H%M%S.log'").set("log_rotation_size", "8kB");
    let balancer = Balancer::start_silent(conf);
    let length = 2_000;
    let mut count = 0;
    let mut client = Client::connect(&balancer.door("postgres"));
    wait::until_true("a third file", || {
        client.query(&long_statement(0, count, length)).succeeded();
        count += 1;
        files(&balancer).len() >= 3
    });
    wait::until_true("all statements", || statements(&collected(&balancer), length).0.len() == count);
}

#[test]
fn a_signal_begins_a_file_and_a_removed_directory_comes_again() {
    let balancer = Balancer::start_silent(collecting());
    let mut client = Client::connect(&balancer.door("postgres"));
    client.query("SELECT 'first'").succeeded();
    wait_collected(&balancer, "'first'");
    let (path, moved) = (directory(&balancer).join("pool.log"), directory(&balancer).join("old.log"));
    fs::rename(&path, &moved).unwrap();
    signal(logger(&balancer), Signal::SIGUSR1);
    wait::until_true("the new file", || {
        client.query("SELECT 'second'").succeeded();
        fs::read_to_string(&path).is_ok_and(|text| text.contains("'second'"))
    });
    assert!(fs::read_to_string(moved).unwrap().contains("'first'"));
    fs::remove_dir_all(directory(&balancer)).unwrap();
    client.query("SELECT 'third'").succeeded();
    wait_collected(&balancer, "'third'");
}

#[test]
fn a_reload_moves_the_log() {
    let mut balancer = Balancer::start_silent(collecting().set("log_directory", "'before'"));
    wait::until_true("the first file", || balancer.dir.path().join("before/pool.log").exists());
    balancer.rewrite(|conf| conf.set("log_directory", "'logs'").set("log_filename", "'other-%%.log'"));
    balancer.reload();
    wait::until_true("the other file", || {
        Client::connect(&balancer.door("postgres")).query("SELECT 'moved'").succeeded();
        fs::read_to_string(directory(&balancer).join("other-%.log"))
            .is_ok_and(|text| text.contains("'moved'"))
    });
}

#[test]
fn a_collected_json_log_holds_an_object_a_line() {
    let conf = collecting().set("log_format", "json").set("log_error_verbosity", "verbose");
    let balancer = Balancer::start_silent(conf);
    load(&balancer, 4, 5, 20_000);
    wait::until_true("the last statements", || {
        collected(&balancer).matches("statement: SELECT 1 /*").count() == 20
    });
    let log = collected(&balancer);
    for line in log.lines() {
        let record: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:.100}"));
        assert!(record["location"].as_str().is_some_and(|at| at.starts_with("src/")), "{line:.100}");
    }
}

#[test]
fn text_on_standard_error_of_a_process_is_collected() {
    let balancer = Balancer::start_silent(collecting());
    wait_collected(&balancer, "successfully started");
    let client = Client::connect(&balancer.door("postgres"));
    let stderr = format!("/proc/{}/fd/2", balancer.worker_of(&client));
    let mut stderr = fs::OpenOptions::new().write(true).open(stderr).unwrap();
    stderr.write_all(b"a library\nsays this, and ").unwrap();
    wait_collected(&balancer, "a library\n");
    wait_collected(&balancer, "says this, and \n");
}

#[test]
fn what_a_killed_supervisor_said_last_is_written() {
    let mut balancer = Balancer::start_silent(collecting());
    let mut client = Client::connect(&balancer.door("postgres"));
    let writer = logger(&balancer);
    process::stop(writer);
    client.query("SELECT 'before the end'").succeeded();
    balancer.signal(Signal::SIGKILL);
    balancer.exit();
    process::go_on(writer);
    wait_collected(&balancer, "statement: SELECT 'before the end'\n");
    wait::until_true("the end of the logger", || !process::is_alive(writer));
}
