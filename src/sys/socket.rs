//! Sockets that the standard library cannot make: listening ones with a backlog, datagram pairs, options.
//!
//! Everything made here is non-blocking and closed on exec.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind,
    listen, recv, send, setsockopt, socket, socketpair, sockopt,
};
use nix::unistd::{Gid, Group, chown};

const FLAGS: SockFlag = SockFlag::SOCK_CLOEXEC.union(SockFlag::SOCK_NONBLOCK);

/// What a socket listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// An IPv4 or IPv6 address.
    Tcp(SocketAddr),
    /// A file.
    Unix(PathBuf),
}

/// Listens on a TCP address. The kernel cuts the backlog at its own limit (`net.core.somaxconn`).
pub fn listen_tcp(address: SocketAddr, backlog: i32) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = socket(family, SockType::Stream, FLAGS, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        // `*` means both families, and each gets a socket of its own.
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    start(&fd, &SockaddrStorage::from(address), backlog)?;
    Ok(fd)
}

/// Listens on a Unix socket. A file that a dead process left is replaced; one that answers is in use. `group`: who
/// owns the file besides its user, if not the group of this process.
pub fn listen_unix(path: &Path, backlog: i32, mode: u32, group: Option<Gid>) -> io::Result<OwnedFd> {
    let address = UnixAddr::new(path)?;
    remove_stale(path)?;
    let fd = socket(AddressFamily::Unix, SockType::Stream, FLAGS, None)?;
    bind(fd.as_raw_fd(), &address)?;
    // Before listen: nobody can connect until the permissions are right.
    let shut = chown(path, None, group).map_err(io::Error::from);
    let shut = shut.and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)));
    if let Err(error) = shut.and_then(|()| set_backlog(&fd, backlog)) {
        // What cannot be used must not stay behind.
        let _ = fs::remove_file(path);
        return Err(error);
    }
    Ok(fd)
}

/// A group by its name, or by its number.
///
/// # Errors
/// There is no such group (`NotFound`), or what the system says.
pub fn find_group(name: &str) -> io::Result<Gid> {
    if let Some(group) = Group::from_name(name)? {
        return Ok(group.gid);
    }
    name.parse().map(Gid::from_raw).map_err(|_| io::ErrorKind::NotFound.into())
}

fn start(fd: &OwnedFd, address: &dyn SockaddrLike, backlog: i32) -> io::Result<()> {
    bind(fd.as_raw_fd(), address)?;
    set_backlog(fd, backlog)
}

/// Has a socket listen, or listen with another backlog.
pub fn set_backlog(fd: &OwnedFd, backlog: i32) -> io::Result<()> {
    let depth = Backlog::new(backlog.clamp(1, i32::from(u16::MAX))).unwrap_or(Backlog::MAXCONN);
    Ok(listen(fd, depth)?)
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(meta) if !meta.file_type().is_socket() => Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => Err(io::ErrorKind::AddrInUse.into()),
        },
    }
}

/// A pair of connected datagram sockets that keeps messages whole and reports the other end's death.
pub fn seqpacket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, FLAGS)?)
}

/// Sends one datagram; `WouldBlock` if the other end does not keep up. Never raises SIGPIPE.
pub fn send_packet(fd: impl AsFd, packet: &[u8]) -> io::Result<()> {
    send(fd.as_fd().as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL)?;
    Ok(())
}

/// Receives one datagram; zero bytes mean that the other end is closed.
pub fn receive_packet(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(recv(fd.as_fd().as_raw_fd(), buffer, MsgFlags::empty())?)
}

/// Lets the kernel notice a peer that vanished without a word.
pub fn set_keepalive(fd: impl AsFd) -> io::Result<()> {
    Ok(setsockopt(&fd.as_fd(), sockopt::KeepAlive, &true)?)
}

/// How soon the kernel gives a silent peer up, where it lets us say so.
#[derive(Clone, Copy, Debug)]
pub struct KeepaliveTimes {
    /// Seconds of silence before it asks.
    pub idle: u32,
    /// Seconds between its questions.
    pub interval: u32,
    /// Questions without an answer that end the connection.
    pub count: u32,
}

/// As `set_keepalive`, sooner than the two hours that are usual.
pub fn set_keepalive_times(fd: impl AsFd, times: KeepaliveTimes) -> io::Result<()> {
    set_keepalive(&fd)?;
    #[cfg(target_os = "linux")]
    {
        let fd = fd.as_fd();
        setsockopt(&fd, sockopt::TcpKeepIdle, &times.idle)?;
        setsockopt(&fd, sockopt::TcpKeepInterval, &times.interval)?;
        setsockopt(&fd, sockopt::TcpKeepCount, &times.count)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = times;
    Ok(())
}

/// Sends small messages at once instead of waiting for the peer's acknowledgement.
pub fn set_nodelay(fd: impl AsFd) -> io::Result<()> {
    Ok(setsockopt(&fd.as_fd(), sockopt::TcpNoDelay, &true)?)
}

/// Adds a listening socket to an epoll set so that a new connection wakes one of the waiting processes, not all.
///
/// Level-triggered: a process that takes one connection of two is told again. `token` comes back in the event.
#[cfg(target_os = "linux")]
pub fn epoll_add_exclusive(epoll: &impl AsRawFd, fd: BorrowedFd<'_>, token: usize) -> io::Result<()> {
    let mut event =
        libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLEXCLUSIVE) as u32, u64: token as u64 };
    // SAFETY: both descriptors are open as long as their borrows live; the kernel copies the event.
    let result =
        unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".s.PGSQL.1");
        let first = listen_unix(&path, 4, 0o700, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(listen_unix(&path, 4, 0o777, None).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        listen_unix(&path, 4, 0o777, None).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        fs::write(&path, "x").unwrap();
        assert!(listen_unix(&path, 4, 0o777, None).is_err());
        assert!(path.exists());
    }

    #[test]
    fn both_families_can_share_a_port() {
        let four = listen_tcp("127.0.0.1:0".parse().unwrap(), 4).unwrap();
        let port = std::net::TcpListener::from(four.try_clone().unwrap()).local_addr().unwrap().port();
        let taken = listen_tcp(SocketAddr::new("127.0.0.1".parse().unwrap(), port), 4);
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn packets_stay_whole_and_the_end_is_seen() {
        let (a, b) = seqpacket_pair().unwrap();
        send_packet(&a, b"one").unwrap();
        send_packet(&a, b"three").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(receive_packet(&b, &mut buffer).unwrap(), 3);
        assert_eq!(receive_packet(&b, &mut buffer).unwrap(), 5);
        assert_eq!(receive_packet(&b, &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(a);
        assert_eq!(receive_packet(&b, &mut buffer).unwrap(), 0);
    }
}
