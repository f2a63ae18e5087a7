//! Clients that do not want to come in: none costs us a process, memory without bound, or the place of another.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::balancer::Conf;
use crate::harness::certs::Authority;
use crate::harness::{Balancer, Client, process, shared, wait};

const RULES: &str = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";

/// One process that asks for SCRAM and has TLS.
fn start(authority: &Authority, sessions: &str, timeout: &str) -> Balancer {
    let pair = authority.sign("server", "localhost", "DNS:localhost");
    let conf = Conf::of(shared())
        .set("num_init_children", "1")
        .set("sessions_per_child", sessions)
        .set("authentication_timeout", timeout)
        .set("enable_pool_hba", "on")
        .set("ssl", "on")
        .set("ssl_cert", &format!("'{}'", pair.cert.display()))
        .set("ssl_key", &format!("'{}'", pair.key.display()));
    Balancer::start_with(conf, &[("pool_hba.conf", RULES)])
}

fn open(balancer: &Balancer) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", balancer.port)).unwrap();
    socket.set_read_timeout(Some(wait::LIMIT)).unwrap();
    socket
}

fn packet(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 4).to_be_bytes()[..], body].concat()
}

fn start_up(body: &[u8]) -> Vec<u8> {
    packet(&[&b"\0\x03\0\0"[..], body].concat())
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &packet(body)].concat()
}

/// What is answered until the connection is closed, which it must be.
fn end_of(mut socket: TcpStream, what: &str) -> Vec<u8> {
    let mut answer = Vec::new();
    match socket.read_to_end(&mut answer) {
        Ok(_) => answer,
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{what}: {error}");
            answer
        }
    }
}

#[test]
fn what_begins_a_session_wrongly_is_refused() {
    let authority = Authority::new();
    let balancer = start(&authority, "50", "3");
    let worker = balancer.children();
    let long = vec![b'x'; 9_000];
    let sasl = |mechanism: &[u8], length: i32, response: &[u8]| {
        message(b'p', &[mechanism, b"\0", &length.to_be_bytes(), response].concat())
    };
    let someone = start_up(b"user\0someone\0\0");
    let after = |proof: Vec<u8>| [someone.clone(), proof].concat();
    let packets: Vec<(&str, Vec<u8>)> = vec![
        ("length 0", vec![0; 8]),
        ("length 3", vec![0, 0, 0, 3, 0, 3, 0, 0]),
        ("length 2 GiB", vec![0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0]),
        ("length below 0", vec![0xff; 8]),
        ("protocol 2", packet(b"\0\x02\0\0user\0x\0\0")),
        ("protocol 9", packet(b"\0\x09\0\0user\0x\0\0")),
        ("no user", start_up(b"database\0x\0\0")),
        ("an empty user", start_up(b"user\0\0\0")),
        ("a name without a value", start_up(b"user\0")),
        ("no end", start_up(b"user\0x\0database\0x")),
        ("bytes behind the end", start_up(b"user\0x\0\0user\0y\0\0")),
        ("a user of 9,000 bytes", start_up(&[b"user\0", &long[..], b"\0\0"].concat())),
        ("a database of 9,000 bytes", start_up(&[b"user\0x\0database\0", &long[..], b"\0\0"].concat())),
        ("a user that is no text", start_up(b"user\0\xff\xfe\0\0")),
        ("a cancel request without a key", packet(b"\x04\xd2\x16\x2e")),
        (
            "a cancel request with a key of 1,000 bytes",
            packet(&[&b"\x04\xd2\x16\x2e\0\0\0\x01"[..], &long[..1000]].concat()),
        ),
        ("a TLS request with something in it", packet(b"\x04\xd2\x16\x2fx")),
        ("a query for a start", message(b'Q', b"SELECT 1\0")),
        ("a query for a proof", after(message(b'Q', b"SELECT 1\0"))),
        ("a plain password for a proof", after(message(b'p', b"secret\0"))),
        ("another mechanism", after(sasl(b"PLAIN", 5, b"\0a\0bc"))),
        ("a mechanism without an end", after(message(b'p', b"SCRAM-SHA-256"))),
        ("a response longer than its message", after(sasl(b"SCRAM-SHA-256", i32::MAX, b"n,,n=,r=x"))),
        ("a response of length -2", after(sasl(b"SCRAM-SHA-256", -2, b"n,,n=,r=x"))),
        ("no response", after(sasl(b"SCRAM-SHA-256", -1, b""))),
        ("binding that was not offered", after(sasl(b"SCRAM-SHA-256", 27, b"p=tls-server-end-point,,n=,"))),
        ("an attribute that is mandatory", after(sasl(b"SCRAM-SHA-256", 13, b"n,,m=x,n=,r=x"))),
        ("an empty nonce", after(sasl(b"SCRAM-SHA-256", 8, b"n,,n=,r="))),
        ("garbage for a response", after(sasl(b"SCRAM-SHA-256", 4, b"\0\xff\0\xff"))),
        ("a proof of 1 GiB", after(vec![b'p', 0x40, 0, 0, 0])),
    ];
    for (what, bytes) in &packets {
        let mut socket = open(&balancer);
        // It may be refused before all is written.
        let _ = socket.write_all(bytes);
        let answer = end_of(socket, what);
        assert!(answer.len() < 2048, "{what}: {} bytes", answer.len());
        assert!(!answer.contains(&b'Z'), "{what} came in");
    }
    // Piece by piece as well: a message is what it is however it comes.
    let mut socket = open(&balancer);
    socket.set_nodelay(true).unwrap();
    for byte in start_up(b"user\0postgres\0database\0postgres\0\0") {
        socket.write_all(&[byte]).unwrap();
    }
    let mut answer = [0; 1];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"R");
    assert_eq!(Client::connect(&balancer.door("postgres")).ask("SELECT 'here'"), "here");
    assert_eq!(balancer.children(), worker, "no process has ended");
}

