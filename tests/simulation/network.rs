//! The network between clients, workers and nodes. Bytes of one connection keep their order and are cut anywhere;
//! connections overtake each other; one may be reset in the middle of a message, or fall silent.

use std::collections::HashMap;

use pgbalancer::error::NodeId;
use pgbalancer::net::{Address, ConnId, HIGH_WATER, Owner, Wire};

use super::dice::Dice;
use super::event::Event;
use super::schedule::{MILLISECOND, Micros, Schedule};

/// A Terminate message.
const GOODBYE: &[u8] = b"X\0\0\0\x04";

/// What a socket holds before its sender must queue.
const SOCKET_BUFFER: usize = 64 * 1024;

/// One of the two ends of a connection: the worker's, and that of its client or node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Worker,
    Peer,
}

/// Who is at the other end of a worker's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Client(usize),
    Node(NodeId),
}

/// What reaches an end.
#[derive(Debug)]
pub(super) enum Arrival {
    Connected,
    Bytes(Vec<u8>),
    Drained,
    Closed(String),
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    bytes: Vec<u8>,
    /// What the receiver is told behind the bytes.
    end: Option<String>,
    /// Nothing arrives any more.
    over: bool,
    scheduled: bool,
}

/// A connection of a worker.
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) worker: usize,
    pub(super) owner: Owner,
    pub(super) peer: Peer,
    /// When the worker has sent something last but its goodbye.
    pub(super) sent_at: Micros,
    /// Both ends know of each other.
    stands: bool,
    to_worker: Pipe,
    to_peer: Pipe,
    paused: bool,
    /// Nothing passes, and nobody is told.
    silent: bool,
    /// The worker waits for its queue to drain.
    long: bool,
}

impl Connection {
    fn pipe(&mut self, to: End) -> &mut Pipe {
        match to {
            End::Worker => &mut self.to_worker,
            End::Peer => &mut self.to_peer,
        }
    }

    /// Whether neither end has anything to come.
    pub(super) fn is_over(&self) -> bool {
        self.to_worker.over && self.to_peer.over
    }
}

/// All connections, and the time.
pub(super) struct Network {
    pub(super) schedule: Schedule<Event>,
    pub(super) connections: Vec<Connection>,
    numbers: HashMap<ConnId, usize>,
    dice: Dice,
    /// Usual time of a packet.
    pub(super) latency: Micros,
    /// How many deliveries in a hundred bring only a part of what is there.
    pub(super) cuts: u64,
}

impl Network {
    pub(super) fn new(dice: Dice) -> Network {
        Network {
            schedule: Schedule::new(),
            connections: Vec::new(),
            numbers: HashMap::new(),
            dice,
            latency: MILLISECOND / 5,
            cuts: 40,
        }
    }

    /// A connection that a worker opens, or that a client has opened to it.
    pub(super) fn open(&mut self, worker: usize, owner: Owner, peer: Peer) -> (usize, ConnId) {
        let number = self.connections.len();
        let id = ConnId::new(number as u32, 0);
        let (to_worker, to_peer) = (Pipe::default(), Pipe::default());
        self.connections.push(Connection {
            id,
            worker,
            owner,
            peer,
            sent_at: 0,
            stands: matches!(peer, Peer::Client(_)),
            to_worker,
            to_peer,
            paused: false,
            silent: false,
            long: false,
        });
        self.numbers.insert(id, number);
        (number, id)
    }

    pub(super) fn number(&self, id: ConnId) -> Option<usize> {
        self.numbers.get(&id).copied()
    }

    /// Whether the worker's end of the connection is in use.
    pub(super) fn is_open(&self, number: usize) -> bool {
        !self.connections[number].to_worker.over
    }

    fn delay(&mut self) -> Micros {
        let usual = self.dice.between(self.latency / 2, self.latency * 2);
        if self.dice.chance(2) { usual * 20 } else { usual }
    }

    fn plan(&mut self, number: usize, to: End) {
        let delay = self.delay();
        let connection = &mut self.connections[number];
        let held = connection.silent || !connection.stands || (to == End::Worker && connection.paused);
        let pipe = connection.pipe(to);
        if !held && !pipe.scheduled && !pipe.over && (!pipe.bytes.is_empty() || pipe.end.is_some()) {
            pipe.scheduled = true;
            self.schedule.after(delay, Event::Deliver(number, to));
        }
    }

    /// Bytes on their way to `to`.
    pub(super) fn send(&mut self, number: usize, to: End, bytes: &[u8]) {
        let pipe = self.connections[number].pipe(to);
        if !pipe.over && pipe.end.is_none() {
            pipe.bytes.extend_from_slice(bytes);
            self.plan(number, to);
        }
    }

    /// `from` closes its end: what it has sent still arrives, and nothing reaches it.
    pub(super) fn close(&mut self, number: usize, from: End, reason: &str) {
        let (back, forth) = match from {
            End::Worker => (End::Worker, End::Peer),
            End::Peer => (End::Peer, End::Worker),
        };
        let connection = &mut self.connections[number];
        connection.pipe(back).over = true;
        let pipe = connection.pipe(forth);
        pipe.end.get_or_insert_with(|| reason.to_owned());
        self.plan(number, forth);
    }

