//! Handing descriptors on to another program: they stay open over exec, and their numbers stand in the environment.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt};

use super::process::ProcessId;
use super::socket::ListenerKind;

/// A program to be started.
pub struct Successor<'a> {
    /// The file.
    pub program: &'a Path,
    /// What it is called (`argv[0]`).
    pub name: &'a OsStr,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Further variables of its environment.
    pub environment: Vec<(&'a str, OsString)>,
    /// What stays open in it, under the numbers it has here.
    pub keep: Vec<BorrowedFd<'a>>,
    /// Its standard output and error, where those of this process are none for it.
    pub output: Option<BorrowedFd<'a>>,
}

/// Starts it as a child of this process and returns its id.
///
/// # Errors
/// The program cannot be executed, or there is no process or memory for it.
pub fn spawn(successor: Successor<'_>) -> io::Result<ProcessId> {
    let Successor { program, name, arguments, environment, keep, output } = successor;
    let mut command = Command::new(program);
    command.arg0(name).args(arguments).envs(environment).stdin(Stdio::null());
    if let Some(output) = output {
        command.stdout(output.try_clone_to_owned()?).stderr(output.try_clone_to_owned()?);
    }
    let numbers: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    // SAFETY: between fork and exec only fcntl is called, which may be; the borrowed descriptors are open in the child.
    unsafe {
        command.pre_exec(move || {
            for number in &numbers {
                fcntl(BorrowedFd::borrow_raw(*number), FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            Ok(())
        });
    }
    let child = command.spawn()?;
    Ok(ProcessId::try_from(child.id()).unwrap_or_default())
}

/// The value of a variable of the environment, which is taken out: programs started from here shall not see it.
///
/// Call it before there are threads.
pub fn take_variable(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    // SAFETY: nobody reads or writes the environment meanwhile, as the caller has no threads.
    unsafe { std::env::remove_var(name) };
    Some(value)
}

/// Takes a descriptor over that another program has left open for us. It is closed on exec from now on.
///
/// # Errors
/// Nothing is open under the number.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(Errno::EBADF.into());
    }
    // SAFETY: the check fails if nothing is open there; that nobody else in this process owns it is what
    // the one who left it open says by naming it.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: as above: it is open and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// What a socket of another program listens on. It never makes us wait from now on.
///
/// # Errors
/// It is no listening socket of a kind that we use.
pub fn listens_on(fd: &OwnedFd) -> io::Result<ListenerKind> {
    if !getsockopt(fd, sockopt::AcceptConn)? {
        return Err(Errno::EINVAL.into());
    }
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let name: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    let place = match name.family() {
        Some(AddressFamily::Inet) => name
            .as_sockaddr_in()
            .map(|address| ListenerKind::Tcp(std::net::SocketAddrV4::from(*address).into())),
        Some(AddressFamily::Inet6) => name
            .as_sockaddr_in6()
            .map(|address| ListenerKind::Tcp(std::net::SocketAddrV6::from(*address).into())),
        Some(AddressFamily::Unix) => name
            .as_unix_addr()
            .and_then(|address| address.path())
            .map(|path| ListenerKind::Unix(path.to_owned())),
        _ => None,
    };
    place.ok_or_else(|| Errno::EAFNOSUPPORT.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn sockets_say_what_they_listen_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        assert_eq!(listens_on(&tcp.into()).unwrap(), ListenerKind::Tcp(address));
        assert_eq!(listens_on(&UnixListener::bind(&path).unwrap().into()).unwrap(), ListenerKind::Unix(path));
        let (pair, _) = UnixStream::pair().unwrap();
        assert!(listens_on(&pair.into()).is_err());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(listens_on(&file.into()).is_err());
    }

    #[test]
    fn what_is_kept_is_open_in_the_other_program_and_nothing_else() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let kept = theirs.as_raw_fd();
        let inode = |fd: BorrowedFd<'_>| nix::sys::stat::fstat(fd).unwrap().st_ino;
        let (of_ours, of_theirs) = (inode(ours.as_fd()), inode(theirs.as_fd()));
        let has = |inode| format!("ls -l /proc/$$/fd | grep -q 'socket:.{inode}.'");
        let script = format!(
            "echo \"$WORD\" >&{kept}; {} && ! {} && echo >&{kept} alone",
            has(of_theirs),
            has(of_ours)
        );
        let pid = spawn(Successor {
            program: Path::new("/bin/sh"),
            name: OsStr::new("sh"),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("WORD", "hear".into())],
            keep: vec![theirs.as_fd()],
            output: None,
        })
        .unwrap();
        drop(theirs);
        let mut said = String::new();
        ours.read_to_string(&mut said).unwrap();
        assert_eq!(said, "hear\nalone\n");
        nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap();
    }

    #[test]
    fn numbers_that_are_not_open_are_refused() {
        for number in [-1, 0, 2, 1_000_000] {
            assert!(adopt(number).is_err(), "{number}");
        }
    }
}
