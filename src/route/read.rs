//! The rules that a read must pass to be balanced, in pgpool-II's order.
#![forbid(unsafe_code)]

use super::decide::{go, write_of};
use super::look::Found;
use super::{
    Catalog, ClusterView, Decision, OnWrite, Question, Reason, Route, RouteConfig, SessionView, Target, Write,
};
use crate::sql::{Kind, Name, Statement};

/// Everything that a decision over a read depends on.
pub(super) struct Scene<'a> {
    pub(super) text: &'a [u8],
    pub(super) session: &'a SessionView<'a>,
    pub(super) cluster: &'a ClusterView,
    pub(super) config: &'a RouteConfig,
    pub(super) catalog: &'a dyn Catalog,
}

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
            let relations =
                self.written_alone(statement).filter(|name| self.catalog.relation(name).is_none());
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
        for name in self.written_alone(statement) {
            let relation = self.catalog.relation(name);
            further |= relation.as_ref().is_some_and(|relation| relation.spreads);
            known &= relation.is_some();
        }
        (known || further).then_some(further)
    }

    /// The tables that it writes of which the configuration does not say what is written along.
    fn written_alone<'s>(&'s self, statement: &'s Statement) -> impl Iterator<Item = &'s Name> {
        statement.written.iter().filter(|name| !self.config.relationships.knows_table(name))
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
            // EXECUTE is judged by the text of its PREPARE; `kind` is the statement inside.
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
}

/// Commands that write the tables which they name, and what hangs on them.
fn names_what_it_writes(kind: &Kind) -> bool {
    use Kind::{CopyFrom, Delete, Insert, Merge, Truncate, Update};
    matches!(kind, Insert | Update | Delete | Merge | CopyFrom | Truncate)
}
