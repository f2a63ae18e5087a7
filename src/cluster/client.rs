//! A small blocking PostgreSQL client, for processes that may wait: log in, run a query, get rows of text.
//!
//! Every call ends within its time limit, whatever the server does. Sessions of clients do not use
//! this: a worker never blocks.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::stream::{Stream, remaining};
use crate::auth::backend_leg::{Login, LoginError, Step};
use crate::auth::pool_passwd::Secret;
use crate::auth::scram::{self, SaltedKeys};
use crate::tls::{NOT_THIS_WAY, SslMode, Wanted};
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
    /// How the connection is secured, if it is.
    pub tls: Option<Wanted>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error("could not resolve host \"{host}\": {reason}")]
    Resolve { host: String, reason: String },
    #[error("could not resolve host \"{host}\": no answer in time")]
    ResolveTimedOut { host: String },
    #[error("failed to connect to PostgreSQL server on \"{host}:{port}\": {source}")]
    Connect { host: String, port: u16, source: io::Error },
    #[error("no answer in time")]
    TimedOut,
    /// The server is there, and the connection cannot be secured as it must be.
    #[error("TLS with host \"{host}\": {reason}")]
    Tls { host: String, reason: String },
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
    #[error("{text}")]
    Server {
        /// SQLSTATE.
        code: String,
        /// Severity, message and code.
        text: String,
    },
}

impl ClientError {
    /// The connection can take another query.
    pub fn leaves_connection(&self) -> bool {
        matches!(self, Self::Server { .. })
    }

    /// The time limit ended it, whatever the server would have said.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut | Self::ResolveTimedOut { .. })
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

/// How long connecting may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Until an address has taken the connection.
    pub connect: Duration,
    /// All of it: look-up, connection, log-in.
    pub whole: Duration,
}

/// One limit for everything.
impl From<Duration> for Limits {
    fn from(limit: Duration) -> Limits {
        Limits { connect: limit, whole: limit }
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
    /// Connects and logs in; where TLS may be or not be, the way that the server wants.
    pub fn connect(
        target: &Target,
        secret: Option<&Secret>,
        limits: impl Into<Limits>,
    ) -> Result<Client, ClientError> {
        let limits = limits.into();
        let deadline = Instant::now() + limits.whole;
        let attempt = |again| -> Result<(Client, Result<(), ClientError>), ClientError> {
            let stream = Stream::open(&target.host, target.port, limits.connect, deadline)?;
            let stream = match &target.tls {
                Some(wanted) => stream.secured(&target.host, wanted, again, deadline)?,
                None => stream,
            };
            let mut client = Client { stream, input: Vec::new(), version: String::new() };
            let logged_in = client.log_in(target, secret, deadline);
            Ok((client, logged_in))
        };
        let (client, logged_in) = attempt(false)?;
        let mode = target.tls.as_ref().map_or(SslMode::Disable, |wanted| wanted.mode);
        let (client, logged_in) = match logged_in {
            Err(ClientError::Server { code, .. })
                if code == NOT_THIS_WAY && mode.has_other_way(client.stream.is_secured()) =>
            {
                attempt(true)?
            }
            other => (client, other),
        };
        logged_in.map(|()| client)
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
        let mut login = Login::new(&target.user, secret, nonce()?).over(self.stream.end_point());
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
        self.ask(query, deadline)?;
        self.answer(|client| client.message(deadline))
    }

    /// As `rows`, for a query that takes as long as it takes; `still_waiting` is called whenever `beat` has passed. Only
    /// the kernel ends it, when the server's host has gone.
    pub fn rows_at_last(
        &mut self,
        query: &str,
        beat: Duration,
        still_waiting: &mut dyn FnMut(),
    ) -> Result<Vec<Row>, ClientError> {
        self.stream.notice_dead_peer()?;
        self.ask(query, Instant::now() + beat)?;
        self.answer(|client| {
            loop {
                match client.message(Instant::now() + beat) {
                    Err(ClientError::TimedOut) => still_waiting(),
                    other => return other,
                }
            }
        })
    }

    fn ask(&mut self, query: &str, deadline: Instant) -> Result<(), ClientError> {
        let mut out = Vec::new();
        frontend::put_query(&mut out, query.as_bytes());
        self.send(&out, deadline)
    }

    /// What a query gives, from the messages that `next` waits for.
    fn answer(
        &mut self,
        mut next: impl FnMut(&mut Client) -> Result<(u8, Vec<u8>), ClientError>,
    ) -> Result<Vec<Row>, ClientError> {
        let mut rows = Vec::new();
        let mut refused = None;
        loop {
            let (kind, body) = next(self)?;
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
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ClientError::Closed),
                Ok(count) => self.input.extend_from_slice(chunk.get(..count).unwrap_or_default()),
                // A process that was stopped and goes on, or a signal: the connection is as it was.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
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
    let fields = backend::error(body)?;
    let code = String::from_utf8_lossy(fields.code).into_owned();
    Ok(ClientError::Server { code, text: fields.to_string() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

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
        Target { host: host.to_owned(), port, user, database, application_name: "test", tls: None }
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
        let limits = Limits { connect: LIMIT, whole: Duration::from_millis(50) };
        with_server(vec![Vec::new()], |target| {
            let error = Client::connect(target, None, limits).unwrap_err();
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
