//! What the rows hold. A field reads as empty or zero where nobody has written yet.
#![forbid(unsafe_code)]

use std::fmt;

use super::text::Text;
use super::traffic::LATENCY_CLASSES;
use super::words::{Source, Word, code, row};

/// Most bytes of an answer of the catalog that workers share.
pub(super) const ANSWER: usize = 512;

row! {
    /// An answer of the catalog that a worker has left for the others.
    pub(super) struct CatalogRow {
        /// The question.
        pub question: u64,
        /// The rest of it.
        pub question_end: u64,
        /// The state of the database's catalog that it is of.
        pub epoch: u64,
        /// When it was asked (unix seconds).
        pub at: u64,
        /// What the catalog said.
        pub answer: Text<ANSWER>,
    }
}

row! {
    /// Whose statements a row of traffic counts.
    pub(super) struct TrafficKey {
        /// User.
        pub user: Text<64>,
        /// Database.
        pub database: Text<64>,
    }
}

code! {
    /// What we think of a node; only the supervisor changes it.
    pub enum NodeStatus {
        /// Not configured.
        Unused = 0,
        /// Configured, nobody has connected yet.
        Waiting = 1,
        /// In use.
        Up = 2,
        /// Out of use.
        Down = 3,
        /// Out of use here, without the other pgbalancers agreeing.
        Quarantine = 4,
    }
}

impl NodeStatus {
    /// Sessions may use the node.
    pub fn is_used(self) -> bool {
        matches!(self, NodeStatus::Waiting | NodeStatus::Up)
    }
}

code! {
    /// What the replication check found last.
    pub enum PgStatus {
        /// Not asked yet.
        Unknown = 0,
        /// It answers.
        Up = 1,
        /// It does not.
        Down = 2,
    }
}

code! {
    /// What the node itself says it is.
    pub enum PgRole {
        /// Not asked yet.
        Unknown = 0,
        /// Not in recovery.
        Primary = 1,
        /// In recovery.
        Standby = 2,
    }
}

code! {
    /// Why another node has become the primary.
    pub enum FailoverReason {
        /// A session could not connect to the one before, or its connection broke.
        Session = 0,
        /// The one before said that it shuts down.
        Shutdown = 1,
        /// The health check gave it up.
        HealthCheck = 2,
        /// It was one of two primaries.
        FalsePrimary = 3,
        /// An operator wanted it.
        Operator = 4,
        /// The servers changed their roles themselves.
        Roles = 5,
    }
}

impl FailoverReason {
    /// All of them.
    pub const ALL: [FailoverReason; 6] = [
        FailoverReason::Session,
        FailoverReason::Shutdown,
        FailoverReason::HealthCheck,
        FailoverReason::FalsePrimary,
        FailoverReason::Operator,
        FailoverReason::Roles,
    ];

    /// As metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            FailoverReason::Session => "session",
            FailoverReason::Shutdown => "shutdown",
            FailoverReason::HealthCheck => "health_check",
            FailoverReason::FalsePrimary => "false_primary",
            FailoverReason::Operator => "operator",
            FailoverReason::Roles => "roles",
        }
    }
}

code! {
    /// What a session does now.
    pub enum SessionStatus {
        /// No client.
        WaitForConnection = 0,
        /// A client, not logged in yet.
        Connecting = 1,
        /// Between statements, outside a transaction.
        Idle = 2,
        /// Between statements, inside a transaction.
        IdleInTransaction = 3,
        /// A statement runs.
        ExecuteCommand = 4,
    }
}

code! {
    /// Whether a session counts for the limits of its user and its database.
    pub enum Admission {
        /// It has not proved who it is.
        Out = 0,
        /// It has, and is about to come in.
        Asks = 1,
        /// It is in.
        In = 2,
    }
}

