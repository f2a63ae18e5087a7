//! A small blocking PostgreSQL client, for processes that may wait: log in, run a query, get rows of text.
//!
//! Every call ends within its time limit, whatever the server does. Sessions of clients do not use
//! this: a worker never blocks.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr};
use thiserror::Error;

use crate::auth::backend_leg::{Login, LoginError, Step};
use crate::auth::pool_passwd::Secret;
use crate::auth::scram::{self, SaltedKeys};
use crate::wire::backend;
use crate::wire::frame::{self, FrameError};
use crate::wire::{PROTOCOL_3_0, ParseError, frontend};

/// Longest message taken: nothing that is asked for here has an answer of this size.
const MAX_MESSAGE: usize = 1 << 20;

/// Where to connect, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// A name, an address, or the directory of a Unix socket.
    pub host: String,
    pub port: u16,
    pub user: String,
    pub database: String,
    pub application_name: &'static str,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error("could not resolve host \"{host}\": {reason}")]
    Resolve { host: String, reason: String },
    #[error("failed to connect to PostgreSQL server on \"{host}:{port}\": {source}")]
    Connect { host: String, port: u16, source: io::Error },
    #[error("no answer in time")]
    TimedOut,
    #[error("connection lost: {0}")]
    Io(#[source] io::Error),
    #[error("server closed the connection")]
    Closed,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Message(#[from] ParseError),
    #[error("unexpected message of type {:?}", char::from(*.0))]
    Unexpected(u8),
    #[error("message of type {:?} is too long", char::from(*.0))]
    TooLong(u8),
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error("unexpected answer to \"{0}\"")]
    Answer(&'static str),
    /// The server refused; the connection lives on unless it was the log-in.
    #[error("{0}")]
    Server(String),
}

impl ClientError {
    /// The connection can take another query.
    pub fn leaves_connection(&self) -> bool {
        matches!(self, Self::Server(_))
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Io(error),
        }
    }
}

/// One row: the values as text.
pub type Row = Vec<Option<String>>;

/// A connection that is logged in and waits for a query.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    input: Vec<u8>,
    /// `server_version`, as the server reports it.
    version: String,
}

impl Client {
    /// Connects and logs in, within `limit`.
    pub fn connect(target: &Target, secret: Option<&Secret>, limit: Duration) -> Result<Client, ClientError> {
        let deadline = Instant::now() + limit;
        let stream = Stream::open(&target.host, target.port, deadline)?;
        let mut client = Client { stream, input: Vec::new(), version: String::new() };
        client.log_in(target, secret, deadline)?;
        Ok(client)
    }

