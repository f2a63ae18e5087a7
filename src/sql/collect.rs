//! Walks a query and collects what it names: relations, functions, locks, writes.
//!
//! The walk keeps its own list of nodes to visit, so no text can exhaust the stack; what is too deep or
//! too wide to be worth following is refused and the statement then counts as a write.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use super::classify::constant;
use super::statement::{Advisory, Name, SetConfig, Statement, is_false};
use crate::ffi::pg_parse::{Node, NodeList, children, kinds, nodes};

/// Deepest nesting of nodes that is followed.
const MAX_DEPTH: usize = 1000;
/// Most relations, functions and CTEs of one statement that are followed: each may cost a catalog query.
const MAX_NAMES: usize = 1000;

/// The statement is too deep or names too much.
#[derive(Debug)]
pub(super) struct TooDeep;

/// Adds what `root` (a query or an expression) names to `statement`.
pub(super) fn collect(root: Node<'_>, statement: &mut Statement) -> Result<(), TooDeep> {
    let mut walk = Walk::new(statement);
    walk.push(root, Place { depth: 0, scope: None });
    walk.run()
}

/// The name of a relation as the grammar gives it.
pub(super) fn relation_name(range: &nodes::RangeVar) -> Name {
    Name::new(range.schemaname(), range.relname().unwrap_or_default())
}

/// What a call of `set_config` sets.
fn set_config(args: &NodeList) -> SetConfig {
    let values: Vec<Option<String>> = args.iter().map(constant).collect();
    let local = |text: &Option<String>| text.as_deref().is_some_and(|text| !is_false(text));
    match values.as_slice() {
        [Some(name), Some(value), Some(is_local)] => SetConfig::Known {
            name: name.to_lowercase().into(),
            value: value.as_str().into(),
            local: !is_false(is_local),
        },
        [_, _, is_local] => SetConfig::Unknown { local: local(is_local) },
        _ => SetConfig::Unknown { local: false },
    }
}

/// Notes a call of a function of PostgreSQL itself.
fn note_advisory(function: &str, advisory: &mut Advisory) {
    match function {
        "pg_advisory_lock"
        | "pg_advisory_lock_shared"
        | "pg_try_advisory_lock"
        | "pg_try_advisory_lock_shared" => advisory.takes += 1,
        "pg_advisory_unlock" | "pg_advisory_unlock_shared" => advisory.gives += 1,
        "pg_advisory_unlock_all" => advisory.gives_all = true,
        _ => {}
    }
}

/// Functions that leave it at one row beside which a call of those above can be counted.
fn is_of_advisory_locks(function: &str) -> bool {
    function.contains("advisory_") || matches!(function, "hashtext" | "hashtextextended")
}

/// A name that the grammar gives as a list of its parts.
pub(super) fn dotted(parts: &NodeList) -> Option<Name> {
    let parts: Vec<&str> = parts.iter().filter_map(Node::as_str).collect();
    match parts.as_slice() {
        [.., schema, name] => Some(Name::new(Some(schema), name)),
        [name] => Some(Name::new(None, name)),
        [] => None,
    }
}

/// Whether a relation created under this name is temporary.
pub(super) fn is_temp(range: &nodes::RangeVar) -> bool {
    range.relpersistence as u8 == kinds::PERSISTENCE_TEMP
        || range.schemaname().is_some_and(|s| s == "pg_temp" || s.starts_with("pg_temp_"))
}

/// Where a node stands.
#[derive(Clone, Copy)]
struct Place {
    depth: usize,
    /// Index of the innermost CTE that is visible here.
    scope: Option<usize>,
}

