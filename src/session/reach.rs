//! Makes a node ready for the client's next message: a connection, the session's settings, the transaction.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::finish::Refusal;
use super::hold::Awaited;
use super::settings::Applied;
use super::{Ctx, Errand, Link, Session};
use crate::cluster::failover::Cause;
use crate::config::FailoverSessionPolicy;
use crate::error::NodeId;
use crate::log;
use crate::pool::{Borrower, Expect, Failure, Lease, Purpose, Trouble};

/// How long a session leaves a node alone that has failed it, unless it has no other.
const AVOIDED: Duration = Duration::from_secs(5);

/// Whether a node can take a message of the client now.
pub(super) enum Reach {
    /// It can, on the connection in this slot of the pool.
    Ready(u32),
    /// Soon: look again when something has happened.
    Wait,
    /// It cannot be had; the log says why.
    Failed,
}

impl Session {
    /// Brings `node` to the state the session is in.
    pub(super) fn reach(&mut self, ctx: &mut Ctx<'_>, node: NodeId) -> Reach {
        if self.link(node).is_none() {
            match self.lease(ctx, node) {
                Lease::Ready(slot) => self.attach(ctx, node, slot, false),
                Lease::Opening(slot) => {
                    self.attach(ctx, node, slot, true);
                    return Reach::Wait;
                }
                Lease::Failed(failure) => {
                    self.report_unreachable(ctx, node, &failure);
                    return Reach::Failed;
                }
            }
        }
        let lead = self.transaction.as_ref().map(|tx| tx.lead);
        let is_lead = self.lead(ctx) == Some(node);
        let explicit = self.transaction.is_some();
        let Some(link) = self.links.iter_mut().find(|link| link.node == node) else { return Reach::Wait };
        link.was_lead |= is_lead;
        let Some(backend) = ctx.pool.get(link.backend).filter(|_| !link.opening) else { return Reach::Wait };
        let awaited =
            |e: &Expect| matches!(e, Expect::Quiet(Purpose::Settings | Purpose::LookUp | Purpose::Prepare));
        if backend.expects.iter().any(awaited) {
            return Reach::Wait;
        }
        if self.transaction.as_ref().is_some_and(|tx| tx.failed_on == Some(node)) {
            // It takes nothing but the end of the transaction.
            return Reach::Ready(link.backend);
        }
        if self.batch == Some(node) {
            // It was made ready when the batch began; a query of ours has no place in it.
            return Reach::Ready(link.backend);
        }
        let out = &mut ctx.shared.out;
        out.clear();
        if backend.expects.is_empty() {
            super::prepared::put_closes(backend, out);
        }
        let inside = explicit && (link.in_transaction || lead == Some(node));
        let mut wait = false;
        if self.settings.lacks(link.applied, is_lead) {
            let (before, after) = self.settings.missing(link.applied, is_lead, explicit);
            let texts = before.into_iter().chain(after.into_iter().filter(|_| inside || !explicit));
            for text in texts {
                super::report::log_internal(&ctx.shared.config, node, backend.pid, &text);
                backend.put_query(out, text.as_bytes(), Purpose::Settings);
                wait = true;
            }
        }
        if explicit
            && !inside
            && let Some(tx) = &self.transaction
        {
            link.applied_at_begin = Applied { all: self.settings.at_begin(), ..link.applied };
            let begin = tx.begin_sql();
            super::report::log_internal(&ctx.shared.config, node, backend.pid, &begin);
            backend.put_query(out, begin.as_bytes(), Purpose::Transaction);
            link.in_transaction = true;
            let (_, after) = self.settings.missing(link.applied, is_lead, true);
            for text in after {
                super::report::log_internal(&ctx.shared.config, node, backend.pid, &text);
                backend.put_query(out, text.as_bytes(), Purpose::Settings);
                wait = true;
            }
        }
        link.applied.all = self.settings.newest();
        if is_lead {
            link.applied.lead = link.applied.all;
        }
        if !out.is_empty() {
            ctx.wire.send(backend.conn, out);
        }
        if wait { Reach::Wait } else { Reach::Ready(link.backend) }
    }

    pub(super) fn lease(&mut self, ctx: &mut Ctx<'_>, node: NodeId) -> Lease {
        let borrower = Borrower {
            session: self.slot,
            application_name: self.application_name(),
            sent: self.sent_password.as_ref(),
            proved: self.proved.as_ref(),
        };
        let lease = ctx.pool.lease(ctx.wire, &self.key, node, borrower, ctx.shared.now);
        self.count_lease(ctx, node, &lease);
        lease
    }

