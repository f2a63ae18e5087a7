//! What a server refuses as a standby is run again where it can be, unseen by the client, and remembered.
//!
//! A standby says 25006 or 0A000 to what it cannot do and our rules did not foresee: that goes to the primary. When the
//! node that we take for the primary says 25006, it may have become a standby behind our back; it is asked, and if so,
//! the statement waits for the new primary. As long as the client has got nothing of the answer but what announces it,
//! its messages are served once more.
#![forbid(unsafe_code)]

use super::hold::Awaited;
use super::{Ctx, Errand, Session, Step};
use crate::error::NodeId;
use crate::pool::Purpose;
use crate::route::Question;
use crate::wire::backend::{ErrorFields, TxStatus};
use crate::wire::{frame, frontend};

/// A refusal that the client has not heard of.
pub(super) enum Refused {
    /// Of a standby: the messages are served again when it is ready.
    ByStandby(NodeId),
    /// Of the primary, with its error: the same, once it is known what the node is.
    ByPrimary(NodeId, Vec<u8>),
    /// They are served again, and the node is asked or a new primary is waited for.
    Doubted { node: NodeId, error: Vec<u8>, in_recovery: Option<bool> },
}

impl Session {
    /// A node has refused something; whether that is kept from the client, because it will be run again.
    pub(super) fn is_refused(
        &mut self,
        ctx: &mut Ctx<'_>,
        node: NodeId,
        fields: &ErrorFields<'_>,
        body: &[u8],
    ) -> bool {
        let read_only = fields.code == b"25006";
        if !read_only && fields.code != b"0A000" {
            return false;
        }
        // Without its Sync the batch may go on, and what comes may depend on what was answered.
        let again = self.again.is_alone_and_kept(node) && self.in_flight == 1 && self.batch.is_none();
        if ctx.shared.view.primary == Some(node) {
            return read_only && self.is_refused_by_primary(ctx, node, body, again);
        }
        let lead = self.lead(ctx);
        if lead.is_none() || lead == Some(node) {
            // It would go there again.
            return false;
        }
        if let Some(facts) = &self.again.facts {
            facts.refused_at.set(Some(ctx.shared.relations.epoch(&self.key.database)));
        }
        let again = again && self.again.refused_by != Some(node);
        if again {
            self.again.refused_by = Some(node);
            self.refused = Some(Refused::ByStandby(node));
        }
        again
    }

    fn is_refused_by_primary(&mut self, ctx: &mut Ctx<'_>, node: NodeId, body: &[u8], again: bool) -> bool {
        if self.transaction.as_ref().is_some_and(|tx| tx.is_read_only()) {
            return false;
        }
        ctx.shared.errands.push(Errand::RolesDoubted);
        let again = again && self.transaction.is_none() && self.effects.is_empty() && !self.again.is_second();
        if again {
            let mut error = vec![b'E'];
            error.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
            error.extend_from_slice(body);
            self.refused = Some(Refused::ByPrimary(node, error));
        }
        again
    }

    /// The node is lost: the client has not heard of an error that it has sent.
    pub(super) fn forget_refusal(&mut self, node: NodeId) {
        let is_its = |refused: &mut Refused| match refused {
            Refused::ByStandby(of) | Refused::ByPrimary(of, _) => *of == node,
            Refused::Doubted { .. } => false,
        };
        if self.refused.take_if(is_its).is_some() {
            self.errored = false;
        }
    }

    /// The node is ready after a refusal: the client's messages are served again.
    pub(super) fn serve_again(&mut self, ctx: &mut Ctx<'_>, node: NodeId, status: TxStatus) -> bool {
        match self.refused.take() {
            Some(Refused::ByStandby(of)) if of == node => {
                crate::say!(Log, "backend {} refused a read as a standby, it is run on the primary", node);
            }
            Some(Refused::ByPrimary(of, error)) if of == node => {
                self.refused = Some(Refused::Doubted { node, error, in_recovery: None });
            }
            other => {
                self.refused = other;
                return false;
            }
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        self.errored = false;
        self.forget_sent(ctx, None);
        if status != TxStatus::Idle {
            self.leave_transaction(ctx, node);
        }
        let messages = self.again.take(Some(0));
        // It did nothing.
        self.again.in_doubt = false;
        self.serve_once_more(ctx, messages);
        true
    }

    /// Puts messages before what waits in the input.
    pub(super) fn serve_once_more(&mut self, ctx: &mut Ctx<'_>, mut messages: Vec<u8>) {
        self.forget_parsed(ctx, &messages);
        messages.append(&mut self.input);
        self.input = messages;
        self.stalled = true;
    }

    /// The statements and portals of these messages will be made again.
    fn forget_parsed(&mut self, ctx: &mut Ctx<'_>, messages: &[u8]) {
        let mut rest = messages;
        while let Ok(Some(header)) = frame::header(rest) {
            let body = rest.get(5..header.length).unwrap_or_default();
            match header.kind {
                b'P' => {
                    if let Ok(parse) = frontend::parse(body)
                        && self.statements.remove(parse.name).is_some()
                    {
                        self.outdate(ctx, parse.name);
                    }
                }
                b'B' => {
                    if let Ok(Some(head)) = frontend::bind_head(body) {
                        self.portals.remove(head.portal);
                    }
                }
                _ => {}
            }
            rest = rest.get(header.length..).unwrap_or_default();
        }
    }

    /// The part of the transaction that had joined on a standby has failed there; the lead's goes on.
    fn leave_transaction(&mut self, ctx: &mut Ctx<'_>, node: NodeId) {
        let Some(link) = self.links.iter_mut().find(|link| link.node == node) else { return };
        link.in_transaction = false;
        link.applied = link.applied_at_begin;
        let Some(backend) = ctx.pool.get(link.backend) else { return };
        super::report::log_internal(&ctx.shared.config, node, backend.pid, "ROLLBACK");
        let mut out = Vec::new();
        backend.put_query(&mut out, b"ROLLBACK", Purpose::Transaction);
        let conn = backend.conn;
        ctx.wire.send(conn, &out);
    }

    /// What the former primary has refused is looked at again: asks it, waits for the new one, or gives up. `Ok`: it
    /// may go on.
    pub(super) fn look_at_refusal(&mut self, ctx: &mut Ctx<'_>) -> Result<(), Option<Step>> {
        let Some(Refused::Doubted { node, in_recovery, .. }) = &self.refused else { return Ok(()) };
        let (node, in_recovery) = (*node, *in_recovery);
        if ctx.shared.view.primary.is_some_and(|primary| primary != node) {
            self.refused = None;
            return Ok(());
        }
        let step = match in_recovery {
            None => self.ask(ctx, Question::InRecovery(node)),
            Some(true) => self.wait_for(ctx, Awaited::Primary),
            Some(false) => None,
        };
        if step.is_none()
            && let Some(Refused::Doubted { error, .. }) = self.refused.take()
        {
            self.refusal = Some(super::finish::Refusal::Frame(error));
        }
        Err(step)
    }

    /// The node has said what it is.
    pub(super) fn on_recovery_known(&mut self, is_standby: bool) {
        if let Some(Refused::Doubted { in_recovery, .. }) = &mut self.refused {
            *in_recovery = Some(is_standby);
        }
    }
}
