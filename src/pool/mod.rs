//! Backend connections of one worker: opened when first needed, lent to a session, reset, lent again.
//!
//! Keyed by user, database and start-up options, so nothing of one user reaches another. At most
//! `max_pool` connections a session and node; the one idle for longest gives way.
#![forbid(unsafe_code)]

mod backend;
mod login;
mod names;
mod open;
mod reset;
mod secure;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub use backend::{Backend, Expect, LastWords, Phase, Purpose};
pub use names::Names;

use crate::auth::pool_passwd::{PoolPasswd, Secret};
use crate::auth::scram::SaltedKeys;
use crate::config::Config;
use crate::error::NodeId;
use crate::net::{Resolver, Wire};
use crate::shm::Segment;
use crate::tls::Connector;
use crate::wire::backend::ErrorFields;

/// What two sessions must have in common to use the same connection one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub user: String,
    pub database: String,
    /// Start-up options but application_name, sorted by name.
    pub options: Vec<(String, String)>,
}

impl Key {
    /// Databases that pgpool-II never keeps a connection to: somebody may want to drop or copy them.
    pub fn is_kept(&self) -> bool {
        !matches!(self.database.as_str(), "template0" | "template1" | "postgres" | "regression")
    }
}

/// Where a node is reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    pub node: NodeId,
    pub host: String,
    pub port: u16,
    /// For the connection and the login together.
    pub connect_timeout: Duration,
}

/// Why there is no connection.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The server's own ErrorResponse, to be passed on as it is.
    pub answer: Option<Vec<u8>>,
    /// For the log.
    pub text: String,
    pub trouble: Trouble,
}

/// What a failure says of later attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The host did not answer at all: the node may be down.
    Unreachable,
    /// The server is there and takes no connections now: it starts, stops or recovers.
    NotNow,
    /// The server wants a password, and we know none.
    NoPassword,
    /// It was a pooled connection that could not be reset; a new one may well be had.
    Stale,
    /// The server does not take this user, or not with this password.
    Denied,
    /// It will be the same again.
    Lasting,
}

impl Failure {
    fn unreachable(text: String) -> Self {
        Failure { answer: None, text, trouble: Trouble::Unreachable }
    }

    fn protocol(text: String) -> Self {
        Failure { answer: None, text, trouble: Trouble::Lasting }
    }

    fn no_password(text: String) -> Self {
        Failure { answer: None, text, trouble: Trouble::NoPassword }
    }

    fn stale(text: String) -> Self {
        Failure { answer: None, text, trouble: Trouble::Stale }
    }

    /// The server said so. 57P01 to 57P03: admin_shutdown, crash_shutdown, cannot_connect_now.
    fn refused(answer: Vec<u8>, fields: &ErrorFields<'_>) -> Self {
        let trouble = match fields.code {
            b"57P01" | b"57P02" | b"57P03" => Trouble::NotNow,
            b"28P01" | b"28000" => Trouble::Denied,
            _ => Trouble::Lasting,
        };
        Failure { answer: Some(answer), text: fields.to_string(), trouble }
    }

    /// Whether a later attempt may well succeed though nothing is changed here.
    pub fn is_passing(&self) -> bool {
        matches!(self.trouble, Trouble::Unreachable | Trouble::NotNow)
    }
}

/// A password that a session's client has sent in clear.
pub struct Sent {
    pub secret: Secret,
    /// It serves even where `pool_passwd` has another one.
    pub comes_first: bool,
    /// Only the server knows whether it is right: a pooled connection will do only if it was opened with the same one.
    pub is_unproven: bool,
}

/// The session that wants a connection.
#[derive(Clone, Copy)]
pub struct Borrower<'a> {
    /// Its slot.
    pub session: u32,
    pub application_name: Option<&'a str>,
    pub sent: Option<&'a Sent>,
    /// What it has shown of its verifier, which opens connections to servers that have the same.
    pub proved: Option<&'a Rc<Secret>>,
}

/// Answer to a session that wants a connection.
#[derive(Debug)]
pub enum Lease {
    /// Take it.
    Ready(u32),
    /// It is being opened; [`Outcome::Ready`] or [`Outcome::Failed`] will follow.
    Opening(u32),
    /// It cannot be had.
    Failed(Failure),
}

/// What became of a connection that was being opened.
#[derive(Debug)]
pub enum Outcome {
    /// The session may use it.
    Ready { session: u32, backend: u32 },
    /// The session must do without.
    Failed { session: u32, node: NodeId, failure: Failure },
}

/// What the configuration says about pooling.
pub struct Settings {
    pub sites: Vec<Site>,
    pub connection_cache: bool,
    /// Connections a node, lent and idle together.
    pub limit: usize,
    /// Parts of `reset_query_list`.
    pub reset_queries: Vec<String>,
    /// Reset queries are logged, too.
    pub log_per_node_statement: bool,
}

