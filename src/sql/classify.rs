//! From a statement's node to its [`Statement`]: the kind, and what the kind needs to know.
//!
//! Everything that PostgreSQL's grammar has and this file does not name becomes `Kind::Ddl` or
//! `Kind::Other`, both of which are writes.
#![forbid(unsafe_code)]

use super::collect::{TooDeep, collect, dotted, is_temp, relation_name};
use super::statement::{BeginOptions, Isolation, Kind, Name, Statement, is_false};
use crate::ffi::pg_parse::kinds::{self, DiscardMode, TransactionStmtKind, VariableSetKind};
use crate::ffi::pg_parse::{ConstValue, Node, NodeList, nodes};

/// The facts of one statement.
pub(super) fn statement(node: Node<'_>) -> Result<Statement, TooDeep> {
    match node {
        Node::SelectStmt(_) => query(node, Kind::Select),
        Node::InsertStmt(_) => query(node, Kind::Insert),
        Node::UpdateStmt(_) => query(node, Kind::Update),
        Node::DeleteStmt(_) => query(node, Kind::Delete),
        Node::MergeStmt(_) => query(node, Kind::Merge),
        Node::CopyStmt(copy) => copy_statement(copy),
        Node::PrepareStmt(s) => {
            let inner = Box::new(statement(s.query())?);
            Ok(Statement::new(Kind::Prepare { name: boxed(s.name()), inner }))
        }
        Node::DeclareCursorStmt(s) => {
            let inner = Box::new(statement(s.query())?);
            let hold = s.options & kinds::CURSOR_OPT_HOLD != 0;
            Ok(Statement::new(Kind::Declare { name: boxed(s.portalname()), hold, inner }))
        }
        Node::ExplainStmt(s) => {
            let inner = Box::new(statement(s.query())?);
            let analyze = s.options().iter().any(|option| {
                option.defname() == Some("analyze") && option_value(option.arg()).unwrap_or(true)
            });
            Ok(Statement::new(Kind::Explain { analyze, inner }))
        }
        Node::CallStmt(s) => {
            let mut found = Statement::new(Kind::Call);
            if let Some(call) = s.funccall() {
                collect(Node::FuncCall(call), &mut found)?;
            }
            Ok(found)
        }
        Node::CreateTableAsStmt(s) => create_as(s),
        Node::CreateStmt(s) => {
            let drops_at_commit = kinds::is_dropped_at_commit(s.oncommit);
            Ok(Statement { drops_at_commit, ..creates(s.relation()) })
        }
        Node::CreateSeqStmt(s) => Ok(creates(s.sequence())),
        Node::ViewStmt(s) => Ok(creates(s.view())),
        Node::AlterTableStmt(s) => Ok(alters(s.relation())),
        Node::IndexStmt(s) => Ok(alters(s.relation())),
        Node::RefreshMatViewStmt(s) => Ok(alters(s.relation())),
        Node::DropStmt(s) if kinds::is_relation(s.remove_type) => {
            let mut found = Statement::new(Kind::Ddl);
            found.drops = s
                .objects()
                .iter()
                .filter_map(|object| match object {
                    Node::NodeList(parts) => dotted(parts),
                    _ => None,
                })
                .collect();
            found.written.clone_from(&found.drops);
            Ok(found)
        }
        Node::TruncateStmt(s) => Ok(relations(Kind::Truncate, s.relations(), true)),
        Node::LockStmt(s) => {
            let kind = Kind::Lock { mode_conflicts_with_writes: s.mode >= kinds::ROW_EXCLUSIVE_LOCK };
            Ok(relations(kind, s.relations(), false))
        }
        node => Ok(Statement::new(plain(node))),
    }
}

