//! Signals as something to read: blocked before the fork, taken from a signalfd made after it.
//!
//! A signalfd made before a fork would be shared with the parent; each process makes its own.
//! A signal that comes between the fork and the signalfd stays pending and is read afterwards.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, sigaction, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

pub use nix::sys::signal::Signal as Number;

/// The signals this program lives by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// TERM: smart shutdown, finish the sessions first.
    Terminate,
    /// INT: fast shutdown.
    Interrupt,
    /// QUIT: immediate shutdown.
    Quit,
    /// HUP: reload the configuration.
    Hangup,
    /// USR1: what the role makes of it; the logger begins a new file.
    User1,
    /// USR2: a new program shall take over.
    User2,
    /// CHLD: a child ended.
    Child,
}

const TABLE: [(Number, Signal); 7] = [
    (Number::SIGTERM, Signal::Terminate),
    (Number::SIGINT, Signal::Interrupt),
    (Number::SIGQUIT, Signal::Quit),
    (Number::SIGHUP, Signal::Hangup),
    (Number::SIGUSR1, Signal::User1),
    (Number::SIGUSR2, Signal::User2),
    (Number::SIGCHLD, Signal::Child),
];

impl Signal {
    /// The kernel's number.
    pub fn number(self) -> Number {
        TABLE.iter().find(|(_, signal)| *signal == self).map_or(Number::SIGTERM, |(number, _)| *number)
    }
}

/// Blocks the signals of the table, so that they wait for a [`Signals`] in this process and its children.
pub fn block() -> io::Result<()> {
    Ok(sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set()), None)?)
}

fn set() -> SigSet {
    TABLE.iter().map(|(number, _)| *number).collect()
}

/// Gives SIGSEGV and SIGBUS their plain meaning back. The handlers that Rust's runtime puts there swallow such
/// a signal if another process sends it, and what the parent reports about a dead child would depend on them.
pub fn die_of_faults() -> io::Result<()> {
    let plain = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for fault in [Number::SIGSEGV, Number::SIGBUS] {
        // SAFETY: the default action runs no code of ours.
        unsafe { sigaction(fault, &plain) }?;
    }
    Ok(())
}

/// Where this process reads its signals. Make it after the fork.
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks the signals (if nobody has) and opens the descriptor; it never makes a reader wait.
    pub fn new() -> io::Result<Signals> {
        block()?;
        let fd = SignalFd::with_flags(&set(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Signals { fd })
    }

    /// The next signal that has come, if any.
    pub fn read(&self) -> Option<Signal> {
        let info = self.fd.read_signal().ok()??;
        TABLE.iter().find(|(number, _)| *number as u32 == info.ssi_signo).map(|(_, signal)| *signal)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::{fork, own_id, send_signal};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;

    #[test]
    fn a_fault_sent_from_outside_kills() {
        let pid = fork(|| {
            let sent = die_of_faults().and_then(|()| send_signal(own_id(), Number::SIGSEGV));
            i32::from(sent.is_err())
        })
        .unwrap();
        let pid = Pid::from_raw(pid);
        assert!(matches!(waitpid(pid, None), Ok(WaitStatus::Signaled(_, Number::SIGSEGV, _))));
    }

    #[test]
    fn a_signal_before_the_signalfd_is_not_lost() {
        let pid = fork(|| {
            if block().is_err() || send_signal(own_id(), Number::SIGHUP).is_err() {
                return 1;
            }
            let Ok(signals) = Signals::new() else { return 2 };
            i32::from(!(signals.read() == Some(Signal::Hangup) && signals.read().is_none()))
        })
        .unwrap();
        let pid = Pid::from_raw(pid);
        assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, 0)));
    }
}