impl Settings {
    /// What a configuration says.
    pub fn configured(config: &Config) -> Settings {
        let sites = config.backends().into_iter().map(|backend| Site {
            node: backend.id,
            host: backend.hostname,
            port: backend.port,
            connect_timeout: connect_timeout(*config.connect_timeout.get(backend.id)),
        });
        Settings {
            sites: sites.collect(),
            connection_cache: config.connection_cache,
            limit: (config.max_pool.max(1) * config.sessions_per_child.max(1)) as usize,
            reset_queries: config.reset_query_list.clone(),
            log_per_node_statement: config.log_per_node_statement,
        }
    }
}

/// Zero means for ever, as in pgpool-II; a day is long enough for that.
fn connect_timeout(milliseconds: i64) -> Duration {
    match u64::try_from(milliseconds) {
        Ok(0) | Err(_) => Duration::from_secs(86_400),
        Ok(milliseconds) => Duration::from_millis(milliseconds),
    }
}

/// Where a connection's row stands, and the slot that may still have it.
struct Row {
    node: NodeId,
    place: usize,
    slot: u32,
}

/// By node.
pub type Connectors = HashMap<NodeId, Rc<Connector>>;

/// The connections.
pub struct Pool {
    pub settings: Settings,
    pub passwords: Rc<PoolPasswd>,
    /// For nodes whose connections are secured.
    pub connectors: Connectors,
    backends: Vec<Option<Backend>>,
    free: Vec<u32>,
    resolver: Resolver,
    keys: SaltedKeys,
    random: Box<dyn FnMut() -> String>,
    /// Seconds since 1970, for what people read.
    pub unix_now: u64,
    /// Rows in shared memory that must be written again.
    touched: Vec<Row>,
    outcomes: Vec<Outcome>,
}

