//! The rules that a read must pass to be balanced, in pgpool-II's order.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::adaptive::same_table;
use super::config::CheckTemp;
use super::decide::{go, write_of};
use super::{
    Catalog, ClusterView, Decision, OnWrite, Question, ReadAfterWrite, Reason, Route, RouteConfig,
    SessionView, Target, Volatility, Write,
};
use crate::sql::{Facts, Kind, Name, ParseOutcome, Statement};

/// Functions that are not volatile and yet fail on a standby. Short on purpose: the volatile ones need no list.
const PRIMARY_FUNCTIONS: [&str; 4] =
    ["txid_current", "pg_current_xact_id", "pg_walfile_name", "pg_walfile_name_offset"];

/// Functions that are not volatile and tell of the session or the node that they run on: of the primary, to be of use.
/// So do all that begin with `pg_stat_`.
const NODE_FUNCTIONS: [&str; 2] = ["pg_listening_channels", "pg_my_temp_schema"];

/// Everything that a decision over a read depends on.
pub(super) struct Scene<'a> {
    pub(super) text: &'a [u8],
    pub(super) session: &'a SessionView<'a>,
    pub(super) cluster: &'a ClusterView,
    pub(super) config: &'a RouteConfig,
    pub(super) catalog: &'a dyn Catalog,
}

/// What forbids a read to be balanced, as far as the catalog has told.
#[derive(Default)]
struct Found {
    /// The first relation that only the primary has or knows.
    relation: Option<Reason>,
    /// The first function that writes.
    function: Option<(Reason, Write)>,
    relations_to_ask: Vec<Question>,
    functions_to_ask: Vec<Question>,
    /// The newest commit that a standby must have.
    after: u64,
}

/// Most views that are looked into for one statement.
const MAX_VIEWS: usize = 100;

/// The empty query: any node can answer it.
pub(super) fn empty(session: &SessionView<'_>, config: &RouteConfig) -> Decision {
    if !config.load_balance {
        go(Target::Primary, Reason::LoadBalanceOff, Write::No)
    } else if session.tx_primary_only {
        go(Target::Primary, Reason::TransactionOnPrimary, Write::No)
    } else {
        go(Target::Balance, Reason::Empty, Write::No)
    }
}

