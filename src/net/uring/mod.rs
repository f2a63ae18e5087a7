//! The io_uring backend of the façade: one call of the kernel a turn, for all connections together.
//!
//! A connection has a standing request for bytes; what sessions queue is sent when the turn is over. `pause` is free
//! until bytes arrive: those are held here, and the standing request is cancelled until `resume`.
#![forbid(unsafe_code)]

mod conn;
mod done;
mod watch;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use super::{Address, Chunk, ConnId, Event, Home, Listener, Owner, Peer, Socket, Waker};
use crate::sys::ring::{Kind, Ring};
use conn::{Conn, Receiving};
use watch::{Door, Watch};

/// An output buffer larger than this is not kept for others.
const KEEP: usize = 16 * 1024;

/// Most output buffers kept for others.
const SPARE: usize = 64;

/// How long a connection that is being closed may take to get rid of its output.
const LINGER: Duration = Duration::from_secs(10);

/// All sockets of one process.
pub(super) struct Uring {
    ring: Ring,
    conns: Vec<Option<Conn>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    /// Connections that have something to tell.
    ready: VecDeque<u32>,
    pending: VecDeque<Event>,
    dirty: Vec<u32>,
    doors: Vec<Door>,
    listening: bool,
    watched: Vec<Watch>,
    /// Output buffers without a connection: an idle connection has none.
    spare: Vec<Vec<u8>>,
}

impl Uring {
    /// Takes charge of a ring, which belongs to the process that made it.
    pub(super) fn new(ring: Ring, listeners: Vec<Listener>) -> Self {
        Uring {
            ring,
            conns: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            pending: VecDeque::new(),
            dirty: Vec::new(),
            doors: listeners.into_iter().map(Door::new).collect(),
            listening: false,
            watched: Vec::new(),
            spare: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, socket: Socket, owner: Owner) -> io::Result<ConnId> {
        let id = self.insert(socket, owner, false);
        self.receive(id.index);
        Ok(id)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.conns.iter().flatten().all(|conn| conn.gone)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.conns.iter().flatten().any(|conn| conn.closing && !conn.gone)
    }

    /// Hands all requests to the kernel and waits for something to happen.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        while let Some(index) = self.dirty.pop() {
            if let Some(Some(conn)) = self.conns.get_mut(index as usize) {
                conn.dirty = false;
                self.transmit(index);
            }
        }
        self.watch_again()?;
        let idle = self.ready.is_empty() && self.pending.is_empty();
        self.ring.enter(if idle { timeout } else { Some(Duration::ZERO) })
    }

    pub(super) fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            let event = match self.ring.completion() {
                Some(done) => self.done(done),
                None => {
                    let index = self.ready.pop_front()?;
                    self.tell(index)
                }
            };
            if event.is_some() {
                return event;
            }
        }
    }

    pub(super) fn give_back(&mut self, chunk: Chunk) {
        if let Home::Kernel(number) = chunk.home {
            self.ring.give_back(number, chunk.data);
        }
    }

    pub(super) fn tick(&mut self, now: Instant) {
        for index in 0..self.conns.len() as u32 {
            let Some(Some(conn)) = self.conns.get_mut(index as usize) else { continue };
            if conn.closing && !conn.gone && *conn.close_by.get_or_insert(now + LINGER) <= now {
                self.let_go(index);
            }
        }
    }

    /// Writes at once what the last turn has left: the process ends.
    pub(super) fn finish(&mut self) {
        self.conns.iter_mut().flatten().filter(|conn| !conn.gone).for_each(Conn::write_out);
    }

    /// Asks for bytes, unless that is being done.
    fn receive(&mut self, index: u32) {
        let Some(Some(conn)) = self.conns.get_mut(index as usize) else { return };
        let idle = conn.receiving == Receiving::No && conn.ended.is_none() && !conn.gone;
        if idle && !conn.connecting && (!conn.paused || conn.closing) {
            match self.ring.receive(conn.socket.as_fd().as_raw_fd(), index) {
                Ok(()) => conn.receiving = Receiving::Yes,
                Err(e) => self.end(index, e.to_string()),
            }
        }
    }

    /// Ends the standing request: bytes stay with the peer.
    fn stop_receiving(&mut self, index: u32) {
        if let Some(Some(conn)) = self.conns.get_mut(index as usize)
            && conn.receiving == Receiving::Yes
            && self.ring.cancel(Kind::Receive, index).is_ok()
        {
            conn.receiving = Receiving::Ending;
        }
    }

    /// Begins a send of what is queued, if none is under way; closes what has nothing left to send.
    fn transmit(&mut self, index: u32) {
        let Some(Some(conn)) = self.conns.get_mut(index as usize) else { return };
        if conn.connecting || conn.sending.is_some() || conn.gone {
            return;
        }
        if !conn.out.is_empty() {
            let data = std::mem::take(&mut conn.out);
            self.transmit_from(index, data, 0);
        } else if conn.closing {
            self.let_go(index);
        } else {
            if conn.has_drained() {
                self.pending.push_back(Event::Drained(ConnId::new(index, conn.generation), conn.owner));
            }
            keep(&mut self.spare, std::mem::take(&mut conn.out));
        }
    }

    fn transmit_from(&mut self, index: u32, data: Vec<u8>, from: usize) {
        let Some(Some(conn)) = self.conns.get_mut(index as usize) else { return };
        let rest = data.len() - from;
        match self.ring.send(conn.socket.as_fd().as_raw_fd(), index, data, from) {
            Ok(()) => conn.sending = Some(rest),
            Err(e) => self.end(index, e.to_string()),
        }
    }

    /// The connection has failed: its owner is told next, what it had sent before is of no use.
    fn end(&mut self, index: u32, reason: String) {
        let Some(Some(conn)) = self.conns.get_mut(index as usize) else { return };
        conn.held = VecDeque::new();
        conn.paused = false;
        conn.ended = Some(reason);
        self.list(index);
    }

    fn list(&mut self, index: u32) {
        if let Some(Some(conn)) = self.conns.get_mut(index as usize)
            && !std::mem::replace(&mut conn.listed, true)
        {
            self.ready.push_back(index);
        }
    }

    fn insert(&mut self, socket: Socket, owner: Owner, connecting: bool) -> ConnId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.generations.push(0);
            (self.conns.len() - 1) as u32
        });
        let generation = self.generations.get(index as usize).copied().unwrap_or(0);
        if let Some(place) = self.conns.get_mut(index as usize) {
            *place = Some(Conn::new(socket, owner, generation, connecting));
        }
        ConnId::new(index, generation)
    }

    /// Ends a connection for its owner. The socket is closed when the kernel has let go of it, too.
    fn let_go(&mut self, index: u32) {
        let Some(Some(conn)) = self.conns.get_mut(index as usize) else { return };
        if std::mem::replace(&mut conn.gone, true) {
            return;
        }
        if let Some(generation) = self.generations.get_mut(index as usize) {
            *generation = generation.wrapping_add(1);
        }
        // A cancellation that cannot be asked for is made good by the peer's end.
        if conn.connecting {
            let _ = self.ring.cancel(Kind::Ready, index);
        }
        if conn.sending.is_some() {
            let _ = self.ring.cancel(Kind::Send, index);
        }
        self.stop_receiving(index);
        self.bury(index);
    }

    /// Frees the slot of a connection that nobody needs any more.
    fn bury(&mut self, index: u32) {
        if let Some(place) = self.conns.get_mut(index as usize)
            && let Some(conn) = place.take_if(|conn| conn.gone && !conn.is_busy())
        {
            keep(&mut self.spare, conn.out);
            self.free.push(index);
        }
    }

    fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        let conn = self.conns.get_mut(id.index as usize)?.as_mut()?;
        (conn.generation == id.generation && !conn.gone).then_some(conn)
    }

    fn soil(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id)
            && !std::mem::replace(&mut conn.dirty, true)
        {
            self.dirty.push(id.index);
        }
    }
}

