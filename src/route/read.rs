//! The rules that a read must pass to be balanced, in pgpool-II's order.
#![forbid(unsafe_code)]

use super::decide::{go, never_writes};
use super::{
    Catalog, ClusterView, Decision, Known, OnWrite, Question, Reason, RouteConfig, SessionView, Target,
};
use crate::sql::{Kind, Name, Statement};

/// Functions that are not volatile and yet fail on a standby. Short on purpose: the volatile ones need no list.
const PRIMARY_FUNCTIONS: [&str; 4] =
    ["txid_current", "pg_current_xact_id", "pg_walfile_name", "pg_walfile_name_offset"];

/// Everything that a decision over a read depends on.
pub(super) struct Scene<'a> {
    pub(super) text: &'a [u8],
    pub(super) session: &'a SessionView<'a>,
    pub(super) cluster: &'a ClusterView,
    pub(super) config: &'a RouteConfig,
    pub(super) catalog: &'a dyn Catalog,
}

/// Whether the functions of a statement write.
enum Functions {
    Harmless,
    Writing(Reason),
    Ask(Vec<Question>),
}

/// The empty query: any node can answer it.
pub(super) fn empty(session: &SessionView<'_>, config: &RouteConfig) -> Decision {
    if !config.load_balance {
        go(Target::Primary, Reason::LoadBalanceOff, false)
    } else if session.tx_primary_only {
        go(Target::Primary, Reason::TransactionOnPrimary, false)
    } else {
        go(Target::Balance, Reason::Empty, false)
    }
}

