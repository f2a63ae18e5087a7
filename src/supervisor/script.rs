//! Scripts of the operator at work: what they say goes into the log, line by line; nobody waits for them.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::cluster::failover::{Script, ScriptEnd, ScriptId};
use crate::sys::process::{Ending, ProcessId};
use crate::sys::shell;
use crate::sys::signals::Number;

/// Longer lines are logged in pieces.
const MAX_LINE: usize = 2048;

/// Read at a time from one script; then others get their turn.
const A_TURN: usize = 64 * 1024;

/// Time to end for a script that was told to; then it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether anything is left of a script that was told to end.
const GLANCE: Duration = Duration::from_millis(50);

/// Scripts that have ended while something that they started still holds the pipe: of more, the oldest is not heard
/// any more.
const MOST_ECHOES: usize = 16;

/// All scripts that run, and the echoes of those that have.
#[derive(Default)]
pub(super) struct Scripts {
    running: Vec<Running>,
    echoes: Vec<Output>,
    /// Shells that have ended as they were told to, and what they had started may not have: killed at this time.
    remains: Vec<(ProcessId, Instant)>,
}

struct Running {
    id: ScriptId,
    pid: ProcessId,
    output: Output,
    /// It was told to end, and is killed at this time.
    kill_at: Option<Instant>,
}

struct Output {
    /// Whose it is, for the log.
    name: String,
    pipe: File,
    line: Line,
    is_open: bool,
}

/// The piece of a line that has come so far.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
}

impl Line {
    /// Takes bytes and gives the lines that they complete.
    fn take(&mut self, bytes: &[u8], mut emit: impl FnMut(&str)) {
        for byte in bytes {
            if *byte != b'\n' {
                self.bytes.push(*byte);
            }
            if *byte == b'\n' || self.bytes.len() >= MAX_LINE {
                self.flush(&mut emit);
            }
        }
    }

    fn flush(&mut self, mut emit: impl FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.bytes);
        let text = text.trim_end();
        if !text.is_empty() {
            // A control character would disturb the log or the terminal that shows it.
            emit(&text.replace(|letter: char| letter.is_control() && letter != '\t', "?"));
        }
        self.bytes.clear();
    }
}

impl Output {
    /// Logs what has come, up to so many bytes.
    fn drain(&mut self, most: usize) {
        let mut left = most;
        let mut buffer = [0; 4096];
        while self.is_open && left > 0 {
            match self.pipe.read(&mut buffer) {
                Ok(0) => self.is_open = false,
                Ok(length) => {
                    left = left.saturating_sub(length);
                    let name = &self.name;
                    let bytes = buffer.get(..length).unwrap_or_default();
                    self.line.take(bytes, |line| crate::say!(Log, "{name}: {line}"));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.is_open = false,
            }
        }
        if !self.is_open {
            let name = &self.name;
            self.line.flush(|line| crate::say!(Log, "{name}: {line}"));
        }
    }
}

impl Scripts {
    /// Starts a script.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(&mut self, script: &Script) -> io::Result<()> {
        let shell = shell::run(&script.line)?;
        let name = format!("{} for node {}", script.command.name(), script.node);
        let output = Output { name, pipe: shell.output.into(), line: Line::default(), is_open: true };
        self.running.push(Running { id: script.id, pid: shell.pid, output, kill_at: None });
        Ok(())
    }

    /// The pipes, to be waited for.
    pub(super) fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let running = self.running.iter().map(|running| &running.output);
        running.chain(&self.echoes).filter(|output| output.is_open).map(|output| output.pipe.as_fd())
    }

    /// When something is to be done again about those that were told to end.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let kill = self.running.iter().filter_map(|running| running.kill_at).min();
        let glance = (!self.remains.is_empty()).then(|| now + GLANCE);
        kill.into_iter().chain(glance).min()
    }

    pub(super) fn any_running(&self) -> bool {
        !self.running.is_empty() || !self.remains.is_empty()
    }

    /// Logs what they say, and kills those that were told to end and have not.
    pub(super) fn tend(&mut self, now: Instant) {
        for running in &mut self.running {
            running.output.drain(A_TURN);
            if running.kill_at.is_some_and(|at| at <= now) {
                running.kill_at = None;
                signal(running.pid, Number::SIGKILL);
            }
        }
        self.echoes.iter_mut().for_each(|output| output.drain(A_TURN));
        self.echoes.retain(|output| output.is_open);
        self.remains.retain(|(pid, kill_at)| {
            if *kill_at <= now {
                signal(*pid, Number::SIGKILL);
            }
            *kill_at > now && shell::is_any_left(*pid)
        });
    }

    /// Tells a script to end.
    pub(super) fn end(&mut self, id: ScriptId, now: Instant) {
        if let Some(running) = self.running.iter_mut().find(|running| running.id == id) {
            running.end(now);
        }
    }

    /// Tells all to end.
    pub(super) fn end_all(&mut self, now: Instant) {
        self.running.iter_mut().for_each(|running| running.end(now));
    }

    /// Kills all.
    pub(super) fn kill_all(&self) {
        let pids = self.running.iter().map(|running| running.pid);
        pids.chain(self.remains.iter().map(|(pid, _)| *pid)).for_each(|pid| signal(pid, Number::SIGKILL));
    }

    /// Whether this child that has ended was a script: which one, and how it ended.
    pub(super) fn reaped(&mut self, pid: ProcessId, ending: Ending) -> Option<(ScriptId, ScriptEnd)> {
        let at = self.running.iter().position(|running| running.pid == pid)?;
        let Running { id, mut output, kill_at, .. } = self.running.swap_remove(at);
        self.remains.extend(kill_at.filter(|_| shell::is_any_left(pid)).map(|at| (pid, at)));
        output.drain(A_TURN);
        if output.is_open {
            if self.echoes.len() >= MOST_ECHOES {
                self.echoes.remove(0);
            }
            self.echoes.push(output);
        }
        let end = match ending {
            Ending::Exited(status) => ScriptEnd::Exited(status),
            Ending::Killed(signal) => ScriptEnd::Killed(signal),
        };
        Some((id, end))
    }
}

