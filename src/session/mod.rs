//! The story of one client: it comes in, proves who it is, sends statements, leaves.
//!
//! A state machine: bytes of the client and of the backends go in, calls of `Wire` and `Pool` come out. It
//! holds no socket and no clock. A frame that cannot be served yet (a connection is being opened, the
//! catalog is being asked) stays in `input` and is looked at again when that has ended.
//!
//! `client` cuts the client's frames; `simple` and `extended` say where they go; `place` finds the node and
//! `reach` makes it ready; `stream` and `relay` take the answers back; `transaction` and `settings` remember; `lose` says
//! what becomes of it all when a node dies.
#![forbid(unsafe_code)]

mod aborted;
mod again;
mod client;
mod command;
mod ctx;
mod does;
mod extended;
mod finish;
mod hold;
mod holdings;
mod idle;
mod learning;
mod limits;
mod lookup;
mod lose;
mod lost;
mod messages;
mod ours;
mod own;
mod place;
mod prepared;
mod prove;
mod reach;
mod refused;
mod relay;
mod repeat;
mod report;
mod sessions;
mod settings;
mod simple;
mod startup;
mod stream;
mod temporary;
#[cfg(test)]
mod tests;
mod timing;
mod transaction;
mod writes;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

pub use ctx::{CancelTarget, Ctx, Errand, Random, Shared};
pub use lost::Lost;
pub use sessions::Sessions;
pub use writes::Laggards;

use crate::auth::client_leg::AuthMethod;
use crate::auth::pool_passwd::Secret;
use crate::cluster::relcache::RelCache;
use crate::error::NodeId;
use crate::log;
use crate::net::{ConnId, Peer};
use crate::pool::{Key, Names};
use crate::route::{Preference, Question, Write};
use crate::shm::Admission;
use crate::sql::Facts;
use crate::wire::startup::Startup;
use again::Again;
use finish::Refusal;
use hold::Waiting;
use holdings::Holdings;
use refused::Refused;
use repeat::Repeat;
use settings::{Applied, Settings};
use temporary::Temporary;
use transaction::Transaction;
use writes::{OwnCommit, Unpublished, Wrote};

/// How far a client is.
enum Stage {
    /// No start-up packet yet.
    First,
    /// Let in, or known to be let in once a backend has said how it asks; waits for its connection.
    Waiting { proven: bool },
    /// The servers are being asked for its user; then it is asked for a proof by this method.
    UserWanted { method: AuthMethod },
    /// Proving who it is. `backend`: the connection that waits, when the backend's method decides.
    Proving { leg: Box<crate::auth::client_leg::ClientLeg>, judge: prove::Judge },
    /// Nobody here knows whether it may come in: somebody else is asked.
    Asking { about: prove::About },
    /// Sent a cancel request and waits until it is done.
    Cancelling,
    /// Sends statements.
    Active,
    /// Over: whatever still comes is dropped.
    Closed,
}

/// A node that the session uses.
struct Link {
    node: NodeId,
    /// Slot in the pool.
    backend: u32,
    /// Not usable yet.
    opening: bool,
    /// The settings that the node has, and had at its BEGIN.
    applied: Applied,
    applied_at_begin: Applied,
    /// The client's explicit transaction is open there too.
    in_transaction: bool,
    /// Not read from because the client is slow.
    paused: bool,
    /// It was the primary's: what cannot be made again on another node is there.
    was_lead: bool,
    /// Another node leads now, and a statement is still under way here.
    left: bool,
    /// An operator wants the node out of use: the connection is given up when nothing is under way there.
    leaving: bool,
}

/// A prepared statement: of a Parse message, or of PREPARE.
struct Prepared {
    id: u64,
    name: Box<[u8]>,
    facts: Rc<Facts>,
    text: Rc<[u8]>,
    source: Source,
}