struct Walk<'a, 's> {
    found: &'s mut Statement,
    todo: Vec<(Node<'a>, Place)>,
    /// The CTEs met so far; each knows the one that was visible before it.
    ctes: Vec<(Option<usize>, &'a str)>,
    seen: Seen,
    /// SELECTs met so far, and whether one of them may give another number of rows than one.
    selects: usize,
    rows_unknown: bool,
}

/// Names already in the statement, so that each is listed once without searching the lists.
#[derive(Default)]
struct Seen {
    relations: HashSet<Name>,
    functions: HashSet<Name>,
}

impl<'a, 's> Walk<'a, 's> {
    fn new(found: &'s mut Statement) -> Self {
        let seen = Seen {
            relations: found.relations.iter().cloned().collect(),
            functions: found.functions.iter().cloned().collect(),
        };
        Walk { found, todo: Vec::new(), ctes: Vec::new(), seen, selects: 0, rows_unknown: false }
    }

    fn push(&mut self, node: Node<'a>, place: Place) {
        self.todo.push((node, place));
    }

    fn run(mut self) -> Result<(), TooDeep> {
        while let Some((node, place)) = self.todo.pop() {
            if place.depth > MAX_DEPTH || self.names() > MAX_NAMES {
                return Err(TooDeep);
            }
            self.visit(node, place);
        }
        if self.found.advisory != Advisory::default() {
            let others = self.found.functions.iter().any(|name| !is_of_advisory_locks(&name.name));
            self.found.advisory.uncounted |= self.selects != 1 || self.rows_unknown || others;
        }
        Ok(())
    }

    fn names(&self) -> usize {
        self.seen.relations.len() + self.seen.functions.len() + self.ctes.len()
    }

    fn visit(&mut self, node: Node<'a>, place: Place) {
        match node {
            Node::SelectStmt(select) => self.select(node, select, place),
            Node::InsertStmt(s) => self.change(node, s.relation(), s.with_clause(), place),
            Node::UpdateStmt(s) => self.change(node, s.relation(), s.with_clause(), place),
            Node::DeleteStmt(s) => self.change(node, s.relation(), s.with_clause(), place),
            Node::MergeStmt(s) => self.change(node, s.relation(), s.with_clause(), place),
            Node::RangeVar(range) => self.range(range, place),
            Node::FuncCall(call) => {
                self.function(call);
                self.descend(node, place, None);
            }
            node => self.descend(node, place, None),
        }
    }

    fn select(&mut self, node: Node<'a>, select: &'a nodes::SelectStmt, place: Place) {
        if let Some(into) = select.into_clause()
            && let Some(range) = into.rel()
        {
            self.found.modifies = true;
            self.found.written.push(relation_name(range));
            self.found.drops_at_commit |= kinds::is_dropped_at_commit(into.on_commit);
            if is_temp(range) {
                self.found.creates_temp.push(relation_name(range));
            }
        }
        self.selects += 1;
        self.rows_unknown |= !select.from_clause().is_empty()
            || !select.values_lists().is_empty()
            || !matches!(select.where_clause(), Node::None);
        if !select.locking_clause().is_empty() {
            self.found.row_locks = true;
        }
        let scope = self.with(select.with_clause(), place);
        self.descend(node, Place { scope, ..place }, None);
    }

    fn change(
        &mut self,
        node: Node<'a>,
        target: Option<&'a nodes::RangeVar>,
        with: Option<&'a nodes::WithClause>,
        place: Place,
    ) {
        self.found.modifies = true;
        if let Some(range) = target {
            let name = relation_name(range);
            if !self.found.written.contains(&name) {
                self.found.written.push(name.clone());
            }
            self.relation(name);
        }
        let scope = self.with(with, place);
        self.descend(node, Place { scope, ..place }, target);
    }

    /// Queues the CTEs of a WITH clause and returns the scope of the query that it belongs to.
    fn with(&mut self, with: Option<&'a nodes::WithClause>, place: Place) -> Option<usize> {
        let Some(with) = with else { return place.scope };
        let mut scope = place.scope;
        let mut queries = Vec::new();
        for cte in with.ctes() {
            queries.push((cte.ctequery(), scope));
            self.ctes.push((scope, cte.ctename().unwrap_or_default()));
            scope = Some(self.ctes.len() - 1);
        }
        for (query, before) in queries {
            // Without RECURSIVE a CTE sees those written before it only.
            let visible = if with.recursive { scope } else { before };
            self.push(query, Place { depth: place.depth + 1, scope: visible });
        }
        scope
    }

    /// Queues the children of a node, but for the parts that were read already.
    fn descend(&mut self, node: Node<'a>, place: Place, target: Option<&'a nodes::RangeVar>) {
        let first = self.todo.len();
        let below = Place { depth: place.depth + 1, ..place };
        children(node, |child| match child {
            // FOR UPDATE OF names aliases, not relations.
            Node::LockingClause(_) | Node::WithClause(_) | Node::IntoClause(_) | Node::Alias(_) => {}
            Node::RangeVar(range) if target.is_some_and(|t| std::ptr::eq(t, range)) => {}
            child => self.todo.push((child, below)),
        });
        if let Some(added) = self.todo.get_mut(first..) {
            added.reverse();
        }
    }

    fn range(&mut self, range: &'a nodes::RangeVar, place: Place) {
        let name = range.relname().unwrap_or_default();
        if range.schemaname().is_none() && self.is_cte(name, place.scope) {
            return;
        }
        self.relation(relation_name(range));
    }

    fn is_cte(&self, name: &str, mut scope: Option<usize>) -> bool {
        while let Some((before, cte)) = scope.and_then(|index| self.ctes.get(index)) {
            if *cte == name {
                return true;
            }
            scope = *before;
        }
        false
    }

    fn relation(&mut self, name: Name) {
        if self.seen.relations.insert(name.clone()) {
            self.found.relations.push(name);
        }
    }

    fn function(&mut self, call: &'a nodes::FuncCall) {
        let Some(name) = dotted(call.funcname()) else { return };
        if matches!(name.schema.as_deref(), None | Some("pg_catalog")) {
            match &*name.name {
                "set_config" => self.found.set_config.push(set_config(call.args())),
                "pg_terminate_backend" | "pg_cancel_backend" => {
                    let number = call.args().iter().next().and_then(constant);
                    self.found.signals = number.and_then(|number| number.parse().ok());
                }
                name => note_advisory(name, &mut self.found.advisory),
            }
        }
        if self.seen.functions.insert(name.clone()) {
            self.found.functions.push(name);
        }
    }
}