impl SessionStatus {
    /// As `SHOW pool_processes` and process titles have it.
    pub fn name(self) -> &'static str {
        match self {
            SessionStatus::WaitForConnection => "Wait for connection",
            SessionStatus::Connecting => "Connecting",
            SessionStatus::Idle => "Idle",
            SessionStatus::IdleInTransaction => "Idle in transaction",
            SessionStatus::ExecuteCommand => "Execute command",
        }
    }
}

/// Everything known about a node, put together from the supervisor's part and the replication check's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeRow {
    /// In use or not.
    pub status: NodeStatus,
    /// Why the status is what it is.
    pub reason: Text<96>,
    /// When status or role changed last (unix seconds).
    pub changed_at: u64,
    /// It is out of use because an operator wants so, not because it failed: what has begun there may end there.
    pub orderly: bool,
    /// How often it was taken out of use.
    pub times_out: u64,
    /// How often it was put back in use.
    pub times_back: u64,
    /// Whether it is the primary that we route writes to.
    pub is_primary: bool,
    /// What the replication check found.
    pub probe: Probe,
}

row! {
    /// The supervisor's part of a node.
    pub(super) struct NodeState {
        /// Why the status is what it is.
        pub reason: Text<96>,
        /// When status or role changed last (unix seconds).
        pub changed_at: u64,
        /// It is out of use because an operator wants so.
        pub orderly: bool,
        /// How often it was taken out of use.
        pub times_out: u64,
        /// How often it was put back in use.
        pub times_back: u64,
    }
}

row! {
    /// What the replication check found out about a node.
    pub struct Probe {
        /// Whether it answers.
        pub pg_status: PgStatus,
        /// What it says it is.
        pub pg_role: PgRole,
        /// Bytes behind the primary.
        pub lag_bytes: Option<u64>,
        /// Microseconds behind the primary.
        pub lag_micros: Option<u64>,
        /// `state` of pg_stat_replication.
        pub state: Text<32>,
        /// `sync_state` of pg_stat_replication.
        pub sync_state: Text<32>,
        /// Last position replayed (or written, on the primary).
        pub replay_lsn: u64,
        /// When it was found (unix seconds).
        pub at: u64,
        /// When the node was asked: all that was written before that is in the position (microseconds of
        /// CLOCK_MONOTONIC, 0: it has not answered).
        pub asked_at: u64,
        /// It is a second primary or follows one: its data need not be those of the primary.
        pub astray: bool,
        /// The primary that it streams from, directly or over others, as far as that can be seen.
        pub root: Option<u64>,
        /// Why it has its role, to stand behind its name.
        pub why: Text<96>,
    }
}

code! {
    /// What has happened.
    pub enum EventKind {
        /// The program has started.
        Start = 0,
        /// A node is in use, or out of use.
        NodeStatus = 1,
        /// Another node is the primary, or none is.
        Primary = 2,
        /// A primary that was lost has been replaced.
        Failover = 3,
        /// The configuration was read again.
        Reload = 4,
        /// The program stops.
        Stop = 5,
        /// Operators hold all new transactions back.
        Pause = 6,
        /// They no longer do.
        Resume = 7,
        /// The primary is lost, or an operator wants another one: the next one is being looked for.
        FailoverStart = 8,
        /// There is a primary again, another one or the same.
        FailoverEnd = 9,
        /// A node is used again that was out of use.
        Failback = 10,
        /// An operator wants a node to be the primary.
        Promotion = 11,
        /// A node has another role.
        Role = 12,
        /// A child process has died of a signal, or of an error.
        ProcessCrash = 13,
        /// A node is being recovered, or was.
        Recovery = 14,
        /// A child process has started.
        ProcessStart = 15,
        /// What a health check has found.
        HealthCheck = 16,
        /// Numbers of the clients and the statements.
        Statistics = 17,
        /// What balancing has learnt has changed.
        Ai = 18,
    }
}

/// Where an event is kept. What comes all the time must not push out what is rare, so each kind has its own place;
/// the numbers of the two have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ring {
    /// What changes something.
    Events = 0,
    /// What is measured, and children that come and go.
    Readings = 1,
}

