//! A server that answers as the REST API does, from a function, and remembers what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Method and path, e.g. `GET /api/v1/nodes`.
    pub(crate) line: String,
    /// By name in small letters.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// What it answers: status, and a body (JSON, or an event stream where it begins with `event:`).
pub(crate) type Reply = (u16, String);

type Answers = dyn Fn(&Asked) -> Reply + Send + Sync;

pub(crate) struct Fake {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    pub(crate) fn start(answers: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let fake = Fake { port, asked: Arc::default() };
        let (asked, answers): (_, Arc<Answers>) = (fake.asked.clone(), Arc::new(answers));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (asked, answers) = (asked.clone(), answers.clone());
                std::thread::spawn(move || serve(&stream, &asked, &*answers));
            }
        });
        fake
    }

    /// The same at the file of a Unix socket.
    pub(crate) fn start_unix(path: &Path, answers: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Fake {
        let listener = UnixListener::bind(path).unwrap();
        let fake = Fake { port: 0, asked: Arc::default() };
        let asked = fake.asked.clone();
        std::thread::spawn(move || {
            listener.incoming().flatten().for_each(|stream| serve(&stream, &asked, &answers))
        });
        fake
    }

    /// All requests since the last look.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// One request on a connection; who goes away in between has what it wanted.
fn serve<S>(stream: &S, asked: &Mutex<Vec<Asked>>, answers: &Answers)
where
    for<'a> &'a S: Read + Write,
{
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line.trim_end().is_empty() => break,
            Ok(_) => lines.push(line.trim_end().to_owned()),
        }
    }
    let headers: BTreeMap<String, String> = lines
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let line = lines[0].trim_end_matches(" HTTP/1.1").to_owned();
    let request = Asked { line, headers, body: String::from_utf8(body).unwrap() };
    asked.lock().unwrap().push(request.clone());
    let (status, text) = answers(&request);
    let kind = if text.starts_with("event:") { "text/event-stream" } else { "application/json" };
    // The length of a stream is not known before its end.
    let length = if text.starts_with("event:") {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", text.len())
    };
    let head = format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{length}Connection: close\r\n\r\n");
    let mut writer = stream;
    let _ = writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(text.as_bytes()));
}
