//! One connection: its socket, what waits to be sent, and whether reading is paused.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::time::Instant;

use super::{HIGH_WATER, Owner, Socket};

/// At this length bytes are written at once and not queued first: one copy less for bulk data.
const WRITE_THROUGH: usize = 16 * 1024;

/// State of a connection attempt or connection.
pub(super) struct Conn {
    pub(super) socket: Socket,
    pub(super) owner: Owner,
    pub(super) generation: u32,
    /// Bytes not yet taken by the kernel; `sent` of them have left.
    pub(super) out: Vec<u8>,
    sent: usize,
    pub(super) connecting: bool,
    /// The kernel would not take more: wait until the socket is writable.
    pub(super) blocked: bool,
    /// The queue has been over the high-water mark since it was empty last: somebody waits for it.
    long: bool,
    pub(super) paused: bool,
    /// Readiness seen and not used up.
    pub(super) readable: bool,
    /// The peer has shut its side: read on to the end even after a short read.
    pub(super) read_closed: bool,
    /// Stands in a list of connections to look at.
    pub(super) listed: bool,
    /// Stands in the list of connections to flush at the end of the turn.
    pub(super) dirty: bool,
    pub(super) closing: bool,
    pub(super) close_by: Option<Instant>,
    /// A write failed: the owner is told at the next turn.
    pub(super) broken: Option<io::Error>,
}

impl Conn {
    pub(super) fn new(socket: Socket, owner: Owner, generation: u32, connecting: bool) -> Self {
        Conn {
            socket,
            owner,
            generation,
            out: Vec::new(),
            sent: 0,
            connecting,
            blocked: false,
            long: false,
            paused: false,
            readable: false,
            read_closed: false,
            listed: false,
            dirty: false,
            closing: false,
            close_by: None,
            broken: None,
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Queues `bytes`, or writes them through when they are many and nothing is before them.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        if self.broken.is_some() {
            return;
        }
        let mut rest = bytes;
        if bytes.len() >= WRITE_THROUGH && !self.blocked && !self.connecting {
            self.flush();
            if self.out.is_empty() && self.broken.is_none() {
                rest = self.write_some(bytes);
            }
        }
        self.out.extend_from_slice(rest);
        self.long |= self.queued() > HIGH_WATER;
    }

    /// Whether a queue that had been long has become empty; said once.
    pub(super) fn has_drained(&mut self) -> bool {
        self.queued() == 0 && self.broken.is_none() && std::mem::take(&mut self.long)
    }

    /// Writes what is queued, as far as the kernel takes it.
    pub(super) fn flush(&mut self) {
        if self.connecting || self.broken.is_some() {
            return;
        }
        let out = std::mem::take(&mut self.out);
        let rest = self.write_some(out.get(self.sent..).unwrap_or_default()).len();
        self.sent = out.len() - rest;
        self.out = out;
        if rest == 0 {
            self.out.clear();
            self.sent = 0;
        } else if self.sent >= 1 << 20 {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Returns what the kernel did not take.
    fn write_some<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while !bytes.is_empty() {
            match self.socket.write(bytes) {
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return bytes;
                }
                Err(e) => {
                    self.broken = Some(e);
                    return &[];
                }
            }
        }
        bytes
    }
}