impl Running {
    fn end(&mut self, now: Instant) {
        if self.kill_at.is_none() {
            self.kill_at = Some(now + PATIENCE);
            signal(self.pid, Number::SIGTERM);
        }
    }
}

fn signal(pid: ProcessId, number: Number) {
    if let Err(error) = shell::signal(pid, number) {
        crate::say!(Warning, "could not send {number} to the script with pid: {pid}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::failover::Command;
    use crate::sys::process;

    fn started(scripts: &mut Scripts, id: ScriptId, line: &str) -> ProcessId {
        let script = Script { id, command: Command::Failover, node: 0, line: line.to_owned() };
        scripts.start(&script).unwrap();
        scripts.running.last().unwrap().pid
    }

    /// Waits for the end of a script as the supervisor does, without taking other tests' children.
    fn wait_for(scripts: &mut Scripts, pid: ProcessId) -> Option<(ScriptId, ScriptEnd)> {
        let status = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap();
        let ending = match status {
            nix::sys::wait::WaitStatus::Exited(_, status) => Ending::Exited(status),
            nix::sys::wait::WaitStatus::Signaled(_, signal, _) => Ending::Killed(signal as i32),
            other => panic!("{other:?}"),
        };
        scripts.reaped(pid, ending)
    }

    fn wait_until(mut done: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !done() {
            assert!(Instant::now() < end, "it does not come");
            std::thread::yield_now();
        }
    }

    #[test]
    fn one_that_does_not_end_when_it_is_told_to_is_killed() {
        let mut scripts = Scripts::default();
        let dir = tempfile::tempdir().unwrap();
        let up = dir.path().join("up");
        let pid = started(&mut scripts, 7, &format!("trap '' TERM; >{}; sleep 600", up.display()));
        wait_until(|| up.exists());
        let now = Instant::now();
        scripts.end(7, now);
        scripts.tend(now + PATIENCE - Duration::from_secs(1));
        assert!(process::is_alive(pid));
        assert_eq!(scripts.due(now), Some(now + PATIENCE));
        scripts.tend(now + PATIENCE);
        assert_eq!(wait_for(&mut scripts, pid), Some((7, ScriptEnd::Killed(9))));
        assert!(!scripts.any_running());
    }

    #[test]
    fn what_a_script_leaves_behind_ends_with_it_when_it_is_told_to() {
        let mut scripts = Scripts::default();
        let dir = tempfile::tempdir().unwrap();
        let up = dir.path().join("up");
        let line = format!("sh -c 'trap \"\" TERM; >{}; sleep 600' & wait", up.display());
        let pid = started(&mut scripts, 7, &line);
        wait_until(|| up.exists());
        let now = Instant::now();
        scripts.end_all(now);
        assert_eq!(wait_for(&mut scripts, pid), Some((7, ScriptEnd::Killed(15))));
        assert!(scripts.any_running(), "a process of it lives");
        scripts.tend(now + PATIENCE);
        wait_until(|| !shell::is_any_left(pid));
        assert!(!scripts.any_running());
    }

    #[test]
    fn what_a_daemon_says_that_a_script_has_started_is_still_heard() {
        let mut scripts = Scripts::default();
        let pid = started(&mut scripts, 7, "(read word; echo late) & exit 3");
        assert_eq!(wait_for(&mut scripts, pid), Some((7, ScriptEnd::Exited(3))));
        wait_until(|| {
            scripts.tend(Instant::now());
            scripts.pipes().next().is_none()
        });
    }

    #[test]
    fn output_is_cut_into_lines_of_bounded_length() {
        let long = "x".repeat(MAX_LINE + 5);
        let input = format!("one\n\ntwo \r\n{long}\n\u{1b}[31mred\tend");
        let mut lines = Vec::new();
        let mut line = Line::default();
        // However the pipe cuts it.
        for bytes in input.as_bytes().chunks(7) {
            line.take(bytes, |text| lines.push(text.to_owned()));
        }
        line.flush(|text| lines.push(text.to_owned()));
        assert_eq!(lines[..2], ["one", "two"]);
        assert_eq!(lines[2].len(), MAX_LINE);
        assert_eq!(lines[3..], ["xxxxx", "?[31mred\tend"]);
    }
}