    /// The major version of the server; 0 if it cannot be read.
    pub fn major_version(&self) -> u32 {
        let digits = self.version.split(|letter: char| !letter.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    fn log_in(
        &mut self,
        target: &Target,
        secret: Option<&Secret>,
        deadline: Instant,
    ) -> Result<(), ClientError> {
        let mut out = Vec::new();
        let options = [
            ("user", target.user.as_str()),
            ("database", &target.database),
            ("application_name", target.application_name),
            ("client_encoding", "UTF8"),
        ];
        frontend::put_startup(&mut out, PROTOCOL_3_0, &options);
        self.send(&out, deadline)?;
        let mut login = Login::new(&target.user, secret, nonce()?);
        let mut keys = SaltedKeys::default();
        let mut logged_in = false;
        loop {
            let (kind, body) = self.message(deadline)?;
            match kind {
                b'R' => {
                    out.clear();
                    logged_in = login.on(backend::authentication(&body)?, &mut out, &mut keys)? == Step::Done;
                    self.send(&out, deadline)?;
                }
                b'E' => return Err(server_error(&body)?),
                b'K' if logged_in => (),
                b'Z' if logged_in => return Ok(()),
                other => return Err(ClientError::Unexpected(other)),
            }
        }
    }

    /// Runs a query of one statement within `limit` and returns its rows.
    pub fn rows(&mut self, query: &str, limit: Duration) -> Result<Vec<Row>, ClientError> {
        let deadline = Instant::now() + limit;
        let mut out = Vec::new();
        frontend::put_query(&mut out, query.as_bytes());
        self.send(&out, deadline)?;
        let mut rows = Vec::new();
        let mut refused = None;
        loop {
            let (kind, body) = self.message(deadline)?;
            match kind {
                b'D' => rows.push(row(&body)?),
                b'E' => refused = Some(server_error(&body)?),
                b'Z' => return refused.map_or(Ok(rows), Err),
                b'T' | b'C' | b'I' => (),
                other => return Err(ClientError::Unexpected(other)),
            }
        }
    }

    fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), ClientError> {
        self.stream.limit(remaining(deadline)?)?;
        Ok(self.stream.write_all(bytes)?)
    }

    /// The next message that is not merely news.
    fn message(&mut self, deadline: Instant) -> Result<(u8, Vec<u8>), ClientError> {
        loop {
            if let Some((kind, body)) = self.buffered()? {
                match kind {
                    b'S' => self.note_parameter(&body)?,
                    b'N' | b'A' => (),
                    _ => return Ok((kind, body)),
                }
                continue;
            }
            self.stream.limit(remaining(deadline)?)?;
            let mut chunk = [0; 8192];
            match self.stream.read(&mut chunk)? {
                0 => return Err(ClientError::Closed),
                count => self.input.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            }
        }
    }

    fn buffered(&mut self) -> Result<Option<(u8, Vec<u8>)>, ClientError> {
        let Some(header) = frame::header(&self.input)? else { return Ok(None) };
        if header.length > MAX_MESSAGE {
            return Err(ClientError::TooLong(header.kind));
        }
        if self.input.len() < header.length {
            return Ok(None);
        }
        let rest = self.input.split_off(header.length);
        let mut message = std::mem::replace(&mut self.input, rest);
        message.drain(..5);
        Ok(Some((header.kind, message)))
    }

    fn note_parameter(&mut self, body: &[u8]) -> Result<(), ClientError> {
        if let (b"server_version", value) = backend::parameter_status(body)? {
            self.version = String::from_utf8_lossy(value).into_owned();
        }
        Ok(())
    }
}

impl Drop for Client {
    /// Says goodbye, so that the server logs no lost connection; if that would block, it goes unsaid.
    fn drop(&mut self) {
        let mut out = Vec::new();
        frontend::put_terminate(&mut out);
        let _ = self.stream.limit(Duration::from_millis(1)).and_then(|()| self.stream.write_all(&out));
    }
}

fn nonce() -> Result<String, ClientError> {
    let mut filled = Ok(());
    let nonce = scram::nonce(&mut |bytes| filled = getrandom::fill(bytes));
    filled.map_err(|error| ClientError::Io(io::Error::other(error)))?;
    Ok(nonce)
}

fn row(body: &[u8]) -> Result<Row, ClientError> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    Ok(backend::data_row(body)?.into_iter().map(|value| value.map(text)).collect())
}

fn server_error(body: &[u8]) -> Result<ClientError, ClientError> {
    Ok(ClientError::Server(backend::error(body)?.to_string()))
}

