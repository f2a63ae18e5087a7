//! Both backends over real socket pairs: nothing that was promised is forgotten.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::*;

/// One connection in charge of a `Net`, and its other end.
struct Pair {
    net: Net,
    id: ConnId,
    peer: UnixStream,
}

/// What an event was, without its bytes.
#[derive(Debug, PartialEq)]
enum Seen {
    Received(usize),
    Drained,
    Closed,
    Other,
}

fn stream() -> (Socket, UnixStream) {
    let (ours, peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    peer.set_nonblocking(true).unwrap();
    (Socket::Unix(mio::net::UnixStream::from_std(ours)), peer)
}

/// The smallest rings: two thousand connections must get along with them, too.
fn net(method: Method) -> Net {
    Net::new(method, 1, Vec::new(), |error| panic!("{error}")).unwrap()
}

impl Pair {
    fn new(method: Method) -> Pair {
        let mut net = net(method);
        let (socket, peer) = stream();
        let id = net.add(socket, Owner::Client(0)).unwrap();
        Pair { net, id, peer }
    }

    /// One turn: everything that is ready now.
    fn turn(&mut self) -> Vec<Seen> {
        self.net.wait(Some(Duration::from_millis(20))).unwrap();
        let mut seen = Vec::new();
        while let Some(event) = self.net.next_event() {
            seen.push(match event {
                Event::Received(_, _, chunk) => {
                    let length = chunk.bytes().len();
                    self.net.give_back(chunk);
                    Seen::Received(length)
                }
                Event::Drained(..) => Seen::Drained,
                Event::Closed(..) => Seen::Closed,
                _ => Seen::Other,
            });
            self.net.flush();
            assert!(seen.len() < 1000, "the turn does not end");
        }
        seen
    }

    /// The peer reads at most this much.
    fn peer_reads(&mut self, most: usize) -> usize {
        let mut buffer = vec![0; most];
        let mut got = 0;
        while got < most {
            match self.peer.read(&mut buffer[got..]) {
                Ok(0) | Err(_) => break,
                Ok(n) => got += n,
            }
        }
        got
    }

    fn peer_fills(&mut self) {
        while self.peer.write(&[7; 4096]).is_ok() {}
    }
}

/// Each case runs with each backend that the kernel allows.
macro_rules! cases {
    ($($case:ident)*) => {
        mod epoll {
            $(#[test] fn $case() { super::$case(super::Method::Epoll); })*
        }
        mod io_uring {
            $(#[test] fn $case() {
                match super::Net::probe() {
                    Ok(()) => super::$case(super::Method::IoUring),
                    Err(e) => eprintln!("skipped, the kernel does not allow io_uring: {e}"),
                }
            })*
        }
    };
}

cases! {
    a_long_queue_says_that_it_has_drained_however_slowly_it_does
    a_long_queue_that_leaves_at_once_says_so_too
    a_peer_that_writes_is_read_while_our_own_bytes_wait
    a_fast_sender_does_not_keep_the_turn_to_itself
    a_connection_that_is_being_closed_is_not_read_from
    bytes_and_the_end_behind_them_are_both_told
    a_paused_connection_keeps_what_came_for_later
    a_flood_while_paused_is_held_back_and_nothing_is_lost
    a_close_with_a_send_under_way_frees_the_connection
    a_connection_to_nobody_is_told
    two_thousand_connections_are_all_served
    a_secured_connection_keeps_all_promises
    what_is_no_handshake_ends_the_connection
}

/// TLS of this process with itself: a self-signed certificate, and the client's side in a thread.
fn contexts() -> (openssl::ssl::SslContext, openssl::ssl::SslConnector) {
    use openssl::ssl::{SslConnector, SslContext, SslMethod, SslVerifyMode};
    let key = openssl::rsa::Rsa::generate(2048).unwrap();
    let key = openssl::pkey::PKey::from_rsa(key).unwrap();
    let mut certificate = openssl::x509::X509::builder().unwrap();
    certificate.set_pubkey(&key).unwrap();
    certificate.set_not_before(&openssl::asn1::Asn1Time::days_from_now(0).unwrap()).unwrap();
    certificate.set_not_after(&openssl::asn1::Asn1Time::days_from_now(1).unwrap()).unwrap();
    certificate.sign(&key, openssl::hash::MessageDigest::sha256()).unwrap();
    let mut server = SslContext::builder(SslMethod::tls_server()).unwrap();
    server.set_certificate(&certificate.build()).unwrap();
    server.set_private_key(&key).unwrap();
    let mut client = SslConnector::builder(SslMethod::tls_client()).unwrap();
    client.set_verify(SslVerifyMode::NONE);
    (server.build(), client.build())
}

fn accepting(context: &openssl::ssl::SslContext) -> Ssl {
    let mut ssl = Ssl::new(context).unwrap();
    ssl.set_accept_state();
    ssl
}

/// Two megabytes each way: ours wait in a queue that drains, the peer's come while we are paused, too.
fn a_secured_connection_keeps_all_promises(method: Method) {
    const BULK: usize = 2 << 20;
    let (server, client) = contexts();
    let mut pair = Pair::new(method);
    pair.net.secure(pair.id, Owner::Client(0), accepting(&server), &[]);
    // Sent before the handshake is done, it leaves behind it.
    pair.net.send(pair.id, b"early");
    let peer = pair.peer.try_clone().unwrap();
    peer.set_nonblocking(false).unwrap();
    let thread = std::thread::spawn(move || {
        let mut stream = client.connect("localhost", peer).unwrap();
        let mut early = [0; 5];
        stream.read_exact(&mut early).unwrap();
        assert_eq!(&early, b"early");
        stream.write_all(&vec![3; BULK]).unwrap();
        let mut got = vec![0; BULK];
        stream.read_exact(&mut got).unwrap();
        assert!(got.iter().all(|byte| *byte == 1));
        stream.shutdown().unwrap();
    });
    let (mut got, mut seen) = (0, Vec::new());
    let until = Instant::now() + Duration::from_secs(60);
    while got < BULK && Instant::now() < until {
        let turn = pair.turn();
        got += turn
            .iter()
            .map(|seen| if let Seen::Received(length) = seen { *length } else { 0 })
            .sum::<usize>();
        seen.extend(turn);
        pair.net.pause(pair.id);
        assert!(!pair.turn().iter().any(|seen| matches!(seen, Seen::Received(_))), "it is paused");
        pair.net.resume(pair.id);
    }
    assert_eq!((got, seen.first()), (BULK, Some(&Seen::Other)), "the handshake is told first");
    for piece in vec![1; BULK].chunks(1000) {
        pair.net.send(pair.id, piece);
    }
    assert!(pair.net.queued(pair.id) > HIGH_WATER);
    let mut seen = Vec::new();
    while !seen.contains(&Seen::Closed) && Instant::now() < until {
        seen.extend(pair.turn());
    }
    assert_eq!(seen, [Seen::Drained, Seen::Closed]);
    assert!(pair.net.is_empty());
    thread.join().unwrap();
}

fn what_is_no_handshake_ends_the_connection(method: Method) {
    let (server, _) = contexts();
    let mut pair = Pair::new(method);
    pair.net.secure(pair.id, Owner::Client(0), accepting(&server), b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(pair.turn(), [Seen::Closed]);
    // And byte by byte, which is one handshake like another.
    let mut pair = Pair::new(method);
    pair.net.secure(pair.id, Owner::Client(0), accepting(&server), &[]);
    for byte in b"\x16\x03\x01" {
        pair.peer.write_all(&[*byte]).unwrap();
        assert_eq!(pair.turn(), []);
    }
    pair.peer.write_all(&[0xff; 64]).unwrap();
    assert_eq!(pair.turn(), [Seen::Closed]);
}

fn a_long_queue_says_that_it_has_drained_however_slowly_it_does(method: Method) {
    for extra in [0, 50_000, 100_000, 150_000, 200_000] {
        let mut pair = Pair::new(method);
        pair.net.send(pair.id, &vec![1; 3 * HIGH_WATER + extra]);
        pair.net.flush();
        assert!(pair.net.queued(pair.id) > HIGH_WATER);
        let mut drained = 0;
        let until = Instant::now() + Duration::from_secs(20);
        while pair.net.queued(pair.id) > 0 && Instant::now() < until {
            pair.peer_reads(48 * 1024);
            drained += pair.turn().iter().filter(|seen| **seen == Seen::Drained).count();
        }
        drained += pair.turn().iter().filter(|seen| **seen == Seen::Drained).count();
        assert_eq!(drained, 1, "{extra}");
    }
}

fn a_long_queue_that_leaves_at_once_says_so_too(method: Method) {
    let mut pair = Pair::new(method);
    let mut reader = pair.peer.try_clone().unwrap();
    reader.set_nonblocking(false).unwrap();
    let thread = std::thread::spawn(move || {
        let mut left = HIGH_WATER + 8192;
        let mut buffer = vec![0; 65536];
        while left > 0 {
            left -= reader.read(&mut buffer).unwrap();
        }
    });
    for _ in 0..HIGH_WATER / 8192 + 1 {
        pair.net.send(pair.id, &[1; 8192]);
    }
    assert!(pair.net.queued(pair.id) > HIGH_WATER);
    pair.net.flush();
    let mut drained = false;
    for _ in 0..100 {
        drained |= pair.turn().contains(&Seen::Drained);
    }
    thread.join().unwrap();
    assert!(drained);
}

fn a_peer_that_writes_is_read_while_our_own_bytes_wait(method: Method) {
    let mut pair = Pair::new(method);
    pair.net.send(pair.id, &vec![1; 4 * HIGH_WATER]);
    pair.net.flush();
    // Room for some of ours, and bytes of the peer's: one event tells both.
    pair.peer_reads(200_000);
    pair.peer_fills();
    let got = |seen: &[Seen]| seen.iter().any(|seen| matches!(seen, Seen::Received(_)));
    let mut received = false;
    for _ in 0..5 {
        received |= got(&pair.turn());
    }
    assert!(received, "both sides wait for the other");
}

fn a_fast_sender_does_not_keep_the_turn_to_itself(method: Method) {
    let mut pair = Pair::new(method);
    let mut writer = pair.peer.try_clone().unwrap();
    writer.set_nonblocking(false).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        while stopped.try_recv().is_err() && writer.write_all(&[1; 256 * 1024]).is_ok() {}
    });
    let mut longest = 0;
    for _ in 0..50 {
        longest = longest.max(pair.turn().len());
    }
    drop(stop);
    pair.net.close(pair.id);
    // The socket itself is closed when the kernel has ended what it was asked for.
    while !thread.is_finished() {
        assert_eq!(pair.turn(), []);
    }
    thread.join().unwrap();
    // One buffer at a time, or as many as the kernel fills before it looks at others.
    let most = if method == Method::Epoll { 1 } else { 64 };
    assert!(longest <= most, "{longest} reads in one turn");
}

