//! One connection of the io_uring backend: what waits, what the kernel has, and what is still to be told.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Instant;

use super::super::{HIGH_WATER, Owner, Socket};

/// At this length bytes are written at once and not queued first: one copy less for bulk data.
const WRITE_THROUGH: usize = 16 * 1024;

/// The standing request for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    No,
    Yes,
    /// Its cancellation is under way.
    Ending,
}

/// State of a connection attempt or connection. It lives until the kernel has finished its last request.
pub(super) struct Conn {
    pub(super) socket: Socket,
    pub(super) owner: Owner,
    pub(super) generation: u32,
    pub(super) connecting: bool,
    pub(super) receiving: Receiving,
    /// Bytes that wait for the send under way, or for the end of the turn.
    pub(super) out: Vec<u8>,
    /// Length of the send under way, which the kernel has not finished.
    pub(super) sending: Option<usize>,
    /// The queue has been over the high-water mark since it was empty last: somebody waits for it.
    long: bool,
    /// What arrived while paused, piece by piece: one buffer that grows would be moved and moved again.
    pub(super) held: VecDeque<Box<[u8]>>,
    /// The peer is gone: to be told behind `held`.
    pub(super) ended: Option<String>,
    pub(super) paused: bool,
    /// Stands in the list of connections that have something to tell.
    pub(super) listed: bool,
    /// Stands in the list of connections to send for before the next wait.
    pub(super) dirty: bool,
    /// Goes when the queue is empty.
    pub(super) closing: bool,
    pub(super) close_by: Option<Instant>,
    /// Its owner has let go of it; only requests under way keep it.
    pub(super) gone: bool,
}

impl Conn {
    pub(super) fn new(socket: Socket, owner: Owner, generation: u32, connecting: bool) -> Self {
        Conn {
            socket,
            owner,
            generation,
            connecting,
            receiving: Receiving::No,
            out: Vec::new(),
            sending: None,
            long: false,
            held: VecDeque::new(),
            ended: None,
            paused: false,
            listed: false,
            dirty: false,
            closing: false,
            close_by: None,
            gone: false,
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.out.len() + self.sending.unwrap_or(0)
    }

    /// Whether the kernel has a request of this connection.
    pub(super) fn is_busy(&self) -> bool {
        self.connecting || self.sending.is_some() || self.receiving != Receiving::No
    }

    /// Queues `bytes`, or writes them through when they are many and nothing is before them.
    pub(super) fn send(&mut self, bytes: &[u8], spare: &mut Vec<Vec<u8>>) {
        let mut rest = bytes;
        if bytes.len() >= WRITE_THROUGH && self.sending.is_none() && !self.connecting {
            self.write_out();
            if self.out.is_empty() {
                rest = write_some(&mut self.socket, bytes);
            }
        }
        if self.out.capacity() == 0 && !rest.is_empty() {
            self.out = spare.pop().unwrap_or_default();
        }
        self.out.extend_from_slice(rest);
        self.long |= self.queued() > HIGH_WATER;
    }

    /// Writes what is queued at once, as far as the kernel takes it; nothing may be under way.
    pub(super) fn write_out(&mut self) {
        if !self.out.is_empty() && self.sending.is_none() && !self.connecting {
            let sent = self.out.len() - write_some(&mut self.socket, &self.out).len();
            self.out.drain(..sent);
        }
    }

    /// Whether a queue that had been long has become empty; said once.
    pub(super) fn has_drained(&mut self) -> bool {
        self.queued() == 0 && std::mem::take(&mut self.long)
    }
}

/// Returns what the kernel did not take. An error is left to the send that follows: it meets it again.
fn write_some<'a>(socket: &mut Socket, mut bytes: &'a [u8]) -> &'a [u8] {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    bytes
}
