//! All sockets of one process, over the one backend or the other.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use openssl::ssl::Ssl;

use super::epoll::Epoll;
use super::guard::Guards;
use super::uring::Uring;
use super::{Address, Chunk, ConnId, Event, Home, Listener, Owner, Peer, Socket, Waker, Wire};
use crate::sys::ring::Ring;

/// How the kernel is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// One call a turn.
    IoUring,
    /// Works everywhere.
    Epoll,
}

/// All sockets of one process.
pub struct Net {
    sockets: Sockets,
    guards: Guards,
}

enum Sockets {
    Epoll(Box<Epoll>),
    Uring(Box<Uring>),
}

/// The same call to whichever it is.
macro_rules! either {
    ($sockets:expr, $net:ident => $call:expr) => {
        match $sockets {
            Sockets::Epoll($net) => $call,
            Sockets::Uring($net) => $call,
        }
    };
}

impl Net {
    /// Makes what is asked for, for about so many sockets; after the fork, since neither kind may cross it. Where the
    /// kernel refuses io_uring it is epoll, and `refused` hears why: a process that waits in another way serves its
    /// clients, one that ends does not.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub fn new(
        method: Method,
        sockets: usize,
        listeners: Vec<Listener>,
        refused: impl FnOnce(io::Error),
    ) -> io::Result<Net> {
        if method == Method::IoUring {
            match Ring::new(sockets) {
                Ok(ring) => return Ok(Net::over(Sockets::Uring(Box::new(Uring::new(ring, listeners))))),
                Err(error) => refused(error),
            }
        }
        Ok(Net::over(Sockets::Epoll(Box::new(Epoll::new(listeners)?))))
    }

    fn over(sockets: Sockets) -> Net {
        Net { sockets, guards: Guards::default() }
    }

    /// Why io_uring cannot be used here, if so.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn probe() -> io::Result<()> {
        Ring::new(0).map(drop)
    }

    /// Reports `Watched(number)` when `fd`, which must stay open, is readable. Who is told reads it empty.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn watch(&mut self, fd: RawFd, number: usize) -> io::Result<()> {
        match &mut self.sockets {
            Sockets::Epoll(net) => net.watch(fd, number),
            Sockets::Uring(net) => {
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
        match &mut self.sockets {
            Sockets::Epoll(net) => net.watch_waker(waker.clone(), number)?,
            Sockets::Uring(net) => net.watch_waker(waker.clone(), number),
        }
        Ok(waker)
    }

    /// Begins or ends to take clients. Idle processes wait on the same sockets; the kernel wakes one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn listen(&mut self, on: bool) -> io::Result<()> {
        either!(&mut self.sockets, net => net.listen(on))
    }

    /// Whether news of a client can go to a process that is held up: a wait over io_uring stands on its own, while
    /// epoll tells who really waits. Others must look from time to time.
    pub fn misses_clients(&self) -> bool {
        matches!(self.sockets, Sockets::Uring(_))
    }

    /// Has `Incoming` reported for every listening socket: a client may wait there.
    pub fn look_at_listeners(&mut self) {
        either!(&mut self.sockets, net => net.look_at_listeners());
    }

    /// Closes the listening sockets for good: a client that comes now is refused, not kept waiting.
    pub fn stop_listening(&mut self) {
        either!(&mut self.sockets, net => net.stop_listening());
    }

    /// Takes one waiting client; `None` when another process was quicker.
    ///
    /// # Errors
    /// What the kernel says, for instance that descriptors have run out.
    pub fn accept(&mut self, listener: usize) -> io::Result<Option<(Socket, Peer)>> {
        either!(&mut self.sockets, net => net.accept(listener))
    }

    /// Takes charge of a client's socket.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn add(&mut self, socket: Socket, owner: Owner) -> io::Result<ConnId> {
        either!(&mut self.sockets, net => net.add(socket, owner))
    }

    /// Whether no connection is in charge.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        either!(&self.sockets, net => net.is_empty())
    }

    /// Whether a peer is still waited for to take our last words: `tick` must go on.
    pub fn is_closing(&self) -> bool {
        either!(&self.sockets, net => net.is_closing())
    }

    /// Waits for something to happen, at most `timeout`; not at all when work is left over.
    ///
    /// # Errors
    /// What the kernel says, but for interruption by a signal.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.flush();
        let timeout = if self.guards.pending.is_empty() { timeout } else { Some(Duration::ZERO) };
        either!(&mut self.sockets, net => net.wait(timeout))
    }

    /// The next thing that happened; `None` when the turn is over.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.guards.pending.pop_front() {
                return Some(event);
            }
            match either!(&mut self.sockets, net => net.next_event())? {
                Event::Received(id, _, chunk) if self.guards.has(id) => self.open(id, Some(chunk)),
                event => {
                    if let Event::Closed(id, ..) = &event {
                        self.guards.remove(*id);
                    }
                    return Some(event);
                }
            }
        }
    }

    /// Opens sealed bytes; without any, begins the handshake.
    fn open(&mut self, id: ConnId, sealed: Option<Chunk>) {
        let Net { sockets, guards } = self;
        let (sealed, over) = guards.receive(id, sealed, &mut |bytes| sockets.send(id, bytes));
        sealed.into_iter().for_each(|chunk| self.give_back(chunk));
        if let Some((owner, reason)) = over {
            self.guards.remove(id);
            either!(&mut self.sockets, net => net.close(id));
            self.guards.pending.push_back(Event::Closed(id, owner, reason));
        }
        self.flush();
    }

    /// Seals what sessions have sent in this turn.
    fn seal(&mut self) {
        let Net { sockets, guards } = self;
        while let Some(id) = guards.next_dirty() {
            guards.seal(id, &mut |bytes| sockets.send(id, bytes));
        }
    }

    /// Nothing is sent behind what waits.
    fn say_goodbye(&mut self, id: ConnId) {
        let Net { sockets, guards } = self;
        guards.finish(id, &mut |bytes| sockets.send(id, bytes));
    }

    /// Returns a buffer for the next bytes.
    pub fn give_back(&mut self, chunk: Chunk) {
        match chunk.home {
            Home::Guards => self.guards.give_back(chunk.data),
            Home::Nowhere => {}
            Home::Reader | Home::Kernel(_) => either!(&mut self.sockets, net => net.give_back(chunk)),
        }
    }

    /// Once a second: a peer that does not read our last words is not waited for for ever.
    pub fn tick(&mut self, now: Instant) {
        either!(&mut self.sockets, net => net.tick(now));
    }

    /// Sends what the last event produced; io_uring does that for the whole turn in `wait`.
    pub fn flush(&mut self) {
        self.seal();
        if let Sockets::Epoll(net) = &mut self.sockets {
            net.flush();
        }
    }

    /// Gives what is queued its last try: the process ends.
    pub fn finish(&mut self) {
        self.seal();
        match &mut self.sockets {
            Sockets::Epoll(net) => net.flush(),
            Sockets::Uring(net) => net.finish(),
        }
    }
}