fn a_connection_that_is_being_closed_is_not_read_from(method: Method) {
    let mut pair = Pair::new(method);
    pair.net.send(pair.id, &vec![1; 3 * HIGH_WATER]);
    pair.net.close_when_sent(pair.id);
    pair.net.flush();
    pair.net.resume(pair.id);
    pair.peer.write_all(b"for whoever has the slot next").unwrap();
    assert_eq!(pair.turn(), []);
    while pair.peer_reads(64 * 1024) > 0 {
        assert_eq!(pair.turn(), []);
    }
    assert!(pair.net.is_empty());
}

fn bytes_and_the_end_behind_them_are_both_told(method: Method) {
    let mut pair = Pair::new(method);
    pair.peer.write_all(b"last words").unwrap();
    pair.peer.shutdown(std::net::Shutdown::Both).unwrap();
    let mut seen = pair.turn();
    seen.extend(pair.turn());
    assert_eq!(seen, [Seen::Received(10), Seen::Closed]);
}

fn a_paused_connection_keeps_what_came_for_later(method: Method) {
    let mut pair = Pair::new(method);
    pair.net.pause(pair.id);
    pair.peer.write_all(b"later").unwrap();
    drop(pair.peer.shutdown(std::net::Shutdown::Write));
    assert_eq!(pair.turn(), []);
    pair.net.resume(pair.id);
    let mut seen = pair.turn();
    seen.extend(pair.turn());
    assert_eq!(seen, [Seen::Received(5), Seen::Closed]);
}

