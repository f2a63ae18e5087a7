//! What routing learns of the statements of this session, and what it makes of that: see `route::learn`.
#![forbid(unsafe_code)]

use super::{Ctx, Session, Shared};
use crate::cluster::view::NodeView;
use crate::error::NodeId;
use crate::route;
use crate::route::learn::{Class, Outcome, Ticket, Why};
use crate::sql::Facts;

impl Shared {
    /// This turn's time in microseconds, of a clock that all processes share.
    pub(super) fn micros(&self) -> u64 {
        let (begin, micros) = self.clock;
        let since = self.now.saturating_duration_since(begin).as_micros();
        micros.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// Which statements this one is like, where that matters.
    pub(super) fn class(&self, facts: &Facts, text: &[u8]) -> Class {
        if self.routes.learns() { facts.fingerprint(text).into() } else { Class::UNKNOWN }
    }
}

impl Session {
    /// Draws a node for reads; `class`: for such a statement.
    pub(super) fn draw_node(&mut self, shared: &mut Shared, class: Class) -> Option<NodeId> {
        let (model, micros) = (route::model(&shared.segment), shared.micros());
        let Shared { view, routes, random, candidates: scratch, now, .. } = shared;
        let (number, mut choice) = (random.uniform(), None);
        let draw = &mut |number: f64, may: &dyn Fn(&NodeView) -> bool| {
            let Some(model) = model.filter(|_| routes.learns()) else {
                return route::draw_by_weight(view, number, may);
            };
            scratch.clear();
            let may = |node: &NodeView| may(node) && !self.is_avoided(*now, node.id);
            scratch.extend(route::candidates(view, routes, &may));
            choice = model.choose(&routes.learning, scratch, class, micros, &mut || random.bits());
            choice.map(|choice| choice.node)
        };
        let node = route::choose_balance_node(view, routes, self.preference, number, draw);
        self.timing.choice = choice;
        node
    }

    /// A statement is sent now.
    pub(super) fn begin_learning(&mut self, shared: &Shared, node: NodeId, class: Class) -> Option<Ticket> {
        let choice = self.timing.choice.take();
        if !shared.routes.learns() {
            return None;
        }
        let why = match choice {
            Some(choice) if choice.node == node && choice.explored => Why::Explored,
            Some(choice) if choice.node == node => Why::Chosen,
            _ => Why::Given,
        };
        let model = route::model(&shared.segment)?;
        Some(model.begin(&shared.routes.learning, shared.worker, node, class, why, shared.micros()))
    }

    /// A node could not be reached.
    pub(super) fn learn_unreachable(&mut self, ctx: &Ctx<'_>, node: NodeId) {
        if let Some(ticket) = self.begin_learning(ctx.shared, node, Class::UNKNOWN) {
            end(ctx.shared, ticket, 0, Outcome::Lost);
        }
    }
}

/// A statement has taken so many microseconds, and ended so.
pub(super) fn end(shared: &Shared, ticket: Ticket, micros: u64, outcome: Outcome) {
    if let Some(model) = route::model(&shared.segment) {
        model.end(&shared.routes.learning, shared.worker, ticket, micros, outcome, shared.micros());
    }
}

/// A statement is not under way any more, and nothing is learnt from it.
pub(super) fn abandon(shared: &Shared, ticket: Ticket) {
    if let Some(model) = route::model(&shared.segment) {
        model.abandon(shared.worker, ticket);
    }
}
