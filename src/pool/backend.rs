//! One connection to a backend: what it is for, what it still owes us, what it has prepared.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use super::login::Login;
use super::{Key, Names};
use crate::auth::pool_passwd::Secret;
use crate::error::NodeId;
use crate::net::{Address, ConnId};
use crate::shm::PoolRow;
use crate::tls::Secured;
use crate::wire::backend::{ErrorFields, TxStatus};
use crate::wire::frontend;

/// What the answers to one message we sent are for. Kept in the order in which the messages were sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// A simple query or function call of the client.
    Query,
    /// A query of ours; nothing of it reaches the client.
    Quiet(Purpose),
    /// A Parse; `quiet` when it is ours.
    Parse { name: Box<[u8]>, id: u64, quiet: bool },
    /// A PREPARE that is ours, as Bind and Execute; its Parse and Closes stand around it.
    Prepare { name: Box<[u8]>, id: u64 },
    /// A Close; `quiet` when it is ours. `statement`: its name and which it is, unless it is a portal's.
    Close { statement: Option<(Box<[u8]>, u64)>, quiet: bool },
    /// The end of COPY data that was sent before the server had asked for any.
    CopyEnd,
    /// A Sync; `quiet` when it is ours.
    Sync { quiet: bool },
}

impl Expect {
    /// Whether the client waits for the ReadyForQuery that ends it.
    pub fn is_owed(&self) -> bool {
        matches!(self, Expect::Query | Expect::Sync { quiet: false })
    }

    /// Whether ReadyForQuery ends it.
    pub fn ends_with_ready(&self) -> bool {
        matches!(self, Expect::Query | Expect::Quiet(_) | Expect::Sync { .. })
    }
}

/// Why we sent a query of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Opens the client's transaction on one more node, or ends it there.
    Transaction,
    /// Brings the session's settings to this connection.
    Settings,
    /// Asks the catalog; the first column of the first row is kept.
    LookUp,
    /// Repeats a PREPARE of the session on this connection.
    Prepare,
    /// One of `reset_query_list`.
    Reset,
}

/// How far a connection is.
pub enum Phase {
    /// The host's name is being looked up.
    Resolving,
    /// Addresses still to try are behind the one being tried.
    Connecting(Vec<Address>),
    /// The server was asked whether it speaks TLS.
    Asking,
    /// The TLS handshake is under way.
    Securing,
    /// Start-up and authentication.
    Login(Box<Login>),
    /// A session has it.
    Leased,
    /// The reset queries are running; this many are done.
    Resetting(usize),
    /// Waits to be lent.
    Idle,
}

/// A connection to a backend.
pub struct Backend {
    pub node: NodeId,
    /// Which of the node's connections it is: its place in shared memory.
    pub place: usize,
    pub key: Rc<Key>,
    pub conn: ConnId,
    /// Where it is connected to, for cancel requests.
    pub address: Option<Address>,
    pub phase: Phase,
    /// What TLS has found out, if the connection is secured.
    pub secured: Option<Box<Secured>>,
    /// The other way was tried before: with TLS, or without.
    pub is_second_try: bool,
    /// The session that has it or waits for it.
    pub session: Option<u32>,
    pub pid: i32,
    pub cancel_key: Vec<u8>,
    /// ParameterStatus of the start-up, in order.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
    /// application_name of the start-up packet: what DISCARD ALL goes back to.
    pub application_name: Option<String>,
    /// The password of the client that it was opened with, if not one of `pool_passwd`.
    pub sent: Option<Secret>,
    /// How the backend asked us to prove who we are.
    pub asked: crate::auth::backend_leg::AsKind,
    /// What its session has proved, until it is logged in.
    pub(super) secret: Option<Rc<Secret>>,
    /// It was opened by what a client has proved: for none who has not.
    pub(super) needs_proof: bool,
    pub expects: VecDeque<Expect>,
    pub tx: TxStatus,
    /// Name → which of the session's statements it is there.
    pub statements: Names<u64>,
    /// Statements that it has and the session no longer has: closed before it is used again.
    pub stale: Vec<Box<[u8]>>,
    /// How often it was lent, and when (unix seconds) it was opened, lent and given back last.
    pub lends: u64,
    pub opened_at: u64,
    pub lent_at: u64,
    pub left_at: u64,
    /// Beginning of a frame that has not come whole.
    pub held: Vec<u8>,
    /// Bytes still to come of a frame that is passed on (or dropped) as it comes.
    pub passing: usize,
    pub passing_to_client: bool,
    /// Error of a query of ours.
    pub quiet_error: Option<String>,
    /// Result of a look-up.
    pub answer: Option<Vec<u8>>,
    /// Cancel requests on their way: not lent before they have ended, or they would hit the next user.
    pub cancels: u32,
    pub deadline: Option<Instant>,
    pub idle_since: Instant,
    /// The server's FATAL error, kept until the connection has closed.
    pub last_words: Option<LastWords>,
}

