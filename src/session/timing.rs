//! How long statements take: from their sending to the message that ends them, by the clock of the turns, which costs no
//! system call. Counts them in shared memory, and writes the slow ones into the log.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::learning::{abandon, end};
use super::report::MAX_LOGGED;
use super::{Ctx, Prepared, Session, Shared};
use crate::error::NodeId;
use crate::route::learn::{Choice, Class, Outcome, Ticket};
use crate::shm::TrafficCounts;

/// What has been sent and has not ended, in order.
#[derive(Default)]
pub(super) struct Timing {
    /// The session's counts in shared memory.
    counts: TrafficCounts,
    running: VecDeque<Running>,
    /// When a statement ended last: those behind it were only then begun.
    ended: Option<Instant>,
    /// How the node was chosen that the next statement is likely to be sent to.
    pub(super) choice: Option<Choice>,
    /// What the last error says of the node of the statement that is under way.
    failed: Option<Outcome>,
    /// The client reads slowly what is under way: it says nothing of the node.
    slowed: bool,
}

struct Running {
    node: NodeId,
    sent: Instant,
    /// Which ReadyForQuery stands behind it.
    flight: u64,
    form: Form,
    /// For what routing learns.
    ticket: Option<Ticket>,
}

/// Which message ends it.
enum Form {
    /// ReadyForQuery.
    Simple,
    /// What ends an Execute; and what that executes, if it is known.
    Execute(Option<Rc<Prepared>>),
}

impl Session {
    /// From now on its statements are counted.
    pub(super) fn begin_timing(&mut self, ctx: &Ctx<'_>) {
        let (shared, key) = (&*ctx.shared, &self.key);
        self.timing.counts = shared.segment.traffic_counts(shared.worker, &key.user, &key.database);
    }

    /// A simple query or a function call is sent now.
    pub(super) fn time_simple(&mut self, ctx: &Ctx<'_>, node: NodeId, class: Class) {
        self.time(ctx, node, Form::Simple, class);
    }

    /// An Execute is sent now.
    pub(super) fn time_execute(&mut self, ctx: &Ctx<'_>, node: NodeId, prepared: Option<Rc<Prepared>>) {
        let class = prepared.as_ref().map(|known| ctx.shared.class(&known.facts, &known.text));
        self.time(ctx, node, Form::Execute(prepared), class.unwrap_or_default());
    }

    fn time(&mut self, ctx: &Ctx<'_>, node: NodeId, form: Form, class: Class) {
        let (sent, flight) = (ctx.shared.now, self.flight);
        let ticket = self.begin_learning(ctx.shared, node, class);
        self.timing.running.push_back(Running { node, sent, flight, form, ticket });
    }

    /// An Execute has ended, with an error or without. What ends a simple query comes later.
    pub(super) fn execute_ended(&mut self, ctx: &Ctx<'_>) {
        let is_execute = |running: &mut Running| matches!(running.form, Form::Execute(_));
        if let Some(running) = self.timing.running.pop_front_if(is_execute) {
            self.has_taken(ctx, &running);
        }
    }

    /// All that stands before this ReadyForQuery has ended, or was left out because of an error before it.
    pub(super) fn flight_ended(&mut self, ctx: &Ctx<'_>, landed: u64) {
        while let Some(running) = self.timing.running.pop_front_if(|running| running.flight <= landed) {
            match running.form {
                Form::Simple => self.has_taken(ctx, &running),
                Form::Execute(_) => running.ticket.into_iter().for_each(|ticket| abandon(ctx.shared, ticket)),
            }
        }
    }

    /// What was sent does not end, or is sent again; what `lost` had it has lost.
    pub(super) fn forget_running(&mut self, shared: &Shared, lost: Option<NodeId>) {
        for Running { node, ticket, .. } in self.timing.running.drain(..) {
            match ticket {
                Some(ticket) if lost == Some(node) => end(shared, ticket, 0, Outcome::Lost),
                Some(ticket) => abandon(shared, ticket),
                None => {}
            }
        }
    }

    /// The client is told of an error of this node.
    pub(super) fn count_failed(&mut self, node: NodeId, code: &[u8]) {
        self.timing.counts.failure(node);
        self.timing.failed = Some(Outcome::of_sqlstate(code));
    }

    /// The client reads more slowly than a node sends.
    pub(super) fn is_slowed(&mut self) {
        self.timing.slowed = true;
    }

    fn has_taken(&mut self, ctx: &Ctx<'_>, running: &Running) {
        let shared = &*ctx.shared;
        let begun = self.timing.ended.map_or(running.sent, |ended| ended.max(running.sent));
        let taken = shared.now.saturating_duration_since(begun);
        self.timing.ended = Some(shared.now);
        let micros = taken.as_secs().saturating_mul(1_000_000).saturating_add(taken.subsec_micros().into());
        self.timing.counts.statement(running.node, micros);
        let failed = self.timing.failed.take();
        let says_nothing = std::mem::take(&mut self.timing.slowed) && failed.is_none();
        match running.ticket {
            Some(ticket) if says_nothing => abandon(shared, ticket),
            Some(ticket) => end(shared, ticket, micros, failed.unwrap_or(Outcome::Ok)),
            None => {}
        }
        let limit = shared.config.log_min_duration_statement;
        if limit >= 0 && taken >= Duration::from_millis(limit.unsigned_abs()) {
            self.log_slow(running, micros);
        }
        if self.statement.capacity() > 4 * MAX_LOGGED {
            // It was kept whole for this; a session that is idle holds little.
            self.statement.truncate(MAX_LOGGED);
            self.statement.shrink_to(MAX_LOGGED);
        }
    }

    #[cold]
    fn log_slow(&self, running: &Running, micros: u64) {
        let duration = format!("duration: {}.{:03} ms", micros / 1000, micros % 1000);
        let (node, simple) = (running.node, String::from_utf8_lossy(&self.statement));
        match &running.form {
            Form::Simple => crate::say!(Log, "DB node id: {node} {duration}  statement: {simple}"),
            Form::Execute(None) => crate::say!(Log, "DB node id: {node} {duration}  execute <unknown>"),
            Form::Execute(Some(prepared)) => {
                let name = match &*prepared.name {
                    b"" => "<unnamed>".into(),
                    name => String::from_utf8_lossy(name),
                };
                let text = String::from_utf8_lossy(&prepared.text);
                crate::say!(Log, "DB node id: {node} {duration}  execute {name}: {text}");
            }
        }
    }
}
