//! A connection to a node is lost: what becomes of what the client had there.
//!
//! What was not under way there goes on. Reads are run again (`repeat`); any other statement is answered with an error;
//! a transaction is failed until its end (`aborted`); a session that had there what cannot be rebuilt is closed.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::aborted::Aborted;
use super::does::Does;
use super::finish::Refusal;
use super::lost::Lost;
use super::{Ctx, Errand, Session, Source, Stage, Streaming};
use crate::cluster::failover::Cause;
use crate::config::FailoverSessionPolicy;
use crate::error::NodeId;
use crate::pool::{Backend, Expect};

impl Session {
    /// The connection to a node closed.
    pub fn on_backend_closed(&mut self, ctx: &mut Ctx<'_>, node: NodeId, lost: Lost) {
        if self.lose(ctx, node, lost) {
            self.pump(ctx);
        }
    }

    /// Gives up the connection to a node that did not follow; the session goes on without it.
    pub(super) fn leave(&mut self, ctx: &mut Ctx<'_>, node: NodeId, reason: &str) {
        let Some(mut lost) = self.drop_link(ctx, node, reason) else { return };
        lost.left = true;
        self.avoid(ctx, node);
        let waits = lost.queries() == 0 && self.batch != Some(node);
        if let Some(link) = self.links.iter_mut().find(|link| link.node == node)
            && self.transaction.as_ref().is_some_and(|tx| tx.lead != node && tx.failed_on != Some(node))
        {
            // It has only read there, if it has come so far.
            link.in_transaction = false;
        }
        if !self.lose(ctx, node, lost) {
            return;
        }
        if waits && Some(node) == ctx.shared.view.writer() {
            // What waits has nowhere else to go, and would fail the same way for ever.
            let message = format!("backend {node} did not follow the session: {reason}");
            self.refuse(ctx, Refusal::Own("08006", message));
        } else {
            self.pump(ctx);
        }
    }

    /// The node is out of use: what was under way there is lost.
    pub(super) fn part(&mut self, ctx: &mut Ctx<'_>, node: NodeId, reason: &str) {
        self.give_up(ctx, node, reason, false);
    }

    /// Another node leads: what the session has on this one, which lives, is lost.
    pub(super) fn leave_behind(&mut self, ctx: &mut Ctx<'_>, node: NodeId) {
        self.give_up(ctx, node, "another node is the primary now", true);
    }

    /// Closes the connection and goes on with what the session has elsewhere. `left`: the server lives.
    fn give_up(&mut self, ctx: &mut Ctx<'_>, node: NodeId, reason: &str, left: bool) {
        let Some(mut lost) = self.drop_link(ctx, node, reason) else { return };
        lost.left = left;
        if self.lose(ctx, node, lost) {
            self.pump(ctx);
        }
    }

    /// Closes the connection; the session still counts on it.
    fn drop_link(&mut self, ctx: &mut Ctx<'_>, node: NodeId, reason: &str) -> Option<Lost> {
        let slot = self.links.iter().find(|link| link.node == node)?.backend;
        let lost = Lost::of(ctx.pool.get(slot)?, reason);
        ctx.pool.drop_backend(ctx.wire, slot);
        Some(lost)
    }