/// How to prepare it on one more node.
enum Source {
    /// The whole Parse frame.
    Message(Rc<[u8]>),
    /// The PREPARE statement is the text itself.
    Sql,
    /// Too long to keep: it lives on this node alone.
    Only(NodeId),
}

/// A statement that was sent to its node a moment ago: what is bound next is mostly that. It counts as long as nothing
/// was executed and the batch goes on, so that the same question would get the same answer.
#[derive(Clone, Copy, PartialEq, Eq)]
struct JustParsed {
    id: u64,
    node: NodeId,
    flight: u64,
    sent: usize,
}

/// A bound portal.
#[derive(Clone)]
struct Portal {
    node: NodeId,
    prepared: Option<Rc<Prepared>>,
    write: Write,
}

/// Rest of a client's frame that is passed on as it comes.
struct Streaming {
    left: usize,
    /// Node that gets it; `None`: dropped.
    to: Option<NodeId>,
}

/// What a statement under way changes when it succeeds.
struct Effect {
    facts: Rc<Facts>,
    text: Rc<[u8]>,
    /// Which ReadyForQuery ends it, and how many statements stand between the last one and it.
    flight: u64,
    first: usize,
}

/// Whether a client's frame was served.
enum Step {
    /// It was; this many bytes are used up.
    Done(usize),
    /// More bytes must come first.
    More,
    /// It waits for something else; looked at again at the next `pump`.
    Stall,
}

