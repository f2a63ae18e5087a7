//! Why a statement went where it went: one variant a rule, one short text each.
//!
//! The texts are read by people (log, EXPLAIN ROUTE) and stand nowhere else.
#![forbid(unsafe_code)]

use std::fmt;

use crate::error::NodeId;
use crate::sql::Name;

/// The rule that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A read that any node may serve.
    Read,
    /// Nothing to execute.
    Empty,
    /// `backend_clustering_mode = raw`.
    RawMode,
    /// `native_replication` or `snapshot_isolation`.
    ReplicationMode,
    /// `load_balance_mode = off`.
    LoadBalanceOff,
    /// No node but the primary is usable.
    OnlyNode,
    /// Several statements in one string.
    MultiStatement,
    /// The grammar did not accept it.
    NotParsed,
    /// Nested too deep, or naming too much.
    TooDeep,
    /// Longer than what is parsed.
    TooLong,
    /// Not UTF-8.
    NotUtf8,
    /// Writes, or does what a standby cannot: the command's name.
    PrimaryCommand(&'static str),
    /// SELECT FOR UPDATE and kin.
    RowLocks,
    /// A data-modifying CTE, or SELECT INTO.
    Modifies,
    /// Does not begin with the letter of a read: a leading comment, VALUES.
    FirstLetter,
    /// BEGIN, COMMIT, SAVEPOINT …
    TransactionControl,
    /// SET, RESET, DISCARD: the session's state is the same on all its nodes.
    SessionState,
    /// SET to what a standby refuses.
    StandbyRefusesSetting,
    /// LOCK TABLE in a mode that standbys accept.
    WeakLock,
    /// EXECUTE or DEALLOCATE of a prepared statement.
    Prepared,
    /// The transaction has failed.
    TransactionFailed,
    /// The transaction is open on the primary only.
    TransactionOnPrimary,
    /// The transaction is SERIALIZABLE.
    Serializable,
    /// `set_config` with a value that only the server knows.
    UnknownSetting,
    /// The transaction has written.
    TransactionWrote,
    /// An earlier transaction of the session has written (`trans_transaction`).
    EarlierTransactionWrote,
    /// The session has written (`always`).
    SessionWrote,
    /// Reads a system catalog.
    SystemCatalog(Name),
    /// Reads a temporary table.
    TempTable(Name),
    /// Reads an unlogged table.
    UnloggedTable(Name),
    /// Reads a sequence as if it were a table.
    Sequence(Name),
    /// Reads a view, of which this is true.
    View(Name, Box<Reason>),
    /// Reads a table that the transaction has written (`dml_adaptive`).
    TableWritten(Name),
    /// Reads a table that some session has written lately (`dml_adaptive_global`).
    TableWrittenLately(Name),
    /// Some session has written lately, and nobody knows what; or the program has just started.
    WrittenLately,
    /// Matches `primary_routing_query_pattern_list`.
    PrimaryPattern,
    /// Calls a function that `read_only_function_list` leaves out.
    NotReadOnlyFunction(Name),
    /// Calls a function of `write_function_list`.
    WriteFunction(Name),
    /// Calls a volatile function.
    VolatileFunction(Name),
    /// A temporary relation or type of the session is mentioned, perhaps in a literal.
    MentionsTemp,
    /// Calls a function that may read the session's temporary tables.
    MayReadTemp(Name),
    /// Calls a function that tells of the node that it runs on.
    NodeFunction(Name),
    /// Calls a function that fails on every standby.
    PrimaryFunction(Name),
    /// Signals a server process, which runs on that node.
    ProcessOfNode(i32),
    /// A standby has refused it before.
    Refused,
    /// The session's node for reads.
    BalanceNode,
    /// That node is not usable.
    NodeUnusable(NodeId),
    /// That node's delay is over the threshold.
    DelayOver(NodeId),
    /// That node's delay is not known while a threshold is set.
    DelayUnknown(NodeId),
    /// That node is behind, this one is the least behind of the others.
    LowerDelay(NodeId),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::PrimaryCommand(command) => write!(f, "{command} runs on the primary"),
            Reason::SystemCatalog(name) => write!(f, "reads system catalog {name}"),
            Reason::TempTable(name) => write!(f, "reads temporary table {name}"),
            Reason::UnloggedTable(name) => write!(f, "reads unlogged table {name}"),
            Reason::TableWritten(name) => write!(f, "the transaction has written table {name}"),
            Reason::TableWrittenLately(name) => write!(f, "table {name} was written a short while ago"),
            Reason::Sequence(name) => write!(f, "reads sequence {name}"),
            Reason::View(name, reason) => write!(f, "view {name}: {reason}"),
            Reason::NotReadOnlyFunction(name) => {
                write!(f, "function {name} is not in read_only_function_list")
            }
            Reason::WriteFunction(name) => write!(f, "function {name} is in write_function_list"),
            Reason::VolatileFunction(name) => write!(f, "function {name} is volatile"),
            Reason::MayReadTemp(name) => write!(f, "function {name} may read the session's temporary tables"),
            Reason::NodeFunction(name) => write!(f, "function {name} tells of the node that it runs on"),
            Reason::PrimaryFunction(name) => write!(f, "function {name} fails on a standby"),
            Reason::ProcessOfNode(pid) => write!(f, "process {pid} runs on that node"),
            Reason::NodeUnusable(id) => write!(f, "node {id} is not usable"),
            Reason::DelayOver(id) => write!(f, "replication delay of node {id} is over the threshold"),
            Reason::DelayUnknown(id) => write!(f, "replication delay of node {id} is not known"),
            Reason::LowerDelay(id) => write!(f, "node {id} is behind, a standby with lower delay serves"),
            fixed => f.write_str(fixed.text()),
        }
    }
}

