//! The explicit transaction of a client: where it is open, what it has done, how it ends everywhere.
//!
//! It begins on the primary (the lead). Another node joins when a read is sent there, with a BEGIN of ours;
//! such a node has only read, so at the end it gets a COMMIT or ROLLBACK of ours behind the lead's.
#![forbid(unsafe_code)]

use super::aborted::Aborted;
use super::settings::Settings;
use super::writes::{OwnCommit, Wrote};
use super::{Ctx, Effect, Session};
use crate::error::NodeId;
use crate::pool::Purpose;
use crate::route::Write;
use crate::sql::{BeginOptions, Isolation, Kind, Name, SetConfig, Statement};
use crate::wire::backend::TxStatus;

/// An explicit transaction.
pub(super) struct Transaction {
    pub(super) lead: NodeId,
    /// `None`: begun in a way that no other node can repeat.
    options: Option<BeginOptions>,
    pub(super) wrote: Wrote,
    /// It has changed the catalog.
    changed_catalog: bool,
    /// Node on which a statement failed; everything goes there until ROLLBACK.
    pub(super) failed_on: Option<NodeId>,
    /// Where its last read went.
    pub(super) reads_on: Option<NodeId>,
    /// Its node is lost.
    pub(super) aborted: Option<Box<Aborted>>,
}

impl Transaction {
    fn on(lead: NodeId) -> Transaction {
        Transaction {
            lead,
            options: None,
            wrote: Wrote::default(),
            changed_catalog: false,
            failed_on: None,
            reads_on: None,
            aborted: None,
        }
    }

    /// It was begun as READ ONLY.
    pub(super) fn is_read_only(&self) -> bool {
        self.options.as_ref().and_then(|options| options.read_only) == Some(true)
    }

    /// Other nodes may join.
    pub(super) fn may_spread(&self) -> bool {
        self.options.is_some()
    }

    /// Standbys cannot do what this isolation level promises. `default`: whether it is that of transactions which name
    /// none.
    pub(super) fn is_serializable(&self, default: bool) -> bool {
        match self.options.as_ref().and_then(|options| options.isolation) {
            Some(isolation) => isolation == Isolation::Serializable,
            None => default,
        }
    }

    /// BEGIN for a node that joins. Never READ WRITE: it only reads there.
    pub(super) fn begin_sql(&self) -> String {
        let level = match self.options.as_ref().and_then(|options| options.isolation) {
            Some(Isolation::RepeatableRead) => " ISOLATION LEVEL REPEATABLE READ",
            Some(Isolation::ReadCommitted) => " ISOLATION LEVEL READ COMMITTED",
            Some(Isolation::ReadUncommitted) => " ISOLATION LEVEL READ UNCOMMITTED",
            Some(Isolation::Serializable) | None => "",
        };
        format!("BEGIN{level}{}", if self.is_read_only() { " READ ONLY" } else { "" })
    }
}

impl Session {
    /// State as the client sees it.
    pub(super) fn status(&self) -> TxStatus {
        match &self.transaction {
            None => TxStatus::Idle,
            Some(tx) if tx.failed_on.is_some() || tx.aborted.is_some() => TxStatus::Failed,
            Some(_) => TxStatus::InTransaction,
        }
    }

    /// ReadyForQuery of the client's came from `node`: what was under way has succeeded or failed.
    pub(super) fn settle(&mut self, ctx: &mut Ctx<'_>, node: NodeId, status: TxStatus) {
        self.again.end(self.is_all_answered());
        let errored = std::mem::take(&mut self.errored);
        let done = std::mem::take(&mut self.done);
        let landed = self.flight.saturating_sub(u64::from(self.in_flight) + 1);
        while let Some((_, wrote)) = self.written.pop_front_if(|(flight, _)| *flight <= landed) {
            self.early.add(wrote.write, wrote.tables);
        }
        self.flight_ended(ctx, landed);
        let mut ended = false;
        if !self.effects.is_empty() {
            if self.transaction.is_none() {
                // What comes before COMMIT or an error is a transaction too, if only to ReadyForQuery.
                self.mark_begin(node);
            }
            while let Some(effect) = self.effects.pop_front_if(|effect| effect.flight <= landed) {
                for (at, statement) in effect.facts.statements.iter().enumerate() {
                    if !errored || effect.first + at < done {
                        let was_open = self.transaction.is_some();
                        self.apply(ctx, node, &effect, statement);
                        ended |= was_open && self.transaction.is_none();
                    }
                }
            }
        }
        let committed = !errored && self.ends.back() != Some(&false);
        self.ends.clear();
        if status == TxStatus::Idle {
            if self.transaction.is_none() && !ended {
                self.count_transaction(ctx, node, committed);
            }
            self.end(ctx, node, committed, false);
            // What is not COMMIT is committed right before this, and not when it says that it is complete.
            self.publish(ctx, true);
            self.all_published();
            self.settings.end(!errored);
            // A batch that has been sent behind this one may have portals of its own already.
            if self.is_all_answered() {
                self.portals.clear();
                self.end_own_portals();
            }
            return;
        }
        if self.transaction.is_none() {
            self.begin(node, None);
        }
        if let Some(tx) = &mut self.transaction {
            tx.failed_on = (status == TxStatus::Failed).then_some(node);
        }
        if self.is_all_answered() {
            self.roll_back_aborted(ctx);
        }
    }

