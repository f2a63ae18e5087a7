//! Clients of the REST API: one that speaks HTTP by hand, curl, and a look at answers through the schema.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Balancer, wait};

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Answer {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A field of the head.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(there, _)| *there == name).map(|(_, value)| value).next()
    }

    /// The body, of an answer that must be good.
    #[track_caller]
    pub(crate) fn good(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json()
    }

    /// It must be a refusal of this status that says so in its body.
    #[track_caller]
    pub(crate) fn refused(self, status: u16) -> String {
        let body = self.json();
        assert_eq!((self.status, &body["status"]), (status, &Value::from(status)), "{self:?}");
        assert!(body["error"].is_string(), "{self:?}");
        body["message"].as_str().expect("a message").to_owned()
    }
}

pub(crate) fn get(balancer: &Balancer, path: &str) -> Answer {
    ask(balancer, "GET", path, "", "")
}

pub(crate) fn post(balancer: &Balancer, path: &str, body: &str) -> Answer {
    ask(balancer, "POST", path, "", body)
}

/// A request with more lines of the head, each with its end.
pub(crate) fn ask(balancer: &Balancer, method: &str, path: &str, lines: &str, body: &str) -> Answer {
    let host = if lines.contains("Host:") { "" } else { "Host: localhost\r\n" };
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    raw(
        balancer,
        &format!("{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{lines}{length}\r\n{body}"),
    )
}

/// Exactly these bytes; the answer ends with the connection.
pub(crate) fn raw(balancer: &Balancer, request: &str) -> Answer {
    let mut stream = open(balancer);
    stream.write_all(request.as_bytes()).unwrap();
    Answer::parse(&rest(&mut stream))
}

/// All that comes until the server ends the connection, which it must; a reset behind the answer is an end as well.
pub(crate) fn rest(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 65536];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return bytes,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return bytes,
            Err(error) => panic!("the connection does not end: {error}"),
        }
    }
}

pub(crate) fn open(balancer: &Balancer) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", balancer.rest_port())).expect("the port of the REST API");
    stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
    stream.set_write_timeout(Some(wait::LIMIT)).unwrap();
    stream
}

/// Over the Unix socket.
pub(crate) fn over_unix(balancer: &Balancer, method: &str, path: &str) -> Answer {
    let file = balancer.dir.path().join(format!(".s.PGREST.{}", balancer.rest_port()));
    let mut stream = UnixStream::connect(file).expect("the Unix socket of the REST API");
    stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n").unwrap();
    Answer::parse(&rest(&mut stream))
}

/// A line of the README for the shell, with the port of this program; what it prints.
pub(crate) fn shell(balancer: &Balancer, line: &str) -> String {
    let line = line.replace("localhost:8080", &format!("localhost:{}", balancer.rest_port()));
    let mut command = Command::new("bash");
    let output = command.args(["-c", &line]).stdin(Stdio::null()).output().expect("bash");
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// What is wrong with a value by a schema; properties that it does not name are wrong, too.
pub(crate) fn faults(value: &Value, schema: &Value, place: &str) -> Vec<String> {
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    let fits = |kind: &Value| match kind.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("null") => value.is_null(),
        _ => false,
    };
    if !kinds.iter().any(fits) {
        return vec![format!("{place}: {value} is not {}", schema["type"])];
    }
    let mut faults = Vec::new();
    if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
        && number < least
    {
        faults.push(format!("{place}: {number} is less than {least}"));
    }
    if let Some(items) = value.as_array() {
        let each = items.iter().enumerate();
        faults.extend(
            each.flat_map(|(at, item)| self::faults(item, &schema["items"], &format!("{place}[{at}]"))),
        );
    }
    if let (Some(object), Some(properties)) = (value.as_object(), schema["properties"].as_object()) {
        for (name, inner) in object {
            match properties.get(name) {
                Some(schema) => faults.extend(self::faults(inner, schema, &format!("{place}.{name}"))),
                None => faults.push(format!("{place}: {name} is not in the schema")),
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                faults.push(format!("{place}: there is no {name}"));
            }
        }
    }
    faults
}