impl Reason {
    /// The rule's name: that of the variant, in words with underscores.
    pub fn rule(&self) -> String {
        let variant = format!("{self:?}");
        let mut name = String::new();
        for letter in variant.chars().take_while(char::is_ascii_alphanumeric) {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    fn text(&self) -> &'static str {
        match self {
            Reason::Read => "read",
            Reason::Empty => "empty query",
            Reason::RawMode => "raw mode uses the main node only",
            Reason::ReplicationMode => "replication modes use the main node only",
            Reason::LoadBalanceOff => "load_balance_mode is off",
            Reason::OnlyNode => "no other node is usable",
            Reason::MultiStatement => "several statements in one query",
            Reason::NotParsed => "not understood, so treated as a write",
            Reason::TooDeep => "nested too deep, so treated as a write",
            Reason::TooLong => "too long to parse, so treated as a write",
            Reason::NotUtf8 => "not UTF-8, so treated as a write",
            Reason::RowLocks => "locks rows",
            Reason::Modifies => "changes data inside a query",
            Reason::FirstLetter => "does not begin like a read (allow_sql_comments is off)",
            Reason::TransactionControl => "transaction control",
            Reason::SessionState => "changes the state of the session",
            Reason::StandbyRefusesSetting => "a standby refuses this setting",
            Reason::WeakLock => "lock that a standby accepts",
            Reason::Prepared => "where it was prepared",
            Reason::TransactionFailed => "the transaction has failed",
            Reason::TransactionOnPrimary => "the transaction is open on the primary only",
            Reason::Serializable => "the transaction is serializable",
            Reason::UnknownSetting => "a setting was made whose value only the primary knows",
            Reason::TransactionWrote => "the transaction has written",
            Reason::EarlierTransactionWrote => "an earlier transaction of the session has written",
            Reason::SessionWrote => "the session has written",
            Reason::WrittenLately => {
                "some tables were written a short while ago, or all of this has just begun"
            }
            Reason::MentionsTemp => "mentions a temporary table or type of the session",
            Reason::PrimaryPattern => "matches primary_routing_query_pattern_list",
            Reason::Refused => "a standby has refused it before",
            Reason::BalanceNode => "the session's node for reads",
            // Those with a name or a node write themselves.
            _ => "",
        }
    }
}
