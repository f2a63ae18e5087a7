//! Cuts what a backend sends into messages, and passes ranges of what has arrived on to the client.
//!
//! Short messages, and those that must be understood, are seen to when they are whole; others go on as they come. What
//! becomes of a message is said in `relay`.
#![forbid(unsafe_code)]

use super::relay::Verdict;
use super::{Ctx, Link, Session, Stage};
use crate::error::NodeId;
use crate::net::HIGH_WATER;
use crate::pool::{Backend, Expect, Purpose};
use crate::wire::frame::{self, Header};

/// Longest message that is understood; a longer one is passed on unseen.
const MAX_UNDERSTOOD: usize = 1 << 20;

/// Longest message of which the client gets nothing before all of it is there: should the node die within it, the
/// session can go on.
const MAX_HELD_BACK: usize = 16 * 1024;

impl Session {
    /// Bytes of a backend that this session has.
    pub fn on_backend(&mut self, ctx: &mut Ctx<'_>, slot: u32, bytes: &[u8]) {
        let Some(&Link { node, left, .. }) = self.links.iter().find(|link| link.backend == slot) else {
            return;
        };
        let is_within = || ctx.pool.peek(slot).is_some_and(|b| b.passing > 0 || !b.held.is_empty());
        if left && (is_within() || has_done_something(bytes)) {
            // On a node that leads no more: what it has written is not in what the primary has.
            return self.leave_behind(ctx, node);
        }
        if let Some(rest) = self.complete_held(ctx, node, slot, bytes) {
            self.read_frames(ctx, node, slot, rest);
        }
        self.slow_down(ctx, node, slot);
        if self.links.iter().any(|link| link.leaving || link.left) {
            self.part_from_nodes(ctx);
        }
        // What the client has sent meanwhile may go on now.
        if self.stalled && !self.is_closed() {
            self.pump(ctx);
        }
    }

    /// Completes the frame whose begin has been waiting for the rest, and sees to it. What is behind it is given back:
    /// to join all that has come to that begin would be to copy it. `None`: the connection is given up.
    fn complete_held<'a>(
        &mut self,
        ctx: &mut Ctx<'_>,
        node: NodeId,
        slot: u32,
        mut bytes: &'a [u8],
    ) -> Option<&'a [u8]> {
        let conn = ctx.pool.peek(slot)?.conn;
        loop {
            let backend = ctx.pool.get(slot).filter(|backend| backend.conn == conn)?;
            if backend.held.is_empty() {
                return Some(bytes);
            }
            let mut held = std::mem::take(&mut backend.held);
            let wanted = match frame::header(&held) {
                Ok(Some(header)) if must_be_whole(backend, header) => header.length,
                Ok(None) => frame::HEADER,
                Ok(Some(_)) | Err(_) => held.len(),
            };
            let part = wanted.saturating_sub(held.len()).min(bytes.len());
            let (now, later) = bytes.split_at(part);
            held.extend_from_slice(now);
            bytes = later;
            if held.len() < wanted {
                backend.held = held;
                return Some(bytes);
            }
            // One that need not be whole goes on from here as it comes.
            self.read_frames(ctx, node, slot, &held);
        }
    }

    fn read_frames(&mut self, ctx: &mut Ctx<'_>, node: NodeId, slot: u32, bytes: &[u8]) {
        let mut at = 0;
        // Begin of what is to be forwarded and has not been.
        let mut from = 0;
        while at < bytes.len() {
            let Some(backend) = ctx.pool.get(slot) else { return };
            if backend.passing > 0 {
                let part = backend.passing.min(bytes.len() - at);
                backend.passing -= part;
                if !backend.passing_to_client {
                    from = at + part;
                }
                at += part;
                continue;
            }
            let rest = bytes.get(at..).unwrap_or_default();
            let header = match frame::header(rest) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(e) => {
                    crate::say!(Error, "backend {} sent what is not a message: {}", node, e);
                    self.forward(ctx, bytes.get(from..at));
                    return self.part(ctx, node, "it sent what is not a message");
                }
            };
            let whole = rest.get(..header.length);
            if whole.is_none() && must_be_whole(backend, header) {
                break;
            }
            let verdict = self.frame(ctx, node, slot, header, whole);
            let here = header.length.min(rest.len());
            if let Some(backend) = ctx.pool.get(slot) {
                backend.passing = header.length - here;
                backend.passing_to_client = matches!(verdict, Verdict::Forward);
            }
            if !matches!(verdict, Verdict::Forward) {
                self.forward(ctx, bytes.get(from..at));
                from = at + here;
            }
            if let Verdict::Leave(error) = verdict {
                crate::say!(Log, "backend {} did not follow the session: {}", node, error);
                return self.leave(ctx, node, &error);
            }
            at += here;
        }
        self.forward(ctx, bytes.get(from..at));
        if let Some(backend) = ctx.pool.get(slot) {
            backend.held.extend_from_slice(bytes.get(at..).unwrap_or_default());
        }
    }

    fn forward(&self, ctx: &mut Ctx<'_>, bytes: Option<&[u8]>) {
        // Before it is let in a client hears nothing of a server.
        let active = matches!(self.stage, Stage::Active);
        if let Some(bytes) = bytes.filter(|bytes| active && !bytes.is_empty()) {
            ctx.wire.send(self.client, bytes);
        }
    }

    /// A client that reads slowly stops its backends.
    fn slow_down(&mut self, ctx: &mut Ctx<'_>, node: NodeId, slot: u32) {
        if ctx.wire.queued(self.client) > HIGH_WATER
            && let Some(backend) = ctx.pool.peek(slot)
            && let Some(link) = self.links.iter_mut().find(|link| link.node == node)
        {
            link.paused = true;
            ctx.wire.pause(backend.conn);
            self.is_slowed();
        }
    }

    /// The client has read what there was.
    pub fn on_client_drained(&mut self, ctx: &mut Ctx<'_>) {
        for link in self.links.iter_mut().filter(|link| link.paused) {
            link.paused = false;
            if let Some(backend) = ctx.pool.peek(link.backend) {
                ctx.wire.resume(backend.conn);
            }
        }
        if self.stalled {
            self.pump(ctx);
        }
    }
}

/// Whether a statement has come to its end; what is not a whole message is looked at when it is.
fn has_done_something(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Ok(Some(header)) = frame::header(rest) {
        if header.kind == b'C' {
            return true;
        }
        rest = rest.get(header.length..).unwrap_or_default();
    }
    false
}

/// Whether the message must be there whole before it is acted on.
fn must_be_whole(backend: &Backend, header: Header) -> bool {
    header.length <= MAX_HELD_BACK || (header.length <= MAX_UNDERSTOOD && is_understood(backend, header.kind))
}

fn is_understood(backend: &Backend, kind: u8) -> bool {
    match kind {
        b'Z' | b'E' | b'N' | b'S' | b'C' => true,
        b'D' => matches!(backend.expects.front(), Some(Expect::Quiet(Purpose::LookUp))),
        _ => false,
    }
}