    /// The connection breaks: each end gets a part of what was on its way, and is told so.
    pub(super) fn reset(&mut self, number: usize, reason: &str) {
        for to in [End::Worker, End::Peer] {
            self.truncate(number, to);
            let pipe = self.connections[number].pipe(to);
            pipe.end = Some(reason.to_owned());
            self.plan(number, to);
        }
    }

    /// The process at the other end is killed: what it has written may have left it in part only.
    pub(super) fn kill_peer(&mut self, number: usize, reason: &str) {
        self.truncate(number, End::Worker);
        self.close(number, End::Peer, reason);
    }

    fn truncate(&mut self, number: usize, to: End) {
        let length = self.connections[number].pipe(to).bytes.len();
        if length > 0 && self.dice.chance(60) {
            let kept = self.dice.below(length as u64) as usize;
            self.connections[number].pipe(to).bytes.truncate(kept);
        }
    }

    /// Nothing passes from now on, or everything does again.
    pub(super) fn set_silent(&mut self, number: usize, silent: bool) {
        self.connections[number].silent = silent;
        self.plan(number, End::Worker);
        self.plan(number, End::Peer);
    }

    /// One that has been silent is reset when somebody asks for it again.
    pub(super) fn break_silence(&mut self, number: usize) {
        if self.connections[number].silent {
            self.connections[number].silent = false;
            self.reset(number, "connection reset by peer");
        }
    }

    /// The node has taken the connection.
    pub(super) fn stand(&mut self, number: usize) {
        self.connections[number].stands = true;
        self.plan(number, End::Peer);
    }

    /// What an end is told that is due; empty where the connection is held up or over.
    pub(super) fn deliver(&mut self, number: usize, to: End) -> Vec<Arrival> {
        let part = self.dice.chance(self.cuts);
        let cut = self.dice.next();
        let connection = &mut self.connections[number];
        let held = connection.silent || (to == End::Worker && connection.paused);
        let pipe = connection.pipe(to);
        pipe.scheduled = false;
        if held || pipe.over {
            return Vec::new();
        }
        let mut arrivals = Vec::new();
        let length = pipe.bytes.len();
        if length > 0 {
            let take = if part { 1 + cut as usize % length } else { length };
            let rest = pipe.bytes.split_off(take);
            arrivals.push(Arrival::Bytes(std::mem::replace(&mut pipe.bytes, rest)));
        } else if let Some(reason) = pipe.end.clone() {
            pipe.over = true;
            arrivals.push(Arrival::Closed(reason));
        }
        self.plan(number, to);
        arrivals
    }

    /// The worker hears that its long queue is empty, once.
    pub(super) fn has_drained(&mut self, number: usize) -> bool {
        let connection = &mut self.connections[number];
        let drained = connection.long && connection.to_peer.bytes.len() <= SOCKET_BUFFER;
        connection.long &= !drained;
        drained && !connection.to_worker.over
    }

    /// Connections of a node's side that are not over.
    pub(super) fn of_node(&self, node: NodeId) -> Vec<usize> {
        let its = |connection: &Connection| connection.peer == Peer::Node(node) && !connection.is_over();
        (0..self.connections.len()).filter(|number| its(&self.connections[*number])).collect()
    }
}

/// The sockets of one worker.
pub(super) struct Sockets<'a> {
    pub(super) network: &'a mut Network,
    pub(super) worker: usize,
}

impl Sockets<'_> {
    fn open(&self, id: ConnId) -> Option<usize> {
        self.network.number(id).filter(|number| self.network.is_open(*number))
    }
}

impl Wire for Sockets<'_> {
    fn send(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(number) = self.open(id) else { return };
        if bytes != GOODBYE {
            self.network.connections[number].sent_at = self.network.schedule.now;
        }
        self.network.send(number, End::Peer, bytes);
        let queued = self.queued(id);
        self.network.connections[number].long |= queued > HIGH_WATER;
    }

    fn queued(&self, id: ConnId) -> usize {
        let queued = |number: usize| self.network.connections[number].to_peer.bytes.len();
        self.open(id).map_or(0, |number| queued(number).saturating_sub(SOCKET_BUFFER))
    }

    fn pause(&mut self, id: ConnId) {
        if let Some(number) = self.open(id) {
            self.network.connections[number].paused = true;
        }
    }

    fn resume(&mut self, id: ConnId) {
        if let Some(number) = self.open(id) {
            self.network.connections[number].paused = false;
            self.network.plan(number, End::Worker);
        }
    }

    fn close(&mut self, id: ConnId) {
        if let Some(number) = self.open(id) {
            self.network.close(number, End::Worker, "closed by the program");
        }
    }

    fn close_when_sent(&mut self, id: ConnId) {
        self.close(id);
    }

    fn secure(&mut self, _id: ConnId, _owner: Owner, _ssl: openssl::ssl::Ssl, _already: &[u8]) {}

    fn connect(&mut self, address: &Address, owner: Owner) -> std::io::Result<ConnId> {
        let Address::Tcp(address) = address else { return Err(std::io::ErrorKind::Unsupported.into()) };
        let node = usize::from(address.port() - FIRST_PORT);
        let (number, id) = self.network.open(self.worker, owner, Peer::Node(node));
        let delay = self.network.delay();
        self.network.schedule.after(delay, Event::Connect(number));
        Ok(id)
    }
}

/// The port of node 0; the others follow.
pub(super) const FIRST_PORT: u16 = 5000;
