//! Shutdown: smart waits for the clients, fast and immediate do not; nobody is waited for without end after that.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::request::StopMode;
use super::run::Supervisor;
use super::tree::Role;
use super::upgrade::Service;
use crate::shm::EventKind;
use crate::sys::notify::Notifier;
use crate::sys::signals::{Number, Signal};

/// Time to end for a child that was told to end now; then it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A shutdown under way.
pub(super) struct Stopping {
    mode: StopMode,
    /// When whoever is left is killed.
    kill_at: Option<Instant>,
    exit: u8,
}

impl Stopping {
    pub(super) fn kill_at(&self) -> Option<Instant> {
        self.kill_at
    }
}

impl Supervisor {
    pub(super) fn stop_by(&mut self, signal: Signal) {
        let mode = match signal {
            Signal::Interrupt => StopMode::Fast,
            Signal::Quit => StopMode::Immediate,
            _ => StopMode::Smart,
        };
        self.stop(mode, crate::error::exit::OK);
    }

    /// Begins a shutdown, or makes one that is under way quicker.
    pub(super) fn stop(&mut self, mode: StopMode, exit: u8) {
        if self.stopping.as_ref().is_some_and(|stopping| stopping.mode >= mode) {
            return;
        }
        let signal = mode.signal().number();
        crate::say!(Log, "shutting down by signal {}", signal as i32);
        let exit = self.stopping.as_ref().map_or(exit, |stopping| stopping.exit.max(exit));
        // New clients are refused from here on, by the kernel once the workers close theirs.
        self.stop_listening();
        self.drop_successor();
        self.stop_predecessor(mode);
        if self.service == Service::Held {
            self.tell_manager(Notifier::stopping);
        }
        self.tree.stop_forking(true);
        self.note(EventKind::Stop, mode.name(), "");
        let kill_at = (mode != StopMode::Smart).then(|| Instant::now() + PATIENCE);
        if mode == StopMode::Smart {
            // The others serve those sessions until the last is over; who has a door closes it.
            self.tree.signal(signal, |role| role.door.is_some());
        } else {
            crate::say!(Log, "terminating all child processes");
            self.tree.signal(signal, |role| !role.is_logger);
            // What dies from now on is no reason to promote anything: perhaps the whole host goes down.
            self.end_failover();
        }
        self.stopping = Some(Stopping { mode, kill_at, exit });
    }

    /// The exit code, once a shutdown is complete. Takes the next step of one that is not.
    pub(super) fn stopped(&mut self) -> Option<u8> {
        let now = Instant::now();
        let stopping = self.stopping.as_mut()?;
        // A program that another has taken over from lets its scripts end; nobody else would hear of it.
        let hears = self.service == Service::Passed && stopping.mode == StopMode::Smart;
        let are_scripts_over = !self.failover.scripts.any_running();
        if !self.tree.any_running(|role| !role.is_logger) && are_scripts_over {
            // A service that has stopped serves nobody, not even old sessions.
            let in_time = stopping.mode == StopMode::Smart || stopping.kill_at.is_none_or(|at| at > now);
            let waits = self.predecessor.is_some() && in_time;
            return (!waits).then_some(stopping.exit);
        }
        match stopping.kill_at {
            None if !self.tree.any_running(Role::serves_clients) && (are_scripts_over || !hears) => {
                crate::say!(Log, "terminating all child processes");
                stopping.kill_at = Some(now + PATIENCE);
                self.tree.signal(Number::SIGTERM, |role| !role.is_logger);
                self.end_failover();
            }
            Some(at) if at <= now => {
                self.tree.signal(Number::SIGKILL, |role| !role.is_logger);
                self.failover.scripts.kill_all();
                stopping.kill_at = Some(now + PATIENCE);
            }
            _ => {}
        }
        None
    }
}