    /// Whether the session lives.
    fn lose(&mut self, ctx: &mut Ctx<'_>, node: NodeId, mut lost: Lost) -> bool {
        let Some(at) = self.links.iter().position(|link| link.node == node) else { return false };
        let link = self.links.remove(at);
        self.doomed.take_if(|doomed| *doomed == node);
        let message = format!("connection to backend {node} was lost: {}", lost.text());
        crate::say!(Log, "{}", message);
        self.tell_supervisor(ctx, node, &lost);
        if lost.is_of_the_server() {
            // Those that wait in the pool are as dead, and would be taken for alive.
            ctx.pool.drop_idle(ctx.wire, |backend| backend.node == node);
        }
        if lost.mid_message {
            // The client is in the middle of a message that will never end.
            self.finish(ctx, false);
            ctx.wire.close(self.client);
            return false;
        }
        if !matches!(self.stage, Stage::Active) {
            self.look_again(ctx);
            return false;
        }
        if ctx.shared.config.failover_session_policy == FailoverSessionPolicy::Disconnect && !lost.left {
            self.fatal(ctx, "57P01", &message);
            return false;
        }
        if let Some(what) = self.holds().filter(|_| link.was_lead) {
            self.fatal(ctx, "57P01", &format!("{message}; with it {what}"));
            return false;
        }
        self.forget_refusal(node);
        let queries = lost.queries();
        self.forget(node, std::mem::take(&mut lost.expects));
        let is_lead =
            self.transaction.as_ref().is_some_and(|tx| tx.lead == node || tx.failed_on == Some(node));
        let at_work = queries > 0 || self.batch == Some(node);
        // What is aborted can only be lost once.
        let is_open = at_work || !self.is_aborted();
        if is_open && (is_lead || (link.in_transaction && self.failed_on().is_none())) {
            self.lose_transaction(ctx, node, queries, &message);
        } else if at_work {
            self.lose_statements(ctx, node, queries, &message, lost.is_ended_by_hand());
        }
        if self.streaming.to == Some(node) {
            self.streaming.to = None;
        }
        true
    }