impl Pool {
    /// An empty pool. `random` makes nonces for SCRAM.
    pub fn new(
        settings: Settings,
        passwords: Rc<PoolPasswd>,
        resolver: Resolver,
        random: Box<dyn FnMut() -> String>,
    ) -> Self {
        Pool {
            settings,
            passwords,
            connectors: Connectors::new(),
            backends: Vec::new(),
            free: Vec::new(),
            resolver,
            keys: SaltedKeys::new(),
            random,
            unix_now: 0,
            touched: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// The connection in a slot.
    pub fn get(&mut self, slot: u32) -> Option<&mut Backend> {
        self.backends.get_mut(slot as usize)?.as_mut()
    }

    /// The connection in a slot, to look at.
    pub fn peek(&self, slot: u32) -> Option<&Backend> {
        self.backends.get(slot as usize)?.as_ref()
    }

    /// Lends a connection to `node`, opening one when none is idle. Only sessions that have proved something get what
    /// was opened by a proof.
    pub fn lease(
        &mut self,
        wire: &mut dyn Wire,
        key: &Rc<Key>,
        node: NodeId,
        borrower: Borrower<'_>,
        now: Instant,
    ) -> Lease {
        let known = borrower.sent.filter(|sent| sent.is_unproven).map(|sent| &sent.secret);
        if let Some(slot) = self.free_slot(key, node, known, borrower.proved.is_some()) {
            let unix_now = self.unix_now;
            self.touch(slot);
            let Some(backend) = self.get(slot) else { return Lease::Opening(slot) };
            backend.session = Some(borrower.session);
            backend.lend(unix_now);
            if matches!(backend.phase, Phase::Idle) {
                backend.phase = Phase::Leased;
                return Lease::Ready(slot);
            }
            return Lease::Opening(slot);
        }
        self.make_room(wire, node);
        self.open(wire, key, node, borrower, now)
    }

    /// Ends a connection at once.
    pub fn drop_backend(&mut self, wire: &mut dyn Wire, slot: u32) {
        if let Some(backend) = self.take(slot) {
            if matches!(backend.phase, Phase::Idle | Phase::Leased | Phase::Resetting(_)) {
                let mut out = Vec::new();
                crate::wire::frontend::put_terminate(&mut out);
                wire.send(backend.conn, &out);
            }
            wire.close(backend.conn);
        }
    }

    /// The socket of a connection closed. Says which session had it.
    pub fn on_closed(
        &mut self,
        wire: &mut dyn Wire,
        slot: u32,
        reason: &str,
        now: Instant,
    ) -> Option<(u32, NodeId)> {
        let backend = self.get(slot)?;
        if matches!(backend.phase, Phase::Securing) {
            self.fail(wire, slot, Failure::protocol(reason.to_string()));
            return None;
        }
        if matches!(backend.phase, Phase::Connecting(_) | Phase::Asking | Phase::Login(_)) {
            self.attempt_failed(wire, slot, reason, now);
            return None;
        }
        if matches!(backend.phase, Phase::Resetting(_)) {
            self.fail(wire, slot, Failure::stale(reason.to_string()));
            return None;
        }
        let backend = self.take(slot)?;
        backend.session.map(|session| (session, backend.node))
    }

    /// Connections whose opening ended since the last call.
    pub fn outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// Once a second: gives up what takes too long.
    pub fn tick(&mut self, wire: &mut dyn Wire, now: Instant) {
        for slot in 0..self.backends.len() as u32 {
            let Some(backend) = self.peek(slot) else { continue };
            if backend.deadline.is_some_and(|deadline| deadline <= now) {
                match backend.phase {
                    Phase::Resetting(_) => {
                        self.fail(wire, slot, Failure::stale("reset timed out".to_string()))
                    }
                    Phase::Resolving
                    | Phase::Connecting(_)
                    | Phase::Asking
                    | Phase::Securing
                    | Phase::Login(_) => {
                        self.fail(wire, slot, Failure::unreachable("timed out".to_string()));
                    }
                    Phase::Leased | Phase::Idle => {}
                }
            }
        }
    }

    /// Closes what is idle and no longer wanted: a node that is gone, or everything.
    pub fn drop_idle(&mut self, wire: &mut dyn Wire, unwanted: impl Fn(&Backend) -> bool) {
        for slot in 0..self.backends.len() as u32 {
            if self.peek(slot).is_some_and(|b| matches!(b.phase, Phase::Idle) && unwanted(b)) {
                self.drop_backend(wire, slot);
            }
        }
    }

    /// An idle connection, the one used last since it is the warmest; else one that is just being reset: a
    /// client that comes back at once gets its connection back.
    fn free_slot(&self, key: &Key, node: NodeId, known: Option<&Secret>, has_proved: bool) -> Option<u32> {
        self.slots()
            .filter(|(_, b)| b.node == node && b.cancels == 0 && b.is_free() && *b.key == *key)
            .filter(|(_, b)| has_proved || !b.needs_proof)
            .filter(|(_, b)| {
                known.is_none_or(|known| b.sent.as_ref().is_some_and(|sent| sent.is_same(known)))
            })
            .max_by_key(|(_, b)| (matches!(b.phase, Phase::Idle), b.idle_since))
            .map(|(slot, _)| slot)
    }

    fn make_room(&mut self, wire: &mut dyn Wire, node: NodeId) {
        let count = self.slots().filter(|(_, b)| b.node == node).count();
        if count < self.settings.limit.max(1) {
            return;
        }
        let oldest = self
            .slots()
            // One that is being opened for a client who has gone gives way too.
            .filter(|(_, b)| b.node == node && b.session.is_none())
            .min_by_key(|(_, b)| b.idle_since)
            .map(|(slot, _)| slot);
        if let Some(slot) = oldest {
            self.drop_backend(wire, slot);
        }
    }

    /// All connections with their slots.
    pub fn slots(&self) -> impl Iterator<Item = (u32, &Backend)> {
        self.backends.iter().enumerate().filter_map(|(slot, b)| Some((slot as u32, b.as_ref()?)))
    }

    fn insert(&mut self, backend: Backend) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.backends.push(None);
            (self.backends.len() - 1) as u32
        });
        if let Some(place) = self.backends.get_mut(slot as usize) {
            *place = Some(backend);
        }
        self.touch(slot);
        slot
    }

    fn take(&mut self, slot: u32) -> Option<Backend> {
        self.touch(slot);
        let backend = self.backends.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        Some(backend)
    }

    fn touch(&mut self, slot: u32) {
        if let Some(backend) = self.peek(slot) {
            let row = Row { node: backend.node, place: backend.place, slot };
            self.touched.push(row);
        }
    }

    /// Writes the rows of what has changed since the last call.
    pub fn publish(&mut self, segment: &Segment, worker: usize) {
        for row in std::mem::take(&mut self.touched) {
            let backend = self.peek(row.slot).filter(|b| b.node == row.node && b.place == row.place);
            let content = backend.map(Backend::row).unwrap_or_default();
            segment.set_pool(worker, row.place, row.node, &content);
        }
    }

    /// The first place that no connection to the node has.
    fn free_place(&self, node: NodeId) -> usize {
        let mut taken: Vec<usize> =
            self.slots().filter(|(_, b)| b.node == node).map(|(_, b)| b.place).collect();
        taken.sort_unstable();
        taken.iter().enumerate().find(|(at, place)| at != *place).map_or(taken.len(), |(at, _)| at)
    }

    fn site(&self, node: NodeId) -> Option<&Site> {
        self.settings.sites.iter().find(|site| site.node == node)
    }
}
