//! Processes: fork, reap, signal, become a daemon, die with the parent.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, getppid, setsid};

/// Process id, as the kernel and the segment have it.
pub type ProcessId = i32;

/// Exit code of a child that panicked (what Rust gives a program that does).
pub const PANICKED: i32 = 101;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It returned this exit code.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
}

/// A child that was reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// Who it was.
    pub pid: ProcessId,
    /// How it ended.
    pub ending: Ending,
}

/// Forks; the child runs `child` and exits with what that returns, the parent gets the child's id.
///
/// The caller must have no other thread that may hold a lock the child needs; by the fork rules of this
/// program a process that forks has no threads at all.
pub fn fork(child: impl FnOnce() -> i32) -> io::Result<ProcessId> {
    // SAFETY: the child gets a copy of this thread only. Threads would leave locks behind for ever; the
    // rule above excludes them, and glibc itself makes malloc usable in the child.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child.as_raw()),
        ForkResult::Child => {
            // A panic must not unwind into the parent's frames, which this process has a copy of.
            let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(PANICKED);
            exit_now(code)
        }
    }
}

/// Ends this process at once: no destructors, no exit handlers (they belong to the parent).
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}

/// The next child that has ended, if one has. Never waits.
pub fn reap() -> Option<Reaped> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => return Some(Reaped::new(pid, Ending::Exited(code))),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                return Some(Reaped::new(pid, Ending::Killed(signal as i32)));
            }
            Ok(WaitStatus::StillAlive) => return None,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

impl Reaped {
    fn new(pid: Pid, ending: Ending) -> Reaped {
        Reaped { pid: pid.as_raw(), ending }
    }
}

/// Sends a signal to a process.
pub fn send_signal(pid: ProcessId, signal: Signal) -> io::Result<()> {
    // Zero and negative numbers mean groups to kill(2); nobody here wants those.
    if pid <= 0 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    Ok(kill(Pid::from_raw(pid), signal)?)
}

/// Whether a process with this id runs (also if it belongs to somebody else). One that has ended and whose
/// parent has not asked for its status yet does not.
pub fn is_alive(pid: ProcessId) -> bool {
    pid > 0 && !matches!(kill(Pid::from_raw(pid), None), Err(Errno::ESRCH)) && !has_ended(pid)
}

fn has_ended(pid: ProcessId) -> bool {
    // "PID (name) STATE …"; the name may hold anything, so the state is looked for behind its end.
    let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.iter().rposition(|byte| *byte == b')').and_then(|end| stat.get(end + 2));
    matches!(state, Some(b'Z' | b'X'))
}

/// Name of the user who runs this process, if the system knows one.
pub fn user_name() -> Option<String> {
    nix::unistd::User::from_uid(nix::unistd::Uid::effective()).ok().flatten().map(|user| user.name)
}

/// Home of the user who runs this process, if the system knows one.
pub fn home() -> Option<std::path::PathBuf> {
    nix::unistd::User::from_uid(nix::unistd::Uid::effective()).ok().flatten().map(|user| user.dir)
}

/// Id of this process.
pub fn own_id() -> ProcessId {
    Pid::this().as_raw()
}

/// Asks the kernel to kill this process when its parent dies. False if the parent, `parent`, is gone already.
///
/// SIGKILL and not a signal that can be waited for: a child stuck in a library call must not outlive
/// the supervisor with the listening sockets in its hands.
pub fn die_with(parent: ProcessId) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    Ok(getppid().as_raw() == parent)
}

/// Keeps what this process and its children have in memory from other processes of the same user, and out of core dumps.
/// A program that is executed later is as open as any.
pub fn hide_memory() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false)?;
    Ok(())
}

/// Leaves the terminal: forks; the child goes on in a session of its own in `/` with its standard streams
/// on /dev/null. The parent runs `parent` with the child's id and ends with the code that it returns.
pub fn daemonise(parent: impl FnOnce(ProcessId) -> i32) -> io::Result<()> {
    // SAFETY: as for `fork`: no threads yet.
    if let ForkResult::Parent { child } = unsafe { nix::unistd::fork() }? {
        exit_now(parent(child.as_raw()));
    }
    setsid()?;
    chdir("/")?;
    let null = open("/dev/null", OFlag::O_RDWR, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(pid: ProcessId) -> Ending {
        match waitpid(Pid::from_raw(pid), None) {
            Ok(WaitStatus::Exited(_, code)) => Ending::Exited(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => Ending::Killed(signal as i32),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_child_exits_with_what_its_closure_returns() {
        assert_eq!(wait(fork(|| 7).unwrap()), Ending::Exited(7));
    }

    #[test]
    fn a_panicking_child_does_not_run_the_parents_code() {
        let pid = fork(|| {
            std::panic::set_hook(Box::new(|_| {}));
            panic!("in the child")
        });
        assert_eq!(wait(pid.unwrap()), Ending::Exited(PANICKED));
    }

    #[test]
    fn one_that_has_ended_is_not_alive() {
        let pid = fork(|| 0).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while is_alive(pid) {
            assert!(std::time::Instant::now() < deadline, "still alive");
            std::thread::yield_now();
        }
        assert_eq!(wait(pid), Ending::Exited(0));
    }

    #[test]
    fn groups_are_never_signalled() {
        for pid in [0, -1] {
            assert!(send_signal(pid, Signal::SIGTERM).is_err());
            assert!(!is_alive(pid));
        }
        assert!(is_alive(own_id()));
    }
}
