//! The mio backend of the façade: at most one wait a turn, one read and one write a hop.
//!
//! Edge-triggered underneath: a short read means drained, and a connection that is paused or was not read
//! to the end is remembered here, so that callers see level semantics. A socket is watched for
//! writability only after a short write.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::conn::Conn;
use super::{Address, Chunk, ConnId, Event, Home, Listener, Owner, Peer, Socket, Waker};
use crate::sys;

/// Size of the receive buffer: large enough that bulk data is moved in few calls, small enough for the L2 cache.
const BUFFER: usize = 64 * 1024;

/// An output buffer larger than this is given back when it has drained.
const KEEP: usize = 16 * 1024;

/// How long a connection that is being closed may take to get rid of its output.
const LINGER: Duration = Duration::from_secs(10);

/// Tokens below this are listeners and watched descriptors.
const FIRST_CONN: usize = 4096;
const FIRST_WATCHED: usize = 2048;

/// All sockets of one process.
pub(super) struct Epoll {
    poll: Poll,
    events: Events,
    conns: Vec<Option<Conn>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    /// Connections with something to do before the next wait.
    ready: VecDeque<u32>,
    /// Connections that have more to read in the next turn: the others come first.
    again: Vec<u32>,
    pending: VecDeque<Event>,
    dirty: Vec<u32>,
    listeners: Vec<Listener>,
    listening: bool,
    buffers: Vec<Box<[u8]>>,
    /// Their descriptors must stay open.
    wakers: Vec<Waker>,
}

