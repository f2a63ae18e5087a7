//! The log collector as the supervisor sees it: the pipe, which outlives each logger process, and its last moments.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::child::LogSource;
use super::request::Answer;
use super::run::Supervisor;
use super::tree::{Role, State};
use crate::config::Config;
use crate::log;
use crate::sys::pipe;
use crate::sys::signals::{Number, Signals};

/// Time that the collector has to write what is left.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pipe that the log goes through, and what standard error was before.
pub(super) struct Collector {
    /// Kept open here, so that the next logger goes on where a dead one stopped.
    read: OwnedFd,
    /// Until the log goes nowhere else.
    write: Option<OwnedFd>,
    stderr: OwnedFd,
    lost: &'static AtomicU64,
}

impl Collector {
    /// Makes the pipe, if the configuration wants one; the log goes to both from now on.
    pub(super) fn open(config: &Config) -> io::Result<Option<Collector>> {
        if !config.logging_collector {
            return Ok(None);
        }
        let (read, write) = pipe::pipe()?;
        let lost = pipe::shared_counter()?;
        log::collect(log::Pipe { write: write.try_clone()?, lost });
        Ok(Some(Collector { read, write: Some(write), stderr: pipe::keep_stderr()?, lost }))
    }

    /// What standard error was.
    pub(super) fn stderr(&self) -> BorrowedFd<'_> {
        self.stderr.as_fd()
    }

    /// The log leaves standard error, and what anybody writes there goes into the pipe as well.
    pub(super) fn redirect(&mut self, config: &Config) -> io::Result<()> {
        log::Line::new(log::Level::Log, "redirecting log output to logging collector process")
            .hint(format!("Future log output will appear in directory \"{}\".", config.log_directory))
            .emit();
        // A daemon has left the terminal by now.
        self.stderr = pipe::keep_stderr()?;
        if let Some(write) = self.write.take() {
            pipe::redirect_output(write)?;
        }
        log::leave_stderr();
        Ok(())
    }
}

impl Supervisor {
    /// In a new child: what the collector reads, or nothing. The collector's own errors go to the old standard error.
    pub(super) fn log_source(&mut self, role: &Role) -> Option<LogSource> {
        let Collector { read, stderr, lost, .. } = self.collector.take()?;
        if !role.is_logger {
            return None;
        }
        log::keep();
        // Without it, its errors would come back to it through the pipe, which never closes then.
        if let Err(error) = pipe::redirect_output(stderr) {
            crate::say!(Warning, "the log collector keeps standard error: {error}");
        }
        Some(LogSource { pipe: read, lost })
    }

    pub(super) fn rotate_log(&self) -> Answer {
        if !self.tree.any_running(|role| role.is_logger) {
            return Answer::Refused("there is no log collector".to_owned());
        }
        self.tree.signal(Number::SIGUSR1, |role| role.is_logger);
        Answer::Done
    }

    /// Everything is said: lets the collector write it, and waits for that, though not for ever.
    pub(super) fn end_logger(&mut self) {
        // One that has died has left something in the pipe.
        self.tree.hurry();
        self.fork_due();
        let Some(Collector { stderr, .. }) = self.collector.take() else { return };
        log::back_to_stderr();
        let _ = pipe::redirect_output(stderr);
        for slot in &mut self.tree.slots {
            if let State::Running(child) = &mut slot.state {
                // This is what it ends by.
                child.socket = None;
            }
        }
        self.tree.stop_forking(false);
        let end = Instant::now() + PATIENCE;
        while self.tree.any_running(|_| true) && Instant::now() < end {
            self.wait_for_child(end);
            self.reap();
        }
        self.tree.signal(Number::SIGKILL, |_| true);
    }

    fn wait_for_child(&self, until: Instant) {
        let Some(signals) = &self.signals else { return };
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, timeout);
        while self.signals.as_ref().and_then(Signals::read).is_some() {}
    }
}
