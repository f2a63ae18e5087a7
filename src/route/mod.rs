//! Which node a statement goes to, and why.
//!
//! Everything here is a pure function of facts, session, cluster and configuration; every answer has its
//! [`Reason`]. It asks nobody: what only the catalog knows comes back as [`Decision::Ask`]. Called by
//! `session`, and by whoever wants to explain a route.
#![forbid(unsafe_code)]

mod adaptive;
mod config;
mod decide;
mod explain;
pub mod learn;
mod look;
mod node;
mod pattern;
mod read;
mod reason;
mod redirect;
mod repeat;
#[cfg(test)]
mod tests;

pub use adaptive::{NothingWritten, Writes, same_table, tables_written};
pub use config::{FunctionLists, Mode, OnWrite, ReadAfterWrite, RouteConfig};
pub use decide::decide;
pub use explain::{Explanation, explain};
pub use node::{Draw, candidates, choose_balance_node, draw_by_weight, node_for_read};
pub use pattern::{PatternError, PatternList};
pub use reason::Reason;
pub use redirect::{Preference, preference};
pub use repeat::only_reads;

pub use crate::cluster::relcache::{Catalog, Question, Relation, Volatility};
pub use crate::cluster::view::{ClusterView, NodeView};

use crate::error::NodeId;
use crate::shm::Segment;
use crate::sql::{Kind, Name, Statement};

/// What all workers have learnt of the nodes; `None`: there is no room for it.
pub fn model(segment: &Segment) -> Option<learn::Model<'static>> {
    let sizes = segment.sizes();
    learn::Model::new(segment.learned(), sizes.workers, sizes.nodes)
}

/// What the session remembers that routing depends on.
pub struct SessionView<'a> {
    /// The node that serves this session's reads.
    pub balance_node: Option<NodeId>,
    /// Inside an explicit transaction.
    pub in_transaction: bool,
    /// The transaction has failed and waits for ROLLBACK.
    pub tx_failed: bool,
    /// The tables that the transaction has written, where that is remembered.
    pub written: &'a [Name],
    /// What all sessions have written.
    pub writes: &'a dyn Writes,
    /// The transaction is open on the primary alone: it was begun inside a string of several statements, or
    /// nobody knows how.
    pub tx_primary_only: bool,
    /// What the transaction has written.
    pub tx_wrote: Write,
    /// Any explicit transaction of the session has written (`trans_transaction`).
    pub trans_wrote: bool,
    /// The session has written (`always`).
    pub ever_wrote: bool,
    /// A setting stands on the primary that cannot be brought to another node.
    pub unknown_setting: bool,
    /// The transaction runs at SERIALIZABLE, or a statement outside of one does, which a standby refuses.
    pub serializable: bool,
    /// The node that has a server process of that number, among those that serve our sessions.
    pub node_of_process: &'a dyn Fn(i32) -> Option<NodeId>,
    /// The session has a temporary relation.
    pub has_any_temp: bool,
    /// Whether a text mentions a temporary relation or type of the session, perhaps in a literal; `None`: as below.
    pub mentions_temp: &'a dyn Fn(&[u8]) -> Option<bool>,
    /// Whether the session has a temporary relation of that name; `None`: it may have some that nobody knows of.
    pub has_temp: &'a dyn Fn(&Name) -> Option<bool>,
}

impl SessionView<'static> {
    /// A session that has done nothing yet, in a cluster where nobody has written lately: for whoever asks where a
    /// statement would go outside of any session.
    pub fn idle() -> SessionView<'static> {
        SessionView {
            balance_node: None,
            in_transaction: false,
            tx_failed: false,
            tx_wrote: Write::No,
            written: &[],
            writes: &NothingWritten,
            tx_primary_only: false,
            trans_wrote: false,
            ever_wrote: false,
            unknown_setting: false,
            serializable: false,
            node_of_process: &|_| None,
            has_any_temp: false,
            mentions_temp: &|_| Some(false),
            has_temp: &|_| Some(false),
        }
    }
}

/// The answer of [`decide`].
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Send it.
    Go(Route),
    /// Ask the catalog all of these, then decide again.
    Ask(Vec<Question>),
}

/// Where to, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Where to.
    pub target: Target,
    /// Why.
    pub reason: Reason,
    /// How it counts for the memory of the session.
    pub write: Write,
    /// The newest commit that a standby must have to serve it; 0: none.
    pub after: u64,
}

/// What a statement leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Write {
    /// Nothing.
    #[default]
    No,
    /// It counts as a write by pgpool-II's rules, but changes no data: SET, SAVEPOINT …
    State,
    /// Nothing in other tables than those that it names.
    Known,
    /// It may have written, and created, anything.
    Opaque,
}

impl Write {
    /// Whether it counts as a write at all.
    pub fn is_any(self) -> bool {
        self != Write::No
    }
}

/// A node or nodes, by their part in the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The primary; the main node where there is none.
    Primary,
    /// The session's node for reads.
    Balance,
    /// Every node that the session has state on, the primary first.
    Everywhere,
    /// Where the statement of that name was prepared.
    Prepared(Box<str>),
    /// This node and no other.
    Node(NodeId),
}

/// Columns of `SHOW pool_backend_stats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the columns")]
pub enum CounterClass {
    Select,
    Insert,
    Update,
    Delete,
    Ddl,
    Other,
}

/// The counter that a statement adds to.
pub fn statement_class(statement: &Statement) -> CounterClass {
    match statement.kind {
        Kind::Select => CounterClass::Select,
        Kind::Insert => CounterClass::Insert,
        Kind::Update => CounterClass::Update,
        Kind::Delete => CounterClass::Delete,
        Kind::Ddl | Kind::Truncate => CounterClass::Ddl,
        _ => CounterClass::Other,
    }
}