impl Scene<'_> {
    /// Where a SELECT, COPY TO STDOUT or SHOW goes.
    pub(super) fn decide(&self, statement: &Statement) -> Decision {
        if let Some(reason) = self.not_a_read(statement) {
            return go(Target::Primary, reason, true);
        }
        if !self.config.load_balance {
            // All goes to one node, so the catalog need not be asked and the memory is not used.
            return go(Target::Primary, Reason::LoadBalanceOff, false);
        }
        if self.primary_is_alone() {
            return go(Target::Primary, Reason::OnlyNode, self.may_write(statement));
        }
        if let Some(reason) = self.session_forbids() {
            // The memory of writes is set already, or the transaction is lost.
            let write = !self.remembers_all() && self.may_write(statement);
            return go(Target::Primary, reason, write);
        }
        let functions = self.functions(statement);
        let mut questions = Vec::new();
        let relation = self.relations(statement, &mut questions);
        let reason = relation.or_else(|| self.pattern());
        match (reason, functions) {
            // Asked before anything else: whether a function writes decides over the reads that follow.
            (Some(_), Functions::Ask(open)) if self.config.on_write != OnWrite::Off => Decision::Ask(open),
            (Some(reason), functions) => {
                go(Target::Primary, reason, !matches!(functions, Functions::Harmless))
            }
            (None, Functions::Writing(reason)) => go(Target::Primary, reason, true),
            (None, Functions::Ask(open)) => {
                questions.extend(open);
                Decision::Ask(questions)
            }
            (None, Functions::Harmless) if questions.is_empty() => go(Target::Balance, Reason::Read, false),
            (None, Functions::Harmless) => Decision::Ask(questions),
        }
    }

    /// Whether the statement may write, as far as can be told without asking.
    pub(super) fn may_write(&self, statement: &Statement) -> bool {
        match &statement.kind {
            Kind::Select | Kind::CopyTo { to_client: true } | Kind::Show(_) => {
                statement.row_locks
                    || statement.modifies
                    || !matches!(self.functions(statement), Functions::Harmless)
            }
            Kind::Prepare { inner, .. } => self.may_write(inner),
            kind => !never_writes(kind),
        }
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
            _ => false,
        }
    }

    /// What the session's past forbids.
    fn session_forbids(&self) -> Option<Reason> {
        let session = self.session;
        if self.config.on_write == OnWrite::Always && session.ever_wrote {
            return Some(Reason::SessionWrote);
        }
        if session.tx_primary_only {
            return Some(Reason::TransactionOnPrimary);
        }
        if !session.in_transaction {
            return None;
        }
        if session.tx_failed {
            return Some(Reason::TransactionFailed);
        }
        if session.serializable {
            return Some(Reason::Serializable);
        }
        match self.config.on_write {
            OnWrite::Off => None,
            OnWrite::TransTransaction if session.tx_wrote => Some(Reason::TransactionWrote),
            OnWrite::TransTransaction => session.trans_wrote.then_some(Reason::EarlierTransactionWrote),
            // The two adaptive values will remember tables; until then they are as strict as this.
            OnWrite::Transaction | OnWrite::Always | OnWrite::DmlAdaptive | OnWrite::DmlAdaptiveGlobal => {
                session.tx_wrote.then_some(Reason::TransactionWrote)
            }
        }
    }

    /// Another write would add nothing to the session's memory.
    fn remembers_all(&self) -> bool {
        let session = self.session;
        session.ever_wrote && session.trans_wrote && (session.tx_wrote || !session.in_transaction)
    }

    fn pattern(&self) -> Option<Reason> {
        let patterns = &self.config.primary_routing;
        if patterns.is_empty() {
            return None;
        }
        let matches = std::str::from_utf8(self.text).is_ok_and(|text| patterns.matches(text));
        matches.then_some(Reason::PrimaryPattern)
    }

    /// The relation that forces the primary, if any; else what must be asked goes to `questions`.
    fn relations(&self, statement: &Statement, questions: &mut Vec<Question>) -> Option<Reason> {
        let relations = &statement.relations;
        if let Some(name) = relations.iter().find(|name| is_catalog(name)) {
            return Some(Reason::SystemCatalog(name.clone()));
        }
        let temp =
            |name: &&Name| name.in_temp_schema() || (self.config.check_temp && (self.session.has_temp)(name));
        if let Some(name) = relations.iter().find(temp) {
            return Some(Reason::TempTable(name.clone()));
        }
        if !self.config.check_unlogged {
            return None;
        }
        for name in relations.iter().filter(|name| name.schema.as_deref() != Some("information_schema")) {
            match self.catalog.unlogged(name) {
                Known::Yes => return Some(Reason::UnloggedTable(name.clone())),
                Known::No => {}
                Known::Ask => questions.push(Question::Relation(name.clone())),
            }
        }
        None
    }

    fn functions(&self, statement: &Statement) -> Functions {
        let lists = &self.config.functions;
        let mut open = Vec::new();
        for name in &statement.functions {
            if fails_on_standby(name) {
                return Functions::Writing(Reason::PrimaryFunction(name.clone()));
            }
            if !lists.read_only.is_empty() {
                if !listed(&lists.read_only, name) {
                    return Functions::Writing(Reason::NotReadOnlyFunction(name.clone()));
                }
            } else if !lists.write.is_empty() {
                if listed(&lists.write, name) {
                    return Functions::Writing(Reason::WriteFunction(name.clone()));
                }
            } else {
                match self.catalog.volatility(name) {
                    Known::Yes => return Functions::Writing(Reason::VolatileFunction(name.clone())),
                    Known::No => {}
                    Known::Ask => open.push(Question::Function(name.clone())),
                }
            }
        }
        if open.is_empty() { Functions::Harmless } else { Functions::Ask(open) }
    }
}

/// All relations of `pg_catalog` begin with pg_, so an unqualified name that does is taken for one of them.
fn is_catalog(name: &Name) -> bool {
    match name.schema.as_deref() {
        Some(schema) => schema == "pg_catalog",
        None => name.name.starts_with("pg_"),
    }
}

fn fails_on_standby(name: &Name) -> bool {
    name.schema.as_deref().is_none_or(|schema| schema == "pg_catalog")
        && PRIMARY_FUNCTIONS.contains(&&*name.name)
}

/// A pattern may name the function alone or with the schema that the query wrote.
fn listed(list: &super::PatternList, name: &Name) -> bool {
    list.matches(&name.name) || (name.schema.is_some() && list.matches(&name.to_string()))
}