impl Sockets {
    fn send(&mut self, id: ConnId, bytes: &[u8]) {
        either!(self, net => net.send(id, bytes));
    }
}

impl Wire for Net {
    fn send(&mut self, id: ConnId, bytes: &[u8]) {
        if self.guards.is_empty() || !self.guards.has(id) {
            return self.sockets.send(id, bytes);
        }
        let Net { sockets, guards } = self;
        guards.send(id, bytes, &mut |sealed| sockets.send(id, sealed));
    }

    /// What waits to be sealed is less than a record, and not counted: `Drained` follows from the socket's queue alone.
    fn queued(&self, id: ConnId) -> usize {
        either!(&self.sockets, net => net.queued(id))
    }

    fn pause(&mut self, id: ConnId) {
        either!(&mut self.sockets, net => net.pause(id));
    }

    fn resume(&mut self, id: ConnId) {
        either!(&mut self.sockets, net => net.resume(id));
    }

    fn close(&mut self, id: ConnId) {
        self.say_goodbye(id);
        either!(&mut self.sockets, net => net.close(id));
    }

    fn close_when_sent(&mut self, id: ConnId) {
        self.say_goodbye(id);
        either!(&mut self.sockets, net => net.close_when_sent(id));
    }

    fn secure(&mut self, id: ConnId, owner: Owner, ssl: Ssl, already: &[u8]) {
        if let Err(reason) = self.guards.add(id, owner, ssl) {
            either!(&mut self.sockets, net => net.close(id));
            self.guards.pending.push_back(Event::Closed(id, owner, reason));
            return;
        }
        let data: Box<[u8]> = already.into();
        let sealed = (!data.is_empty()).then_some(Chunk { length: data.len(), data, home: Home::Nowhere });
        self.open(id, sealed);
    }

    fn connect(&mut self, address: &Address, owner: Owner) -> io::Result<ConnId> {
        either!(&mut self.sockets, net => net.connect(address, owner))
    }
}
