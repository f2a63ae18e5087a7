//! What this session writes, and what it must see of what it and the others have written.
//!
//! `read_after_write`: a read goes to a standby only if that has replayed the commits which the read must see. Where
//! those are, the primary is asked once they are needed, not at each commit; how far the standby is, is known from the
//! replication check, from other sessions, or asked.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::{Ctx, Session};
use crate::cluster::view::ClusterView;
use crate::error::NodeId;
use crate::route::learn::Class;
use crate::route::{OnWrite, Question, ReadAfterWrite, RouteConfig, Write, Writes, tables_written};
use crate::shm::{Segment, Written};
use crate::sql::{Facts, Name};
use crate::sys::clock;

/// Between two questions of a worker to a standby that was behind.
const PATIENCE: Duration = Duration::from_millis(2);

/// Most tables of a transaction that are remembered by name.
const MAX_TABLES: usize = 1000;

/// Most tables that others are told of one by one.
const MAX_UNPUBLISHED: usize = 100;

/// What a transaction has written.
#[derive(Debug, Default)]
pub(super) struct Wrote {
    pub(super) write: Write,
    /// Where that is remembered.
    pub(super) tables: Vec<Name>,
}

impl Wrote {
    pub(super) fn add(&mut self, write: Write, tables: Vec<Name>) {
        self.write = self.write.max(write);
        self.tables.extend(tables);
        self.tables.sort_unstable();
        self.tables.dedup();
        if self.tables.len() > MAX_TABLES {
            self.tables.clear();
            self.write = Write::Opaque;
        }
    }
}

/// What is not committed yet, or is and its client has not been told.
#[derive(Debug, Default)]
pub(super) struct Unpublished {
    tables: Vec<Name>,
    /// And perhaps others.
    any: bool,
}

impl Unpublished {
    fn add(&mut self, tables: &[Name]) {
        for table in tables {
            if !self.any && !self.tables.contains(table) {
                self.tables.push(table.clone());
            }
        }
        if self.tables.len() > MAX_UNPUBLISHED {
            self.tables.clear();
            self.any = true;
        }
    }
}

/// Where the last commit of the session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OwnCommit {
    /// It has written nothing.
    #[default]
    None,
    /// Behind no position that is known.
    Somewhere,
    /// Up to this position of that primary.
    UpTo(NodeId, u64),
}

/// The standbys that were asked lately and were behind, of a worker.
#[derive(Debug, Default)]
pub struct Laggards {
    asked: Vec<(NodeId, Instant)>,
}

impl Laggards {
    fn add(&mut self, node: NodeId, now: Instant) {
        self.asked.retain(|(other, _)| *other != node);
        self.asked.push((node, now));
    }

    fn has(&self, node: NodeId, now: Instant) -> bool {
        self.asked.iter().any(|(other, at)| *other == node && now.saturating_duration_since(*at) < PATIENCE)
    }
}

/// What the sessions have written, as a decision sees it.
pub(super) struct SharedWrites<'a> {
    pub(super) segment: &'a Segment,
    pub(super) database: &'a str,
    pub(super) routes: &'a RouteConfig,
    pub(super) view: &'a ClusterView,
}

impl SharedWrites<'_> {
    fn table<'a>(&'a self, name: &'a Name) -> Written<'a> {
        Some((self.database, &name.name))
    }

    /// The delay of the standby that is behind most.
    fn lag(&self) -> Option<u64> {
        let standbys = self.view.nodes.iter().filter(|node| node.usable && !node.is_primary);
        standbys.map(|node| node.lag_micros).try_fold(0, |most: u64, lag| Some(most.max(lag?)))
    }
}

impl Writes for SharedWrites<'_> {
    fn lately(&self, table: Option<&Name>) -> bool {
        let (now, memory) = (clock::monotonic_micros(), self.routes.memory);
        let is_cold = now.saturating_sub(self.segment.started_micros()) < memory.cold_start_micros;
        let at = self.segment.written_at(table.and_then(|name| self.table(name)));
        is_cold || (at > 0 && now.saturating_sub(at) < memory.lifetime(self.lag()))
    }

    fn last_commit(&self, table: &Name) -> u64 {
        self.segment.last_commit(self.table(table)).max(self.segment.last_commit(None))
    }

    fn newest_commit(&self) -> u64 {
        self.segment.commits()
    }
}

impl Session {
    /// A statement is sent that writes.
    pub(super) fn note_write(&mut self, ctx: &Ctx<'_>, write: Write, facts: &Facts) {
        self.ever_wrote = true;
        if write == Write::Opaque {
            self.temporary.doubt();
        }
        let routes = &ctx.shared.routes;
        let mut tables = Vec::new();
        if routes.remembers_tables() && write >= Write::Known {
            tables =
                facts.statements.iter().flat_map(|statement| tables_written(statement, routes)).collect();
            if publishes(routes) {
                self.unpublished.any |= write == Write::Opaque;
                self.unpublished.add(&tables);
            }
        }
        match &mut self.transaction {
            Some(tx) => tx.wrote.add(write, tables),
            None => {
                // BEGIN may stand before it in the batch.
                match self.written.back_mut() {
                    Some((flight, wrote)) if *flight == self.flight => wrote.add(write, tables),
                    _ => self.written.push_back((self.flight, Wrote { write, tables })),
                }
                if write >= Write::Known {
                    self.own_commit = OwnCommit::Somewhere;
                }
            }
        }
    }