/// One client.
pub struct Session {
    /// Slot in the worker.
    pub slot: u32,
    /// No other session of this program has it.
    pub number: u64,
    pub client: ConnId,
    peer: Peer,
    stage: Stage,
    /// Moment at which an unfinished start-up is given up.
    pub deadline: Option<Instant>,
    /// When the client said something last, or was last seen waiting for us.
    pub heard: Instant,
    /// Its host's name is being looked up, and its coming is not logged yet.
    pub waits_for_name: Option<IpAddr>,
    /// The name, or the address.
    host: String,
    /// The name of its host that leads back to its address, once it has been looked up for pool_hba.conf.
    verified_host: Option<Option<String>>,
    /// The password that it sent in clear, for its backends.
    sent_password: Option<crate::pool::Sent>,
    /// Whether it counts for the limits of its user and its database.
    admission: Admission,
    /// It came when all places but the reserved ones were taken, and will be told so.
    pub is_too_many: bool,
    started: Instant,
    input: Vec<u8>,
    streaming: Streaming,
    startup: Option<Box<Startup>>,
    key: Rc<Key>,
    /// What the client has proved, where that is what backends are logged in to with; gone with the session.
    proved: Option<Rc<Secret>>,
    /// What `auth_query` has given of the user, until it is proved.
    found: Option<Rc<Secret>>,
    links: Vec<Link>,
    /// Node for reads, drawn at the start or for each statement.
    balance: Option<NodeId>,
    /// What the redirect preference lists say of it.
    preference: Option<Preference>,
    /// The draw of the statement that waits, so that looking at it again does not draw again.
    drawn: Option<NodeId>,
    /// Nodes that failed this session, and until when they are not tried again.
    avoid: Vec<(NodeId, Instant)>,
    transaction: Option<Transaction>,
    /// A write in an earlier explicit transaction; in any statement.
    trans_wrote: bool,
    ever_wrote: bool,
    settings: Settings,
    /// `set_config` was called with a value that only the server knows.
    has_unknown_setting: bool,
    /// Transactions that name no isolation level are SERIALIZABLE.
    is_serializable: bool,
    /// What was written before it was known whether in a transaction: by what is in flight, and by what has ended.
    written: VecDeque<(u64, Wrote)>,
    early: Wrote,
    again: Again,
    repeating: Option<Box<Repeat>>,
    refused: Option<Refused>,
    /// Why the statement that was looked at last is not served.
    refusal: Option<Refusal>,
    /// What stands at the head of the input waits for the cluster.
    waiting: Option<Waiting>,
    ours: Option<Box<ours::Ours>>,
    /// What stands at the head of the input waits for what comes of a command.
    commanded: Option<command::Commanded>,
    last_command: u64,
    unpublished: Unpublished,
    own_commit: OwnCommit,
    /// For the statement that waits nobody is asked any more for positions.
    asked_enough: bool,
    own: Option<Box<own::OwnConfig>>,
    temporary: Temporary,
    holdings: Holdings,
    /// What the catalog says since the transaction has changed it: not yet true for others.
    own_relations: Option<Box<RelCache>>,
    statements: Names<Rc<Prepared>>,
    portals: Names<Portal>,
    next_statement: u64,
    /// The statement that a node is asked to prepare now, and the last one that could not be, with the node.
    preparing: Option<u64>,
    cannot_prepare: Option<(u64, NodeId)>,
    /// And whether it writes.
    just_parsed: Option<(JustParsed, Write)>,
    /// Node that has the messages since the last Sync.
    batch: Option<NodeId>,
    batch_count: extended::BatchCount,
    /// A Sync of ours is on its way that ends the batch.
    ending: bool,
    /// An error of ours: the client's messages are dropped until its Sync.
    skip_to_sync: bool,
    /// ReadyForQuery still to come for the client.
    in_flight: u32,
    /// What was sent last is a simple query or a function call.
    simple: bool,
    /// Effects of what is in flight; while there are any, nothing is routed.
    effects: VecDeque<Effect>,
    /// An error came since the last ReadyForQuery.
    errored: bool,
    /// How many ReadyForQuery the client was owed before the one it is sending messages for.
    flight: u64,
    /// Statements sent since then, and statements answered since the last ReadyForQuery.
    sent: usize,
    done: usize,
    /// For each COMMIT (true) and ROLLBACK tag since the last ReadyForQuery.
    ends: VecDeque<bool>,
    /// Statements whose Close was not answered yet.
    closing: Vec<Rc<Prepared>>,
    copy_in: Option<NodeId>,
    tls: startup::Tls,
    /// The node that has said that it ends the connection, and has not closed it yet.
    doomed: Option<NodeId>,
    /// A look-up of the catalog that is under way, and the state of the catalog that it asks for.
    asking: Option<(Question, u64)>,
    /// ParameterStatus values that the client has.
    parameters: Vec<(Vec<u8>, Vec<u8>)>,
    /// Scratch: bytes for the client's own messages are built here.
    cancel: (i32, Vec<u8>),
    stalled: bool,
    /// Whom the log names in the lines of this session.
    identity: Option<Rc<log::Client>>,
    /// The process title up to the state, where a process has one session.
    title: String,
    timing: timing::Timing,
    /// Begin of the statement that was sent last, for the log of its error.
    statement: Vec<u8>,
    noted: messages::Noted,
    /// What the log has for the client and cannot be said in the middle of a message.
    unheard: Vec<log::Heard>,
}

