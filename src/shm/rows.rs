//! What the rows hold. A field reads as empty or zero where nobody has written yet.
#![forbid(unsafe_code)]

use std::fmt;

use super::text::Text;
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