fn remaining(deadline: Instant) -> Result<Duration, ClientError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ClientError::TimedOut) } else { Ok(left) }
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn open(host: &str, port: u16, deadline: Instant) -> Result<Stream, ClientError> {
        let failed = |source| ClientError::Connect { host: host.to_owned(), port, source };
        if host.starts_with('/') {
            return open_unix(&format!("{host}/.s.PGSQL.{port}")).map(Stream::Unix).map_err(failed);
        }
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in resolve(host, port, deadline)? {
            match TcpStream::connect_timeout(&address, remaining(deadline)?) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Stream::Tcp(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    /// How long the next read or write may take.
    fn limit(&self, limit: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => {
                stream.set_read_timeout(Some(limit)).and_then(|()| stream.set_write_timeout(Some(limit)))
            }
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
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
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
        Err(_) => Err(failed("no answer in time".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::wire::backend::{Column, Notice, TxStatus};

    const LIMIT: Duration = Duration::from_secs(5);

    /// A server of one client: answers its first packet and each query with the next of these.
    fn with_server<T>(answers: Vec<Vec<u8>>, test: impl FnOnce(&Target) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(".s.PGSQL.5432")).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                let _ = stream.read(&mut [0; 4096]).unwrap();
                stream.write_all(&answer).unwrap();
            }
            // Until the client has gone.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let found = test(&target(dir.path().to_str().unwrap(), 5432));
        server.join().unwrap();
        found
    }

    fn target(host: &str, port: u16) -> Target {
        let (user, database) = ("ann".to_owned(), "db".to_owned());
        Target { host: host.to_owned(), port, user, database, application_name: "test" }
    }

    fn welcome() -> Vec<u8> {
        let mut out = Vec::new();
        backend::put_auth_ok(&mut out);
        backend::put_parameter_status(&mut out, b"server_version", b"15.4 (Debian)");
        backend::put_key_data(&mut out, 1, &[0; 4]);
        backend::put_ready(&mut out, TxStatus::Idle);
        out
    }

    fn refusal(ready: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let notice = Notice { severity: "ERROR", code: "42501", message: "no", detail: None, hint: None };
        backend::put_error(&mut out, &notice);
        if ready {
            backend::put_ready(&mut out, TxStatus::Idle);
        }
        out
    }

    #[test]
    fn rows_and_refusals() {
        let mut result = Vec::new();
        backend::put_row_description(
            &mut result,
            &[Column { name: "a", type_oid: 25, type_len: -1, format: 0 }],
        );
        backend::put_data_row(&mut result, &[Some(b"x"), None]);
        backend::put_command_complete(&mut result, "SELECT 1");
        backend::put_ready(&mut result, TxStatus::Idle);
        with_server(vec![welcome(), refusal(true), result], |target| {
            let mut client = Client::connect(target, None, LIMIT).unwrap();
            assert_eq!(client.major_version(), 15);
            let refused = client.rows("SELECT 1", LIMIT).unwrap_err();
            assert!(refused.leaves_connection());
            assert_eq!(refused.to_string(), "ERROR: no (42501)");
            assert_eq!(client.rows("SELECT 1", LIMIT).unwrap(), [[Some("x".to_owned()), None]]);
        });
    }

    #[test]
    fn logins_that_fail() {
        let mut ready_at_once = Vec::new();
        backend::put_ready(&mut ready_at_once, TxStatus::Idle);
        let mut wants_password = Vec::new();
        backend::put_auth_md5(&mut wants_password, [1; 4]);
        let cases = [
            (refusal(false), "ERROR: no (42501)"),
            (ready_at_once, "unexpected message of type 'Z'"),
            (wants_password, "pool_passwd file does not contain an entry"),
            (b"HTTP/1.1 400".to_vec(), "invalid length"),
            (b"D\x10\0\0\0".to_vec(), "too long"),
        ];
        for (answer, expected) in cases {
            let text = with_server(vec![answer], |target| {
                Client::connect(target, None, LIMIT).unwrap_err().to_string()
            });
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_silent_server_costs_no_more_than_the_limit() {
        let begun = Instant::now();
        with_server(vec![Vec::new()], |target| {
            let error = Client::connect(target, None, Duration::from_millis(50)).unwrap_err();
            assert!(matches!(error, ClientError::TimedOut), "{error}");
        });
        assert!(begun.elapsed() < LIMIT);
    }

    #[test]
    fn nobody_there() {
        let dir = tempfile::tempdir().unwrap();
        let error = Client::connect(&target(dir.path().to_str().unwrap(), 1), None, LIMIT).unwrap_err();
        assert!(error.to_string().starts_with("failed to connect to PostgreSQL server on"), "{error}");
    }
}
