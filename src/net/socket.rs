//! A stream socket of either family, and who is at its other end.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Address;

/// A connected, or connecting, non-blocking stream socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP, IPv4 or IPv6.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

/// Who is at the other end of a client's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Connected over a Unix socket.
    Local,
    /// Connected over TCP from this address and port.
    Ip(SocketAddr),
}

impl Peer {
    /// Host as the log and `SHOW POOL_PROCESSES` print it.
    pub fn host(&self) -> String {
        match self {
            Peer::Local => "[local]".to_string(),
            Peer::Ip(address) => address.ip().to_string(),
        }
    }

    /// Port of a TCP peer, 0 for a Unix socket.
    pub fn port(&self) -> u16 {
        match self {
            Peer::Local => 0,
            Peer::Ip(address) => address.port(),
        }
    }

    /// Address of a TCP peer.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Peer::Local => None,
            Peer::Ip(address) => Some(address.ip()),
        }
    }
}

impl Socket {
    /// Begins to connect.
    ///
    /// # Errors
    /// What the kernel says at once; later failures come as an event.
    pub fn connect(address: &Address) -> io::Result<Socket> {
        match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(*address)?;
                stream.set_nodelay(true)?;
                Ok(Socket::Tcp(stream))
            }
            Address::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path)?)),
        }
    }

    /// Error of a connection attempt, if it failed.
    ///
    /// # Errors
    /// When the socket cannot be asked.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Socket::Tcp(stream) => stream.take_error(),
            Socket::Unix(stream) => stream.take_error(),
        }
    }

    /// Whether the connection stands (a connecting socket has no peer yet).
    pub fn is_connected(&self) -> bool {
        match self {
            Socket::Tcp(stream) => stream.peer_addr().is_ok(),
            Socket::Unix(stream) => stream.peer_addr().is_ok(),
        }
    }
}

/// A listening socket, shared with the other workers.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// Takes over a listening TCP socket, which must be non-blocking.
    pub fn tcp(fd: OwnedFd) -> Self {
        Listener::Tcp(TcpListener::from_std(fd.into()))
    }

    /// Takes over a listening Unix socket, which must be non-blocking.
    pub fn unix(fd: OwnedFd) -> Self {
        Listener::Unix(UnixListener::from_std(fd.into()))
    }

    /// Whether a client waits.
    pub(super) fn has_client(&self) -> bool {
        let mut looked = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        poll(&mut looked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Takes one waiting client; `None` when another process was quicker.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn accept(&self) -> io::Result<Option<(Socket, Peer)>> {
        let accepted = match self {
            Listener::Tcp(listener) => listener.accept().map(|(stream, address)| {
                // Without these a client is slower, not wrong.
                let _ = stream.set_nodelay(true);
                let _ = crate::sys::socket::set_keepalive(&stream);
                (Socket::Tcp(stream), Peer::Ip(address))
            }),
            Listener::Unix(listener) => {
                listener.accept().map(|(stream, _)| (Socket::Unix(stream), Peer::Local))
            }
        };
        match accepted {
            Ok(accepted) => Ok(Some(accepted)),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted) => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(buffer),
            Socket::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(bytes),
            Socket::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Socket {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.register(registry, token, interests),
            Socket::Unix(stream) => stream.register(registry, token, interests),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.reregister(registry, token, interests),
            Socket::Unix(stream) => stream.reregister(registry, token, interests),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.deregister(registry),
            Socket::Unix(stream) => stream.deregister(registry),
        }
    }
}