/// Why a server has ended a connection, by its own account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastWords {
    /// The SQLSTATE.
    pub code: String,
    /// For the log and the client.
    pub text: String,
}

impl From<&ErrorFields<'_>> for LastWords {
    fn from(fields: &ErrorFields<'_>) -> Self {
        LastWords { code: String::from_utf8_lossy(fields.code).into_owned(), text: fields.to_string() }
    }
}

impl Backend {
    pub(super) fn new(
        node: NodeId,
        place: usize,
        key: Rc<Key>,
        application_name: Option<String>,
        session: u32,
        now: Instant,
    ) -> Self {
        Backend {
            node,
            place,
            key,
            conn: ConnId::NONE,
            address: None,
            phase: Phase::Resolving,
            secured: None,
            is_second_try: false,
            session: Some(session),
            pid: 0,
            cancel_key: Vec::new(),
            parameters: Vec::new(),
            application_name,
            sent: None,
            asked: crate::auth::backend_leg::AsKind::Trust,
            secret: None,
            needs_proof: false,
            expects: VecDeque::new(),
            tx: TxStatus::Idle,
            statements: Names::default(),
            stale: Vec::new(),
            lends: 0,
            opened_at: 0,
            lent_at: 0,
            left_at: 0,
            held: Vec::new(),
            passing: 0,
            passing_to_client: false,
            quiet_error: None,
            answer: None,
            cancels: 0,
            deadline: None,
            idle_since: now,
            last_words: None,
        }
    }

    /// Appends a query of ours to `out`, and expects its answer. It takes the unnamed statement with it.
    pub fn put_query(&mut self, out: &mut Vec<u8>, text: &[u8], purpose: Purpose) {
        frontend::put_query(out, text);
        self.expects.push_back(Expect::Quiet(purpose));
        self.statements.remove(b"");
    }

    /// It does not have that one of the session's statements.
    pub fn forget_statement(&mut self, name: &[u8], id: u64) {
        if self.statements.get(name) == Some(&id) {
            self.statements.remove(name);
        }
    }

    pub(super) fn lend(&mut self, unix_now: u64) {
        self.lends += 1;
        self.lent_at = unix_now;
        self.left_at = 0;
    }

    /// As SHOW POOL_POOLS shows it.
    pub(super) fn row(&self) -> PoolRow {
        let leased = matches!(self.phase, Phase::Leased);
        PoolRow {
            session_plus_1: self.session.filter(|_| leased).map_or(0, |slot| slot + 1),
            user: self.key.user.as_str().into(),
            database: self.key.database.as_str().into(),
            backend_connected_at: self.opened_at,
            client_connected_at: self.lent_at,
            client_disconnected_at: self.left_at,
            major: 3,
            minor: 0,
            pool_counter: self.lends,
            backend_pid: self.pid,
        }
    }

    /// Whether nobody has it or waits for it: idle, or being reset for whoever comes next.
    pub(super) fn is_free(&self) -> bool {
        match self.phase {
            Phase::Idle => true,
            Phase::Resetting(_) => self.session.is_none(),
            Phase::Resolving
            | Phase::Connecting(_)
            | Phase::Asking
            | Phase::Securing
            | Phase::Login(_)
            | Phase::Leased => false,
        }
    }

    /// Whether nothing is under way: every answer has come, and come whole.
    pub fn is_quiet(&self) -> bool {
        self.expects.is_empty() && self.held.is_empty() && self.passing == 0
    }

    /// Passes over ends of COPY data that the server has not asked for.
    pub fn forget_copy_ends(&mut self) {
        while self.expects.pop_front_if(|expect| *expect == Expect::CopyEnd).is_some() {}
    }

    /// Whether the client has a part of a message whose end has not come.
    pub fn is_mid_message(&self) -> bool {
        self.passing > 0 && self.passing_to_client
    }

    /// Whether a statement of the client runs here.
    pub fn is_busy(&self) -> bool {
        self.expects.iter().any(|expect| !matches!(expect, Expect::Quiet(_)))
    }
}