impl Ring {
    /// Both.
    pub const ALL: [Ring; 2] = [Ring::Events, Ring::Readings];
}

impl EventKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [EventKind; 19] = [
        EventKind::Start,
        EventKind::NodeStatus,
        EventKind::Primary,
        EventKind::Failover,
        EventKind::Reload,
        EventKind::Stop,
        EventKind::Pause,
        EventKind::Resume,
        EventKind::FailoverStart,
        EventKind::FailoverEnd,
        EventKind::Failback,
        EventKind::Promotion,
        EventKind::Role,
        EventKind::ProcessCrash,
        EventKind::Recovery,
        EventKind::ProcessStart,
        EventKind::HealthCheck,
        EventKind::Statistics,
        EventKind::Ai,
    ];

    /// As all faces have it.
    pub fn name(self) -> &'static str {
        match self {
            EventKind::Start => "start",
            EventKind::Pause => "pause",
            EventKind::Resume => "resume",
            EventKind::NodeStatus => "node_status",
            EventKind::Primary => "primary",
            EventKind::Failover => "failover",
            EventKind::Reload => "reload",
            EventKind::Stop => "stop",
            EventKind::FailoverStart => "failover_start",
            EventKind::FailoverEnd => "failover_end",
            EventKind::Failback => "failback",
            EventKind::Promotion => "promotion",
            EventKind::Role => "role",
            EventKind::ProcessCrash => "process_crash",
            EventKind::Recovery => "recovery",
            EventKind::ProcessStart => "process_start",
            EventKind::HealthCheck => "health_check",
            EventKind::Statistics => "statistics",
            EventKind::Ai => "ai",
        }
    }

    /// Where events of this kind are kept.
    pub fn ring(self) -> Ring {
        match self {
            EventKind::ProcessStart | EventKind::HealthCheck | EventKind::Statistics | EventKind::Ai => {
                Ring::Readings
            }
            _ => Ring::Events,
        }
    }
}

row! {
    /// Something that has happened, in its ring.
    pub struct EventRow {
        /// Counts from 1, without a gap in the ring.
        pub number: u64,
        /// When (milliseconds since 1970).
        pub at_millis: u64,
        /// What.
        pub kind: EventKind,
        /// The node that it is about, counted from 1; 0: none.
        pub node_plus_1: u32,
        /// How it was before.
        pub old: Text<24>,
        /// How it is now.
        pub new: Text<24>,
        /// Why.
        pub reason: Text<96>,
        /// Numbers of some kinds: see [`EventRow::figures`].
        pub values: [u64; EVENT_VALUES],
    }
}

/// Numbers that an event may carry.
pub const EVENT_VALUES: usize = 6;

/// An event that is to be noted.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Note {
    /// What.
    pub kind: EventKind,
    /// The node that it is about.
    pub node: Option<usize>,
    /// How it was before.
    pub old: String,
    /// How it is now.
    pub new: String,
    /// Why.
    pub reason: String,
    /// See [`EventRow::figures`].
    pub values: [u64; EVENT_VALUES],
}

row! {
    /// How the MQTT process does. It alone writes it, and the supervisor after its death.
    pub struct MqttRow {
        /// It is connected to the broker.
        pub is_connected: bool,
        /// Since when (unix seconds); 0: it is not.
        pub connected_at: u64,
        /// Connections that were made, by all its processes; so with the counts below.
        pub connections: u64,
        /// Messages that the broker has taken.
        pub published: u64,
        /// Messages that found the queue full, or pushed an older one out of it.
        pub dropped: u64,
        /// Messages that the broker has refused.
        pub refused: u64,
        /// Events that were gone before they were read.
        pub missed: u64,
        /// Messages that wait now.
        pub queued: u64,
        /// Up to here all events of each ring are with the broker, in the order of [`Ring`].
        pub seen: [u64; 2],
        /// Why it is not connected; empty: it is, or has not tried.
        pub error: Text<160>,
    }
}