/// Statements of which the kind says everything.
fn plain(node: Node<'_>) -> Kind {
    match node {
        Node::TransactionStmt(s) => transaction(s),
        Node::VariableSetStmt(s) => set(s),
        Node::VariableShowStmt(s) => Kind::Show(lower(s.name())),
        Node::ConstraintsSetStmt(_) => Kind::SetConstraints,
        Node::DiscardStmt(s) if s.target == DiscardMode::DISCARD_ALL => Kind::DiscardAll,
        Node::DiscardStmt(_) => Kind::Discard,
        Node::ExecuteStmt(s) => Kind::Execute(boxed(s.name())),
        Node::DeallocateStmt(s) => Kind::Deallocate(s.name().map(Box::from)),
        Node::FetchStmt(s) => Kind::Fetch(boxed(s.portalname())),
        Node::ClosePortalStmt(s) => Kind::CloseCursor(s.portalname().map(Box::from)),
        Node::ListenStmt(s) => Kind::Listen(boxed(s.conditionname())),
        Node::UnlistenStmt(s) => Kind::Unlisten(s.conditionname().map(Box::from)),
        Node::NotifyStmt(_) => Kind::Notify,
        Node::DoStmt(_) => Kind::Do,
        Node::VacuumStmt(_) => Kind::Vacuum,
        Node::CheckPointStmt(_) => Kind::Checkpoint,
        // LOAD is neither data nor definition; CLUSTER rewrites a table.
        Node::LoadStmt(_) | Node::ClusterStmt(_) => Kind::Other,
        _ => Kind::Ddl,
    }
}

fn query(node: Node<'_>, kind: Kind) -> Result<Statement, TooDeep> {
    let mut found = Statement::new(kind);
    collect(node, &mut found)?;
    Ok(found)
}

fn copy_statement(copy: &nodes::CopyStmt) -> Result<Statement, TooDeep> {
    let kind = if copy.is_from {
        Kind::CopyFrom
    } else {
        Kind::CopyTo { to_client: copy.filename().is_none() && !copy.is_program }
    };
    let mut found = Statement::new(kind);
    match copy.query() {
        Node::None => {}
        // Only what the walker knows; the grammar allows queries and DML here.
        query => collect(query, &mut found)?,
    }
    match copy.where_clause() {
        Node::None => {}
        condition => collect(condition, &mut found)?,
    }
    if let Some(range) = copy.relation() {
        found.relations.push(relation_name(range));
        if copy.is_from {
            found.written.push(relation_name(range));
        }
    }
    Ok(found)
}

fn create_as(create: &nodes::CreateTableAsStmt) -> Result<Statement, TooDeep> {
    let into = create.into();
    let mut found = creates(into.and_then(|into| into.rel()));
    found.drops_at_commit = into.is_some_and(|into| kinds::is_dropped_at_commit(into.on_commit));
    match create.query() {
        query @ Node::SelectStmt(_) => collect(query, &mut found)?,
        Node::ExecuteStmt(execute) => found.executes = Some(boxed(execute.name())),
        _ => {}
    }
    Ok(found)
}

fn creates(range: Option<&nodes::RangeVar>) -> Statement {
    let mut found = alters(range);
    found.creates_temp = range.filter(|r| is_temp(r)).map(relation_name).into_iter().collect();
    found
}

fn alters(range: Option<&nodes::RangeVar>) -> Statement {
    let mut found = Statement::new(Kind::Ddl);
    found.written = range.map(relation_name).into_iter().collect();
    found
}

fn relations(kind: Kind, list: &NodeList, written: bool) -> Statement {
    let mut found = Statement::new(kind);
    let names = list.iter().filter_map(|node| match node {
        Node::RangeVar(range) => Some(relation_name(range)),
        _ => None,
    });
    found.relations = names.collect::<Vec<Name>>();
    if written {
        found.written.clone_from(&found.relations);
    }
    found
}