impl Scene<'_> {
    /// Where a SELECT, COPY TO STDOUT or SHOW goes.
    pub(super) fn decide(&self, statement: &Statement) -> Decision {
        if let Some(reason) = self.not_a_read(statement) {
            return go(Target::Primary, reason, self.may_write(statement).max(Write::Known));
        }
        if !self.config.load_balance {
            // All goes to one node, so the catalog need not be asked and the memory is not used.
            return go(Target::Primary, Reason::LoadBalanceOff, Write::No);
        }
        if self.primary_is_alone() {
            return go(Target::Primary, Reason::OnlyNode, self.may_write(statement));
        }
        if let Some(reason) = self.session_forbids() {
            // The memory of writes is set already, or the transaction is lost.
            let write = if self.remembers_all() { Write::No } else { self.may_write(statement) };
            return go(Target::Primary, reason, write);
        }
        let mut found = self.look_into(statement);
        let relation = found.relation.take().or_else(|| self.pattern());
        match (relation, found.function) {
            (Some(reason), Some((_, write))) => go(Target::Primary, reason, write),
            // Asked before anything else: whether a function writes decides over the reads that follow.
            (Some(_), None) if !found.functions_to_ask.is_empty() && self.config.on_write != OnWrite::Off => {
                Decision::Ask(found.functions_to_ask)
            }
            (Some(reason), None) => {
                let unknown = !found.functions_to_ask.is_empty();
                go(Target::Primary, reason, if unknown { Write::Opaque } else { Write::No })
            }
            (None, Some((reason, write))) => go(Target::Primary, reason, write),
            (None, None) => {
                let mut questions = found.relations_to_ask;
                questions.append(&mut found.functions_to_ask);
                if questions.is_empty() {
                    let (target, reason, write) = (Target::Balance, Reason::Read, Write::No);
                    Decision::Go(Route { target, reason, write, after: found.after })
                } else {
                    Decision::Ask(questions)
                }
            }
        }
    }

    /// What the statement may write, as far as can be told without asking.
    pub(super) fn may_write(&self, statement: &Statement) -> Write {
        match &statement.kind {
            Kind::Select | Kind::CopyTo { to_client: true } | Kind::Show(_) => {
                let found = self.look_into(statement);
                let functions = match found.function {
                    Some((_, write)) => write,
                    None if found.functions_to_ask.is_empty() => Write::No,
                    None => Write::Opaque,
                };
                match statement.modifies {
                    true if self.writes_further(statement).is_none_or(|further| further) => Write::Opaque,
                    true => functions.max(Write::Known),
                    false if statement.row_locks => functions.max(Write::Known),
                    false => functions,
                }
            }
            Kind::Declare { inner, .. } | Kind::Explain { analyze: true, inner } => {
                self.may_write(inner).max(Write::State)
            }
            _ if self.writes_further(statement).is_none_or(|further| further) => Write::Opaque,
            _ => write_of(statement),
        }
    }

    /// What a statement leaves behind that is not a read. The error is what must be asked first: who remembers tables
    /// must know whether others are written along.
    pub(super) fn written_by(&self, statement: &Statement) -> Result<Write, Vec<Question>> {
        if self.config.remembers_tables() && names_what_it_writes(&statement.kind) {
            let mut found = Found::default();
            self.functions(statement, None, &mut found);
            let relations = statement.written.iter().filter(|name| self.catalog.relation(name).is_none());
            found.functions_to_ask.extend(relations.cloned().map(Question::Relation));
            if !found.functions_to_ask.is_empty() {
                return Err(found.functions_to_ask);
            }
        }
        Ok(self.may_write(statement))
    }

    /// Whether a statement that writes may write more than it names, where that matters: by a function, or by what hangs
    /// on a table. `None`: nobody knows.
    fn writes_further(&self, statement: &Statement) -> Option<bool> {
        let within = matches!(statement.kind, Kind::Select | Kind::CopyTo { .. });
        if !self.config.remembers_tables() || !(within || names_what_it_writes(&statement.kind)) {
            return Some(false);
        }
        let mut found = Found::default();
        self.functions(statement, None, &mut found);
        let mut further = found.function.is_some_and(|(_, write)| write == Write::Opaque);
        let mut known = found.functions_to_ask.is_empty();
        for name in statement.written.iter().filter(|name| !self.config.relationships.knows_table(name)) {
            let relation = self.catalog.relation(name);
            further |= relation.as_ref().is_some_and(|relation| relation.spreads);
            known &= relation.is_some();
        }
        (known || further).then_some(further)
    }

    /// No other node could serve a read, so the catalog need not be asked.
    fn primary_is_alone(&self) -> bool {
        let mut usable = self.cluster.nodes.iter().filter(|node| node.usable);
        usable.next().is_some_and(|node| Some(node.id) == self.cluster.primary) && usable.next().is_none()
    }

    fn not_a_read(&self, statement: &Statement) -> Option<Reason> {
        if statement.modifies {
            return Some(Reason::Modifies);
        }
        if statement.row_locks {
            return Some(Reason::RowLocks);
        }
        (!self.first_letter(&statement.kind)).then_some(Reason::FirstLetter)
    }

    /// With `allow_sql_comments = off` the text must begin like a read, so that a leading comment such as
    /// `/*NO LOAD BALANCE*/` sends it to the primary.
    fn first_letter(&self, kind: &Kind) -> bool {
        if self.config.allow_sql_comments {
            return true;
        }
        let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
        let text = self.text;
        let skipped = if self.config.ignore_leading_white_space {
            text.iter().position(|byte| !blank(byte)).unwrap_or(text.len())
        } else {
            0
        };
        let Some(first) = text.get(skipped).map(u8::to_ascii_lowercase) else { return true };
        match first {
            b's' | b'w' | b't' | b'(' | b';' => true,
            // pgpool-II tests these kinds another way, to the same end.
            b'c' => matches!(kind, Kind::CopyTo { .. }),
            // PREPARE: `kind` is the statement inside.
            b'p' => true,
            // VALUES, which pgpool-II forgets.
            b'v' => !self.config.quirks,
            _ => false,
        }
    }

    /// What the session's past forbids.
    fn session_forbids(&self) -> Option<Reason> {
        let session = self.session;
        if self.config.on_write == OnWrite::Always && session.ever_wrote {
            return Some(Reason::SessionWrote);
        }
        if session.unknown_setting {
            return Some(Reason::UnknownSetting);
        }
        if session.tx_primary_only {
            return Some(Reason::TransactionOnPrimary);
        }
        if session.serializable && !session.tx_failed {
            return Some(Reason::Serializable);
        }
        if self.config.on_write == OnWrite::DmlAdaptiveGlobal && session.writes.lately(None) {
            return Some(Reason::WrittenLately);
        }
        if !session.in_transaction {
            return None;
        }
        if session.tx_failed {
            return Some(Reason::TransactionFailed);
        }
        match self.config.on_write {
            OnWrite::Off => None,
            OnWrite::TransTransaction if session.tx_wrote.is_any() => Some(Reason::TransactionWrote),
            OnWrite::TransTransaction => session.trans_wrote.then_some(Reason::EarlierTransactionWrote),
            OnWrite::Transaction | OnWrite::Always => {
                session.tx_wrote.is_any().then_some(Reason::TransactionWrote)
            }
            // What is known to be written forbids to read those tables only.
            OnWrite::DmlAdaptive | OnWrite::DmlAdaptiveGlobal => {
                (session.tx_wrote == Write::Opaque).then_some(Reason::TransactionWrote)
            }
        }
    }

    /// Another write would add nothing to the session's memory.
    fn remembers_all(&self) -> bool {
        let session = self.session;
        session.ever_wrote
            && session.trans_wrote
            && (session.tx_wrote == Write::Opaque || !session.in_transaction)
    }

    fn pattern(&self) -> Option<Reason> {
        let patterns = &self.config.primary_routing;
        if patterns.is_empty() {
            return None;
        }
        let matches = std::str::from_utf8(self.text).is_ok_and(|text| patterns.matches(text));
        matches.then_some(Reason::PrimaryPattern)
    }

    /// What the statement, and the views that it reads, name.
    fn look_into(&self, statement: &Statement) -> Found {
        let mut found = Found::default();
        if self.config.quirks && matches!(statement.kind, Kind::CopyTo { .. }) {
            return found;
        }
        let mut views = Vec::new();
        self.relations(statement, None, &mut found, &mut views);
        self.functions(statement, None, &mut found);
        // A view may read others; each is looked into once.
        let mut at = if self.config.quirks { views.len() } else { 0 };
        while let Some((name, facts)) = views.get(at).cloned() {
            at += 1;
            if facts.parse != ParseOutcome::Ok || at > MAX_VIEWS {
                found.forbid(|| Reason::View(name.clone(), Box::new(Reason::NotParsed)));
                break;
            }
            for inner in &facts.statements {
                if inner.row_locks {
                    found.forbid(|| Reason::View(name.clone(), Box::new(Reason::RowLocks)));
                }
                self.relations(inner, Some(&name), &mut found, &mut views);
                self.functions(inner, Some(&name), &mut found);
            }
        }
        if found.relation.is_none() && self.config.check_temp == CheckTemp::Catalog && !self.config.quirks {
            match (self.session.mentions_temp)(self.text) {
                Some(true) => found.forbid(|| Reason::MentionsTemp),
                Some(false) => {}
                None if found.relations_to_ask.first() == Some(&Question::Temporary) => {}
                None => found.relations_to_ask.insert(0, Question::Temporary),
            }
        }
        found
    }

    /// The relations of a statement, or of the view `within`. Views are added to `views`.
    fn relations(
        &self,
        statement: &Statement,
        within: Option<&Name>,
        found: &mut Found,
        views: &mut Vec<(Name, Rc<Facts>)>,
    ) {
        let quirks = self.config.quirks;
        for name in &statement.relations {
            if is_catalog(name, quirks) {
                found.forbid(|| inside(within, Reason::SystemCatalog(name.clone())));
                continue;
            }
            match self.is_temp(name) {
                Some(true) => {
                    found.forbid(|| inside(within, Reason::TempTable(name.clone())));
                    continue;
                }
                Some(false) => {}
                None if found.relations_to_ask.first() == Some(&Question::Temporary) => {}
                None => found.relations_to_ask.insert(0, Question::Temporary),
            }
            self.look_at_writes(name, found);
            let Some(known) = self.catalog.relation(name) else {
                found.relations_to_ask.push(Question::Relation(name.clone()));
                continue;
            };
            if known.catalog && !(quirks && name.schema.as_deref() == Some("information_schema")) {
                found.forbid(|| inside(within, Reason::SystemCatalog(name.clone())));
            }
            if known.unlogged && self.config.check_unlogged {
                found.forbid(|| inside(within, Reason::UnloggedTable(name.clone())));
            }
            if known.sequence && !quirks {
                found.forbid(|| inside(within, Reason::Sequence(name.clone())));
            }
            if let Some(facts) = known.views
                && !views.iter().any(|(view, _)| view == name)
            {
                views.push((name.clone(), facts));
            }
        }
    }

    /// Whether the table was written where a standby does not have it.
    fn look_at_writes(&self, name: &Name, found: &mut Found) {
        let session = self.session;
        if matches!(self.config.on_write, OnWrite::DmlAdaptive | OnWrite::DmlAdaptiveGlobal) {
            if session.in_transaction && session.written.iter().any(|written| same_table(written, name)) {
                found.forbid(|| Reason::TableWritten(name.clone()));
            }
            if self.config.on_write == OnWrite::DmlAdaptiveGlobal && session.writes.lately(Some(name)) {
                found.forbid(|| Reason::TableWrittenLately(name.clone()));
            }
        }
        if self.config.read_after_write == ReadAfterWrite::Global {
            found.after = found.after.max(session.writes.last_commit(name));
        }
    }

    fn is_temp(&self, name: &Name) -> Option<bool> {
        if name.in_temp_schema() {
            Some(true)
        } else if self.config.check_temp == CheckTemp::None {
            Some(false)
        } else {
            match (self.session.has_temp)(name) {
                None if self.config.check_temp == CheckTemp::Trace => Some(false),
                known => known,
            }
        }
    }

    /// The functions of a statement, or of the view `within`.
    fn functions(&self, statement: &Statement, within: Option<&Name>, found: &mut Found) {
        let lists = &self.config.functions;
        for name in &statement.functions {
            let writes = if fails_on_standby(name) && !self.config.quirks {
                Some((Reason::PrimaryFunction(name.clone()), Write::Known))
            } else if answers_for_its_node(name) && !self.config.quirks {
                found.forbid(|| inside(within, Reason::NodeFunction(name.clone())));
                None
            } else if !lists.read_only.is_empty() {
                let reason = || (Reason::NotReadOnlyFunction(name.clone()), Write::Opaque);
                (!listed(&lists.read_only, name)).then(reason)
            } else if !lists.write.is_empty() {
                listed(&lists.write, name).then(|| (Reason::WriteFunction(name.clone()), Write::Opaque))
            } else {
                match self.catalog.function(name) {
                    Some(Volatility::Harmless) => None,
                    Some(Volatility::Reads) => {
                        if self.session.has_any_temp && self.config.check_temp == CheckTemp::Catalog {
                            found.forbid(|| inside(within, Reason::MayReadTemp(name.clone())));
                        }
                        if self.config.read_after_write == ReadAfterWrite::Global {
                            found.after = self.session.writes.newest_commit();
                        }
                        None
                    }
                    Some(Volatility::Volatile) if self.config.relationships.knows(name) => {
                        Some((Reason::VolatileFunction(name.clone()), Write::Known))
                    }
                    Some(Volatility::Builtin) => Some((Reason::VolatileFunction(name.clone()), Write::Known)),
                    Some(Volatility::Volatile) => {
                        Some((Reason::VolatileFunction(name.clone()), Write::Opaque))
                    }
                    None => {
                        found.functions_to_ask.push(Question::Function(name.clone()));
                        None
                    }
                }
            };
            if let Some((reason, write)) = writes {
                let known = found.function.take();
                let write = known.as_ref().map_or(write, |(_, before)| write.max(*before));
                found.function =
                    Some((known.map_or_else(|| inside(within, reason), |(before, _)| before), write));
            }
        }
    }
}

