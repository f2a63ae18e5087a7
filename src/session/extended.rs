//! The extended query protocol: statements and portals belong to the session, nodes have copies.
//!
//! The messages up to a Sync are a batch. A batch that has begun with reads on a standby moves to the primary
//! when something needs it: a Sync of ours ends it there first. Batches follow each other without waiting
//! as long as they go to the same node and change nothing that routing depends on.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::client::{MAX_SHORT, MAX_TEXT, TOO_LONG};
use super::{Ctx, JustParsed, Portal, Prepared, Session, Source, Step};
use crate::error::NodeId;
use crate::pool::Expect;
use crate::route::Write;
use crate::sql::{Facts, ParseOutcome};
use crate::wire::backend::TxStatus;
use crate::wire::frame::Header;
use crate::wire::frontend::{self, Execute, Target};

/// In place of a statement's number: the server will refuse it.
const REFUSED: u64 = 0;

impl Session {
    pub(super) fn parse_message(&mut self, ctx: &mut Ctx<'_>, header: Header, rest: &[u8]) -> Step {
        if header.length > MAX_TEXT {
            return self.long_parse(ctx, header, rest);
        }
        let Some(whole) = rest.get(..header.length) else { return Step::More };
        let parse = match frontend::parse(whole.get(5..).unwrap_or_default()) {
            Ok(parse) => parse,
            Err(e) => {
                self.fatal(ctx, "08P01", &e.to_string());
                return Step::More;
            }
        };
        if !parse.name.is_empty() && self.in_flight > 0 && self.statements.contains(parse.name) {
            // Whether the name is taken will be known when what is under way has ended.
            return Step::Stall;
        }
        if let Some(step) = self.own_parse(ctx, &parse, header.length) {
            return step;
        }
        let facts = ctx.shared.facts.get(parse.text);
        let (node, write) = match self.find_for_batch(ctx, &facts, parse.text) {
            Ok(found) => found,
            Err(step) => return self.or_error(ctx, step, header, rest),
        };
        // A name that is taken must be refused by the server: it has to have the statement to do so.
        let existing = self.statements.get(parse.name).filter(|_| !parse.name.is_empty()).cloned();
        let id = match existing {
            Some(existing) => {
                self.ensure_prepared(ctx, node, parse.name, &existing);
                REFUSED
            }
            None => {
                let (text, message) = match self.statements.get(parse.name).map(Rc::as_ref) {
                    // Clients without statements of their own send the same Parse again and again.
                    Some(Prepared { text, source: Source::Message(known), .. }) if **known == *whole => {
                        (Rc::clone(text), Rc::clone(known))
                    }
                    _ => (parse.text.into(), whole.into()),
                };
                self.add_statement(parse.name, &facts, text, Source::Message(message))
            }
        };
        self.log_unparsed(&facts, parse.text);
        self.send_parse(ctx, node, parse.name, parse.text, id);
        self.batch_count.note_sent();
        self.pass_to(ctx, node, whole);
        self.just_parsed = Some((self.parsed_now(id, node), write));
        Step::Done(header.length)
    }

    fn parsed_now(&self, id: u64, node: NodeId) -> JustParsed {
        JustParsed { id, node, flight: self.flight, sent: self.sent }
    }

    pub(super) fn add_statement(
        &mut self,
        name: &[u8],
        facts: &Rc<Facts>,
        text: Rc<[u8]>,
        source: Source,
    ) -> u64 {
        let id = self.next_statement;
        self.next_statement += 1;
        let prepared = Prepared { id, name: name.into(), facts: Rc::clone(facts), text, source };
        self.statements.insert(name, Rc::new(prepared));
        id
    }

    fn send_parse(&mut self, ctx: &mut Ctx<'_>, node: NodeId, name: &[u8], text: &[u8], id: u64) {
        self.keep_statement(text);
        self.log_at_node(ctx, node, "Parse: ", text);
        let Some(backend) = self.backend(ctx, node) else { return };
        let mut out = Vec::new();
        if id != REFUSED {
            super::prepared::put_close(backend, name, &mut out);
            backend.statements.insert(name, id);
        }
        backend.expects.push_back(Expect::Parse { name: name.into(), id, quiet: false });
        if !out.is_empty() {
            let conn = backend.conn;
            ctx.wire.send(conn, &out);
        }
    }