impl EventRow {
    /// The names of the numbers that an event of this kind carries, in their order.
    pub fn figures(kind: EventKind) -> &'static [&'static str] {
        match kind {
            // 1: an operator wants the node out of use.
            EventKind::NodeStatus => &["orderly"],
            EventKind::ProcessStart | EventKind::ProcessCrash => &["pid"],
            EventKind::HealthCheck => &["micros", "retries", "success", "fail"],
            EventKind::Statistics => &["total", "active", "idle", "statements", "micros", "millis"],
            _ => &[],
        }
    }

    /// The node that it is about.
    pub fn node(&self) -> Option<usize> {
        (self.node_plus_1 as usize).checked_sub(1)
    }
}

code! {
    /// What sessions hold back while the cluster changes.
    pub enum Hold {
        /// Nothing.
        Nothing = 0,
        /// What needs the primary: it is gone, and the next one is being looked for.
        Writes = 1,
        /// New transactions and statements outside of one, for a switchover; those under way go on to their end.
        Transactions = 2,
    }
}

row! {
    /// What the health check of a node has counted, by all its processes since the start. Durations are milliseconds,
    /// as `SHOW pool_health_check_stats` has them.
    pub struct HealthRow {
        /// Checks begun.
        pub total: u64,
        /// Checks that found it well.
        pub success: u64,
        /// Checks that did not.
        pub fail: u64,
        /// Checks left out, because the node was down.
        pub skip: u64,
        /// Retries.
        pub retry: u64,
        /// Most retries of one check.
        pub max_retry: u64,
        /// Sum of the durations of the checks.
        pub duration: u64,
        /// Longest check.
        pub max_duration: u64,
        /// Shortest check.
        pub min_duration: u64,
        /// When the last check ended, whatever it found (unix seconds); 0: none yet. So with those below.
        pub last: u64,
        /// The last that found it well.
        pub last_success: u64,
        /// The last that was left out.
        pub last_skip: u64,
        /// The last that failed.
        pub last_fail: u64,
        /// Sum of the durations of the checks, in microseconds.
        pub micros: u64,
        /// Checks by how long they took: see [`latency_class`](super::traffic::latency_class).
        pub classes: [u64; LATENCY_CLASSES],
    }
}

row! {
    /// The last recovery of a node, or the one under way.
    pub struct RecoveryRow {
        /// The node, counted from 1; 0: there was none yet.
        pub node_plus_1: u32,
        /// When it began (unix seconds).
        pub begun_at: u64,
        /// When it ended; 0: it has not.
        pub ended_at: u64,
        /// What is done now, or was done last.
        pub step: Text<64>,
        /// Why it failed; empty: it did not.
        pub failure: Text<256>,
    }
}

row! {
    /// A worker process.
    pub struct WorkerRow {
        /// Its id; 0 while there is none.
        pub pid: i32,
        /// When it started (unix seconds).
        pub started_at: u64,
        /// Clients it has served in its life.
        pub client_connections: u64,
        /// Clients it serves now.
        pub sessions: u64,
        /// Whether it would take one more now.
        pub listens: bool,
    }
}

row! {
    /// A client's session. `status` also has a word of its own in the segment, which counts.
    pub struct SessionRow {
        /// What it does.
        pub status: SessionStatus,
        /// User; empty before the start-up packet.
        pub user: Text<64>,
        /// Database.
        pub database: Text<64>,
        /// `application_name`.
        pub application: Text<64>,
        /// Address, `[local]` for a Unix socket.
        pub client_host: Text<64>,
        /// Port; 0 for a Unix socket.
        pub client_port: u32,
        /// When the client came (unix seconds).
        pub connected_at: u64,
        /// Its number: no other session of this program has it.
        pub number: u64,
        /// Whether it counts for limits.
        pub admission: Admission,
        /// Node that its reads go to, counted from 1; 0 while none is chosen.
        pub balance_node_plus_1: u32,
        /// Process number that its cancel requests carry.
        pub cancel_pid: i32,
        /// Key that its cancel requests carry.
        pub cancel_key: CancelKey,
    }
}

