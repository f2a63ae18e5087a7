//! Cuts the client's bytes into frames and sees to each. A frame that must wait stays in `input`.
#![forbid(unsafe_code)]

use super::{Ctx, Session, Stage, Step, Streaming};
use crate::error::NodeId;
use crate::net::HIGH_WATER;
use crate::pool::{Backend, Expect};
use crate::wire::frame::{self, Header};
use crate::wire::frontend;

/// Longest statement text that is understood and kept; a longer one is passed on to the primary as it comes.
pub(super) const MAX_TEXT: usize = 1 << 20;

/// In place of a longer one in the log.
pub(super) const TOO_LONG: &str = "(a text of over 1 MiB)";

/// Longest message of a kind that carries names only.
pub(super) const MAX_SHORT: usize = 64 * 1024;

/// Unserved input above which the client is not read from.
const MAX_INPUT: usize = 64 * 1024;

impl Session {
    /// Bytes of the client.
    pub fn on_client(&mut self, ctx: &mut Ctx<'_>, bytes: &[u8]) {
        if let Some(node) = self.doomed.take() {
            // What was sent there now would be lost, and nobody could say so for certain.
            self.part(ctx, node, "it has ended the connection");
        }
        if self.input.is_empty() {
            let used = self.consume(ctx, bytes);
            self.input.extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            self.input.extend_from_slice(bytes);
            if !self.stalled {
                self.consume_input(ctx);
            }
        }
        if self.stalled && self.input.len() > MAX_INPUT {
            ctx.wire.pause(self.client);
        }
    }

    /// Something has ended that the client's next frame may have waited for.
    pub fn pump(&mut self, ctx: &mut Ctx<'_>) {
        self.stalled = false;
        if let Some(waiting) = &mut self.waiting {
            waiting.on = false;
        }
        self.consume_input(ctx);
        if !self.stalled {
            ctx.wire.resume(self.client);
        }
    }

    fn consume_input(&mut self, ctx: &mut Ctx<'_>) {
        if self.input.is_empty() {
            return;
        }
        let mut input = std::mem::take(&mut self.input);
        let used = self.consume(ctx, &input);
        if used == input.len() {
            // An idle session holds no buffer.
            return;
        }
        input.drain(..used);
        self.input = input;
    }

