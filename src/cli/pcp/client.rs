//! The connection to a server: log in, ask, read what comes.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::options::Options;
use super::password;
use crate::auth::pcp_conf;
use crate::sys::process;
use crate::wire::write;

/// Where the sockets of a server without `-h` are.
const SOCKETS: &str = "/tmp";

/// Longest name that servers take.
const MAX_USER: usize = 128;

/// More than any report is long; a server that says more is none.
const LONGEST: usize = 256 << 20;

/// What comes of a question: a row a packet, and in it the strings.
pub(super) type Answer = Vec<Vec<String>>;

/// A request, and what a debug line calls it.
pub(super) struct Question {
    pub(super) kind: u8,
    pub(super) body: Vec<u8>,
    pub(super) shown: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no connection.
    Connect(String),
    /// It broke.
    Broken,
    /// What came is no answer.
    NotUnderstood,
    /// The server refuses.
    Said(String),
}

impl Failure {
    /// As the tools print it.
    pub(super) fn text(&self) -> String {
        match self {
            Failure::Connect(text) => format!("ERROR: {text}\n"),
            Failure::Broken => "ERROR: unable to read data from socket.\n".to_owned(),
            Failure::NotUnderstood => "ERROR: command failed. invalid response\n".to_owned(),
            Failure::Said(text) => text.clone(),
        }
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A connection that has logged in.
pub(super) struct Client {
    stream: Box<dyn Stream>,
    debug: bool,
}

impl Client {
    pub(super) fn connect(options: &Options, typed: &str) -> Result<Client, Failure> {
        let stream: Box<dyn Stream> = match options.host.as_str() {
            "" => over_file(SOCKETS, options.port)?,
            host if host.starts_with('/') => over_file(host, options.port)?,
            host => over_tcp(host, options.port)?,
        };
        let user = options.user.clone().or_else(process::user_name).unwrap_or_default();
        if user.len() >= MAX_USER {
            return Err(Failure::Connect("PCP authorization failed. username too long.".to_owned()));
        }
        let host = if ["", SOCKETS].contains(&options.host.as_str()) { "localhost" } else { &options.host };
        let password = match typed {
            "" => password::from_file(host, options.port, &user),
            typed => typed.to_owned(),
        };
        let mut client = Client { stream, debug: options.debug };
        client.log_in(&user, &password)?;
        Ok(client)
    }

    fn log_in(&mut self, user: &str, password: &str) -> Result<(), Failure> {
        self.send(b'M', b"").map_err(|_| Failure::Broken)?;
        let salt = match self.receive()? {
            (b'm', body) => body.first_chunk().copied().ok_or(Failure::NotUnderstood)?,
            _ => return Err(Failure::NotUnderstood),
        };
        let said = pcp_conf::answer(user.as_bytes(), password.as_bytes(), salt);
        self.send(b'R', format!("{user}\0{}\0", *said).as_bytes()).map_err(|_| Failure::Broken)?;
        match self.receive()? {
            (b'r', _) => Ok(()),
            _ => Err(Failure::NotUnderstood),
        }
    }

    /// The rows that answer a question, until the server says that it is done.
    pub(super) fn ask(&mut self, question: &Question) -> Result<Answer, Failure> {
        self.say(&question.shown, question.body.len() + 4);
        self.send(question.kind, &question.body).map_err(|_| Failure::Broken)?;
        let mut rows = Answer::new();
        loop {
            let (kind, body) = self.receive()?;
            // The count before the parameters is in binary, and of no use.
            let strings: Vec<String> = body
                .strip_suffix(b"\0")
                .unwrap_or(&body)
                .split(|byte| *byte == 0)
                .map(|text| String::from_utf8_lossy(text).into_owned())
                .collect();
            let is_last = strings.first().is_some_and(|first| first == "CommandComplete");
            // A command is over whatever else its answer says.
            let is_command = matches!(kind, b'c' | b'd' | b't' | b'v' | b'g' | b'z');
            rows.push(strings);
            if is_last || is_command {
                return Ok(rows);
            }
        }
    }

    pub(super) fn say_goodbye(&mut self) {
        self.say("DEBUG: send: tos=\"X\"", 4);
        // It may have gone already.
        let _ = self.send(b'X', b"");
    }

    fn send(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let mut out = Vec::new();
        write::frame(&mut out, kind, |out| out.extend_from_slice(body));
        self.stream.write_all(&out)
    }

    /// The next packet that is no notice.
    fn receive(&mut self) -> Result<(u8, Vec<u8>), Failure> {
        loop {
            let mut head = [0; 5];
            self.stream.read_exact(&mut head).map_err(|_| Failure::Broken)?;
            let [kind, length @ ..] = head;
            let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(0);
            self.say(&format!("DEBUG: recv: tos=\"{}\"", char::from(kind)), length);
            let rest = length.checked_sub(4).filter(|rest| *rest <= LONGEST).ok_or(Failure::NotUnderstood)?;
            let mut body = vec![0; rest];
            self.stream.read_exact(&mut body).map_err(|_| Failure::Broken)?;
            match kind {
                b'E' => return Err(Failure::Said(error_text(&body))),
                b'N' => {
                    if self.debug {
                        eprint!("{}", error_text(&body));
                    }
                }
                _ => return Ok((kind, body)),
            }
        }
    }

    fn say(&self, what: &str, length: usize) {
        if self.debug {
            // Whoever closed our output has seen enough.
            let _ = writeln!(io::stdout(), "{what}, len={length}");
        }
    }
}

fn over_file(directory: &str, port: u16) -> Result<Box<dyn Stream>, Failure> {
    let path = Path::new(directory).join(format!(".s.PGSQL.{port}"));
    let failed = |error: io::Error| {
        let (path, error) = (path.display(), plain(&error));
        Failure::Connect(format!("connection to socket \"{path}\" failed with error \"{error}\""))
    };
    Ok(Box::new(UnixStream::connect(&path).map_err(failed)?))
}

/// Tries all addresses of the host, unlike pgpool-II's.
fn over_tcp(host: &str, port: u16) -> Result<Box<dyn Stream>, Failure> {
    let addresses = (host, port).to_socket_addrs().map_err(|error| {
        Failure::Connect(format!("could not retrieve hostname. getaddrinfo failed with error \"{error}\""))
    })?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect(address) {
            Ok(stream) => return Ok(Box::new(stream)),
            Err(error) => last = error,
        }
    }
    let error = plain(&last);
    Err(Failure::Connect(format!("connection to host \"{host}\" failed with error \"{error}\"")))
}

/// The text without Rust's number of the error.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// An error or a notice, as the tools print it.
fn error_text(body: &[u8]) -> String {
    let field = |letter: u8| {
        let fields = body.split(|byte| *byte == 0).filter_map(|field| field.split_first());
        let found = fields.into_iter().find(|(first, _)| **first == letter);
        found.map(|(_, text)| String::from_utf8_lossy(text).into_owned())
    };
    let (severity, message) = (field(b'S').unwrap_or_default(), field(b'M').unwrap_or_default());
    let detail = field(b'D').map(|detail| format!("DETAIL:  {detail}\n")).unwrap_or_default();
    format!("{severity}:  {message}\n{detail}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_as_the_tools_print_them() {
        for (body, text) in [
            (&b"SERROR\0CXX000\0Mno\0Dwhy\0Fx.c\0L1\0\0"[..], "ERROR:  no\nDETAIL:  why\n\n"),
            (b"SFATAL\0VFATAL\0CXX000\0Mno\0\0", "FATAL:  no\n\n"),
            (b"", ":  \n\n"),
        ] {
            assert_eq!(error_text(body), text);
        }
    }
}
