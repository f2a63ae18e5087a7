//! What a statement, and the views that it reads, name, and what of that forbids to read it on a standby.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::adaptive::same_table;
use super::config::CheckTemp;
use super::read::Scene;
use super::{OnWrite, Question, ReadAfterWrite, Reason, Volatility, Write};
use crate::sql::{Facts, Kind, Name, ParseOutcome, Statement};

/// Functions that are not volatile and yet fail on a standby. Short on purpose: the volatile ones need no list.
const PRIMARY_FUNCTIONS: [&str; 4] =
    ["txid_current", "pg_current_xact_id", "pg_walfile_name", "pg_walfile_name_offset"];

/// Functions that are not volatile and tell of the session or the node that they run on: of the primary, to be of use.
/// So do all that begin with `pg_stat_`.
const NODE_FUNCTIONS: [&str; 2] = ["pg_listening_channels", "pg_my_temp_schema"];

/// What forbids a read to be balanced, as far as the catalog has told.
#[derive(Default)]
pub(super) struct Found {
    /// The first relation that only the primary has or knows.
    pub(super) relation: Option<Reason>,
    /// The first function that writes.
    pub(super) function: Option<(Reason, Write)>,
    pub(super) relations_to_ask: Vec<Question>,
    pub(super) functions_to_ask: Vec<Question>,
    /// The newest commit that a standby must have.
    pub(super) after: u64,
}

/// Most views that are looked into for one statement.
const MAX_VIEWS: usize = 100;

impl Scene<'_> {
    /// What the statement, and the views that it reads, name.
    pub(super) fn look_into(&self, statement: &Statement) -> Found {
        let mut found = Found::default();
        if self.config.quirks {
            // Views are not looked into then, nor the query of COPY: they may read any table.
            self.see_all(&mut found);
            if matches!(statement.kind, Kind::CopyTo { .. }) {
                return found;
            }
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
                None => found.ask_temporary(),
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
                None => found.ask_temporary(),
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

    /// Any table may be read.
    fn see_all(&self, found: &mut Found) {
        if self.config.read_after_write == ReadAfterWrite::Global {
            found.after = self.session.writes.newest_commit();
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
    pub(super) fn functions(&self, statement: &Statement, within: Option<&Name>, found: &mut Found) {
        let lists = &self.config.functions;
        for name in &statement.functions {
            let writes = if fails_on_standby(name) && !self.config.quirks {
                Some((Reason::PrimaryFunction(name.clone()), Write::Known))
            } else if answers_for_its_node(name) && !self.config.quirks {
                found.forbid(|| inside(within, Reason::NodeFunction(name.clone())));
                None
            } else if !lists.read_only.is_empty() {
                // The lists tell what a function writes, not what it reads.
                self.see_all(found);
                let reason = || (Reason::NotReadOnlyFunction(name.clone()), Write::Opaque);
                (!listed(&lists.read_only, name)).then(reason)
            } else if !lists.write.is_empty() {
                self.see_all(found);
                listed(&lists.write, name).then(|| (Reason::WriteFunction(name.clone()), Write::Opaque))
            } else {
                match self.catalog.function(name) {
                    Some(Volatility::Harmless) => None,
                    Some(Volatility::Reads) => {
                        if self.session.has_any_temp && self.config.check_temp == CheckTemp::Catalog {
                            found.forbid(|| inside(within, Reason::MayReadTemp(name.clone())));
                        }
                        self.see_all(found);
                        None
                    }
                    Some(volatile) => {
                        let is_known =
                            volatile == Volatility::Builtin || self.config.relationships.knows(name);
                        let write = if is_known { Write::Known } else { Write::Opaque };
                        Some((Reason::VolatileFunction(name.clone()), write))
                    }
                    None => {
                        found.functions_to_ask.push(Question::Function(name.clone()));
                        None
                    }
                }
            };
            match (&mut found.function, writes) {
                (_, None) => {}
                (Some((_, before)), Some((_, write))) => *before = write.max(*before),
                (none, Some((reason, write))) => *none = Some((inside(within, reason), write)),
            }
        }
    }
}

impl Found {
    /// The first reason counts.
    fn forbid(&mut self, reason: impl FnOnce() -> Reason) {
        self.relation.get_or_insert_with(reason);
    }

    /// Before all else, and once.
    fn ask_temporary(&mut self) {
        if self.relations_to_ask.first() != Some(&Question::Temporary) {
            self.relations_to_ask.insert(0, Question::Temporary);
        }
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
