//! What a session works with: the sockets, the pool, and what all sessions of a worker share.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use super::writes::Laggards;
use crate::admin::{Actor, Command};
use crate::auth::hba::Hba;
use crate::auth::outside::Question;
use crate::auth::pool_passwd::PoolPasswd;
use crate::cluster::failover::Cause;
use crate::cluster::relcache::RelCache;
use crate::cluster::users::Users;
use crate::cluster::view::ClusterView;
use crate::config::Config;
use crate::error::NodeId;
use crate::net::{Address, ConnId, Wire};
use crate::pool::Pool;
use crate::route::RouteConfig;
use crate::route::learn::Candidate;
use crate::shm::Segment;
use crate::sql;
use crate::tls::Acceptor;

/// Handed to every step of a session.
pub struct Ctx<'a> {
    pub wire: &'a mut dyn Wire,
    pub pool: &'a mut Pool,
    pub shared: &'a mut Shared,
}

/// What the sessions of one worker share.
pub struct Shared {
    pub worker: usize,
    /// While a step of a session runs, that session's (`PGPOOL SET`).
    pub config: Rc<Config>,
    pub routes: Rc<RouteConfig>,
    pub segment: Segment,
    pub view: ClusterView,
    pub facts: sql::Cache,
    pub relations: RelCache,
    pub laggards: Laggards,
    pub passwords: Rc<PoolPasswd>,
    /// Answers to `auth_query`.
    pub users: Users,
    /// Rules of pool_hba.conf when `enable_pool_hba` is on.
    pub hba: Option<Hba>,
    /// What clients' connections are secured with, when `ssl` is on.
    pub tls: Option<Rc<Acceptor>>,
    pub now: Instant,
    /// Seconds since 1970, for what people read.
    pub unix_now: u64,
    /// A moment, and what the clock that all processes share said then.
    pub clock: (Instant, u64),
    pub random: Random,
    /// What the worker must do for sessions once the event is handled.
    pub errands: Vec<Errand>,
    /// Scratch space for messages of our own.
    pub out: Vec<u8>,
    /// And for nodes that one is chosen of.
    pub candidates: Vec<Candidate>,
}

/// What a session asks of its worker.
#[derive(Debug)]
pub enum Errand {
    /// A cancel request came in on the connection of the client in this slot, which stays open until it is done.
    Cancel { client: u32, pid: i32, key: Vec<u8> },
    /// The node did not answer.
    Unreachable { node: NodeId, reason: String, cause: Cause },
    /// The client in this slot, which has this session, wants something done.
    Command { client: u32, session: u64, number: u64, actor: Actor, command: Command },
    /// The servers are to be asked for this user.
    User(String),
    /// The session with this number in this slot must know something that others know.
    Ask { client: u32, session: u64, question: Question },
    /// The session has ended, and its client is to be told so after a while (`auth_failure_delay`); where it came from.
    RefuseLater { client: ConnId, from: Option<IpAddr>, bytes: Vec<u8> },
    /// What we take for the primary has refused a write.
    RolesDoubted,
}

/// What must be sent where to cancel a statement.
#[derive(Debug)]
pub struct CancelTarget {
    /// Slot of the connection that the statement runs on.
    pub backend: u32,
    pub address: Address,
    /// For a connection that is secured as that one is: the node.
    pub tls: Option<NodeId>,
    /// Process and key that the server gave it.
    pub pid: i32,
    pub key: Vec<u8>,
}

/// Pseudo-random numbers for choosing nodes (xorshift64*, Vigna 2014); never for secrets.
pub struct Random(u64);

impl Random {
    /// Starts from a seed; zero is replaced, since the generator would stay there.
    pub fn new(seed: u64) -> Self {
        Random(seed.max(1))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Uniform in 0..1.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}
