//! Waiting for the cluster: a statement that needs a primary while there is none, or that comes while roles change,
//! waits for `failover_wait_timeout` and is then refused; so does a client that comes in.
//!
//! Whoever waits is looked at again when the state of the nodes has changed, and once a second.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::finish::Refusal;
use super::writes::OwnCommit;
use super::{Ctx, Link, Session, Shared, Stage, Step};
use crate::error::NodeId;
use crate::shm::Hold;

/// What is waited for.
#[derive(Clone, Copy)]
pub(super) enum Awaited {
    /// A node that takes writes.
    Primary,
    /// The end of a change of roles.
    Switchover,
    /// A node that does not answer, or another in its place.
    Node(NodeId),
}

/// A statement, or a client that comes in, waits.
pub(super) struct Waiting {
    since: Instant,
    /// Since when it does so because of a pause.
    paused_since: Option<Instant>,
    /// It does so now: nothing else has to happen first.
    pub(super) on: bool,
    /// The supervisor was told that these nodes do not answer.
    reported: Vec<NodeId>,
}

impl Session {
    /// Whether it waits for the cluster, and not for a client or a server.
    pub fn is_held(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.on)
    }

    /// Whether a change of the nodes' state concerns it.
    pub fn is_concerned(&self, shared: &Shared) -> bool {
        let is_lost = |link: &Link| !shared.view.is_usable(link.node) || self.is_left_behind(link, shared);
        self.is_held()
            || self.links.iter().any(is_lost)
            || matches!(self.own_commit, OwnCommit::UpTo(primary, _) if shared.view.primary != Some(primary))
    }

    /// The state of the nodes has changed.
    pub fn on_cluster_changed(&mut self, ctx: &mut Ctx<'_>) {
        if matches!(self.own_commit, OwnCommit::UpTo(primary, _) if ctx.shared.view.primary != Some(primary))
        {
            // Positions of another primary say nothing of this one's.
            self.own_commit = OwnCommit::Somewhere;
        }
        self.part_from_nodes(ctx);
        if self.is_held() {
            self.look_again(ctx);
        }
    }

    /// Gives up the connections to nodes that are out of use: at once where the node failed, and when no read is under way
    /// there any more where an operator wants it so.
    pub(super) fn part_from_nodes(&mut self, ctx: &mut Ctx<'_>) {
        let left = self.links.iter().find(|link| self.is_left_behind(link, ctx.shared)).map(|link| link.node);
        if let Some(node) = left {
            let is_busy = self.is_at_work_on(ctx, node);
            if self.holds().is_some() || is_busy && self.transaction.is_some() {
                return self.leave_behind(ctx, node);
            }
            // If the node is a standby now it refuses what it has not done, and that is run again.
            self.link(node).into_iter().for_each(|link| (link.left, link.was_lead) = (is_busy, is_busy));
        }
        let is_gone = |link: &&Link| !ctx.shared.view.is_usable(link.node);
        let gone: Vec<NodeId> = self.links.iter().filter(is_gone).map(|link| link.node).collect();
        for node in gone {
            let orderly = ctx.shared.view.node(node).is_some_and(|node| node.orderly);
            // Not with the primary: another may take its place, and what is committed there is then lost.
            let only_read = self.link(node).is_some_and(|link| !link.was_lead);
            if orderly && only_read && self.is_at_work_on(ctx, node) {
                self.link(node).into_iter().for_each(|link| link.leaving = true);
            } else if !self.is_closed() {
                let reason = ctx.shared.segment.node(node).reason;
                let reason = Some(reason.as_str()).filter(|reason| !reason.is_empty());
                self.part(ctx, node, reason.unwrap_or("it is out of use"));
            }
        }
    }

    /// Whether this node has led its statements and another one does now: what is written there is lost, and what the
    /// session has there it would look for on the present primary in vain.
    fn is_left_behind(&self, link: &Link, shared: &Shared) -> bool {
        link.was_lead && shared.view.primary.is_some_and(|primary| primary != link.node)
    }

    /// Looks again whether what was waited for is there.
    pub fn look_again(&mut self, ctx: &mut Ctx<'_>) {
        match self.stage {
            Stage::Active => self.pump(ctx),
            Stage::Waiting { .. } => self.need_backend(ctx),
            _ => {}
        }
    }

    /// The frame at the head of the input waits; `None`, with what is to be said, when it has waited long enough.
    pub(super) fn wait_for(&mut self, ctx: &Ctx<'_>, awaited: Awaited) -> Option<Step> {
        if self.in_flight > 0 {
            // What was asked before is answered first.
            return Some(Step::Stall);
        }
        if self.has_time(ctx) {
            return Some(Step::Stall);
        }
        let text = self.waited_in_vain(ctx, awaited);
        crate::say!(Log, "a statement is refused: {}", text);
        self.refusal = Some(match self.again.in_doubt {
            true => Refusal::Own("08007", format!("{text}; whether it took effect before is not known")),
            false => Refusal::Own("57P03", text),
        });
        None
    }

    /// No node can serve what stands at the head of the input: it waits for one.
    pub(super) fn nowhere(&mut self, ctx: &mut Ctx<'_>) -> Option<Step> {
        if self.must_wait(ctx, None) { Some(Step::Stall) } else { self.wait_for(ctx, Awaited::Primary) }
    }

    /// The node that must serve it cannot be reached.
    pub(super) fn without(&mut self, ctx: &Ctx<'_>, node: NodeId) -> Option<Step> {
        self.wait_for(ctx, Awaited::Node(node))
    }

    /// Whether it may wait (on) for the cluster.
    pub(super) fn has_time(&mut self, ctx: &Ctx<'_>) -> bool {
        let since = self.waiting.as_ref().map_or(ctx.shared.now, |waiting| waiting.since);
        let limit = Duration::from_secs(ctx.shared.config.failover_wait_timeout.unsigned_abs());
        if since + limit <= ctx.shared.now {
            return false;
        }
        self.waiting(since).on = true;
        true
    }

    fn waiting(&mut self, since: Instant) -> &mut Waiting {
        self.waiting.get_or_insert_with(|| Waiting {
            since,
            paused_since: None,
            on: false,
            reported: Vec::new(),
        })
    }

    fn waited_in_vain(&self, ctx: &Ctx<'_>, awaited: Awaited) -> String {
        let what = match awaited {
            Awaited::Primary => "no primary".to_owned(),
            Awaited::Switchover => "the servers change their roles".to_owned(),
            Awaited::Node(node) => format!("backend {node} cannot be reached"),
        };
        match &self.waiting {
            Some(waiting) => {
                let seconds = ctx.shared.now.duration_since(waiting.since).as_secs();
                let change = if matches!(awaited, Awaited::Primary) { "a new one" } else { "a change" };
                format!("{what}: waited {seconds} s for {change}")
            }
            None => what,
        }
    }

    /// Whether new statements wait because roles are about to change, or for the end of a pause. One in a transaction or
    /// a batch goes on.
    pub(super) fn is_to_drain(&self, ctx: &Ctx<'_>) -> bool {
        let view = &ctx.shared.view;
        (view.paused || view.hold == Hold::Transactions) && self.transaction.is_none() && self.batch.is_none()
    }

    /// The frame at the head of the input begins something new, and nothing new begins now.
    pub(super) fn wait_to_begin(&mut self, ctx: &Ctx<'_>) -> Option<Step> {
        if !ctx.shared.view.paused {
            return self.wait_for(ctx, Awaited::Switchover);
        }
        if self.in_flight > 0 {
            return Some(Step::Stall);
        }
        let now = ctx.shared.now;
        let waiting = self.waiting(now);
        let since = *waiting.paused_since.get_or_insert(now);
        // The time of a pause is none that a server has cost.
        (waiting.since, waiting.on) = (now, true);
        let limit = ctx.shared.config.pause_timeout.unsigned_abs();
        if limit == 0 || now < since + Duration::from_secs(limit) {
            return Some(Step::Stall);
        }
        let text = format!("pgbalancer is paused: waited {limit} s for RESUME (pause_timeout)");
        crate::say!(Log, "a statement is refused: {}", text);
        self.refusal = Some(Refusal::Own("57P03", text));
        None
    }

    /// Whether the supervisor is to be told that a node does not answer: once for each statement that needs it.
    pub(super) fn is_news(&mut self, now: Instant, node: NodeId) -> bool {
        let reported = &mut self.waiting(now).reported;
        let is_news = !reported.contains(&node);
        if is_news {
            reported.push(node);
        }
        is_news
    }
}
