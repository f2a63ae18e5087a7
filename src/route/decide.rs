//! The rules by kind of statement. Reads have more rules: see `read`.
//!
//! The order is pgpool-II's: first what the whole text is, then what the statement is, then what the session
//! and the cluster allow.
#![forbid(unsafe_code)]

use super::read::{self, Scene};
use super::{Catalog, ClusterView, Decision, Mode, Reason, Route, RouteConfig, SessionView, Target, Write};
use crate::sql::{BeginOptions, Facts, Isolation, Kind, ParseOutcome, Statement, is_false};

/// Where the statement or statements of `text` go.
///
/// `cluster` says whether there is anything to balance between; which node `Target::Balance` is, is the
/// matter of [`super::node_for_read`].
pub fn decide(
    facts: &Facts,
    text: &[u8],
    session: &SessionView<'_>,
    cluster: &ClusterView,
    config: &RouteConfig,
    catalog: &dyn Catalog,
) -> Decision {
    if let Some(reason) = one_node_only(config.mode) {
        return go(Target::Primary, reason, Write::Opaque);
    }
    let unparsed = match facts.parse {
        ParseOutcome::Ok => None,
        ParseOutcome::Empty => return read::empty(session, config),
        ParseOutcome::Failed => Some(Reason::NotParsed),
        ParseOutcome::TooDeep => Some(Reason::TooDeep),
        ParseOutcome::TooLong => Some(Reason::TooLong),
        ParseOutcome::NotUtf8 => Some(Reason::NotUtf8),
    };
    if let Some(reason) = unparsed {
        return go(Target::Primary, reason, Write::Opaque);
    }
    let scene = Scene { text, session, cluster, config, catalog };
    let is_read =
        |kind: &Kind| matches!(kind, Kind::Select | Kind::CopyTo { .. } | Kind::Show(_) | Kind::Execute(_));
    if facts.refused_at.get().is_some()
        && let Some(statement) = facts.single().filter(|statement| is_read(&statement.kind))
    {
        return go(Target::Primary, Reason::Refused, scene.may_write(statement));
    }
    if let Some(pid) = facts.single().and_then(|statement| statement.signals)
        && let Some(node) = (session.node_of_process)(pid)
    {
        return go(Target::Node(node), Reason::ProcessOfNode(pid), Write::No);
    }
    match facts.statements.as_slice() {
        [statement] => one(statement, &scene),
        several => {
            let write = several.iter().map(|statement| scene.may_write(statement)).max().unwrap_or_default();
            go(Target::Primary, Reason::MultiStatement, write)
        }
    }
}

/// The modes in which nothing is ever balanced here.
fn one_node_only(mode: Mode) -> Option<Reason> {
    match mode {
        Mode::Raw => Some(Reason::RawMode),
        Mode::NativeReplication | Mode::SnapshotIsolation => Some(Reason::ReplicationMode),
        Mode::StreamingReplication | Mode::LogicalReplication | Mode::Slony => None,
    }
}

pub(super) fn go(target: Target, reason: Reason, write: Write) -> Decision {
    Decision::Go(Route { target, reason, write, after: 0 })
}

fn one(statement: &Statement, scene: &Scene<'_>) -> Decision {
    match &statement.kind {
        Kind::Select | Kind::CopyTo { to_client: true } | Kind::Show(_) => scene.decide(statement),
        Kind::Execute(name) | Kind::Deallocate(Some(name)) => {
            go(Target::Prepared(name.clone()), Reason::Prepared, Write::No)
        }
        kind => match scene.written_by(statement) {
            Ok(write) => no_read(kind, scene, write),
            Err(questions) => Decision::Ask(questions),
        },
    }
}