impl Session {
    /// A client has connected.
    pub fn new(slot: u32, client: ConnId, peer: Peer, now: Instant, deadline: Option<Instant>) -> Self {
        Session {
            slot,
            number: 0,
            client,
            peer,
            stage: Stage::First,
            deadline,
            heard: now,
            waits_for_name: None,
            host: peer.host(),
            verified_host: None,
            sent_password: None,
            admission: Admission::Out,
            is_too_many: false,
            started: now,
            input: Vec::new(),
            streaming: Streaming { left: 0, to: None },
            startup: None,
            key: Rc::new(Key { user: String::new(), database: String::new(), options: Vec::new() }),
            proved: None,
            found: None,
            links: Vec::new(),
            balance: None,
            preference: None,
            drawn: None,
            avoid: Vec::new(),
            transaction: None,
            trans_wrote: false,
            ever_wrote: false,
            settings: Settings::default(),
            has_unknown_setting: false,
            is_serializable: false,
            written: VecDeque::new(),
            early: Wrote::default(),
            again: Again::default(),
            repeating: None,
            refused: None,
            refusal: None,
            waiting: None,
            ours: None,
            commanded: None,
            last_command: 0,
            unpublished: Unpublished::default(),
            own_commit: OwnCommit::None,
            asked_enough: false,
            own: None,
            temporary: Temporary::default(),
            holdings: Holdings::default(),
            own_relations: None,
            statements: Names::default(),
            portals: Names::default(),
            next_statement: 1,
            preparing: None,
            cannot_prepare: None,
            just_parsed: None,
            batch: None,
            batch_count: extended::BatchCount::default(),
            ending: false,
            skip_to_sync: false,
            in_flight: 0,
            simple: false,
            effects: VecDeque::new(),
            errored: false,
            flight: 0,
            sent: 0,
            done: 0,
            ends: VecDeque::new(),
            closing: Vec::new(),
            copy_in: None,
            tls: startup::Tls::Untried,
            doomed: None,
            asking: None,
            parameters: Vec::new(),
            cancel: (0, Vec::new()),
            stalled: false,
            identity: None,
            title: String::new(),
            timing: timing::Timing::default(),
            statement: Vec::new(),
            noted: messages::Noted::default(),
            unheard: Vec::new(),
        }
    }

    /// Whom the log names in the lines of this session.
    pub fn identity(&self) -> Option<Rc<log::Client>> {
        self.identity.clone()
    }

    /// Whether the session is over and its slot may be used again.
    pub fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Closed)
    }

    /// Whether nothing of the client's is open on any server: no statement, no batch, no transaction.
    pub fn is_at_rest(&self) -> bool {
        self.is_all_answered() && (self.transaction.is_none() || self.is_aborted())
    }

    /// Whether a cancel request with this process and key is meant for it.
    pub fn is_cancelled_by(&self, pid: i32, key: &[u8]) -> bool {
        matches!(self.stage, Stage::Active) && self.cancel.0 == pid && !key.is_empty() && self.cancel.1 == key
    }

    /// Whether it is the one with this number, and not over.
    pub fn is_numbered(&self, number: u64) -> bool {
        self.number == number && !matches!(self.stage, Stage::Closed)
    }

    /// Cancels what the client waits for: what has not begun is refused, and for what runs it is returned what must be
    /// sent where.
    pub fn cancel(&mut self, ctx: &mut Ctx<'_>) -> Vec<CancelTarget> {
        if !matches!(self.stage, Stage::Active) {
            return Vec::new();
        }
        if self.stalled && self.is_waiting_to_begin() {
            // What runs now is ours: a look-up of the catalog, a setting. To cancel that would do harm, not good.
            let text = "canceling statement due to user request".to_owned();
            self.refuse(ctx, Refusal::Own("57014", text));
            return Vec::new();
        }
        self.at_work(ctx)
    }

    /// What must be sent where to cancel what runs.
    pub fn at_work(&self, ctx: &Ctx<'_>) -> Vec<CancelTarget> {
        let pool = &*ctx.pool;
        let busy = self.links.iter().filter_map(|link| {
            // A batch without its Sync runs as well.
            let open = self.batch == Some(link.node);
            let backend = pool.peek(link.backend).filter(|backend| open || backend.is_busy())?;
            Some(CancelTarget {
                backend: link.backend,
                address: backend.address.clone()?,
                tls: backend.secured.as_ref().map(|_| backend.node),
                pid: backend.pid,
                key: backend.cancel_key.clone(),
            })
        });
        busy.collect()
    }

    /// Whether nothing of the client's runs, though it has sent something.
    fn is_waiting_to_begin(&self) -> bool {
        self.is_all_answered() && !self.input.is_empty()
    }

    /// Whether neither the client nor a node has something of it to come.
    #[cfg(test)]
    fn is_waiting_for_nothing(&self) -> bool {
        self.input.is_empty() && self.is_all_answered()
    }

    fn link(&mut self, node: NodeId) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.node == node)
    }
}
