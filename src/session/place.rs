//! Which node a statement of this session goes to: asks `route::decide`, then fits the answer to what the
//! session is in the middle of.
#![forbid(unsafe_code)]

use super::writes::SharedWrites;
use super::{Ctx, Session, Shared, Source};
use crate::cluster::view::ClusterView;
use crate::error::NodeId;
use crate::log;
use crate::route::learn::Class;
use crate::route::{
    self, Catalog, Decision, Question, Reason, Route, RouteConfig, SessionView, Target, Write,
};
use crate::sql::{Facts, Kind, Name};

/// What a client is told whose statement has nowhere to go.
pub(super) const NOWHERE: &str = "no backend node can serve this statement now";

/// Where a statement goes.
pub(super) enum Place {
    /// To this node; `write`: later reads must see it.
    Node { node: NodeId, write: Write },
    /// The catalog must be asked first.
    Ask(Question),
    /// No node can serve it.
    Nowhere,
}

impl Session {
    /// Finds the node for a statement with these facts.
    pub(super) fn place(&mut self, ctx: &mut Ctx<'_>, facts: &Facts, text: &[u8]) -> Place {
        if let Some(node) = self.failed_node(facts) {
            return Place::Node { node, write: Write::No };
        }
        if let Some(node) = self.only_holder(facts) {
            return Place::Node { node, write: Write::Opaque };
        }
        if let Some(batch) = self.batch.filter(|_| self.batch == self.lead(ctx))
            && !self.effects.is_empty()
        {
            // What it is counts for the transaction that may have begun.
            let write = match self.decide(ctx, facts, text) {
                Decision::Go(route) => route.write,
                Decision::Ask(_) => Write::Opaque,
            };
            return Place::Node { node: batch, write };
        }
        self.reconsider(ctx, facts);
        let mut decision = self.decide(ctx, facts, text);
        if let Decision::Go(Route { target: Target::Prepared(name), .. }) = &decision
            && !is_deallocate(facts)
            && let Some(prepared) = self.statements.get(name.as_bytes()).cloned()
        {
            // Once and no more: a client may prepare statements that execute each other.
            self.reconsider(ctx, &prepared.facts);
            decision = self.decide(ctx, &prepared.facts, &prepared.text);
            if let Decision::Go(route) = &mut decision
                && self
                    .cannot_prepare
                    .is_some_and(|(id, node)| id == prepared.id && Some(node) != self.lead(ctx))
            {
                route.target = Target::Primary;
            }
        }
        let route = match decision {
            Decision::Go(route) => route,
            // A question would end what has begun on the primary in this batch.
            Decision::Ask(_) if self.batch.is_some() && self.batch == self.lead(ctx) => {
                return Place::Node { node: self.batch.unwrap_or_default(), write: Write::Opaque };
            }
            Decision::Ask(questions) => {
                return questions.into_iter().next().map_or(Place::Nowhere, Place::Ask);
            }
        };
        let lead = self.lead(ctx);
        let node = match &route.target {
            // To end what has not begun is the same everywhere.
            Target::Primary | Target::Everywhere => lead.or(ctx.shared.view.main.filter(|_| is_end(facts))),
            Target::Node(node) => Some(*node),
            Target::Balance => match self.fresh_node(ctx, lead, route.after, ctx.shared.class(facts, text)) {
                Ok(node) => node,
                Err(question) => return Place::Ask(question),
            },
            Target::Prepared(name) if is_deallocate(facts) => self.holder(ctx, name.as_bytes()).or(lead),
            Target::Prepared(_) => lead,
        };
        match node {
            // What has begun on the primary in this batch goes on there.
            Some(_) if self.batch.is_some() && self.batch == lead => {
                Place::Node { node: lead.unwrap_or_default(), write: route.write }
            }
            Some(node) => Place::Node { node, write: route.write },
            None => Place::Nowhere,
        }
    }

    /// Node for all that is not a read.
    pub(super) fn lead(&self, ctx: &Ctx<'_>) -> Option<NodeId> {
        let primary = ctx.shared.view.writer();
        self.transaction.as_ref().map(|tx| tx.lead).or(primary)
    }

    /// EXECUTE of what one node alone has, or PREPARE of a name that it alone can say is taken.
    fn only_holder(&self, facts: &Facts) -> Option<NodeId> {
        let (Kind::Prepare { name, .. } | Kind::Execute(name)) = &facts.single()?.kind else { return None };
        match self.statements.get(name.as_bytes())?.source {
            Source::Only(node) => Some(node),
            _ => None,
        }
    }

    /// Node on which the transaction has failed.
    pub(super) fn failed_on(&self) -> Option<NodeId> {
        self.transaction.as_ref().and_then(|tx| tx.failed_on)
    }

    /// After a failure everything goes to the node that failed; only ROLLBACK TO brings the lead back.
    fn failed_node(&self, facts: &Facts) -> Option<NodeId> {
        let tx = self.transaction.as_ref()?;
        // What has run there since can only have been its end.
        let failed = tx.failed_on.filter(|_| self.effects.is_empty())?;
        let back = matches!(facts.statements.as_slice(), [s] if matches!(s.kind, Kind::RollbackTo(_)));
        Some(if back { tx.lead } else { failed })
    }