row! {
    /// A pooled connection to one node.
    pub struct PoolRow {
        /// Slot of the session that has it, counted from 1; 0 while none has.
        pub session_plus_1: u32,
        /// User.
        pub user: Text<64>,
        /// Database.
        pub database: Text<64>,
        /// When it was opened (unix seconds).
        pub backend_connected_at: u64,
        /// When it was lent to a client last.
        pub client_connected_at: u64,
        /// When that client left; 0 while it is there.
        pub client_disconnected_at: u64,
        /// Protocol version, major.
        pub major: u32,
        /// Protocol version, minor.
        pub minor: u32,
        /// How often it was lent.
        pub pool_counter: u64,
        /// Process id at the node.
        pub backend_pid: i32,
    }
}

/// Room for a cancel key: 4 bytes in protocol 3.0, up to 32 of ours in 3.2.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct CancelKey {
    length: usize,
    bytes: [u8; 32],
}

impl CancelKey {
    fn new(key: &[u8]) -> CancelKey {
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        CancelKey { length: key.len().min(bytes.len()), bytes }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
}

impl fmt::Debug for CancelKey {
    /// A secret: it must not get into a log by way of a row.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CancelKey({} bytes)", self.length)
    }
}

impl Word for CancelKey {
    const WORDS: usize = 5;

    fn put(&self, out: &mut dyn FnMut(u64)) {
        out(self.length as u64);
        self.bytes.as_chunks::<8>().0.iter().for_each(|chunk| out(u64::from_le_bytes(*chunk)));
    }

    fn take(from: &mut Source<'_>) -> Self {
        let length = usize::try_from(from.next()).unwrap_or(0);
        let mut bytes = [0; 32];
        bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|chunk| *chunk = from.next().to_le_bytes());
        CancelKey { length: if length <= bytes.len() { length } else { 0 }, bytes }
    }
}

impl SessionRow {
    /// The key that cancel requests must carry.
    pub fn key(&self) -> &[u8] {
        self.cancel_key.as_bytes()
    }

    /// Keeps the key (its first 32 bytes).
    pub fn set_key(&mut self, pid: i32, key: &[u8]) {
        self.cancel_pid = pid;
        self.cancel_key = CancelKey::new(key);
    }

    /// Node that the session's reads go to.
    pub fn balance_node(&self) -> Option<usize> {
        (self.balance_node_plus_1 as usize).checked_sub(1)
    }

    /// Says which node the session's reads go to.
    pub fn set_balance_node(&mut self, node: Option<usize>) {
        self.balance_node_plus_1 = node.and_then(|node| u32::try_from(node + 1).ok()).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Word>(value: &T) -> T {
        let mut words = Vec::new();
        value.put(&mut |word| words.push(word));
        assert_eq!(words.len(), T::WORDS);
        T::take(&mut Source::new(&words))
    }

    #[test]
    fn rows_come_back_as_they_went() {
        let mut session = SessionRow { user: "ann".into(), client_port: 5, ..SessionRow::default() };
        session.set_key(-7, b"0123456789");
        session.set_balance_node(Some(127));
        assert_eq!(round_trip(&session), session);
        assert_eq!((session.key(), session.balance_node()), (&b"0123456789"[..], Some(127)));
        let probe =
            Probe { pg_role: PgRole::Standby, lag_bytes: Some(0), lag_micros: None, ..Probe::default() };
        assert_eq!(round_trip(&probe), probe);
        let pool = PoolRow { session_plus_1: 1, backend_pid: i32::MIN, ..PoolRow::default() };
        assert_eq!(round_trip(&pool), pool);
    }

    #[test]
    fn foreign_words_decode_to_something() {
        let words = [u64::MAX; 128];
        let row = SessionRow::take(&mut Source::new(&words));
        assert_eq!((row.status, row.key()), (SessionStatus::WaitForConnection, &[][..]));
    }
}