    /// The client is about to be told that something has succeeded; `commits`: a transaction, or what has none.
    #[inline]
    pub(super) fn publish(&mut self, ctx: &Ctx<'_>, commits: bool) {
        if commits && (self.unpublished.any || !self.unpublished.tables.is_empty()) {
            self.publish_commit(ctx);
        }
    }

    fn publish_commit(&self, ctx: &Ctx<'_>) {
        let Unpublished { tables, any } = &self.unpublished;
        let database = &*self.key.database;
        let tables = tables.iter().map(|name| Some((database, &*name.name)));
        let written: Vec<Written<'_>> = tables.chain(any.then_some(None)).collect();
        let (segment, routes) = (&ctx.shared.segment, &ctx.shared.routes);
        if routes.on_write == OnWrite::DmlAdaptiveGlobal {
            let now = clock::monotonic_micros();
            written.iter().for_each(|table| segment.note_written(*table, now));
        }
        if routes.read_after_write == ReadAfterWrite::Global {
            segment.note_commit(&written);
        }
    }

    /// No transaction is open any more, and what there was to tell is told; but for what is under way behind it.
    pub(super) fn all_published(&mut self) {
        if self.is_all_answered() {
            self.unpublished.tables.clear();
            self.unpublished.any = false;
        }
        self.early = Wrote::default();
    }

    /// The node for a read whose node would be the session's, if that has the commits which the read must see; else
    /// the lead. The error is what must be asked to know.
    pub(super) fn fresh_node(
        &mut self,
        ctx: &mut Ctx<'_>,
        lead: Option<NodeId>,
        after: u64,
        class: Class,
    ) -> Result<Option<NodeId>, Question> {
        let node = self.batch.or_else(|| self.read_node(ctx, class)).or(lead);
        if ctx.shared.routes.read_after_write == ReadAfterWrite::Off {
            return Ok(node);
        }
        let Some(standby) = node.filter(|_| node != lead) else { return Ok(node) };
        let shared = &*ctx.shared;
        let segment = &shared.segment;
        let (replayed, commit) = segment.replayed(standby);
        let needed = match shared.routes.read_after_write {
            ReadAfterWrite::Off => return Ok(node),
            ReadAfterWrite::Session => match self.own_commit {
                OwnCommit::None => return Ok(node),
                OwnCommit::UpTo(primary, lsn) if shared.view.primary == Some(primary) => Some(lsn),
                OwnCommit::UpTo(..) | OwnCommit::Somewhere => None,
            },
            ReadAfterWrite::Global if after <= commit => return Ok(node),
            ReadAfterWrite::Global => {
                let (known, lsn) = segment.known_position();
                (after <= known).then_some(lsn)
            }
        };
        let Some(needed) = needed else {
            let may_ask = !self.asked_enough && lead.is_some() && lead == shared.view.primary;
            return if may_ask { Err(Question::Written) } else { Ok(lead) };
        };
        if replayed >= needed {
            // So that the next one sees it by the commit.
            segment.note_replayed(standby, replayed);
            return Ok(node);
        }
        // A question would be the first statement of the transaction there, whose snapshot is then too old.
        let may_ask =
            !self.asked_enough && self.transaction.is_none() && !shared.laggards.has(standby, shared.now);
        if may_ask { Err(Question::Replayed(standby)) } else { Ok(lead) }
    }

    /// A position was asked for; `commits`: how many there were before the question.
    pub(super) fn on_position(
        &mut self,
        ctx: &mut Ctx<'_>,
        question: &Question,
        answer: &[u8],
        commits: u64,
    ) {
        let lsn = std::str::from_utf8(answer).ok().and_then(crate::cluster::probe::parse_lsn);
        let shared = &mut *ctx.shared;
        match (question, lsn) {
            (Question::Written, Some(lsn)) => {
                shared.segment.learn_position(commits, lsn);
                if let Some(primary) = shared.view.primary.filter(|_| self.own_commit != OwnCommit::None) {
                    self.own_commit = OwnCommit::UpTo(primary, lsn);
                }
            }
            (Question::Replayed(node), Some(lsn)) => {
                shared.segment.note_replayed(*node, lsn);
                shared.laggards.add(*node, shared.now);
                self.asked_enough = true;
            }
            _ => self.asked_enough = true,
        }
    }
}

/// Whether others must know what is written.
fn publishes(routes: &RouteConfig) -> bool {
    routes.on_write == OnWrite::DmlAdaptiveGlobal || routes.read_after_write == ReadAfterWrite::Global
}
