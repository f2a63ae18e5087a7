//! A read that a standby refuses is run again on the primary, unseen by the client, and remembered.
//!
//! A standby says 25006 or 0A000 to what it cannot do and our rules did not foresee. As long as the client has got
//! nothing of the answer but what announces it, its messages are served once more, and the announcements of the second
//! answer are dropped, since it has them.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::{Ctx, Session};
use crate::error::NodeId;
use crate::pool::Purpose;
use crate::sql::Facts;
use crate::wire::backend::{ErrorFields, TxStatus};
use crate::wire::{frame, frontend};

/// Most bytes of messages that are kept for a second time.
const MAX_KEPT: usize = 64 * 1024;

/// Most bytes that an idle session keeps room for.
const MAX_IDLE: usize = 256;

/// What a standby was sent, until the first row of its answer.
#[derive(Default)]
pub(super) struct Again {
    node: Option<NodeId>,
    messages: Vec<u8>,
    /// Answers that announce something and were passed on.
    announced: usize,
    facts: Option<Rc<Facts>>,
    /// It was refused; when the standby is ready the messages are served again.
    refused: bool,
    /// Announcements of the second answer that the client has already.
    surplus: usize,
}

impl Again {
    /// Messages to this standby are kept from now on.
    pub(super) fn start(&mut self, node: NodeId) {
        self.stop();
        self.node = Some(node);
    }

    /// Nothing can be run again.
    pub(super) fn stop(&mut self) {
        self.node = None;
        self.messages.clear();
        self.messages.shrink_to(MAX_IDLE);
        self.announced = 0;
        self.facts = None;
        self.refused = false;
    }

    /// Bytes of the client go to `node`.
    #[inline]
    pub(super) fn note_sent(&mut self, node: NodeId, bytes: &[u8]) {
        if self.node == Some(node) {
            if self.messages.len() + bytes.len() > MAX_KEPT {
                return self.stop();
            }
            self.messages.extend_from_slice(bytes);
        }
    }

    /// A statement begins at `node`.
    pub(super) fn note_statement(&mut self, node: NodeId, facts: &Rc<Facts>) {
        if self.node == Some(node) {
            self.facts = Some(Rc::clone(facts));
        }
    }

    /// A message of `node` is about to be passed on; whether the client has it already.
    #[inline]
    pub(super) fn note_answer(&mut self, node: NodeId, kind: u8) -> bool {
        if self.node.is_none() && self.surplus == 0 {
            return false;
        }
        let announces = matches!(kind, b'1' | b'2' | b'3' | b'T' | b't' | b'n');
        if self.node == Some(node) {
            match kind {
                _ if announces => self.announced += 1,
                b'N' | b'A' | b'S' | b'E' | b'Z' => {}
                _ => self.stop(),
            }
        }
        let has_it = announces && self.surplus > 0;
        self.surplus -= usize::from(has_it);
        has_it
    }

    /// The client's answer is complete.
    pub(super) fn note_end(&mut self) {
        self.surplus = 0;
    }
}

impl Session {
    /// A statement or a batch begins at `node`: if that is a standby, what is sent there is kept.
    pub(super) fn keep_for_again(&mut self, ctx: &Ctx<'_>, node: NodeId) {
        match self.in_flight == 0 && ctx.shared.view.primary.is_some_and(|primary| primary != node) {
            true => self.again.start(node),
            false => self.again.stop(),
        }
    }

    /// A node has refused something; whether that is kept from the client, because it will be run again.
    pub(super) fn is_refused(&mut self, ctx: &Ctx<'_>, node: NodeId, fields: &ErrorFields<'_>) -> bool {
        if self.again.node != Some(node) || !matches!(fields.code, b"25006" | b"0A000") {
            return false;
        }
        if let Some(facts) = &self.again.facts {
            facts.refused_at.set(Some(ctx.shared.relations.epoch(&self.key.database)));
        }
        // Without its Sync the batch may go on, and what comes may depend on what was answered.
        self.again.refused = self.in_flight == 1 && self.batch.is_none();
        self.again.refused
    }

    /// The standby is ready after a refusal: the client's messages are served again.
    pub(super) fn serve_again(&mut self, ctx: &mut Ctx<'_>, node: NodeId, status: TxStatus) -> bool {
        if !self.again.refused || self.again.node != Some(node) {
            return false;
        }
        crate::say!(Log, "backend {} refused a read as a standby, it is run on the primary", node);
        let mut messages = std::mem::take(&mut self.again.messages);
        let surplus = self.again.announced;
        self.again.stop();
        self.again.surplus = surplus;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.errored = false;
        self.effects.clear();
        self.done = 0;
        self.ends.clear();
        if status != TxStatus::Idle {
            self.leave_transaction(ctx, node);
        }
        self.forget_parsed(ctx, &messages);
        messages.append(&mut self.input);
        self.input = messages;
        self.stalled = true;
        true
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
}