#[test]
fn a_client_that_sends_a_byte_now_and_then_ends_in_time() {
    let authority = Authority::new();
    let balancer = start(&authority, "50", "2");
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 500]].concat();
    let request = b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec();
    let slow: Vec<(&str, Vec<u8>, Vec<u8>)> = vec![
        ("a start", Vec::new(), start_up(&[b'x'; 200])),
        ("a handshake", request, hello.clone()),
        ("a direct handshake", hello[..1].to_vec(), hello[1..].to_vec()),
        ("a proof", start_up(b"user\0someone\0\0"), message(b'p', &[b'x'; 200])),
    ];
    let threads = slow.into_iter().map(|(what, first, rest)| {
        let mut socket = open(&balancer);
        std::thread::spawn(move || {
            socket.write_all(&first).unwrap();
            for byte in rest {
                if socket.write_all(&[byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            panic!("{what} was never refused");
        })
    });
    let threads: Vec<_> = threads.collect();
    while threads.iter().any(|thread| !thread.is_finished()) {
        assert_eq!(Client::connect(&balancer.door("postgres")).ask("SELECT 'here'"), "here");
        std::thread::sleep(Duration::from_millis(50));
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn ten_thousand_connections_that_send_nothing() {
    const MANY: usize = 10_000;
    let authority = Authority::new();
    let balancer = start(&authority, "10100", "15");
    let worker = balancer.worker_of(&Client::connect(&balancer.door("postgres")));
    let before = process::memory_kib(worker);
    let mut silent = Vec::new();
    for number in 0..MANY {
        silent.push(open(&balancer));
        if number % 2000 == 1999 {
            assert_eq!(Client::connect(&balancer.door("postgres")).ask("SELECT 'here'"), "here");
        }
    }
    let each = (process::memory_kib(worker).saturating_sub(before)) as f64 / MANY as f64;
    assert!(each < 8.0, "{each} KiB a silent connection");
    for (number, socket) in silent.into_iter().enumerate() {
        let answer = String::from_utf8_lossy(&end_of(socket, &format!("silence {number}"))).into_owned();
        assert!(answer.is_empty() || answer.contains("57014") || answer.contains("timeout"), "{answer}");
    }
    assert_eq!(Client::connect(&balancer.door("postgres")).ask("SELECT 'here'"), "here");
}