    /// Nothing is under way.
    pub(super) fn is_all_answered(&self) -> bool {
        self.in_flight == 0 && self.batch.is_none()
    }

    fn begin(&mut self, node: NodeId, options: Option<BeginOptions>) {
        if !self.settings.is_in_transaction() {
            self.mark_begin(node);
        }
        let wrote = std::mem::take(&mut self.early);
        self.transaction = Some(Transaction { options, wrote, ..Transaction::on(node) });
    }

    fn mark_begin(&mut self, node: NodeId) {
        self.settings.begin();
        if let Some(link) = self.link(node) {
            link.applied_at_begin = link.applied;
        }
    }

    /// A statement has succeeded on `node`.
    fn apply(&mut self, ctx: &mut Ctx<'_>, node: NodeId, effect: &Effect, statement: &Statement) {
        match &statement.kind {
            Kind::Begin(options) if self.transaction.is_none() => {
                // Only a BEGIN that stands alone can be repeated elsewhere.
                let alone = effect.facts.statements.len() == 1 && effect.first == 0;
                self.begin(node, alone.then_some(*options));
            }
            Kind::Savepoint(name) => self.settings.savepoint(name),
            Kind::Release(name) => self.settings.release(name),
            Kind::RollbackTo(name) => {
                self.ends.pop_front();
                self.settings.rollback_to(name);
                self.temporary.roll_back_to();
                if ctx.shared.routes.quirks
                    && let Some(tx) = &mut self.transaction
                {
                    tx.wrote = Wrote::default();
                }
                self.end_elsewhere(ctx, node, false, false);
            }
            Kind::Commit { chain } | Kind::Rollback { chain } => {
                let committed =
                    self.ends.pop_front().unwrap_or(matches!(statement.kind, Kind::Commit { .. }));
                let chained = self.transaction.as_ref().filter(|_| *chain).map(|tx| (tx.lead, tx.options));
                self.end(ctx, node, committed, *chain);
                self.settings.end(committed);
                self.mark_begin(node);
                if let Some((lead, options)) = chained {
                    self.begin(lead, options);
                    if let Some(link) = self.link(node).filter(|link| link.node != lead) {
                        link.in_transaction = true;
                    }
                }
            }
            Kind::SetTransaction { session: false, options } => self.restrict(options),
            Kind::Prepare { .. } | Kind::Deallocate(_) => {
                self.note_prepared(ctx, node, &statement.kind, effect);
            }
            Kind::DiscardAll => {
                self.note_prepared(ctx, node, &statement.kind, effect);
                self.portals.clear();
                self.temporary.set(Vec::new());
            }
            Kind::Ddl => self.change_catalog(ctx, statement),
            Kind::Discard => self.temporary.doubt(),
            _ => {}
        }
        self.note_default_isolation(&statement.kind);
        self.temporary.note(statement, self.transaction.is_some());
        self.holdings.note(statement, self.transaction.is_some());
        self.note_configs(node, statement);
        if matches!(
            statement.kind,
            Kind::Set { .. }
                | Kind::SetTransaction { session: true, .. }
                | Kind::Reset { .. }
                | Kind::ResetAll
                | Kind::DiscardAll
        ) {
            let alone = effect.facts.statements.len() == 1;
            let text = alone.then(|| String::from_utf8_lossy(&effect.text));
            let text = self.whole_datestyle(&statement.kind).or(text.map(std::borrow::Cow::into_owned));
            self.note_setting(node, statement, text.as_deref());
        }
    }

    /// The isolation of transactions that name none.
    fn note_default_isolation(&mut self, kind: &Kind) {
        let is_serializable = match kind {
            Kind::Set { name, value, .. } if &**name == "default_transaction_isolation" => {
                value.as_deref().and_then(Isolation::parse) == Some(Isolation::Serializable)
            }
            Kind::SetTransaction { session: true, options } if options.isolation.is_some() => {
                options.isolation == Some(Isolation::Serializable)
            }
            Kind::Reset { name } if &**name == "default_transaction_isolation" => false,
            Kind::ResetAll | Kind::DiscardAll => false,
            _ => return,
        };
        // A rollback may take the end of it back.
        self.is_serializable = is_serializable || (self.is_serializable && self.transaction.is_some());
    }