/// Paused for ten turns of flood, read for one, over and over: every byte comes, in order.
fn a_flood_while_paused_is_held_back_and_nothing_is_lost(method: Method) {
    const TOTAL: usize = 8 << 20;
    let mut pair = Pair::new(method);
    let mut writer = pair.peer.try_clone().unwrap();
    writer.set_nonblocking(false).unwrap();
    let written = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = written.clone();
    let bytes: Vec<u8> = (0..TOTAL).map(|at| (at / 1000) as u8).collect();
    let expected = bytes.clone();
    let thread = std::thread::spawn(move || {
        for part in bytes.chunks(4096) {
            writer.write_all(part).unwrap();
            count.fetch_add(part.len(), std::sync::atomic::Ordering::Relaxed);
        }
    });
    let mut got = Vec::new();
    while got.len() < TOTAL {
        pair.net.pause(pair.id);
        for _ in 0..3 {
            assert_eq!(pair.turn(), []);
        }
        let held = written.load(std::sync::atomic::Ordering::Relaxed) - got.len();
        assert!(held < 2 << 20, "{held} bytes taken from a peer while paused");
        pair.net.resume(pair.id);
        let until = got.len() + 1;
        while got.len() < until {
            pair.net.wait(Some(Duration::from_millis(20))).unwrap();
            while let Some(event) = pair.net.next_event() {
                let Event::Received(_, _, chunk) = event else { panic!("not bytes") };
                got.extend_from_slice(chunk.bytes());
                pair.net.give_back(chunk);
            }
        }
    }
    thread.join().unwrap();
    assert!(got == expected, "bytes are lost or out of order");
}

