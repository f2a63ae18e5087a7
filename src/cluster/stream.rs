//! The way to a server for processes that may wait: a look-up, a connection, reads and writes, each within a time limit.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use openssl::ssl::SslStream;

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr};

use super::client::ClientError;
use crate::sys::socket::{KeepaliveTimes, set_keepalive_times};
use crate::tls::{self, Connector, Secured, Wanted};
use crate::wire::frontend;

/// During a long query: a host that has been silent for a minute is asked, and is dead after four more questions.
const KEEPALIVE: KeepaliveTimes = KeepaliveTimes { idle: 60, interval: 15, count: 4 };

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<SslStream<TcpStream>>),
}

impl Stream {
    /// TLS over TCP, as far as it is wanted and the server has it. `again`: the server has refused the first way.
    pub(super) fn secured(
        mut self,
        host: &str,
        wanted: &Wanted,
        again: bool,
        deadline: Instant,
    ) -> Result<Stream, ClientError> {
        if matches!(self, Stream::Unix(_)) || !wanted.mode.wants(again) {
            return Ok(self);
        }
        let failed = |reason: String| ClientError::Tls { host: host.to_owned(), reason };
        let mut request = Vec::new();
        frontend::put_ssl_request(&mut request);
        self.limit(remaining(deadline)?)?;
        self.write_all(&request)?;
        // One byte and no more: the handshake reads what stands behind it.
        let mut answer = [0];
        if self.read(&mut answer)? == 0 {
            return Err(ClientError::Closed);
        }
        let begins = wanted.mode.begins(&answer).map_err(|reason| failed(reason.to_owned()))?;
        match self {
            Stream::Tcp(stream) if begins => {
                let connector = Connector::new(wanted).map_err(|e| failed(e.to_string()))?;
                let ssl = connector.start(host).map_err(|e| failed(tls::reasons(&e)))?;
                let mut stream = SslStream::new(ssl, stream).map_err(|e| failed(tls::reasons(&e)))?;
                stream.do_handshake().map_err(|e| match e.into_io_error() {
                    Ok(error) => ClientError::from(error),
                    Err(error) => failed(error.to_string()),
                })?;
                Ok(Stream::Tls(Box::new(stream)))
            }
            plain => Ok(plain),
        }
    }

    pub(super) fn is_secured(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// The hash of the server's certificate that SCRAM can be bound to.
    pub(super) fn end_point(&self) -> Option<Vec<u8>> {
        match self {
            Stream::Tls(stream) => Secured::of(stream.ssl()).end_point,
            Stream::Tcp(_) | Stream::Unix(_) => None,
        }
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(stream) => Some(stream),
            Stream::Tls(stream) => Some(stream.get_ref()),
            Stream::Unix(_) => None,
        }
    }

    /// Connects until `deadline`, to each address of the host for no longer than `each`.
    pub(super) fn open(
        host: &str,
        port: u16,
        each: Duration,
        deadline: Instant,
    ) -> Result<Stream, ClientError> {
        let failed = |source| ClientError::Connect { host: host.to_owned(), port, source };
        if host.starts_with('/') {
            return open_unix(&format!("{host}/.s.PGSQL.{port}")).map(Stream::Unix).map_err(failed);
        }
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in resolve(host, port, deadline)? {
            match TcpStream::connect_timeout(&address, remaining(deadline)?.min(each)) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Stream::Tcp(stream));
                }
                Err(error) => last = error,
            }
        }
        // That the time is up says more than how the last address took it.
        remaining(deadline).map_err(|_| ClientError::TimedOut)?;
        Err(failed(last))
    }

    /// Has the kernel end the connection when nothing is heard from the other host; a local server needs no such watch.
    pub(super) fn notice_dead_peer(&self) -> io::Result<()> {
        self.tcp().map_or(Ok(()), |stream| set_keepalive_times(stream, KEEPALIVE))
    }

    /// How long the next read or write may take.
    pub(super) fn limit(&self, limit: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(_) | Stream::Tls(_) => self.tcp().map_or(Ok(()), |stream| {
                stream.set_read_timeout(Some(limit)).and_then(|()| stream.set_write_timeout(Some(limit)))
            }),
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(limit)).and_then(|()| stream.set_write_timeout(Some(limit)))
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Connecting to a Unix socket has no time limit of its own: a server whose queue is full would hold us.
/// Without blocking, that is an error at once.
fn open_unix(path: &str) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    socket::connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    let stream = UnixStream::from(fd);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// The C library gives no limit for a look-up, so it runs in a thread that is left behind if it is too slow.
fn resolve(host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, ClientError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (sender, receiver) = mpsc::channel();
    let name = host.to_owned();
    let look_up = move || {
        // Nobody listens any more when the limit has passed.
        let _ = sender.send((name.as_str(), port).to_socket_addrs().map(Vec::from_iter));
    };
    let failed = |reason: String| ClientError::Resolve { host: host.to_owned(), reason };
    thread::Builder::new()
        .name("resolve".to_owned())
        .spawn(look_up)
        .map_err(|error| failed(error.to_string()))?;
    match receiver.recv_timeout(remaining(deadline)?) {
        Ok(found) => found.map_err(|error| failed(error.to_string())),
        Err(_) => Err(ClientError::ResolveTimedOut { host: host.to_owned() }),
    }
}

/// The time that is left.
pub(super) fn remaining(deadline: Instant) -> Result<Duration, ClientError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ClientError::TimedOut) } else { Ok(left) }
}
