//! A wire tap: what a server sends to a client, as it passes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::cluster::Door;
use super::message::Message;

/// Listens before a door and notes what comes out of it.
pub(crate) struct Tap {
    door: Door,
    /// Of each connection, in the order in which they came.
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    begun: Arc<Mutex<Vec<[u8; 8]>>>,
}

impl Tap {
    pub(crate) fn before(door: &Door) -> Tap {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let begun = Arc::new(Mutex::new(Vec::new()));
        let (to, all, first) = ((door.host.clone(), door.port), Arc::clone(&heard), Arc::clone(&begun));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect((to.0.as_str(), to.1)) else { return };
                let number = {
                    let mut all = all.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                let (mut from_client, mut to_server) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                let first = Arc::clone(&first);
                std::thread::spawn(move || {
                    let mut bytes = [0; 8];
                    if from_client.read_exact(&mut bytes).is_ok() {
                        first.lock().unwrap().push(bytes);
                        let _ = to_server.write_all(&bytes);
                    }
                    let _ = std::io::copy(&mut from_client, &mut to_server);
                    let _ = to_server.shutdown(Shutdown::Write);
                });
                let all = Arc::clone(&all);
                std::thread::spawn(move || {
                    pass_on(server, client, |bytes| all.lock().unwrap()[number].extend(bytes))
                });
            }
        });
        Tap { door: Door { host: "127.0.0.1".to_owned(), port, ..door.clone() }, heard, begun }
    }

    /// The first bytes that each client has sent: length and code of its first packet.
    pub(crate) fn begun(&self) -> Vec<[u8; 8]> {
        self.begun.lock().unwrap().clone()
    }

    pub(crate) fn door(&self) -> &Door {
        &self.door
    }

    /// What each connection was sent, a line a message, without what differs between any two connections: keys, process
    /// numbers, object numbers of a database, the order of parameters.
    pub(crate) fn heard(&self) -> Vec<Vec<String>> {
        self.heard.lock().unwrap().iter().map(|bytes| words(bytes, &self.door.database)).collect()
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, mut note: impl FnMut(&[u8])) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        note(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn words(bytes: &[u8], database: &str) -> Vec<String> {
    let (mut words, mut parameters) = (Vec::new(), BTreeMap::new());
    let mut rest = bytes;
    // The answer to a request for encryption is a letter and no message.
    while let [b'N' | b'S', after @ ..] = rest {
        if after.first().is_some_and(|next| *next == 0) {
            break;
        }
        words.push("no encryption".to_owned());
        rest = after;
    }
    while rest.len() >= 5 {
        let length = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
        let Some(body) = rest.get(5..length + 1) else { break };
        let message = Message { kind: rest[0] as char, body: body.to_vec() };
        rest = &rest[length + 1..];
        if message.kind == 'S' {
            let text = message.text();
            let (name, value) = text.split_once('\0').unwrap();
            parameters.insert(name.to_owned(), value.to_owned());
            continue;
        }
        if message.kind == 'Z' {
            words.push(format!("{parameters:?}"));
        }
        words.push(word(&message, database));
    }
    words
}

/// A number that a database gives to its objects, in binary.
fn object(bytes: &[u8]) -> Option<String> {
    let number = u32::from_be_bytes(bytes.try_into().ok()?);
    (16_384..1_000_000).contains(&number).then(|| "#".to_owned())
}

/// A RowDescription (without its tables) without the numbers of types that the database has made.
fn without_own_types(columns: &[u8]) -> Vec<u8> {
    let mut out = columns.to_vec();
    for at in 0..out.len().saturating_sub(3) {
        if object(&out[at..at + 4]).is_some() {
            out[at..at + 4].copy_from_slice(b"####");
        }
    }
    out
}

fn value_text(value: &[u8]) -> String {
    // An array of object numbers tells the type of its members.
    let is_array = value.get(8..12) == Some(&[0, 0, 0, 26]);
    match object(value) {
        Some(number) => number,
        None if is_array => "#".to_owned(),
        None => without_object_numbers(&String::from_utf8_lossy(value)),
    }
}

/// Numbers of five digits that a database gives to its objects.
fn without_object_numbers(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|letter: char| letter.is_ascii_digit()) {
        let digits = rest[at..].find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len() - at);
        let number = &rest[at..at + digits];
        out.push_str(&rest[..at]);
        out.push_str(if digits == 5 && number >= "16384" { "#" } else { number });
        rest = &rest[at + digits..];
    }
    out + rest
}

fn word(message: &Message, database: &str) -> String {
    let body = &message.body;
    let text = match message.kind {
        'K' => String::new(),
        'A' => String::from_utf8_lossy(&body[4..]).into_owned(),
        'T' => String::from_utf8_lossy(&without_own_types(&message.without_tables())).into_owned(),
        't' => body[2..]
            .chunks(4)
            .map(|number| object(number).unwrap_or_else(|| format!("{number:?}")))
            .collect(),
        'E' | 'N' => String::from_utf8_lossy(body).replace(database, "database"),
        'D' => message
            .raw_values()
            .iter()
            .map(|value| value.as_deref().map_or("NULL".to_owned(), value_text))
            .collect::<Vec<_>>()
            .join("|"),
        _ => String::from_utf8_lossy(body).into_owned(),
    };
    format!("{} {}", message.kind, text.escape_debug())
}