    /// A text too long to keep: it lives on the primary alone.
    fn long_parse(&mut self, ctx: &mut Ctx<'_>, header: Header, rest: &[u8]) -> Step {
        let body = rest.get(5..).unwrap_or_default();
        let Some(end) = memchr::memchr(0, body.get(..body.len().min(MAX_SHORT)).unwrap_or_default()) else {
            if body.len() >= MAX_SHORT {
                self.fatal(ctx, "08P01", "the statement name of a Parse message is too long");
            }
            return Step::More;
        };
        let name = body.get(..end).unwrap_or_default();
        let facts = Rc::new(Facts::unknown(ParseOutcome::TooLong));
        let node = match self.find_for_batch(ctx, &facts, b"") {
            Ok((node, _)) => node,
            Err(step) => return self.or_error(ctx, step, header, rest),
        };
        let id = self.add_statement(name, &facts, Rc::default(), Source::Only(node));
        self.send_parse(ctx, node, name, TOO_LONG.as_bytes(), id);
        self.batch_count.note_sent();
        self.send_frame(ctx, node, header, rest)
    }

    pub(super) fn bind_message(&mut self, ctx: &mut Ctx<'_>, header: Header, rest: &[u8]) -> Step {
        let body = rest.get(5..header.length.min(rest.len())).unwrap_or_default();
        let head = match frontend::bind_head(body) {
            Ok(Some(head)) => head,
            Ok(None) if rest.len() < header.length => return Step::More,
            Ok(None) => {
                self.fatal(ctx, "08P01", "Bind message ends within its names");
                return Step::More;
            }
            Err(e) => {
                self.fatal(ctx, "08P01", &e.to_string());
                return Step::More;
            }
        };
        let (portal, statement) = (head.portal, head.statement);
        if self.ours.is_some()
            && let Some(step) = self.own_bind(ctx, portal, statement, rest.get(..header.length))
        {
            return step;
        }
        let prepared = self.statements.get(statement).cloned();
        let (node, write) = match self.node_of(ctx, prepared.as_deref()) {
            Ok(found) => found,
            Err(step) => return self.or_error(ctx, step, header, rest),
        };
        if self.may_be_skipped(ctx, node, statement) {
            return Step::Stall;
        }
        if let Some(prepared) = &prepared {
            self.ensure_prepared(ctx, node, statement, prepared);
            self.log_at_node(ctx, node, "Bind: ", &prepared.text);
        }
        self.portals.insert(portal, Portal { node, prepared, write });
        self.batch_count.note_sent();
        self.send_frame(ctx, node, header, rest)
    }

    pub(super) fn describe_message(&mut self, ctx: &mut Ctx<'_>, target: Target<'_>, whole: &[u8]) -> Step {
        if let Some(step) = self.own_describe(ctx, target, whole.len()) {
            return step;
        }
        let found = if target.kind == b'S' {
            let prepared = self.statements.get(target.name).cloned();
            let found = self.node_of(ctx, prepared.as_deref());
            if let (Ok((node, _)), Some(prepared)) = (&found, &prepared) {
                if self.may_be_skipped(ctx, *node, target.name) {
                    return Step::Stall;
                }
                self.ensure_prepared(ctx, *node, target.name, prepared);
            }
            found
        } else {
            self.node_of_portal(ctx, target.name)
        };
        match found {
            Ok((node, _)) => {
                self.log_at_node(ctx, node, "", b"D message");
                self.batch_count.note_sent();
                self.pass_to(ctx, node, whole);
                Step::Done(whole.len())
            }
            Err(step) => self.or_error(ctx, step, header_of(whole), whole),
        }
    }

    pub(super) fn execute_message(&mut self, ctx: &mut Ctx<'_>, execute: Execute<'_>, whole: &[u8]) -> Step {
        let portal = execute.portal;
        if let Some(step) = self.own_execute(ctx, portal, execute.max_rows, whole.len()) {
            return step;
        }
        let node = match self.node_of_portal(ctx, portal) {
            Ok((node, _)) => node,
            Err(step) => return self.or_error(ctx, step, header_of(whole), whole),
        };
        let known = self.portals.get(portal).cloned();
        if let Some(Portal { prepared: Some(prepared), write, .. }) = &known {
            self.begin_statement(ctx, node, &prepared.facts, &prepared.text, "Execute: ", *write);
        }
        self.time_execute(ctx, node, known.and_then(|portal| portal.prepared));
        self.batch_count.note_sent();
        self.pass_to(ctx, node, whole);
        Step::Done(whole.len())
    }

