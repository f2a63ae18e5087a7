//! What a completion means for its connection.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;

use super::conn::{Conn, Receiving};
use super::{ConnId, Event, Uring, keep};
use crate::net::{Chunk, Home};
use crate::sys::ring::{Arrived, Done, Kind};

const BY_PEER: &str = "connection closed by peer";

impl Uring {
    pub(super) fn done(&mut self, done: Done) -> Option<Event> {
        match done {
            Done::Received { number, arrived, more } => self.received(number, arrived, more),
            Done::Sent { number, data, result } => self.sent(number, data, result),
            Done::Ready { number, result } => self.is_ready(number, result),
            Done::Missed { kind, number } => {
                self.cancel_again(kind, number);
                None
            }
        }
    }

    /// What a connection has kept back, or its end.
    pub(super) fn tell(&mut self, index: u32) -> Option<Event> {
        let conn = self.conns.get_mut(index as usize)?.as_mut()?;
        conn.listed = false;
        if conn.gone || conn.paused && !conn.closing {
            return None;
        }
        if let Some(data) = conn.held.pop_front() {
            let event = received(index, conn, Chunk { length: data.len(), data, home: Home::Reader });
            if conn.held.is_empty() && conn.ended.is_none() {
                conn.held = VecDeque::new();
                self.receive(index);
            } else {
                self.list(index);
            }
            return Some(event);
        }
        if conn.closing && conn.queued() > 0 {
            return None;
        }
        let reason = conn.ended.take()?;
        self.closed(index, reason)
    }

    fn received(&mut self, index: u32, arrived: Arrived, more: bool) -> Option<Event> {
        let conn = self.conns.get_mut(index as usize)?.as_mut()?;
        if !more {
            conn.receiving = Receiving::No;
        }
        match arrived {
            Arrived::Bytes { number, data, length } => {
                let chunk = Chunk { data, length, home: Home::Kernel(number) };
                if conn.gone || conn.closing {
                    // Read and thrown away: closing over unread bytes would cut off our own last words.
                    self.ring.give_back(number, chunk.data);
                } else if conn.paused || !conn.held.is_empty() {
                    conn.held.push_back(chunk.bytes().into());
                    self.ring.give_back(number, chunk.data);
                    self.stop_receiving(index);
                } else {
                    let event = received(index, conn, chunk);
                    self.receive(index);
                    return Some(event);
                }
            }
            Arrived::End => return self.ended(index, BY_PEER.to_string()),
            Arrived::NoBuffer => self.ring.add_buffers(),
            Arrived::Failed(e) if is_for_now(&e) => {}
            Arrived::Failed(e) => return self.ended(index, e.to_string()),
        }
        let waits = matches!(self.conns.get(index as usize), Some(Some(conn)) if !conn.held.is_empty());
        if !waits {
            self.receive(index);
        }
        self.bury(index);
        None
    }

    /// The peer sends no more: to be told at once, or behind what is kept back.
    fn ended(&mut self, index: u32, reason: String) -> Option<Event> {
        let conn = self.conns.get_mut(index as usize)?.as_mut()?;
        if conn.gone {
            self.bury(index);
            return None;
        }
        if conn.closing || conn.paused || !conn.held.is_empty() {
            conn.ended = Some(reason);
            return None;
        }
        self.closed(index, reason)
    }

    fn sent(&mut self, index: u32, data: Vec<u8>, result: io::Result<usize>) -> Option<Event> {
        let conn = self.conns.get_mut(index as usize)?.as_mut()?;
        let from = data.len() - conn.sending.take().unwrap_or(0).min(data.len());
        let sent = match result {
            Ok(sent) => (from + sent).min(data.len()),
            Err(e) if is_for_now(&e) => from,
            Err(e) if !conn.gone => return self.closed(index, e.to_string()),
            Err(_) => from,
        };
        if conn.gone {
            // What was queued behind it gets its one try, if the way is free.
            if sent == data.len() {
                conn.write_out();
            }
            self.bury(index);
        } else if sent < data.len() {
            self.transmit_from(index, data, sent);
        } else if conn.out.is_empty() {
            keep(&mut self.spare, data);
            self.transmit(index);
        } else {
            // Two buffers take turns: a new one for every piece of bulk data would be memory touched for the first time.
            let mut empty = data;
            empty.clear();
            let next = std::mem::replace(&mut conn.out, empty);
            self.transmit_from(index, next, 0);
        }
        None
    }

    /// A request that was at work when it was to be cancelled, and does not end by itself.
    fn cancel_again(&mut self, kind: Kind, index: u32) {
        if kind == Kind::Receive
            && let Some(Some(conn)) = self.conns.get_mut(index as usize)
            && conn.receiving == Receiving::Ending
        {
            conn.receiving = Receiving::Yes;
            self.stop_receiving(index);
        }
    }

    /// A connection attempt has come to an end.
    pub(super) fn connected(&mut self, index: u32) -> Option<Event> {
        let conn = self.conns.get_mut(index as usize)?.as_mut()?;
        conn.connecting = false;
        if conn.gone {
            self.bury(index);
            return None;
        }
        let event = Event::Connected(ConnId::new(index, conn.generation), conn.owner);
        let failed = match conn.socket.take_error() {
            Ok(Some(error)) | Err(error) => Some(error),
            Ok(None) if conn.socket.is_connected() => None,
            Ok(None) => Some(io::ErrorKind::NotConnected.into()),
        };
        if let Some(error) = failed {
            return self.closed(index, error.to_string());
        }
        self.receive(index);
        self.transmit(index);
        Some(event)
    }

    fn closed(&mut self, index: u32, reason: String) -> Option<Event> {
        let conn = self.conns.get_mut(index as usize)?.as_mut()?;
        let told = !conn.closing && !conn.gone;
        let event = Event::Closed(ConnId::new(index, conn.generation), conn.owner, reason);
        self.let_go(index);
        told.then_some(event)
    }
}

fn received(index: u32, conn: &Conn, chunk: Chunk) -> Event {
    Event::Received(ConnId::new(index, conn.generation), conn.owner, chunk)
}

/// Nothing is wrong with the connection: the request was cancelled, or is to be made again.
fn is_for_now(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ECANCELED | libc::EINTR | libc::EAGAIN | libc::EALREADY))
}