    /// What cannot be made again on another node.
    pub(super) fn holds(&self) -> Option<&'static str> {
        if self.temporary.is_any_lasting() {
            Some("its temporary tables")
        } else if self.has_unknown_setting {
            Some("a setting whose value nobody else knows")
        } else {
            self.holdings.any()
        }
    }

    fn tell_supervisor(&self, ctx: &mut Ctx<'_>, node: NodeId, lost: &Lost) {
        let is_shutdown = matches!(lost.code(), "57P01" | "57P02");
        if is_shutdown && ctx.shared.config.failover_on_backend_shutdown && ctx.shared.view.is_usable(node) {
            let reason = lost.text().to_owned();
            ctx.shared.errands.push(Errand::Unreachable { node, reason, cause: Cause::Shutdown });
        }
    }

    /// What only a lost connection had is gone, and what it has not answered was not done: the server says so to
    /// whoever asks for it.
    fn forget(&mut self, node: NodeId, expects: VecDeque<Expect>) {
        self.undo(None, expects);
        self.portals.retain(|portal| portal.node != node);
        self.statements.retain(|prepared| !matches!(prepared.source, Source::Only(only) if only == node));
        if self.copy_in == Some(node) {
            self.copy_in = None;
        }
        self.asking = None;
        self.preparing = None;
        self.just_parsed = None;
    }

    /// Statements outside a transaction were under way there.
    fn lose_statements(
        &mut self,
        ctx: &mut Ctx<'_>,
        node: NodeId,
        queries: usize,
        message: &str,
        ended_by_hand: bool,
    ) {
        let is_open = self.batch == Some(node);
        let count = queries + usize::from(is_open);
        let does = self.again.all_do(count);
        let commits = match does.last() {
            Some(does) => *does == Does::Commits,
            None => self.may_be_ending(count) == Some(Does::Commits),
        };
        let first = self.first_to_repeat(count);
        let messages = self.again.take(first);
        let failed = first.unwrap_or(count);
        let errored = self.end_flights(ctx, node, queries);
        let refusal = |is_unknown: bool| match is_unknown {
            true => {
                Refusal::Own("08007", format!("{message}; whether the statement took effect is not known"))
            }
            false => Refusal::Own("08006", message.to_owned()),
        };
        for at in 0..failed.min(queries) {
            let unknown = does.get(at).is_none_or(|does| matches!(does, Does::Writes | Does::Commits));
            self.refuse_or_end(ctx, refusal(unknown), errored && at == 0);
        }
        if is_open && first.is_none() {
            // Without its Sync only what it has committed itself can have taken effect.
            self.fail_batch(ctx, refusal(commits), errored && queries == 0);
        }
        if first.is_some() {
            self.avoid(ctx, node);
            if self.streaming.to == Some(node) {
                // The frame that is being passed on comes again from its begin.
                self.streaming = Streaming { left: 0, to: None };
            }
            self.repeat(ctx, node, messages, message, ended_by_hand);
        }
    }

    /// Nothing of the client's is under way on the node any more. Whether an error had been passed on.
    fn end_flights(&mut self, ctx: &Ctx<'_>, node: NodeId, queries: usize) -> bool {
        let ending = self.batch == Some(node) && std::mem::take(&mut self.ending);
        self.in_flight = self.in_flight.saturating_sub(queries as u32 + u32::from(ending));
        if self.batch == Some(node) {
            self.batch = None;
        }
        self.forget_sent(ctx, Some(node));
        std::mem::take(&mut self.errored)
    }

    /// What was sent and has not ended is not answered any more: nothing is done when it ends. `lost`: by this node,
    /// which is lost.
    pub(super) fn forget_sent(&mut self, ctx: &Ctx<'_>, lost: Option<NodeId>) {
        self.effects.clear();
        self.written.clear();
        self.forget_running(ctx.shared, lost);
        self.ends.clear();
        self.done = 0;
    }

    /// The error, unless the client has one already, and ReadyForQuery.
    fn refuse_or_end(&mut self, ctx: &mut Ctx<'_>, refusal: Refusal, has_error: bool) {
        if has_error {
            self.ready(ctx, self.status());
        } else {
            self.refuse_query(ctx, refusal);
        }
    }

    fn fail_batch(&mut self, ctx: &mut Ctx<'_>, refusal: Refusal, has_error: bool) {
        if has_error {
            self.skip_to_sync = true;
        } else {
            self.error_to_sync(ctx, refusal);
        }
    }

    /// A transaction was open there. Nothing of it is run again.
    fn lose_transaction(&mut self, ctx: &mut Ctx<'_>, node: NodeId, queries: usize, message: &str) {
        let is_open = self.batch == Some(node);
        let at_work = queries > 0 || is_open;
        let count = queries + usize::from(is_open);
        let ending = self.may_be_ending(count).filter(|_| at_work);
        let commits = ending == Some(Does::Commits);
        let was_told = self.failed_on().is_some();
        let mut errored = false;
        if at_work {
            self.again.take(None);
            errored = self.end_flights(ctx, node, queries);
        }
        let message = if commits {
            format!("{message}; whether the transaction was committed is not known")
        } else {
            message.to_owned()
        };
        if let Some(tx) = &mut self.transaction {
            tx.aborted = Some(Box::new(Aborted::new(message.clone(), at_work || was_told)));
        }
        let code = if commits { "08007" } else { "08006" };
        for at in 0..queries {
            if ending.is_some() && at + 1 == queries && !is_open {
                self.end_in_doubt(ctx, commits);
            }
            self.refuse_or_end(ctx, Refusal::Own(code, message.clone()), errored && at == 0);
        }
        if is_open {
            if ending.is_some() {
                self.end_in_doubt(ctx, commits);
            }
            self.fail_batch(ctx, Refusal::Own(code, message), errored && queries == 0);
        }
        if self.is_all_answered() {
            self.roll_back_aborted(ctx);
        }
    }

    /// What is under way that ends the transaction, if anything does.
    fn may_be_ending(&self, count: usize) -> Option<Does> {
        let mut units = self.again.all_do(count);
        if units.is_empty() {
            // They cannot be told apart: what is remembered of those statements that change the session.
            units = self.effects.iter().map(|effect| Does::of(&effect.facts)).collect();
        } else if self.errored && self.ends.is_empty() {
            // What stood behind the error, the server has skipped.
            units.remove(0);
        }
        units.into_iter().max().filter(|does| *does >= Does::RollsBack)
    }

    /// The transaction has ended; `commits`: one way or the other.
    fn end_in_doubt(&mut self, ctx: &mut Ctx<'_>, commits: bool) {
        if commits {
            // Others shall see what it may have written.
            self.publish(ctx, true);
            self.own_commit = super::writes::OwnCommit::Somewhere;
        }
        self.end_aborted(ctx);
    }

    /// Whether a statement, a batch or a transaction of the session is open on the node.
    pub(super) fn is_at_work_on(&self, ctx: &Ctx<'_>, node: NodeId) -> bool {
        let Some(link) = self.links.iter().find(|link| link.node == node) else { return false };
        let in_transaction = link.in_transaction
            || self.transaction.as_ref().is_some_and(|tx| tx.lead == node || tx.failed_on == Some(node));
        in_transaction
            || self.batch == Some(node)
            || ctx.pool.peek(link.backend).is_some_and(Backend::is_busy)
    }
}
