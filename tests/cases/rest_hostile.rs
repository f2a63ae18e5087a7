//! Hostile and clumsy clients of the REST API hold nobody up: neither its other clients nor sessions.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::rest::start;
use crate::harness::balancer::Conf;
use crate::harness::rest::{ask, get, open, post, raw, rest};
use crate::harness::{Balancer, Client, process, wait};

/// SQL and other requests are served, and the process is still the same.
struct Watch {
    client: Client,
    pid: i32,
}

impl Watch {
    fn new(balancer: &Balancer) -> Watch {
        let client = Client::connect(&balancer.door("postgres"));
        Watch { client, pid: balancer.child_titled("REST API").expect("the REST API process") }
    }

    #[track_caller]
    fn check(&mut self, balancer: &Balancer) {
        assert_eq!(self.client.ask("SELECT 1"), "1");
        assert_eq!(get(balancer, "/api/v1/status").status, 200);
        assert_eq!(balancer.child_titled("REST API"), Some(self.pid));
        assert!(process::memory_kib(self.pid) < 64 * 1024, "{} KiB", process::memory_kib(self.pid));
    }
}

/// Waits until the server closes the connection; what it says before that is returned.
fn until_closed(stream: &mut TcpStream) -> String {
    String::from_utf8_lossy(&rest(stream)).into_owned()
}

#[test]
fn slow_heads_and_bodies_are_given_up() {
    let balancer = start(|conf| conf);
    let mut watch = Watch::new(&balancer);
    let mut slow: Vec<TcpStream> = (0..50).map(|_| open(&balancer)).collect();
    for (number, stream) in slow.iter_mut().enumerate() {
        let text = match number % 3 {
            0 => "",
            1 => "GET /api/v1/status HTTP/1.1\r\nHost: loc",
            _ => "POST /api/v1/nodes/1/detach HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{",
        };
        stream.write_all(text.as_bytes()).unwrap();
    }
    watch.check(&balancer);
    for (number, stream) in slow.iter_mut().enumerate() {
        let said = until_closed(stream);
        if number % 3 == 2 {
            assert!(said.starts_with("HTTP/1.1 408"), "{said}");
        }
    }
    watch.check(&balancer);
}

#[test]
fn bodies_and_heads_are_bounded() {
    let balancer = start(|conf| conf);
    let mut watch = Watch::new(&balancer);
    let post = "POST /api/v1/nodes/1/detach HTTP/1.1\r\nHost: localhost\r\n";
    raw(&balancer, &format!("{post}Content-Length: 1000000000\r\n\r\n")).refused(413);
    raw(&balancer, &format!("{post}Content-Length: 1048577\r\n\r\n")).refused(413);
    let mut stream = open(&balancer);
    write!(stream, "{post}Transfer-Encoding: chunked\r\n\r\n").unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    // It may be refused and closed while this still writes.
    for _ in 0..20 {
        if stream.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    let said = until_closed(&mut stream);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 413"), "{said}");
    let long = format!("X: {}\r\n", "x".repeat(100_000));
    let many: String = (0..500).map(|number| format!("X{number}: y\r\n")).collect();
    for lines in [long, many] {
        let mut stream = open(&balancer);
        let _ = write!(stream, "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
        let said = until_closed(&mut stream);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 431"), "{said}");
        assert!(
            said.is_empty() || said.contains("\"message\":\"the head is longer than 32768 bytes, or"),
            "{said}"
        );
    }
    ask(&balancer, "GET", &format!("/api/v1/status?{}", "x".repeat(10_000)), "", "").refused(400);
    // Empty lines are none of a request, which is waited for then; who speaks HTTP/2 would not understand an answer.
    for (text, is_answered) in [
        ("\r\n\r\n", false),
        ("GET\r\n\r\n", true),
        ("\u{16}\u{3}\u{1}\r\n\r\n", true),
        ("GET / HTTP/9.9\r\n\r\n", true),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false),
    ] {
        let mut stream = open(&balancer);
        stream.write_all(text.as_bytes()).unwrap();
        let said = until_closed(&mut stream);
        let whole = said.starts_with("HTTP/1.1 400")
            && said.ends_with("this is no request of HTTP/1.1\",\"status\":400}");
        assert_eq!((said.is_empty(), whole), (!is_answered, is_answered), "{text:?}: {said}");
    }
    watch.check(&balancer);
}

#[test]
fn many_long_bodies_at_once_are_not_held_and_short_ones_do_not_wait_for_them() {
    let balancer = start(|conf| conf);
    let mut watch = Watch::new(&balancer);
    let half = "x".repeat(600_000);
    let mut there = Vec::new();
    for _ in 0..150 {
        let mut stream = open(&balancer);
        stream.set_nonblocking(true).unwrap();
        let _ = write!(
            stream,
            "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{half}"
        );
        there.push(stream);
    }
    let login = "{\"username\":\"operator\",\"password\":\"operator_secret\"}";
    assert_eq!(post(&balancer, "/api/v1/auth/login", login).status, 200);
    watch.check(&balancer);
}

#[test]
fn thousands_of_silent_connections_keep_nobody_out() {
    let balancer = start(|conf| conf);
    let mut watch = Watch::new(&balancer);
    let mut there = Vec::new();
    for number in 0..2000 {
        there.push(open(&balancer));
        if number % 500 == 499 {
            watch.check(&balancer);
        }
    }
    balancer.wait_log("REST API connections were closed: there are more than 512 at once");
    watch.check(&balancer);
    drop(there);
    watch.check(&balancer);
}

#[test]
fn streams_are_bounded_and_end_with_their_clients() {
    let balancer = start(|conf: Conf| conf);
    let mut watch = Watch::new(&balancer);
    let mut streams: Vec<TcpStream> = Vec::new();
    for _ in 0..64 {
        let mut stream = open(&balancer);
        write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        streams.push(stream);
    }
    let refused = get(&balancer, "/api/v1/events");
    assert_eq!(refused.field("retry-after"), Some("10"));
    refused.refused(503);
    watch.check(&balancer);
    drop(streams);
    wait::until_true("a place for a stream", || {
        let mut stream = open(&balancer);
        write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        &first == b"HTTP/1.1 200"
    });
}