    pub(super) fn close_message(&mut self, ctx: &mut Ctx<'_>, target: Target<'_>, whole: &[u8]) -> Step {
        if let Some(step) = self.own_close(ctx, target, whole.len()) {
            return step;
        }
        if target.kind == b'S' && self.in_flight > 0 {
            // Which statement has the name will be known when what is under way has ended.
            return Step::Stall;
        }
        let found = if target.kind == b'S' {
            let node = self.batch.or_else(|| self.failed_on()).or_else(|| self.holder(ctx, target.name));
            self.enter(ctx, node).map(|node| (node, Write::No))
        } else {
            self.node_of_portal(ctx, target.name)
        };
        let node = match found {
            Ok((node, _)) => node,
            Err(step) => return self.or_error(ctx, step, header_of(whole), whole),
        };
        let mut statement = None;
        if target.kind == b'S' {
            let prepared = self.statements.remove(target.name);
            statement = Some((target.name.into(), prepared.as_ref().map_or(0, |prepared| prepared.id)));
            self.closing.extend(prepared);
        } else {
            self.portals.remove(target.name);
        }
        if let Some(backend) = self.backend(ctx, node) {
            if target.kind == b'S' {
                backend.statements.remove(target.name);
            }
            backend.expects.push_back(Expect::Close { statement, quiet: false });
        }
        self.log_at_node(ctx, node, "", b"C message");
        self.batch_count.note_sent();
        self.pass_to(ctx, node, whole);
        Step::Done(whole.len())
    }

    pub(super) fn flush_message(&mut self, ctx: &mut Ctx<'_>, whole: &[u8]) -> Step {
        if let Some(node) = self.batch {
            self.pass_to(ctx, node, whole);
        }
        Step::Done(whole.len())
    }

    pub(super) fn sync_message(&mut self, ctx: &mut Ctx<'_>, whole: &[u8]) -> Step {
        if let Some(node) = self.copy_in {
            // The server ignores it while it copies in.
            self.pass_to(ctx, node, whole);
            return Step::Done(whole.len());
        }
        match self.batch.take() {
            Some(node) => {
                self.skip_to_sync = false;
                self.drawn = None;
                self.launch(ctx, node, Expect::Sync { quiet: false });
                self.pass_to(ctx, node, whole);
            }
            None if self.in_flight > 0 => return Step::Stall,
            None => {
                self.skip_to_sync = false;
                self.errored = false;
                self.effects.clear();
                (self.sent, self.done) = (0, 0);
                self.ends.clear();
                let status = self.status();
                if status == TxStatus::Idle {
                    self.end_own_portals();
                }
                self.ready(ctx, status);
            }
        }
        Step::Done(whole.len())
    }

    /// Node for a statement; one that we do not know goes where the server can say so.
    fn node_of(
        &mut self,
        ctx: &mut Ctx<'_>,
        prepared: Option<&Prepared>,
    ) -> Result<(NodeId, Write), Option<Step>> {
        match prepared {
            Some(Prepared { source: Source::Only(node), .. }) => {
                self.enter(ctx, Some(*node)).map(|node| (node, Write::Opaque))
            }
            Some(prepared) => match (self.just_parsed, self.batch) {
                (Some((just, write)), Some(node)) if just == self.parsed_now(prepared.id, node) => {
                    if self.must_settle() { Err(Some(Step::Stall)) } else { Ok((node, write)) }
                }
                _ => self.find_for_batch(ctx, &prepared.facts, &prepared.text),
            },
            None => {
                let node = self.batch;
                self.enter(ctx, node).map(|node| (node, Write::No))
            }
        }
    }

    fn node_of_portal(&mut self, ctx: &mut Ctx<'_>, portal: &[u8]) -> Result<(NodeId, Write), Option<Step>> {
        let bound = self.portals.get(portal).map(|portal| portal.node);
        let here = bound.filter(|_| bound == self.batch);
        let node = here.or_else(|| self.failed_on()).or(bound).or(self.batch);
        self.enter(ctx, node).map(|node| (node, Write::No))
    }

    fn find_for_batch(
        &mut self,
        ctx: &mut Ctx<'_>,
        facts: &Facts,
        text: &[u8],
    ) -> Result<(NodeId, Write), Option<Step>> {
        if self.must_settle() {
            return Err(Some(Step::Stall));
        }
        let (node, write) = self.find(ctx, facts, text)?;
        self.enter(ctx, Some(node)).map(|node| (node, write))
    }

