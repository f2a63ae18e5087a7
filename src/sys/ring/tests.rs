//! The ring over socket pairs: what is lent comes back, and what runs short is told.
#![allow(unsafe_code)]

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use super::*;

fn ring() -> Option<Ring> {
    Ring::new(400).inspect_err(|e| eprintln!("no io_uring here: {e}")).ok()
}

fn next(ring: &mut Ring) -> Done {
    for _ in 0..100 {
        if let Some(done) = ring.completion() {
            return done;
        }
        ring.enter(Some(Duration::from_millis(50))).unwrap();
    }
    panic!("no completion");
}

#[test]
fn more_senders_than_buffers_are_told_so_and_served_later() {
    let Some(mut ring) = ring() else { return };
    let pairs: Vec<_> = (0..400).map(|_| UnixStream::pair().unwrap()).collect();
    for (number, (ours, peer)) in pairs.iter().enumerate() {
        (&mut &*peer).write_all(b"hello").unwrap();
        ring.receive(ours.as_raw_fd(), number as u32).unwrap();
    }
    let (mut served, mut short, mut held) = (0, 0, Vec::new());
    while served < pairs.len() {
        match next(&mut ring) {
            Done::Received { number, arrived: Arrived::NoBuffer, more } => {
                assert!(!more);
                short += 1;
                for (number, data) in held.drain(..) {
                    ring.give_back(number, data);
                }
                ring.receive(pairs[number as usize].0.as_raw_fd(), number).unwrap();
            }
            Done::Received { arrived: Arrived::Bytes { number, data, length }, .. } => {
                assert_eq!(&data[..length], b"hello");
                held.push((number, data));
                served += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(short > 0);
}

#[test]
fn a_lost_buffer_is_replaced() {
    let Some(mut ring) = ring() else { return };
    let (ours, mut peer) = UnixStream::pair().unwrap();
    ring.receive(ours.as_raw_fd(), 7).unwrap();
    for _ in 0..1000 {
        peer.write_all(b"x").unwrap();
        match next(&mut ring) {
            Done::Received { number: 7, arrived: Arrived::Bytes { data, .. }, .. } => drop(data),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_cancelled_send_gives_its_bytes_back() {
    let Some(mut ring) = ring() else { return };
    let (ours, _peer) = UnixStream::pair().unwrap();
    ring.send(ours.as_raw_fd(), 3, vec![1; 8 << 20], 0).unwrap();
    ring.enter(Some(Duration::from_millis(10))).unwrap();
    ring.cancel(Kind::Send, 3).unwrap();
    match next(&mut ring) {
        Done::Sent { number: 3, data, result } => {
            assert_eq!(data.len(), 8 << 20);
            assert!(result.map_or(true, |sent| sent < data.len()));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_ring_with_requests_under_way_can_be_dropped() {
    let Some(mut ring) = ring() else { return };
    let (ours, _peer) = UnixStream::pair().unwrap();
    ring.receive(ours.as_raw_fd(), 0).unwrap();
    ring.send(ours.as_raw_fd(), 0, vec![1; 8 << 20], 0).unwrap();
    ring.ready(ours.as_raw_fd(), 1, false, false).unwrap();
    ring.enter(Some(Duration::from_millis(1))).unwrap();
    drop(ring);
}