    fn decide(&mut self, ctx: &mut Ctx<'_>, facts: &Facts, text: &[u8]) -> Decision {
        let decision = self.with_view(ctx, |view, cluster, routes, catalog| {
            route::decide(facts, text, view, cluster, routes, catalog)
        });
        if let Decision::Go(route) = &decision
            && log::enabled(log::Level::Debug1)
        {
            crate::say!(Debug1, "route: {:?} because {}", route.target, route.reason);
        }
        decision
    }

    /// What a decision is made from.
    pub(super) fn with_view<T>(
        &mut self,
        ctx: &mut Ctx<'_>,
        judge: impl FnOnce(&SessionView<'_>, &ClusterView, &RouteConfig, &dyn Catalog) -> T,
    ) -> T {
        let Shared { relations, view: cluster, routes, now, segment, .. } = &mut *ctx.shared;
        let writes = SharedWrites { segment, database: &self.key.database, routes, view: cluster };
        let tx = self.transaction.as_ref();
        let view = SessionView {
            balance_node: self.balance,
            in_transaction: tx.is_some(),
            tx_failed: tx.is_some_and(|tx| tx.failed_on.is_some()),
            tx_primary_only: tx.is_some_and(|tx| !tx.may_spread()),
            tx_wrote: tx.map_or(Write::No, |tx| tx.wrote.write),
            written: tx.map_or(&[], |tx| tx.wrote.tables.as_slice()),
            writes: &writes,
            trans_wrote: self.trans_wrote,
            ever_wrote: self.ever_wrote,
            unknown_setting: self.has_unknown_setting,
            serializable: tx.map_or(self.is_serializable, |tx| tx.is_serializable(self.is_serializable)),
            node_of_process: &|pid| segment.node_of_process(pid),
            has_any_temp: self.temporary.is_any(),
            mentions_temp: &|text| self.temporary.is_mentioned(text),
            has_temp: &|name: &Name| self.temporary.has(name),
        };
        let relations = self.own_relations.as_deref_mut().unwrap_or(relations);
        let catalog = relations.catalog(&self.key.database, *now);
        judge(&view, cluster, routes, &catalog)
    }

    /// What a standby has refused it may take, once the catalog is another.
    fn reconsider(&self, ctx: &Ctx<'_>, facts: &Facts) {
        if let Some(epoch) = facts.refused_at.get()
            && epoch != ctx.shared.relations.epoch(&self.key.database)
        {
            facts.refused_at.set(None);
        }
    }

    /// What the redirect preference lists say of this session.
    pub(super) fn prefer(&mut self, routes: &RouteConfig) {
        let application = self.application_name().unwrap_or_default();
        self.preference = route::preference(routes, &self.key.user, &self.key.database, application);
    }

    /// Whether a node may serve this session's reads now.
    pub(super) fn may_use(&self, shared: &Shared, node: NodeId) -> bool {
        shared.view.is_usable(node) && !self.is_avoided(shared.now, node)
    }

    /// Node for a read like that, with the delay of the standbys looked at now.
    pub(super) fn read_node(&mut self, ctx: &mut Ctx<'_>, class: Class) -> Option<NodeId> {
        let shared = &mut *ctx.shared;
        let known = match () {
            () if !shared.routes.statement_level => self.balance,
            // A transaction that reads on a node goes on there: on others it would see another state.
            () if shared.routes.learns() => {
                self.drawn.or(self.transaction.as_ref().and_then(|tx| tx.reads_on))
            }
            () => self.drawn,
        };
        if !known.is_some_and(|node| self.may_use(shared, node)) {
            let drawn = self.draw_node(shared, class).filter(|node| self.may_use(shared, *node));
            self.balance = drawn;
            if shared.routes.statement_level {
                self.drawn = drawn;
            }
        } else {
            self.balance = known;
        }
        let balance = self.balance?;
        if let Some(tx) = &mut self.transaction {
            tx.reads_on = Some(balance);
        }
        let (node, reason): (NodeId, Reason) = route::node_for_read(&shared.view, &shared.routes, balance);
        if node != balance {
            crate::say!(Debug1, "could not load balance because {}", reason);
        }
        if log::enabled(log::Level::Debug1) {
            let line = log::Line::new(log::Level::Debug1, "selecting load balance node");
            line.detail(format!("selected backend id is {node}")).emit();
        }
        self.may_use(shared, node).then_some(node)
    }
}

fn is_end(facts: &Facts) -> bool {
    let kind = facts.single().map(|statement| &statement.kind);
    matches!(kind, Some(Kind::Commit { .. } | Kind::Rollback { .. }))
}

fn is_deallocate(facts: &Facts) -> bool {
    facts.single().is_some_and(|statement| matches!(statement.kind, Kind::Deallocate(_)))
}
