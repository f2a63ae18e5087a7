//! Sockets as completions: bytes arrived in this buffer, a connection stands, an output queue drained.
//!
//! `Wire` is what a session may do with sockets; `Net` does it with io_uring or, where the kernel does not allow
//! that, with epoll. A session never sees which. Knows nothing of PostgreSQL.
#![forbid(unsafe_code)]

mod conn;
mod either;
mod epoll;
mod guard;
mod names;
mod resolve;
mod socket;
#[cfg(test)]
mod tests;
mod uring;
mod waker;

pub use either::{Method, Net};
pub use names::{Named, Names};
pub use resolve::{Resolved, Resolver};
pub use socket::{Listener, Peer, Socket};
pub use waker::Waker;

use std::net::SocketAddr;
use std::path::PathBuf;

use openssl::ssl::Ssl;

use crate::tls::Secured;

/// A queue longer than this makes its filler wait for `Drained`.
pub const HIGH_WATER: usize = 256 * 1024;

/// A connection of this process. The generation makes a late use of a closed one harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId {
    index: u32,
    generation: u32,
}

impl ConnId {
    /// An id that no connection ever has.
    pub const NONE: ConnId = ConnId { index: u32::MAX, generation: u32::MAX };

    /// Makes an id; for implementors of [`Wire`].
    pub fn new(index: u32, generation: u32) -> Self {
        ConnId { index, generation }
    }
}

/// Whose connection it is: given when it is added, handed back with every event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The client side of the session in this slot.
    Client(u32),
    /// The backend connection in this slot of the pool.
    Backend(u32),
    /// A short connection that carries a cancel request, in this slot.
    Cancel(u32),
}

/// Where a backend listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A socket file.
    Unix(PathBuf),
}

/// Bytes that arrived. The buffer goes back to its owner with [`Net::give_back`].
pub struct Chunk {
    data: Box<[u8]>,
    length: usize,
    home: Home,
}

/// Where a buffer goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    /// The one that reads.
    Reader,
    /// The kernel, under this number.
    Kernel(u16),
    /// What opens sealed bytes.
    Guards,
    /// Nobody: it was made for once.
    Nowhere,
}

impl Chunk {
    /// What arrived.
    pub fn bytes(&self) -> &[u8] {
        self.data.get(..self.length).unwrap_or_default()
    }
}

/// What happened since the last turn.
pub enum Event {
    /// A client waits on this listener; call [`Net::accept`] until it has none.
    Incoming(usize),
    /// An outgoing connection stands.
    Connected(ConnId, Owner),
    /// A handshake is done: from here on bytes are sealed.
    Secured(ConnId, Owner, Box<Secured>),
    /// Bytes arrived.
    Received(ConnId, Owner, Chunk),
    /// The output queue, which had been long, is empty again.
    Drained(ConnId, Owner),
    /// The peer closed, or the connection failed; it is gone already. The text is for the log.
    Closed(ConnId, Owner, String),
    /// A file descriptor given to [`Net::watch`] is readable.
    Watched(usize),
}

/// What a session and the pool may do with sockets.
pub trait Wire {
    /// Queues bytes; they leave at the end of the turn, or at once when they are many.
    fn send(&mut self, id: ConnId, bytes: &[u8]);
    /// Bytes queued and not yet taken by the kernel.
    fn queued(&self, id: ConnId) -> usize;
    /// No more `Received` for this connection until `resume`.
    fn pause(&mut self, id: ConnId);
    /// Ends `pause`.
    fn resume(&mut self, id: ConnId);
    /// Closes now; queued bytes get one try.
    fn close(&mut self, id: ConnId);
    /// Closes when the queued bytes have left.
    fn close_when_sent(&mut self, id: ConnId);
    /// Begins TLS; `Secured` or `Closed` follows. `already`: bytes of the handshake that have arrived. What is sent
    /// meanwhile leaves behind the handshake.
    fn secure(&mut self, id: ConnId, owner: Owner, ssl: Ssl, already: &[u8]);
    /// Begins to connect; `Connected` or `Closed` follows.
    fn connect(&mut self, address: &Address, owner: Owner) -> std::io::Result<ConnId>;
}