fn a_close_with_a_send_under_way_frees_the_connection(method: Method) {
    let mut pair = Pair::new(method);
    pair.net.send(pair.id, &vec![1; 4 * HIGH_WATER]);
    pair.net.flush();
    assert_eq!(pair.turn(), []);
    pair.net.close(pair.id);
    assert!(pair.net.is_empty());
    assert_eq!(pair.net.queued(pair.id), 0);
    let until = Instant::now() + Duration::from_secs(20);
    let mut buffer = [0; 65536];
    // The peer reads what had left, then the end: the socket is closed.
    loop {
        assert_eq!(pair.turn(), []);
        assert!(Instant::now() < until, "the socket is not closed");
        if matches!(pair.peer.read(&mut buffer), Ok(0)) {
            break;
        }
    }
    let (socket, _peer) = stream();
    let id = pair.net.add(socket, Owner::Client(1)).unwrap();
    assert_ne!(id, pair.id);
}

fn a_connection_to_nobody_is_told(method: Method) {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let mut net = net(method);
    let id = net.connect(&Address::Tcp(port), Owner::Backend(4)).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        net.wait(Some(Duration::from_millis(20))).unwrap();
        match net.next_event() {
            Some(Event::Closed(of, Owner::Backend(4), reason)) => {
                assert_eq!(of, id);
                assert!(reason.contains("refused"), "{reason}");
                return;
            }
            Some(_) => panic!("connected to nobody"),
            None => assert!(Instant::now() < until, "nothing is told"),
        }
    }
}

/// More connections than the kernel has buffers, all with something to say at once, three times.
fn two_thousand_connections_are_all_served(method: Method) {
    crate::sys::limits::raise_open_files().unwrap();
    let mut net = net(method);
    let mut peers = Vec::new();
    for number in 0..2000 {
        let (socket, peer) = stream();
        net.add(socket, Owner::Client(number)).unwrap();
        peers.push(peer);
    }
    for _ in 0..3 {
        peers.iter_mut().for_each(|peer| peer.write_all(b"ask").unwrap());
        let mut served = 0;
        let until = Instant::now() + Duration::from_secs(30);
        while served < peers.len() {
            assert!(Instant::now() < until, "{served} served");
            net.wait(Some(Duration::from_millis(20))).unwrap();
            while let Some(event) = net.next_event() {
                let Event::Received(id, _, chunk) = event else { panic!("not bytes") };
                assert_eq!(chunk.bytes(), b"ask");
                net.give_back(chunk);
                net.send(id, b"answer");
                net.flush();
                served += 1;
            }
        }
        net.wait(Some(Duration::ZERO)).unwrap();
        while net.next_event().is_some() {}
        for peer in &mut peers {
            let mut answer = [0; 6];
            peer.set_nonblocking(false).unwrap();
            peer.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"answer");
        }
    }
}
