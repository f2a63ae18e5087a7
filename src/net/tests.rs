//! The epoll backend over real socket pairs: nothing that was promised is forgotten.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::*;

/// One connection in charge of an `Epoll`, and its other end.
struct Pair {
    net: Epoll,
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

impl Pair {
    fn new() -> Pair {
        let mut net = Epoll::new(Vec::new()).unwrap();
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

#[test]
fn a_long_queue_says_that_it_has_drained_however_slowly_it_does() {
    for extra in [0, 50_000, 100_000, 150_000, 200_000] {
        let mut pair = Pair::new();
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

#[test]
fn a_long_queue_that_leaves_at_once_says_so_too() {
    let mut pair = Pair::new();
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

#[test]
fn a_peer_that_writes_is_read_while_our_own_bytes_wait() {
    let mut pair = Pair::new();
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

#[test]
fn a_fast_sender_does_not_keep_the_turn_to_itself() {
    let mut pair = Pair::new();
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
    thread.join().unwrap();
    assert!(longest <= 1, "{longest} reads in one turn");
}

#[test]
fn a_connection_that_is_being_closed_is_not_read_from() {
    let mut pair = Pair::new();
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

#[test]
fn bytes_and_the_end_behind_them_are_both_told() {
    let mut pair = Pair::new();
    pair.peer.write_all(b"last words").unwrap();
    pair.peer.shutdown(std::net::Shutdown::Both).unwrap();
    let mut seen = pair.turn();
    seen.extend(pair.turn());
    assert_eq!(seen, [Seen::Received(10), Seen::Closed]);
}

#[test]
fn a_paused_connection_keeps_what_came_for_later() {
    let mut pair = Pair::new();
    pair.net.pause(pair.id);
    pair.peer.write_all(b"later").unwrap();
    drop(pair.peer.shutdown(std::net::Shutdown::Write));
    assert_eq!(pair.turn(), []);
    pair.net.resume(pair.id);
    let mut seen = pair.turn();
    seen.extend(pair.turn());
    assert_eq!(seen, [Seen::Received(5), Seen::Closed]);
}
