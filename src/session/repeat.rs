//! What was under way on a node that is lost is run again on another one, if to do so is harmless: reads of which the
//! client has got no row, outside a transaction, once.
//!
//! What went to a standby only reads, by the rules of routing. Of what went to the primary the catalog must say so: it is
//! asked when the statement comes up again, so that this costs nothing as long as no server dies.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::does::Does;
use super::finish::Refusal;
use super::reach::Reach;
use super::{Ctx, Session, Step};
use crate::error::NodeId;
use crate::route;
use crate::sql::{Facts, Kind};

/// Why something is run again.
pub(super) struct Repeat {
    /// What the client is told if it cannot be.
    message: String,
    /// The node said that an administrator ends the connection. If it still takes new ones, that was meant for the
    /// statement, which then has ended.
    suspect: Option<NodeId>,
}

impl Session {
    /// A statement or a batch begins at `node`: what may be run again is kept.
    pub(super) fn keep_for_again(&mut self, ctx: &Ctx<'_>, node: NodeId) {
        let is_standby = self.lead(ctx) != Some(node);
        self.again.begin(node, is_standby || self.transaction.is_none(), is_standby);
    }

    /// The first of the units under way that is to be run again, with all behind it.
    pub(super) fn first_to_repeat(&self, count: usize) -> Option<usize> {
        let first = self.again.first_to_repeat(count, Does::Reads)?;
        // An error that was passed on is an answer.
        Some(if self.errored { first.max(1) } else { first }).filter(|first| *first < count)
    }

    /// Serves these messages again. `ended_by_hand`: the node has said that an administrator wants it so.
    pub(super) fn repeat(
        &mut self,
        ctx: &mut Ctx<'_>,
        node: NodeId,
        messages: Vec<u8>,
        message: &str,
        ended_by_hand: bool,
    ) {
        crate::say!(Debug1, "what ran on backend {} is run again", node);
        let suspect = ended_by_hand.then_some(node);
        self.repeating = Some(Box::new(Repeat { message: message.to_owned(), suspect }));
        self.serve_once_more(ctx, messages);
    }

    /// Whether a statement that is served for the second time may be. The error is what must happen first, or the end.
    pub(super) fn may_be_repeated(
        &mut self,
        ctx: &mut Ctx<'_>,
        facts: &Facts,
        text: &[u8],
    ) -> Result<(), Option<Step>> {
        self.look_at_refusal(ctx)?;
        self.look_at_suspect(ctx)?;
        if !self.again.in_doubt {
            return Ok(());
        }
        let prepared = match facts.single().map(|statement| &statement.kind) {
            Some(Kind::Execute(name)) => self.statements.get(name.as_bytes()).map(Rc::clone),
            _ => None,
        };
        let (facts, text) = prepared.as_ref().map_or((facts, text), |known| (&*known.facts, &*known.text));
        let reads = self.with_view(ctx, |view, cluster, routes, catalog| {
            route::only_reads(facts, text, view, cluster, routes, catalog)
        });
        match reads {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.give_up_repeating("08007", "whether it took effect is not known")),
            Err(questions) => Err(questions.into_iter().next().and_then(|question| self.ask(ctx, question))),
        }
    }

    /// A node from which a statement was thrown out: if it can be reached, that is the statement's end.
    fn look_at_suspect(&mut self, ctx: &mut Ctx<'_>) -> Result<(), Option<Step>> {
        let Some(node) = self.repeating.as_ref().and_then(|repeat| repeat.suspect) else { return Ok(()) };
        if !ctx.shared.view.is_usable(node) {
            self.clear_suspect(node);
            return Ok(());
        }
        match self.reach(ctx, node) {
            Reach::Wait => Err(Some(Step::Stall)),
            Reach::Failed => {
                self.clear_suspect(node);
                Ok(())
            }
            Reach::Ready(_) => {
                self.clear_suspect(node);
                Err(self.give_up_repeating("08006", "the server is there and has ended it"))
            }
        }
    }

    /// It cannot be reached: what it said was no word about the statement. Whether it was suspected.
    pub(super) fn clear_suspect(&mut self, node: NodeId) -> bool {
        let suspect = self.repeating.as_mut().map(|repeat| &mut repeat.suspect);
        suspect.and_then(|suspect| suspect.take_if(|suspect| *suspect == node)).is_some()
    }

    fn give_up_repeating(&mut self, code: &'static str, why: &str) -> Option<Step> {
        let message = self.repeating.as_ref().map_or("", |repeat| &repeat.message);
        self.refusal = Some(Refusal::Own(code, format!("{message}; {why}")));
        None
    }
}