fn no_read(kind: &Kind, scene: &Scene<'_>, write: Write) -> Decision {
    match kind {
        Kind::Begin(_) | Kind::Commit { .. } | Kind::Rollback { .. } => {
            everywhere(scene, Reason::TransactionControl, write)
        }
        Kind::Savepoint(_) | Kind::Release(_) | Kind::RollbackTo(_) => {
            everywhere(scene, Reason::TransactionControl, write)
        }
        Kind::Set { name, value, .. } if standby_refuses(name, value.as_deref()) => {
            go(Target::Primary, Reason::StandbyRefusesSetting, write)
        }
        Kind::SetTransaction { options, .. } if standby_refuses_options(options) => {
            go(Target::Primary, Reason::StandbyRefusesSetting, write)
        }
        Kind::Set { .. } | Kind::SetTransaction { .. } | Kind::Reset { .. } | Kind::ResetAll => {
            everywhere(scene, Reason::SessionState, write)
        }
        Kind::DiscardAll | Kind::Discard | Kind::Deallocate(None) => {
            everywhere(scene, Reason::SessionState, write)
        }
        Kind::Lock { mode_conflicts_with_writes: false } => everywhere(scene, Reason::WeakLock, write),
        kind => go(Target::Primary, Reason::PrimaryCommand(command(kind)), write),
    }
}

/// What pgpool-II calls BOTH: wherever the session has state.
fn everywhere(scene: &Scene<'_>, reason: Reason, write: Write) -> Decision {
    if !scene.config.load_balance {
        go(Target::Primary, Reason::LoadBalanceOff, write)
    } else if scene.session.tx_primary_only {
        go(Target::Primary, Reason::TransactionOnPrimary, write)
    } else {
        go(Target::Everywhere, reason, write)
    }
}

/// What a statement leaves behind that is not a read. Those that leave the session's memory of writes alone are few;
/// all others count, SAVEPOINT and SET LOCAL too: that is pgpool-II's rule.
pub(super) fn write_of(statement: &Statement) -> Write {
    match &statement.kind {
        Kind::Begin(_) | Kind::Commit { .. } | Kind::Rollback { .. } | Kind::RollbackTo(_) => Write::No,
        Kind::SetTransaction { options, .. } if options.read_only == Some(true) => Write::No,
        Kind::Do | Kind::Call | Kind::Other | Kind::CommitPrepared => Write::Opaque,
        // CREATE FUNCTION, ALTER TYPE …: it names no table and may concern all.
        Kind::Ddl if statement.written.is_empty() => Write::Opaque,
        // FETCH runs what DECLARE has only planned.
        Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge | Kind::Truncate | Kind::CopyFrom => {
            Write::Known
        }
        Kind::Ddl | Kind::Fetch(_) | Kind::CopyTo { .. } | Kind::Select => Write::Known,
        _ => Write::State,
    }
}

/// A standby is always read only and never serializable; a snapshot lives on one node.
fn standby_refuses(name: &str, value: Option<&str>) -> bool {
    match name {
        "transaction_read_only" => value.is_some_and(is_false),
        "transaction_isolation" | "default_transaction_isolation" => {
            value.and_then(Isolation::parse) == Some(Isolation::Serializable)
        }
        "transaction_snapshot" => true,
        _ => false,
    }
}

fn standby_refuses_options(options: &BeginOptions) -> bool {
    options.read_only == Some(false) || options.isolation == Some(Isolation::Serializable)
}

fn command(kind: &Kind) -> &'static str {
    match kind {
        Kind::Insert => "INSERT",
        Kind::Update => "UPDATE",
        Kind::Delete => "DELETE",
        Kind::Merge => "MERGE",
        Kind::Truncate => "TRUNCATE",
        Kind::CopyFrom => "COPY FROM",
        Kind::CopyTo { .. } => "COPY to a file",
        Kind::PrepareTransaction => "PREPARE TRANSACTION",
        Kind::CommitPrepared => "COMMIT PREPARED",
        Kind::RollbackPrepared => "ROLLBACK PREPARED",
        Kind::SetConstraints => "SET CONSTRAINTS",
        Kind::Declare { .. } => "DECLARE",
        Kind::Fetch(_) => "FETCH",
        Kind::CloseCursor(_) => "CLOSE",
        Kind::Listen(_) => "LISTEN",
        Kind::Unlisten(_) => "UNLISTEN",
        Kind::Notify => "NOTIFY",
        Kind::Lock { .. } => "LOCK",
        Kind::Prepare { .. } => "PREPARE",
        Kind::Explain { .. } => "EXPLAIN",
        Kind::Call => "CALL",
        Kind::Do => "DO",
        Kind::Ddl => "DDL",
        Kind::Vacuum => "VACUUM",
        Kind::Checkpoint => "CHECKPOINT",
        _ => "this command",
    }
}