/// Puts an output buffer aside for the next connection that has something to send.
fn keep(spare: &mut Vec<Vec<u8>>, mut buffer: Vec<u8>) {
    if (1..=KEEP).contains(&buffer.capacity()) && spare.len() < SPARE {
        buffer.clear();
        spare.push(buffer);
    }
}

/// What `Wire` promises, for bytes as they are.
impl Uring {
    pub(super) fn send(&mut self, id: ConnId, bytes: &[u8]) {
        if let Some(Some(conn)) = self.conns.get_mut(id.index as usize)
            && conn.generation == id.generation
            && !conn.gone
        {
            conn.send(bytes, &mut self.spare);
            self.soil(id);
        }
    }

    pub(super) fn queued(&self, id: ConnId) -> usize {
        match self.conns.get(id.index as usize) {
            Some(Some(conn)) if conn.generation == id.generation && !conn.gone => conn.queued(),
            _ => 0,
        }
    }

    pub(super) fn pause(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id) {
            conn.paused = true;
        }
    }

    pub(super) fn resume(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id)
            && conn.paused
            && !conn.closing
        {
            conn.paused = false;
            if !conn.held.is_empty() || conn.ended.is_some() {
                self.list(id.index);
            } else {
                self.receive(id.index);
            }
        }
    }

    pub(super) fn close(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id) {
            conn.write_out();
            self.let_go(id.index);
        }
    }

    pub(super) fn close_when_sent(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id) {
            conn.closing = true;
            conn.held = VecDeque::new();
            self.receive(id.index);
            self.soil(id);
        }
    }

    pub(super) fn connect(&mut self, address: &Address, owner: Owner) -> io::Result<ConnId> {
        let id = self.insert(Socket::connect(address)?, owner, true);
        let Some(Some(conn)) = self.conns.get_mut(id.index as usize) else { return Ok(id) };
        let asked = self.ring.ready(conn.socket.as_fd().as_raw_fd(), id.index, true, false);
        if let Err(e) = asked {
            conn.connecting = false;
            self.let_go(id.index);
            return Err(e);
        }
        Ok(id)
    }
}