fn transaction(s: &nodes::TransactionStmt) -> Kind {
    let savepoint = || boxed(s.savepoint_name());
    match s.kind {
        TransactionStmtKind::TRANS_STMT_BEGIN | TransactionStmtKind::TRANS_STMT_START => {
            Kind::Begin(options(s.options()))
        }
        TransactionStmtKind::TRANS_STMT_COMMIT => Kind::Commit { chain: s.chain },
        TransactionStmtKind::TRANS_STMT_ROLLBACK => Kind::Rollback { chain: s.chain },
        TransactionStmtKind::TRANS_STMT_SAVEPOINT => Kind::Savepoint(savepoint()),
        TransactionStmtKind::TRANS_STMT_RELEASE => Kind::Release(savepoint()),
        TransactionStmtKind::TRANS_STMT_ROLLBACK_TO => Kind::RollbackTo(savepoint()),
        TransactionStmtKind::TRANS_STMT_PREPARE => Kind::PrepareTransaction,
        TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED => Kind::CommitPrepared,
        TransactionStmtKind::TRANS_STMT_ROLLBACK_PREPARED => Kind::RollbackPrepared,
        _ => Kind::Other,
    }
}

fn set(s: &nodes::VariableSetStmt) -> Kind {
    let name = lower(s.name());
    match s.kind {
        VariableSetKind::VAR_RESET => Kind::Reset { name },
        VariableSetKind::VAR_RESET_ALL => Kind::ResetAll,
        VariableSetKind::VAR_SET_MULTI => match &*name {
            "transaction" => Kind::SetTransaction { session: false, options: options(s.args()) },
            "session characteristics" => Kind::SetTransaction { session: true, options: options(s.args()) },
            // A snapshot exists on the node that exported it; the name tells the router.
            _ => Kind::Set { name: "transaction_snapshot".into(), local: true, value: None },
        },
        _ => Kind::Set { name, local: s.is_local, value: set_value(s.args()) },
    }
}

/// The value of SET as one text; None for TO DEFAULT.
fn set_value(args: &NodeList) -> Option<Box<str>> {
    let parts: Vec<String> = args.iter().filter_map(constant).collect();
    if parts.is_empty() { None } else { Some(parts.join(", ").into()) }
}

/// The modes of a transaction: READ ONLY, ISOLATION LEVEL, DEFERRABLE.
fn options(list: &NodeList) -> BeginOptions {
    let mut found = BeginOptions::default();
    for node in list {
        let Node::DefElem(option) = node else { continue };
        match option.defname() {
            Some("transaction_read_only") => found.read_only = option_value(option.arg()),
            Some("transaction_deferrable") => found.deferrable = option_value(option.arg()),
            Some("transaction_isolation") => {
                found.isolation = constant(option.arg()).and_then(|text| Isolation::parse(&text));
            }
            _ => {}
        }
    }
    found
}

/// The truth of an option as PostgreSQL reads it; None when no value is written.
fn option_value(node: Node<'_>) -> Option<bool> {
    constant(node).map(|text| !is_false(&text))
}

/// A constant as text; the argument of a cast (INTERVAL '1' in SET TIME ZONE) too.
pub(super) fn constant(node: Node<'_>) -> Option<String> {
    match node {
        Node::A_Const(value) => Some(match value.val()? {
            ConstValue::Boolean(value) => if value { "on" } else { "off" }.to_owned(),
            ConstValue::Unrecognized(_) => return None,
            value => value.to_string(),
        }),
        Node::TypeCast(cast) => match cast.arg() {
            inner @ Node::A_Const(_) => constant(inner),
            _ => None,
        },
        Node::String(text) => text.sval().map(str::to_owned),
        Node::Integer(number) => Some(number.ival.to_string()),
        Node::Float(number) => number.fval().map(str::to_owned),
        Node::Boolean(value) => Some(if value.boolval { "on" } else { "off" }.to_owned()),
        _ => None,
    }
}

fn boxed(text: Option<&str>) -> Box<str> {
    text.unwrap_or_default().into()
}

fn lower(text: Option<&str>) -> Box<str> {
    text.unwrap_or_default().to_ascii_lowercase().into()
}
