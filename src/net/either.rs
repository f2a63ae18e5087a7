//! All sockets of one process, over the one backend or the other.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use super::epoll::Epoll;
use super::uring::Uring;
use super::{Address, Chunk, ConnId, Event, Listener, Owner, Peer, Socket, Waker, Wire};
use crate::sys::ring::Ring;

/// How the kernel is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// One call a turn.
    IoUring,
    /// Works everywhere.
    Epoll,
    /// io_uring where the kernel allows it.
    Auto,
}

/// All sockets of one process.
pub enum Net {
    /// Over epoll.
    Epoll(Box<Epoll>),
    /// Over io_uring.
    Uring(Box<Uring>),
}

/// The same call to whichever it is.
macro_rules! either {
    ($self:expr, $net:ident => $call:expr) => {
        match $self {
            Net::Epoll($net) => $call,
            Net::Uring($net) => $call,
        }
    };
}

impl Net {
    /// Makes what is asked for; after the fork, since neither kind may cross it.
    ///
    /// # Errors
    /// When the kernel does not allow it, or has no descriptor left.
    pub fn new(method: Method, listeners: Vec<Listener>) -> io::Result<Net> {
        Ok(match method {
            Method::Epoll => Net::Epoll(Box::new(Epoll::new(listeners)?)),
            Method::IoUring => Net::Uring(Box::new(Uring::new(Ring::new()?, listeners))),
            Method::Auto => match Ring::new() {
                Ok(ring) => Net::Uring(Box::new(Uring::new(ring, listeners))),
                Err(_) => Net::Epoll(Box::new(Epoll::new(listeners)?)),
            },
        })
    }

    /// Why io_uring cannot be used here, if so.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn probe() -> io::Result<()> {
        Ring::new().map(drop)
    }

    /// Reports `Watched(number)` when `fd`, which must stay open, is readable. Who is told reads it empty.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn watch(&mut self, fd: RawFd, number: usize) -> io::Result<()> {
        match self {
            Net::Epoll(net) => net.watch(fd, number),
            Net::Uring(net) => {
                net.watch(fd, number);
                Ok(())
            }
        }
    }

    /// Something that another thread rings to have `Watched(number)` reported.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn waker(&mut self, number: usize) -> io::Result<Waker> {
        let waker = Waker::new()?;
        match self {
            Net::Epoll(net) => net.watch_waker(waker.clone(), number)?,
            Net::Uring(net) => net.watch_waker(waker.clone(), number),
        }
        Ok(waker)
    }

    /// Begins or ends to take clients. Idle processes wait on the same sockets; the kernel wakes one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn listen(&mut self, on: bool) -> io::Result<()> {
        either!(self, net => net.listen(on))
    }

    /// Whether news of a client can go to a process that is held up: a wait over io_uring stands on its own, while
    /// epoll tells who really waits. Others must look from time to time.
    pub fn misses_clients(&self) -> bool {
        matches!(self, Net::Uring(_))
    }

    /// Has `Incoming` reported for every listening socket: a client may wait there.
    pub fn look_at_listeners(&mut self) {
        either!(self, net => net.look_at_listeners());
    }

    /// Closes the listening sockets for good: a client that comes now is refused, not kept waiting.
    pub fn stop_listening(&mut self) {
        either!(self, net => net.stop_listening());
    }

    /// Takes one waiting client; `None` when another process was quicker.
    ///
    /// # Errors
    /// What the kernel says, for instance that descriptors have run out.
    pub fn accept(&mut self, listener: usize) -> io::Result<Option<(Socket, Peer)>> {
        either!(self, net => net.accept(listener))
    }

    /// Takes charge of a client's socket.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn add(&mut self, socket: Socket, owner: Owner) -> io::Result<ConnId> {
        either!(self, net => net.add(socket, owner))
    }

    /// Whether no connection is in charge.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        either!(self, net => net.is_empty())
    }

    /// Whether a peer is still waited for to take our last words: `tick` must go on.
    pub fn is_closing(&self) -> bool {
        either!(self, net => net.is_closing())
    }

    /// Waits for something to happen, at most `timeout`; not at all when work is left over.
    ///
    /// # Errors
    /// What the kernel says, but for interruption by a signal.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        either!(self, net => net.wait(timeout))
    }

    /// The next thing that happened; `None` when the turn is over.
    pub fn next_event(&mut self) -> Option<Event> {
        either!(self, net => net.next_event())
    }

    /// Returns a buffer for the next bytes.
    pub fn give_back(&mut self, chunk: Chunk) {
        either!(self, net => net.give_back(chunk));
    }

    /// Once a second: a peer that does not read our last words is not waited for for ever.
    pub fn tick(&mut self, now: Instant) {
        either!(self, net => net.tick(now));
    }

    /// Sends what the last event produced; io_uring does that for the whole turn in `wait`.
    pub fn flush(&mut self) {
        if let Net::Epoll(net) = self {
            net.flush();
        }
    }

    /// Gives what is queued its last try: the process ends.
    pub fn finish(&mut self) {
        match self {
            Net::Epoll(net) => net.flush(),
            Net::Uring(net) => net.finish(),
        }
    }
}

impl Wire for Net {
    fn send(&mut self, id: ConnId, bytes: &[u8]) {
        either!(self, net => net.send(id, bytes));
    }

    fn queued(&self, id: ConnId) -> usize {
        either!(self, net => net.queued(id))
    }

    fn pause(&mut self, id: ConnId) {
        either!(self, net => net.pause(id));
    }

    fn resume(&mut self, id: ConnId) {
        either!(self, net => net.resume(id));
    }

    fn close(&mut self, id: ConnId) {
        either!(self, net => net.close(id));
    }

    fn close_when_sent(&mut self, id: ConnId) {
        either!(self, net => net.close_when_sent(id));
    }

    fn connect(&mut self, address: &Address, owner: Owner) -> io::Result<ConnId> {
        either!(self, net => net.connect(address, owner))
    }
}