    /// The session has a connection, or one on its way.
    pub(super) fn attach(&mut self, ctx: &mut Ctx<'_>, node: NodeId, backend: u32, opening: bool) {
        let link = Link {
            node,
            backend,
            opening,
            applied: Applied::default(),
            applied_at_begin: Applied::default(),
            in_transaction: false,
            paused: false,
            was_lead: false,
            left: false,
            leaving: false,
        };
        self.links.push(link);
        if !opening {
            self.adopt(ctx, backend);
        }
    }

    /// A lent connection gets this session's application_name, if it was opened under another.
    pub(super) fn adopt(&mut self, ctx: &mut Ctx<'_>, slot: u32) {
        let wanted = self.application_name();
        let Some(backend) = ctx.pool.get(slot) else { return };
        if backend.application_name.as_deref() == wanted {
            return;
        }
        let text = format!("SET application_name TO '{}'", wanted.unwrap_or_default().replace('\'', "''"));
        let mut out = Vec::new();
        backend.put_query(&mut out, text.as_bytes(), Purpose::Settings);
        ctx.wire.send(backend.conn, &out);
    }

    /// A connection that was being opened is there.
    pub fn on_backend_ready(&mut self, ctx: &mut Ctx<'_>, slot: u32) {
        if let Some(link) = self.links.iter_mut().find(|link| link.backend == slot) {
            link.opening = false;
            self.adopt(ctx, slot);
        }
        if matches!(self.stage, super::Stage::Active) {
            self.pump(ctx);
        } else {
            self.on_first_backend(ctx, slot);
        }
    }

    /// A connection that was being opened cannot be had.
    pub fn on_backend_failed(&mut self, ctx: &mut Ctx<'_>, node: NodeId, failure: &Failure) {
        self.links.retain(|link| link.node != node);
        if failure.trouble == Trouble::Stale {
            return self.try_again(ctx);
        }
        self.report_unreachable(ctx, node, failure);
        if !matches!(self.stage, super::Stage::Active) {
            self.on_first_backend_failed(ctx, node, failure);
            return;
        }
        let was_suspected = self.clear_suspect(node);
        if was_suspected || Some(node) != ctx.shared.view.writer() {
            // Its reads go elsewhere.
            self.avoid(ctx, node);
            self.pump(ctx);
        } else if !failure.is_passing() {
            let message = format!("failed to connect to backend {node}: {}", failure.text);
            self.refuse(ctx, Refusal::Own("08006", message));
        } else if ctx.shared.config.failover_session_policy == FailoverSessionPolicy::Disconnect {
            self.fatal(ctx, "57P01", &format!("failed to connect to backend {node}: {}", failure.text));
        } else if self.stalled && self.wait_for(ctx, Awaited::Node(node)).is_none() {
            let refusal = self.why_not();
            self.refuse(ctx, refusal);
        }
    }

    /// Reads of this session go to other nodes for a while.
    pub(super) fn avoid(&mut self, ctx: &Ctx<'_>, node: NodeId) {
        self.avoid.retain(|(avoided, _)| *avoided != node);
        self.avoid.push((node, ctx.shared.now + AVOIDED));
        self.drawn = None;
    }

    /// Whether a node has failed this session lately.
    pub(super) fn is_avoided(&self, now: Instant, node: NodeId) -> bool {
        self.avoid.iter().any(|(avoided, until)| *avoided == node && now < *until)
    }

    /// A pooled connection was of no use: the next attempt opens a new one.
    fn try_again(&mut self, ctx: &mut Ctx<'_>) {
        if matches!(self.stage, super::Stage::Active) {
            self.pump(ctx);
        } else {
            self.need_backend(ctx);
        }
    }

    pub(super) fn report_unreachable(&mut self, ctx: &mut Ctx<'_>, node: NodeId, failure: &Failure) {
        // LOG and not WARNING: the client, whose statement goes elsewhere, need not hear of it.
        if matches!(failure.trouble, Trouble::Unreachable | Trouble::NotNow) {
            self.learn_unreachable(ctx, node);
        }
        if failure.trouble == Trouble::Unreachable {
            if !self.is_news(ctx.shared.now, node) {
                return;
            }
            let config = &ctx.shared.config;
            let (host, port) = (config.backend_hostname.get(node), config.backend_port.get(node));
            let text =
                format!("failed to connect to PostgreSQL server on \"{host}:{port}\", getsockopt() failed");
            log::Line::new(log::Level::Log, text).detail(failure.text.as_str()).emit();
            ctx.shared.errands.push(Errand::Unreachable {
                node,
                reason: failure.text.clone(),
                cause: Cause::Session,
            });
        } else {
            crate::say!(Log, "failed to create a backend {} connection: {}", node, failure.text);
        }
    }
}