    /// DDL has succeeded.
    fn change_catalog(&mut self, ctx: &mut Ctx<'_>, statement: &Statement) {
        let is_own = |name: &Name| name.in_temp_schema() || self.temporary.has(name) == Some(true);
        let all_own = |names: &[Name]| !names.is_empty() && names.iter().all(is_own);
        if !statement.creates_temp.is_empty() || all_own(&statement.drops) || all_own(&statement.written) {
            return;
        }
        ctx.shared.relations.outdate(&self.key.database);
        if let Some(tx) = &mut self.transaction {
            tx.changed_catalog = true;
            self.own_relations = Some(Box::new(ctx.shared.relations.aside()));
        }
    }

    /// Parameters that `set_config` has set. A value that only the server knows cannot be brought to other nodes, so
    /// that reads must stay where it was set.
    fn note_configs(&mut self, node: NodeId, statement: &Statement) {
        for config in &statement.set_config {
            match (config, &mut self.transaction) {
                (SetConfig::Known { name, value, local }, _) => {
                    self.change_settings(node, |settings| settings.note_config(name, value, *local));
                }
                (SetConfig::Unknown { local: true }, Some(tx)) => tx.wrote.write = Write::Opaque,
                (SetConfig::Unknown { local: true }, None) => {}
                (SetConfig::Unknown { local: false }, _) => self.has_unknown_setting = true,
            }
        }
        if matches!(statement.kind, Kind::ResetAll | Kind::DiscardAll) {
            self.has_unknown_setting = false;
        }
    }

    /// SET DateStyle may change a part of it only; the server has told the whole.
    fn whole_datestyle(&self, kind: &Kind) -> Option<String> {
        let Kind::Set { name, local, value: Some(_) } = kind else { return None };
        let told = self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(b"datestyle"));
        let (_, value) = told.filter(|_| &**name == "datestyle")?;
        let value = std::str::from_utf8(value).ok()?;
        Some(format!("SET {}datestyle TO {value}", if *local { "LOCAL " } else { "" }))
    }

    fn note_setting(&mut self, node: NodeId, statement: &crate::sql::Statement, sql: Option<&str>) {
        self.change_settings(node, |settings| settings.note(statement, sql));
    }

    fn change_settings(&mut self, node: NodeId, change: impl FnOnce(&mut Settings)) {
        let was = self.settings.newest();
        change(&mut self.settings);
        let newest = self.settings.newest();
        if let Some(link) = self.link(node) {
            for applied in [&mut link.applied.all, &mut link.applied.lead] {
                if *applied == was {
                    *applied = newest;
                }
            }
        }
    }

    /// SET TRANSACTION: as if BEGIN had said it.
    fn restrict(&mut self, options: &BeginOptions) {
        if let Some(tx) = &mut self.transaction
            && let Some(all) = &mut tx.options
        {
            all.isolation = options.isolation.or(all.isolation);
            all.read_only = options.read_only.or(all.read_only);
        }
    }

    /// No transaction is open on `node` any more, the last one to have had the client's statements.
    pub(super) fn end(&mut self, ctx: &mut Ctx<'_>, node: NodeId, committed: bool, chain: bool) {
        let Some(tx) = &self.transaction else { return };
        self.count_transaction(ctx, node, committed);
        self.trans_wrote |= tx.wrote.write.is_any();
        if committed && tx.wrote.write >= Write::Known {
            self.own_commit = OwnCommit::Somewhere;
        }
        if tx.changed_catalog {
            // Others see it from now on, or nobody ever.
            ctx.shared.relations.outdate(&self.key.database);
            self.own_relations = None;
        }
        let is_rolled_back = tx.aborted.as_ref().is_some_and(|aborted| aborted.is_rolled_back());
        self.temporary.end(committed);
        self.holdings.end(committed);
        if !is_rolled_back {
            self.end_elsewhere(ctx, node, committed, chain);
        }
        self.transaction = None;
        if let Some(link) = self.link(node) {
            link.in_transaction = false;
            if !committed {
                link.applied = link.applied_at_begin;
            }
        }
    }

    /// Ends the transaction on the nodes other than `node`: those that joined, and the lead itself when the
    /// statements had gone to another node after a failure there. With `chain` the lead begins the next one.
    fn end_elsewhere(&mut self, ctx: &mut Ctx<'_>, node: NodeId, committed: bool, chain: bool) {
        let lead = self.transaction.as_ref().map(|tx| tx.lead);
        for link in &mut self.links {
            if link.node == node || !(link.in_transaction || Some(link.node) == lead) {
                continue;
            }
            link.in_transaction = false;
            if !committed {
                link.applied = link.applied_at_begin;
            }
            if let Some(backend) = ctx.pool.get(link.backend) {
                let mut out = Vec::new();
                let text = match (committed, chain && Some(link.node) == lead) {
                    (true, false) => "COMMIT",
                    (true, true) => "COMMIT AND CHAIN",
                    (false, false) => "ROLLBACK",
                    (false, true) => "ROLLBACK AND CHAIN",
                };
                super::report::log_internal(&ctx.shared.config, link.node, backend.pid, text);
                backend.put_query(&mut out, text.as_bytes(), Purpose::Transaction);
                let conn = backend.conn;
                ctx.wire.send(conn, &out);
            }
        }
    }
}
