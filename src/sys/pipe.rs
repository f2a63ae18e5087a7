//! What the log of many processes needs: a pipe that never makes its writers wait, standard output and error
//! led into it, and a counter that all processes of the tree share.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::unistd::{dup2_stderr, dup2_stdout, pipe2};

/// A write of so many bytes goes into a pipe whole or not at all, never mixed with another process's.
pub const ATOMIC: usize = libc::PIPE_BUF;

/// What the pipe should hold: some thousand lines of a burst. More is refused to ordinary users.
#[cfg(target_os = "linux")]
const ROOM: i32 = 1 << 20;

/// A pipe (reading end, writing end). Neither end waits; both close on exec.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    // A kernel that does not give that much leaves it as it was, which is enough for a quiet log.
    #[cfg(target_os = "linux")]
    let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(ROOM));
    Ok((read, write))
}

/// Another descriptor of standard error, for when that leads elsewhere.
pub fn keep_stderr() -> io::Result<OwnedFd> {
    io::stderr().as_fd().try_clone_to_owned()
}

/// Leads standard output and error of this process, and of what it starts, to `fd`.
pub fn redirect_output(fd: impl AsFd) -> io::Result<()> {
    dup2_stdout(&fd)?;
    dup2_stderr(&fd)?;
    Ok(())
}

/// A counter that this process shares with all it will fork. Never freed.
pub fn shared_counter() -> io::Result<&'static AtomicU64> {
    let length = NonZeroUsize::MIN.saturating_add(size_of::<AtomicU64>() - 1);
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing that exists.
    let area = unsafe {
        mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED)?
    };
    // SAFETY: the mapping is page-aligned, zeroed (a valid AtomicU64), longer than it, and never unmapped.
    // Other processes write to it through this type only.
    Ok(unsafe { area.cast::<AtomicU64>().as_ref() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::fork;
    use nix::sys::wait::waitpid;
    use nix::unistd::{Pid, write};
    use std::sync::atomic::Ordering;

    #[test]
    fn a_full_pipe_refuses_whole_writes() {
        let (_read, end) = pipe().unwrap();
        let chunk = [b'x'; ATOMIC];
        let mut chunks = 0;
        let error = loop {
            match write(&end, &chunk) {
                Ok(written) => assert_eq!(written, ATOMIC),
                Err(error) => break error,
            }
            chunks += 1;
        };
        assert_eq!(error, nix::errno::Errno::EAGAIN);
        assert!(chunks >= 16, "{chunks}");
    }

    #[test]
    fn children_count_where_the_parent_sees_it() {
        let counter = shared_counter().unwrap();
        let pid = fork(|| {
            counter.fetch_add(3, Ordering::Relaxed);
            0
        })
        .unwrap();
        waitpid(Pid::from_raw(pid), None).unwrap();
        assert_eq!(counter.load(Ordering::Relaxed), 3);
    }
}
