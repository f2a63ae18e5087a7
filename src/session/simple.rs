//! The simple query protocol: one string, one answer, then the next.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::client::{MAX_TEXT, TOO_LONG};
use super::place::Place;
use super::reach::Reach;
use super::{Ctx, Session, Step};
use crate::error::NodeId;
use crate::face;
use crate::pool::Expect;
use crate::route::Write;
use crate::route::learn::Class;
use crate::sql::{Facts, ParseOutcome};
use crate::wire::frame::Header;
use crate::wire::frontend;

impl Session {
    pub(super) fn simple_query(&mut self, ctx: &mut Ctx<'_>, header: Header, rest: &[u8]) -> Step {
        if self.in_flight > 0 {
            return Step::Stall;
        }
        if header.length > MAX_TEXT {
            return self.long_query(ctx, header, rest);
        }
        let Some(whole) = rest.get(..header.length) else { return Step::More };
        let text = match frontend::query(whole.get(5..).unwrap_or_default()) {
            Ok(text) => text,
            Err(e) => {
                self.fatal(ctx, "08P01", &e.to_string());
                return Step::More;
            }
        };
        if let Some(asked) = face::sql::recognise(text) {
            if self.must_wait(ctx, None) {
                return Step::Stall;
            }
            return match self.answer_simple(ctx, &asked, text) {
                Some(Step::Done(_)) => Step::Done(header.length),
                step => self.or_refuse(ctx, step, header),
            };
        }
        let facts = ctx.shared.facts.get(text);
        let (node, write) = match self.find(ctx, &facts, text) {
            Ok(found) => found,
            Err(step) => return self.or_refuse(ctx, step, header),
        };
        if self.batch == Some(node) && !self.is_batch_answered(ctx, node) {
            return if self.errored { self.pass(header, rest, None) } else { Step::Stall };
        }
        if self.batch == Some(node)
            && let Some(backend) = self.backend(ctx, node)
        {
            // All before it is answered: the end of a COPY that was none has nothing to end.
            backend.forget_copy_ends();
        }
        self.drawn = None;
        self.forget_statement(ctx, node, b"");
        if self.batch != Some(node) {
            self.keep_for_again(ctx, node);
        }
        self.begin_statement(ctx, node, &facts, text, "", write);
        let class = ctx.shared.class(&facts, text);
        self.time_simple(ctx, node, class);
        self.launch(ctx, node, Expect::Query);
        // In a batch without its Sync the query takes the place of that: what came before is its transaction, too.
        self.batch = None;
        self.pass_to(ctx, node, whole);
        Step::Done(header.length)
    }

    /// Whether something must end before a statement goes to `node` (or to none at all): a batch elsewhere,
    /// which we end, or answers of other nodes. What follows would else be answered out of turn. A simple query
    /// may turn out to be a COPY, to which nothing that follows belongs.
    pub(super) fn must_wait(&mut self, ctx: &mut Ctx<'_>, node: Option<NodeId>) -> bool {
        match self.batch {
            Some(batch) if Some(batch) == node => false,
            Some(batch) => {
                self.end_batch(ctx, batch);
                true
            }
            None => {
                self.in_flight > 0 && (self.simple || node.is_none_or(|node| !self.is_only_flight(ctx, node)))
            }
        }
    }

    /// Finds a node and makes it ready. `Err(Some)`: wait; `Err(None)`: no node can serve it.
    pub(super) fn find(
        &mut self,
        ctx: &mut Ctx<'_>,
        facts: &Facts,
        text: &[u8],
    ) -> Result<(NodeId, Write), Option<Step>> {
        if self.again.is_replaying() {
            self.may_be_repeated(ctx, facts, text)?;
        }
        if self.is_to_drain(ctx) {
            return Err(self.wait_to_begin(ctx));
        }
        // Each round rules out one node that cannot be reached.
        for _ in 0..=ctx.shared.view.nodes.len() {
            let (node, write) = match self.place(ctx, facts, text) {
                Place::Node { node, write } => (node, write),
                Place::Ask(question) => return Err(self.ask(ctx, question)),
                Place::Nowhere => return Err(self.nowhere(ctx)),
            };
            if self.must_wait(ctx, Some(node)) {
                return Err(Some(Step::Stall));
            }
            match self.reach(ctx, node) {
                Reach::Ready(_) if self.prepare_there(ctx, node, facts) => return Err(Some(Step::Stall)),
                Reach::Ready(_) => return Ok((node, write)),
                Reach::Wait => return Err(Some(Step::Stall)),
                Reach::Failed if Some(node) == ctx.shared.view.writer() => {
                    return Err(self.without(ctx, node));
                }
                Reach::Failed => self.avoid(ctx, node),
            }
        }
        Err(self.nowhere(ctx))
    }

    fn or_refuse(&mut self, ctx: &mut Ctx<'_>, step: Option<Step>, header: Header) -> Step {
        step.unwrap_or_else(|| {
            let refusal = self.why_not();
            self.refuse_query(ctx, refusal);
            Step::Done(header.length)
        })
    }

    /// A text that is too long to be looked at.
    fn long_query(&mut self, ctx: &mut Ctx<'_>, header: Header, rest: &[u8]) -> Step {
        self.pass_unseen(ctx, header, rest, TOO_LONG.as_bytes())
    }

    pub(super) fn function_call(&mut self, ctx: &mut Ctx<'_>, header: Header, rest: &[u8]) -> Step {
        if self.in_flight > 0 {
            return Step::Stall;
        }
        self.pass_unseen(ctx, header, rest, b"(function call)")
    }

    /// What is not understood is a write, since it may be anything. `name` stands for it in the log.
    fn pass_unseen(&mut self, ctx: &mut Ctx<'_>, header: Header, rest: &[u8], name: &[u8]) -> Step {
        if self.must_wait(ctx, None) {
            return Step::Stall;
        }
        let facts = Rc::new(Facts::unknown(ParseOutcome::TooLong));
        let (node, _) = match self.find(ctx, &facts, b"") {
            Ok(found) => found,
            Err(Some(step)) => return step,
            Err(None) => {
                let refusal = self.why_not();
                self.refuse_query(ctx, refusal);
                return self.pass(header, rest, None);
            }
        };
        self.again.begin(node, false, false);
        self.begin_statement(ctx, node, &facts, name, "", Write::Opaque);
        self.time_simple(ctx, node, Class::UNKNOWN);
        self.launch(ctx, node, Expect::Query);
        self.send_frame(ctx, node, header, rest)
    }

    pub(super) fn backend<'a>(
        &self,
        ctx: &'a mut Ctx<'_>,
        node: NodeId,
    ) -> Option<&'a mut crate::pool::Backend> {
        let link = self.links.iter().find(|link| link.node == node)?;
        ctx.pool.get(link.backend)
    }

    /// ReadyForQuery is owed to the client from here on: what it sends next belongs to the next one.
    pub(super) fn launch(&mut self, ctx: &mut Ctx<'_>, node: NodeId, expect: Expect) {
        self.simple = expect == Expect::Query;
        if let Some(backend) = self.backend(ctx, node) {
            backend.expects.push_back(expect);
        }
        self.in_flight += 1;
        self.flight += 1;
        self.sent = 0;
        self.asked_enough = false;
    }
}