impl Epoll {
    /// Makes the poller; after the fork, since an epoll descriptor crosses it.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub(super) fn new(listeners: Vec<Listener>) -> io::Result<Self> {
        Ok(Epoll {
            poll: Poll::new()?,
            events: Events::with_capacity(512),
            conns: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            again: Vec::new(),
            pending: VecDeque::new(),
            dirty: Vec::new(),
            listeners,
            listening: false,
            buffers: Vec::new(),
            wakers: Vec::new(),
        })
    }

    /// Reports `Watched(number)` when `fd` is readable.
    ///
    /// # Errors
    /// What epoll says.
    pub(super) fn watch(&mut self, fd: RawFd, number: usize) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), Token(FIRST_WATCHED + number), Interest::READABLE)
    }

    /// Begins or ends to take clients. Idle processes wait on the same sockets; the kernel wakes one.
    ///
    /// # Errors
    /// What epoll says.
    pub(super) fn listen(&mut self, on: bool) -> io::Result<()> {
        if on == self.listening {
            return Ok(());
        }
        for (number, listener) in self.listeners.iter().enumerate() {
            if on {
                sys::socket::epoll_add_exclusive(&self.poll, listener.as_fd(), number)?;
            } else {
                self.poll.registry().deregister(&mut SourceFd(&listener.as_fd().as_raw_fd()))?;
            }
        }
        self.listening = on;
        Ok(())
    }

    /// Has `Incoming` reported for every listening socket.
    pub(super) fn look_at_listeners(&mut self) {
        self.pending.extend((0..self.listeners.len()).map(Event::Incoming));
    }

    /// Closes the listening sockets for good: a client that comes now is refused, not kept waiting.
    pub(super) fn stop_listening(&mut self) {
        // One that another process has open as well would stay in the set though we have closed it.
        if let Err(e) = self.listen(false) {
            crate::say!(Warning, "could not stop to wait for clients: {}", e);
        }
        self.listeners.clear();
    }

    /// Has `Watched(number)` reported whenever this is rung.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn watch_waker(&mut self, waker: Waker, number: usize) -> io::Result<()> {
        self.watch(waker.as_fd().as_raw_fd(), number)?;
        self.wakers.push(waker);
        Ok(())
    }

    /// Takes one waiting client; `None` when another process was quicker.
    ///
    /// # Errors
    /// What the kernel says, for instance that descriptors have run out.
    pub(super) fn accept(&mut self, listener: usize) -> io::Result<Option<(Socket, Peer)>> {
        let Some(listener) = self.listeners.get(listener) else { return Ok(None) };
        listener.accept()
    }

    /// Takes charge of a client's socket.
    ///
    /// # Errors
    /// What epoll says.
    pub(super) fn add(&mut self, socket: Socket, owner: Owner) -> io::Result<ConnId> {
        self.insert(socket, owner, false)
    }

    /// Whether no connection is in charge.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.conns.len() == self.free.len()
    }

    /// Whether a peer is still waited for to take our last words: `tick` must go on.
    pub(super) fn is_closing(&self) -> bool {
        self.conns.iter().flatten().any(|conn| conn.closing)
    }

    /// Waits for something to happen, at most `timeout`; not at all when work is left over.
    ///
    /// # Errors
    /// What epoll says, but for interruption by a signal.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.ready.extend(self.again.drain(..));
        let timeout =
            if self.ready.is_empty() && self.pending.is_empty() { timeout } else { Some(Duration::ZERO) };
        match self.poll.poll(&mut self.events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &self.events {
            let token = event.token().0;
            if token < FIRST_WATCHED {
                self.pending.push_back(Event::Incoming(token));
            } else if token < FIRST_CONN {
                self.pending.push_back(Event::Watched(token - FIRST_WATCHED));
            } else if let Some(Some(conn)) = self.conns.get_mut(token - FIRST_CONN) {
                let index = (token - FIRST_CONN) as u32;
                conn.readable |= event.is_readable();
                conn.read_closed |= event.is_read_closed() || event.is_error();
                if event.is_writable() || event.is_error() {
                    conn.blocked = false;
                }
                if !std::mem::replace(&mut conn.listed, true) {
                    self.ready.push_back(index);
                }
            }
        }
        Ok(())
    }

    /// The next thing that happened; `None` when the turn is over.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        if let Some(event) = self.pending.pop_front() {
            return Some(event);
        }
        while let Some(index) = self.ready.pop_front() {
            if let Some(Some(conn)) = self.conns.get_mut(index as usize) {
                conn.listed = false;
            }
            if let Some(event) = self.advance(index) {
                return Some(event);
            }
        }
        None
    }

    /// Looks at a connection before the next wait; once, however often it is called.
    fn list(&mut self, index: u32) {
        if let Some(Some(conn)) = self.conns.get_mut(index as usize)
            && !std::mem::replace(&mut conn.listed, true)
        {
            self.ready.push_back(index);
        }
    }

    /// Returns a buffer for the next bytes.
    pub(super) fn give_back(&mut self, chunk: Chunk) {
        self.buffers.push(chunk.data);
    }

    /// Once a second: a peer that does not read our last words is not waited for longer than this.
    pub(super) fn tick(&mut self, now: Instant) {
        for index in 0..self.conns.len() as u32 {
            let Some(Some(conn)) = self.conns.get_mut(index as usize) else { continue };
            if conn.closing && *conn.close_by.get_or_insert(now + LINGER) <= now {
                self.remove(index);
            }
        }
    }

    /// Sends what the last event produced.
    pub(super) fn flush(&mut self) {
        while let Some(index) = self.dirty.pop() {
            let Some(Some(conn)) = self.conns.get_mut(index as usize) else { continue };
            conn.dirty = false;
            if !conn.blocked {
                conn.flush();
            }
            self.after_write(index);
        }
    }

    /// Watches for writability after a short write, and notes what the owner must hear of.
    fn after_write(&mut self, index: u32) {
        let Some(Some(conn)) = self.conns.get_mut(index as usize) else { return };
        if conn.broken.is_some() {
            self.list(index);
        } else if conn.blocked {
            let token = Token(FIRST_CONN + index as usize);
            let both = Interest::READABLE | Interest::WRITABLE;
            if let Err(e) = self.poll.registry().reregister(&mut conn.socket, token, both) {
                conn.broken = Some(e);
                self.list(index);
            }
        } else if conn.closing && conn.queued() == 0 {
            self.remove(index);
        } else {
            if conn.has_drained() {
                self.pending.push_back(Event::Drained(ConnId::new(index, conn.generation), conn.owner));
            }
            if conn.out.is_empty() && conn.out.capacity() > KEEP {
                conn.out = Vec::new();
            }
        }
    }

    /// What one ready connection has to tell.
    fn advance(&mut self, index: u32) -> Option<Event> {
        let conn = self.conns.get_mut(index as usize)?.as_mut()?;
        let id = ConnId::new(index, conn.generation);
        let owner = conn.owner;
        if let Some(error) = conn.broken.take() {
            return self.closed(index, error.to_string());
        }
        if conn.connecting {
            return match conn.socket.take_error() {
                Ok(Some(error)) | Err(error) => self.closed(index, error.to_string()),
                Ok(None) if conn.socket.is_connected() => {
                    conn.connecting = false;
                    self.settle(index);
                    Some(Event::Connected(id, owner))
                }
                Ok(None) => None,
            };
        }
        if conn.queued() > 0 && !conn.blocked {
            conn.flush();
            // The read side comes after this, even if not all could be written: the peer may wait for that.
            let (more, done) =
                (conn.readable || conn.read_closed, conn.queued() == 0 && conn.broken.is_none());
            if more {
                self.list(index);
            }
            if done {
                self.settle(index);
            }
            self.after_write(index);
            return None;
        }
        if conn.paused || !(conn.readable || conn.read_closed) {
            return None;
        }
        self.receive(index)
    }

    /// Back to watching for bytes only.
    fn settle(&mut self, index: u32) {
        if let Some(Some(conn)) = self.conns.get_mut(index as usize) {
            let token = Token(FIRST_CONN + index as usize);
            if let Err(e) = self.poll.registry().reregister(&mut conn.socket, token, Interest::READABLE) {
                conn.broken = Some(e);
                self.list(index);
            }
        }
    }

    fn receive(&mut self, index: u32) -> Option<Event> {
        let mut data = self.buffers.pop().unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice());
        let conn = self.conns.get_mut(index as usize)?.as_mut()?;
        match conn.socket.read(&mut data) {
            Ok(0) => {
                self.buffers.push(data);
                self.closed(index, "connection closed by peer".to_string())
            }
            Ok(length) => {
                if length == data.len() || conn.read_closed {
                    if !std::mem::replace(&mut conn.listed, true) {
                        self.again.push(index);
                    }
                } else {
                    conn.readable = false;
                }
                Some(Event::Received(
                    ConnId::new(index, conn.generation),
                    conn.owner,
                    Chunk { data, length, home: Home::Reader },
                ))
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                conn.readable = false;
                conn.read_closed = false;
                self.buffers.push(data);
                None
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                self.list(index);
                self.buffers.push(data);
                None
            }
            Err(e) => {
                self.buffers.push(data);
                self.closed(index, e.to_string())
            }
        }
    }

    fn closed(&mut self, index: u32, reason: String) -> Option<Event> {
        let conn = self.remove(index)?;
        (!conn.closing).then_some(Event::Closed(ConnId::new(index, conn.generation), conn.owner, reason))
    }

    fn insert(&mut self, mut socket: Socket, owner: Owner, connecting: bool) -> io::Result<ConnId> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.generations.push(0);
            (self.conns.len() - 1) as u32
        });
        let token = Token(FIRST_CONN + index as usize);
        let interest = if connecting { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        if let Err(e) = self.poll.registry().register(&mut socket, token, interest) {
            self.free.push(index);
            return Err(e);
        }
        let generation = self.generations.get(index as usize).copied().unwrap_or(0);
        if let Some(place) = self.conns.get_mut(index as usize) {
            *place = Some(Conn::new(socket, owner, generation, connecting));
        }
        Ok(ConnId::new(index, generation))
    }

    fn remove(&mut self, index: u32) -> Option<Conn> {
        let mut conn = self.conns.get_mut(index as usize)?.take()?;
        // The descriptor is closed with the socket; epoll forgets it then. A failure here changes nothing.
        let _ = self.poll.registry().deregister(&mut conn.socket);
        if let Some(generation) = self.generations.get_mut(index as usize) {
            *generation = generation.wrapping_add(1);
        }
        self.free.push(index);
        Some(conn)
    }

    fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id.index as usize)?.as_mut().filter(|conn| conn.generation == id.generation)
    }
}

/// What `Wire` promises, for bytes as they are.
impl Epoll {
    pub(super) fn send(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(conn) = self.conn(id) else { return };
        conn.send(bytes);
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(id.index);
        }
    }

    pub(super) fn queued(&self, id: ConnId) -> usize {
        match self.conns.get(id.index as usize) {
            Some(Some(conn)) if conn.generation == id.generation => conn.queued(),
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
            if conn.readable || conn.read_closed {
                self.list(id.index);
            }
        }
    }

    pub(super) fn close(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id) {
            if !conn.blocked {
                conn.flush();
            }
            self.remove(id.index);
        }
    }

    pub(super) fn close_when_sent(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id) {
            conn.closing = true;
            conn.paused = true;
            if !conn.dirty {
                conn.dirty = true;
                self.dirty.push(id.index);
            }
        }
    }

    pub(super) fn connect(&mut self, address: &Address, owner: Owner) -> io::Result<ConnId> {
        self.insert(Socket::connect(address)?, owner, true)
    }
}