/// Commands that write the tables which they name, and what hangs on them.
fn names_what_it_writes(kind: &Kind) -> bool {
    use Kind::{CopyFrom, Delete, Insert, Merge, Truncate, Update};
    matches!(kind, Insert | Update | Delete | Merge | CopyFrom | Truncate)
}

impl Found {
    /// The first reason counts.
    fn forbid(&mut self, reason: impl FnOnce() -> Reason) {
        self.relation.get_or_insert_with(reason);
    }
}

/// The reason, said of the view that it was found in.
fn inside(view: Option<&Name>, reason: Reason) -> Reason {
    match view {
        Some(view) => Reason::View(view.clone(), Box::new(reason)),
        None => reason,
    }
}

/// What needs no question: the schemas of PostgreSQL itself. Whether another name is found in one, the catalog says.
fn is_catalog(name: &Name, quirks: bool) -> bool {
    match name.schema.as_deref() {
        Some("pg_catalog") => true,
        Some("information_schema") => !quirks,
        _ => false,
    }
}
fn fails_on_standby(name: &Name) -> bool {
    is_postgresqls(name) && PRIMARY_FUNCTIONS.contains(&&*name.name)
}

fn answers_for_its_node(name: &Name) -> bool {
    is_postgresqls(name) && (NODE_FUNCTIONS.contains(&&*name.name) || name.name.starts_with("pg_stat_"))
}

fn is_postgresqls(name: &Name) -> bool {
    name.schema.as_deref().is_none_or(|schema| schema == "pg_catalog")
}

/// A pattern may name the function alone or with the schema that the query wrote.
fn listed(list: &super::PatternList, name: &Name) -> bool {
    list.matches(&name.name) || (name.schema.is_some() && list.matches(&name.to_string()))
}
