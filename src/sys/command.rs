//! Runs a command of the configuration through the shell and takes what it prints, within a time limit.
//!
//! Waits: for helper threads, never for a loop. What the command writes to standard error goes where ours does.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::poll::readable;
use super::shell;

/// Most bytes that are taken of what a command prints.
const MOST: usize = 64 * 1024;

/// How long a command that has closed its output is left alone before it is looked whether it has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// What a command did.
#[derive(Debug)]
pub enum Ended {
    /// It ended with exit code 0 after it printed this.
    Well(String),
    /// It ended otherwise.
    Badly(ExitStatus),
    /// It printed more than is taken, and was killed.
    TooLong,
    /// The time was up, and it was killed with all that it had started.
    TimedOut,
}

/// Runs a command line in a process group of its own, with no signal blocked.
///
/// # Errors
/// It could not be started or read from.
pub fn output(line: &str, limit: Duration) -> io::Result<Ended> {
    let deadline = Instant::now() + limit;
    let mut shell = shell::command(line);
    shell.stdout(Stdio::piped());
    let mut group = Group(shell.spawn()?);
    let Some(mut out) = group.0.stdout.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
    let mut printed = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Ended::TimedOut);
        }
        if !readable([out.as_fd()], Some(left))?[0] {
            continue;
        }
        let mut chunk = [0; 4096];
        match out.read(&mut chunk)? {
            0 => break,
            count => printed.extend_from_slice(chunk.get(..count).unwrap_or_default()),
        }
        if printed.len() > MOST {
            return Ok(Ended::TooLong);
        }
    }
    while Instant::now() < deadline {
        match group.0.try_wait()? {
            Some(status) if status.success() => {
                return Ok(Ended::Well(String::from_utf8_lossy(&printed).into_owned()));
            }
            Some(status) => return Ok(Ended::Badly(status)),
            None => thread::sleep(PAUSE),
        }
    }
    Ok(Ended::TimedOut)
}

/// A command with all that it starts; whatever the way out, nothing of one that still runs is left.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // One that was waited for is left alone: its number may be somebody else's by now.
        if matches!(self.0.try_wait(), Ok(None)) {
            let leader = i32::try_from(self.0.id()).unwrap_or(i32::MAX);
            let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
            let _ = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn what_a_command_prints_is_taken() {
        let printed = |command: &str| match output(command, LIMIT).unwrap() {
            Ended::Well(text) => text,
            other => panic!("{command}: {other:?}"),
        };
        assert_eq!(printed("echo 1 2; echo 3"), "1 2\n3\n");
        assert_eq!(printed("exec >&-; sleep 0.05"), "");
        assert!(
            matches!(output("echo 1; exit 3", LIMIT).unwrap(), Ended::Badly(status) if status.code() == Some(3))
        );
        assert!(matches!(output("yes", LIMIT).unwrap(), Ended::TooLong));
    }

    /// Ours are, and a child inherits that.
    #[test]
    fn no_signal_is_blocked() {
        let blocked = || {
            crate::sys::signals::block().unwrap();
            output("grep SigBlk /proc/self/status", LIMIT).unwrap()
        };
        let Ended::Well(text) = thread::spawn(blocked).join().unwrap() else { panic!("no answer") };
        assert_eq!(text.split_whitespace().nth(1), Some("0000000000000000"));
    }

    #[test]
    fn one_that_hangs_is_killed_with_all_that_it_has_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let begun = Instant::now();
        let command = format!("sleep 600 & echo $! >{}; wait", file.display());
        assert!(matches!(output(&command, Duration::from_millis(300)).unwrap(), Ended::TimedOut));
        assert!(begun.elapsed() < LIMIT);
        let pid: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let end = Instant::now() + LIMIT;
        while super::super::process::is_alive(pid) {
            assert!(Instant::now() < end, "process {pid} lives");
            thread::yield_now();
        }
    }
}