    /// Returns how many bytes are used up.
    fn consume(&mut self, ctx: &mut Ctx<'_>, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && !self.is_closed() {
            let rest = bytes.get(at..).unwrap_or_default();
            if self.is_backlogged(ctx) {
                self.stalled = true;
                break;
            }
            if self.streaming.left > 0 {
                at += self.stream(ctx, rest);
                continue;
            }
            match self.one(ctx, rest) {
                Step::Done(used) => {
                    at += used;
                    self.used(used);
                }
                Step::More => break,
                Step::Stall => {
                    self.stalled = true;
                    break;
                }
            }
        }
        at
    }

    /// The frame at the head of the input is served: so many bytes of it are used up.
    #[inline]
    pub(super) fn used(&mut self, bytes: usize) {
        if self.again.is_replaying() {
            self.again.note_used(bytes);
            if !self.again.is_replaying() {
                (self.repeating, self.refused) = (None, None);
            }
        }
        if self.waiting.is_some() && matches!(self.stage, Stage::Active) {
            self.waiting = None;
        }
    }

    /// Whether a node has more to swallow than it should, or the client has: answers of our own need no node.
    fn is_backlogged(&self, ctx: &Ctx<'_>) -> bool {
        ctx.wire.queued(self.client) > HIGH_WATER
            || self.links.iter().any(|link| {
                ctx.pool.peek(link.backend).is_some_and(|backend| ctx.wire.queued(backend.conn) > HIGH_WATER)
            })
    }

    /// Passes on a part of a long frame.
    fn stream(&mut self, ctx: &mut Ctx<'_>, rest: &[u8]) -> usize {
        let part = rest.get(..self.streaming.left.min(rest.len())).unwrap_or_default();
        if let Some(node) = self.streaming.to {
            self.pass_to(ctx, node, part);
        }
        self.streaming.left -= part.len();
        part.len()
    }

    fn one(&mut self, ctx: &mut Ctx<'_>, rest: &[u8]) -> Step {
        if matches!(self.stage, Stage::First) {
            return self.first_packet(ctx, rest);
        }
        let header = match frame::header(rest) {
            Ok(Some(header)) => header,
            Ok(None) => return Step::More,
            Err(e) => {
                self.fatal(ctx, "08P01", &e.to_string());
                return Step::More;
            }
        };
        match self.stage {
            Stage::Proving { .. } => self.password_message(ctx, header, rest),
            Stage::Active => self.message(ctx, header, rest),
            Stage::First | Stage::UserWanted { .. } | Stage::Waiting { .. } | Stage::Asking { .. } => {
                Step::Stall
            }
            Stage::Cancelling | Stage::Closed => Step::Done(rest.len()),
        }
    }

    fn message(&mut self, ctx: &mut Ctx<'_>, header: Header, rest: &[u8]) -> Step {
        if !ctx.shared.config.log_client_messages {
            return self.serve(ctx, header, rest);
        }
        self.note_client_message(header, rest);
        let step = self.serve(ctx, header, rest);
        if matches!(step, Step::Done(_)) {
            self.client_message_served();
        }
        step
    }

    fn serve(&mut self, ctx: &mut Ctx<'_>, header: Header, rest: &[u8]) -> Step {
        if header.length > MAX_SHORT && matches!(header.kind, b'D' | b'E' | b'C' | b'S' | b'H' | b'X' | b'f')
        {
            self.fatal(ctx, "08P01", &format!("message of type {:?} is too long", header.kind as char));
            return Step::More;
        }
        match header.kind {
            b'X' => {
                self.goodbye(ctx);
                Step::Done(rest.len())
            }
            // Our Sync is on its way; what is behind it must not be taken for a part of the batch.
            _ if self.ending => Step::Stall,
            b'Q' | b'F' | b'P' | b'B' | b'D' | b'E' | b'C' | b'H' if self.skip_to_sync => {
                self.pass(header, rest, None)
            }
            b'Q' | b'F' | b'P' | b'B' | b'D' | b'E' | b'C' if self.copy_in.is_some() => {
                self.break_copy(ctx);
                self.pass(header, rest, None)
            }
            b'Q' | b'F' | b'P' | b'B' | b'D' | b'E' | b'C' | b'H' if self.is_aborted() => {
                self.aborted_message(ctx, header, rest)
            }
            b'Q' => self.simple_query(ctx, header, rest),
            b'F' => self.function_call(ctx, header, rest),
            b'P' => self.parse_message(ctx, header, rest),
            b'B' => self.bind_message(ctx, header, rest),
            b'D' | b'E' | b'C' | b'H' | b'S' => match rest.get(..header.length) {
                None => Step::More,
                Some(whole) => self.short_message(ctx, header, whole),
            },
            b'd' | b'c' | b'f' => self.copy_message(ctx, header, rest),
            kind => {
                self.fatal(ctx, "08P01", &format!("invalid frontend message type {kind}"));
                Step::More
            }
        }
    }

    /// A message that has no place in a COPY ends it with an error and is lost, as in the server.
    fn break_copy(&mut self, ctx: &mut Ctx<'_>) {
        let Some(node) = self.copy_in.take() else { return };
        let mut out = Vec::new();
        frontend::put_copy_fail(&mut out, "unexpected message type during COPY from stdin");
        self.pass_to(ctx, node, &out);
    }

    /// COPY data goes where the COPY runs. What comes before the server has asked for it, or after it has
    /// refused the rest, goes to the node that is at work: a server ignores it where no COPY runs. To wait for
    /// the answer would be for ever, since a server may keep it until the Sync that stands behind the data.
    fn copy_message(&mut self, ctx: &mut Ctx<'_>, header: Header, rest: &[u8]) -> Step {
        let node = self.copy_in.or_else(|| self.working_node(ctx));
        if header.kind != b'd'
            && self.copy_in.take().is_none()
            && let Some(node) = node
            && let Some(backend) = self.backend(ctx, node)
        {
            backend.expects.push_back(Expect::CopyEnd);
        }
        match node {
            Some(node) => self.send_frame(ctx, node, header, rest),
            None => self.pass(header, rest, None),
        }
    }

    /// The node that the client's last messages went to, while it has not answered them.
    fn working_node(&self, ctx: &Ctx<'_>) -> Option<NodeId> {
        let busy = |backend: u32| ctx.pool.peek(backend).is_some_and(Backend::is_busy);
        let node = || self.links.iter().find(|link| busy(link.backend)).map(|link| link.node);
        self.batch.or_else(node).filter(|_| !self.skip_to_sync)
    }

    /// The frame begins here and `to` has what there is of it; the rest is passed on as it comes.
    pub(super) fn pass(&mut self, header: Header, rest: &[u8], to: Option<NodeId>) -> Step {
        let here = header.length.min(rest.len());
        self.streaming = Streaming { left: header.length - here, to };
        Step::Done(here)
    }

    /// Sends a frame, or what there is of it, to a node.
    pub(super) fn send_frame(
        &mut self,
        ctx: &mut Ctx<'_>,
        node: NodeId,
        header: Header,
        rest: &[u8],
    ) -> Step {
        let here = rest.get(..header.length.min(rest.len())).unwrap_or_default();
        self.pass_to(ctx, node, here);
        self.pass(header, rest, Some(node))
    }

    pub(super) fn pass_to(&mut self, ctx: &mut Ctx<'_>, node: NodeId, bytes: &[u8]) {
        let Some(link) = self.links.iter().find(|link| link.node == node) else { return };
        self.again.note_sent(node, bytes);
        if let Some(backend) = ctx.pool.peek(link.backend) {
            ctx.wire.send(backend.conn, bytes);
        }
    }

    /// Describe, Execute, Close, Flush and Sync: short, and needed whole.
    fn short_message(&mut self, ctx: &mut Ctx<'_>, header: Header, whole: &[u8]) -> Step {
        let body = whole.get(5..).unwrap_or_default();
        let step = match header.kind {
            b'D' => frontend::describe(body).map(|target| self.describe_message(ctx, target, whole)),
            b'E' => frontend::execute(body).map(|execute| self.execute_message(ctx, execute, whole)),
            b'C' => frontend::close(body).map(|target| self.close_message(ctx, target, whole)),
            b'S' => Ok(self.sync_message(ctx, whole)),
            _ => Ok(self.flush_message(ctx, whole)),
        };
        step.unwrap_or_else(|e| {
            self.fatal(ctx, "08P01", &e.to_string());
            Step::More
        })
    }
}
