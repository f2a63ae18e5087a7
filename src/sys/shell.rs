//! Command lines of an operator, run by the shell beside this process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, killpg, sigprocmask};
use nix::unistd::{Pid, pipe2};

use super::process::ProcessId;

/// A shell at work. Whoever started it reaps it.
pub struct Shell {
    /// The shell, and the group of processes that it starts.
    pub pid: ProcessId,
    /// What they write to standard output and error. Reading never waits.
    pub output: OwnedFd,
}

/// Starts a command line, with our environment.
///
/// # Errors
/// There is no process, descriptor or memory for it, or no shell.
pub fn run(line: &str) -> io::Result<Shell> {
    let (output, theirs) = pipe2(OFlag::O_CLOEXEC)?;
    // Our end only: a script does not expect that it cannot write.
    fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let mut command = command(line);
    command.stdout(theirs.as_fd().try_clone_to_owned()?).stderr(theirs);
    let child = command.spawn()?;
    Ok(Shell { pid: ProcessId::try_from(child.id()).unwrap_or_default(), output })
}

/// A command line for `/bin/sh -c`: nothing to read, a process group of its own, no signal blocked.
pub(super) fn command(line: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(line).stdin(Stdio::null()).process_group(0);
    // SAFETY: between fork and exec only sigprocmask is called, which may be, on memory of this frame.
    unsafe {
        command.pre_exec(|| Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?));
    }
    command
}

/// Sends a signal to a shell and all that it has started in its group. Nobody being left is no error.
pub fn signal(pid: ProcessId, signal: Signal) -> io::Result<()> {
    // One and zero mean others than a group of ours.
    if pid <= 1 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    match killpg(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether anything is left of a shell's group, also after the shell itself has ended.
pub fn is_any_left(pid: ProcessId) -> bool {
    pid > 1 && killpg(Pid::from_raw(pid), None) != Err(Errno::ESRCH) && lives_in_group(pid)
}

/// One that has ended and that nobody has reaped is in the group still, in a container without an init for ever.
fn lives_in_group(group: ProcessId) -> bool {
    // Elsewhere than on Linux they count until they are reaped.
    let Ok(processes) = std::fs::read_dir("/proc") else { return true };
    processes.flatten().any(|process| {
        // "PID (name) STATE PARENT GROUP …"; the name may hold anything, so the rest is looked for behind its end.
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let mut words = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let (state, of) = (words.next(), words.nth(1));
        of.and_then(|of| of.parse().ok()) == Some(group) && !matches!(state, Some("Z" | "X"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::FcntlArg::F_GETFL;
    use nix::sys::wait::{WaitStatus, waitpid};
    use std::io::Read;
    use std::time::{Duration, Instant};

    /// Everything it says, and how it ends.
    fn all(shell: Shell) -> (String, WaitStatus) {
        fcntl(&shell.output, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        let mut said = String::new();
        std::fs::File::from(shell.output).read_to_string(&mut said).unwrap();
        (said, waitpid(Pid::from_raw(shell.pid), None).unwrap())
    }

    #[test]
    fn what_it_says_and_how_it_ends() {
        let shell = run("echo \"$0 $PATH\" | cut -c 1-7; echo err >&2; cat; exit 7").unwrap();
        assert!(OFlag::from_bits_retain(fcntl(&shell.output, F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK));
        let pid = Pid::from_raw(shell.pid);
        assert_eq!(all(shell), ("/bin/sh\nerr\n".to_owned(), WaitStatus::Exited(pid, 7)));
    }

    #[test]
    fn signals_reach_all_of_it_although_they_are_blocked_here() {
        crate::sys::signals::block().unwrap();
        let shell = run("trap 'echo bye; exit 3' TERM; sh -c 'echo up; exec sleep 600' & wait").unwrap();
        let (pid, mut output) = (shell.pid, std::fs::File::from(shell.output.try_clone().unwrap()));
        fcntl(&shell.output, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        output.read_exact(&mut [0; 3]).unwrap();
        assert!(is_any_left(pid));
        signal(pid, Signal::SIGTERM).unwrap();
        // It reads to the end of the pipe: the sleeper is gone, too.
        assert_eq!(all(shell), ("bye\n".to_owned(), WaitStatus::Exited(Pid::from_raw(pid), 3)));
        // A process closes its files a moment before it has ended.
        let end = Instant::now() + Duration::from_secs(20);
        while is_any_left(pid) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!is_any_left(pid));
        signal(pid, Signal::SIGKILL).unwrap();
        assert!(signal(1, Signal::SIGTERM).is_err());
    }
}