    /// Whether what is under way decides where the next statement goes.
    fn must_settle(&self) -> bool {
        self.in_flight > 0 && (!self.effects.is_empty() || self.errored)
    }

    /// Makes `node` the one that the batch goes to; without one, where the batch is or the primary.
    fn enter(&mut self, ctx: &mut Ctx<'_>, node: Option<NodeId>) -> Result<NodeId, Option<Step>> {
        let lead = self.transaction.as_ref().map(|tx| tx.failed_on.unwrap_or(tx.lead));
        let Some(node) = node.or(lead).or(ctx.shared.view.writer()) else { return Err(self.nowhere(ctx)) };
        if self.batch == Some(node) {
            return Ok(node);
        }
        if self.must_wait(ctx, Some(node)) {
            return Err(Some(Step::Stall));
        }
        if self.is_to_drain(ctx) {
            return Err(self.wait_to_begin(ctx));
        }
        match self.reach(ctx, node) {
            super::reach::Reach::Ready(_) => {
                self.batch = Some(node);
                self.batch_count = BatchCount::default();
                self.keep_for_again(ctx, node);
                Ok(node)
            }
            super::reach::Reach::Wait => Err(Some(Step::Stall)),
            super::reach::Reach::Failed => Err(self.without(ctx, node)),
        }
    }

    /// Whether all messages of the batch are answered, and none with an error: only then it is known what a simple query
    /// behind them will be answered, since a server that has found an error skips it. Asks for the answers.
    pub(super) fn is_batch_answered(&mut self, ctx: &mut Ctx<'_>, node: NodeId) -> bool {
        let BatchCount { sent, answered, flushed } = &mut self.batch_count;
        if answered >= sent && !self.errored {
            return true;
        }
        if !std::mem::replace(flushed, true) {
            let mut out = Vec::new();
            frontend::put_flush(&mut out);
            self.pass_to(ctx, node, &out);
        }
        false
    }

    /// Everything in flight is on this node, so what follows is answered in order.
    pub(super) fn is_only_flight(&self, ctx: &Ctx<'_>, node: NodeId) -> bool {
        self.links
            .iter()
            .filter(|link| link.node != node)
            .all(|link| ctx.pool.peek(link.backend).is_none_or(|backend| !backend.is_busy()))
    }

    /// Ends the batch on the node it has begun on, with a Sync of ours.
    pub(super) fn end_batch(&mut self, ctx: &mut Ctx<'_>, node: NodeId) {
        if std::mem::replace(&mut self.ending, true) {
            return;
        }
        self.again.stop();
        self.launch(ctx, node, Expect::Sync { quiet: true });
        let mut out = Vec::new();
        frontend::put_sync(&mut out);
        self.pass_to(ctx, node, &out);
    }

    /// Our Sync was answered: the batch may go on elsewhere, unless it has failed.
    pub(super) fn batch_ended(&mut self, ctx: &mut Ctx<'_>, node: NodeId, status: TxStatus) {
        self.ending = false;
        self.batch = None;
        self.stalled = true;
        self.skip_to_sync |= self.errored;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.settle(ctx, node, status);
    }

    /// Waits, or tells the client that it cannot be served: after the answers to what it has sent before.
    fn or_error(&mut self, ctx: &mut Ctx<'_>, step: Option<Step>, header: Header, rest: &[u8]) -> Step {
        if let Some(step) = step {
            return step;
        }
        if self.must_wait(ctx, None) {
            return Step::Stall;
        }
        let refusal = self.why_not();
        self.error_to_sync(ctx, refusal);
        self.pass(header, rest, None)
    }
}

/// How far the batch without its Sync has come.
#[derive(Debug, Default)]
pub(super) struct BatchCount {
    /// Messages that are answered each with one of those that `note_answer` counts.
    sent: usize,
    answered: usize,
    /// The node was asked to send what it has.
    flushed: bool,
}

impl BatchCount {
    fn note_sent(&mut self) {
        self.sent += 1;
        self.flushed = false;
    }

    /// A message of the node that has the batch.
    pub(super) fn note_answer(&mut self, kind: u8) {
        self.answered += usize::from(matches!(kind, b'1' | b'2' | b'3' | b'T' | b'n' | b'C' | b's' | b'I'));
    }
}

/// Header of a message that is there whole.
fn header_of(whole: &[u8]) -> Header {
    Header { kind: whole.first().copied().unwrap_or_default(), length: whole.len() }
}
