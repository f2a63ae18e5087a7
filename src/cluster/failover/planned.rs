//! Changes that an operator plans: promotion, switchover, graceful detach. What is under way in sessions ends first.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::manager::{Before, Kind, Manager, Part, unknown};
use super::request::{Action, Reply, Ticket};
use super::take_out::{DETACHED, not_valid_for_failover};
use crate::error::NodeId;
use crate::log::Level;
use crate::shm::{FailoverReason, NodeStatus};
use crate::sys::process::ProcessId;

/// How often the standby to be promoted is looked at until it has all that the primary wrote.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long an operator's word on the primary counts where `search_primary_node_timeout` is without limit.
const TRUST: Duration = Duration::from_secs(300);

/// A change that waits for the sessions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    goal: Goal,
    /// Of who waits for it.
    ticket: Ticket,
    /// What does not end in time stops it.
    gracefully: bool,
    until: Duration,
    wait: Wait,
    next_look: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Detach(NodeId),
    Promote(NodeId),
    Switchover(NodeId),
}

/// What it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Scripts of an earlier change to end; sessions go on meanwhile.
    Scripts,
    /// Transactions to end.
    Sessions,
    /// The standby to have what they wrote: so many bytes are missing, if somebody knows.
    Standby(Option<u64>),
    /// Nothing.
    Ready,
}

impl Planned {
    pub(super) fn due(&self) -> Duration {
        match self.wait {
            Wait::Standby(_) => self.until.min(self.next_look),
            Wait::Scripts | Wait::Sessions | Wait::Ready => self.until,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.wait == Wait::Ready
    }

    /// Sessions hold new transactions back for it.
    pub(super) fn holds(&self) -> bool {
        self.wait != Wait::Scripts
    }

    fn name(&self) -> String {
        match self.goal {
            Goal::Detach(id) => format!("graceful detach of node {id}"),
            Goal::Promote(id) => format!("promotion of node {id}"),
            Goal::Switchover(id) => format!("switchover to node {id}"),
        }
    }
}

impl Manager {
    /// The standby that must have all that the primary wrote before a switchover goes on.
    pub fn watched(&self) -> Option<NodeId> {
        match self.planned {
            Some(Planned { goal: Goal::Switchover(id), wait: Wait::Standby(_), .. }) => Some(id),
            _ => None,
        }
    }

    pub(super) fn promote(&mut self, id: NodeId, switchover: bool, gracefully: bool, by: ProcessId) -> Reply {
        let Some(node) = self.node(id) else { return unknown(id) };
        let (is_usable, code) = (node.is_usable(), node.status_code());
        if !self.rules.streaming {
            return Reply::Refused("not in streaming replication mode".to_owned());
        }
        if self.primary == Some(id) {
            let text = format!("specified node is already primary node, can't promote node id {id}");
            return Reply::Refused(text);
        }
        if !is_usable && switchover {
            return Reply::Refused(not_valid_for_failover(node));
        }
        if !is_usable {
            let text = format!("invalid promote backend request, node id : {id} status: [{code}] not valid");
            return Reply::Refused(text);
        }
        if switchover {
            return self.plan_switchover(id, gracefully, by);
        }
        // A search does not forbid it: perhaps this is what it waits for.
        if let Some(refused) = self.occupied(gracefully) {
            return refused;
        }
        self.received(format!("received promote backend request for node_id: {id} from pid [{by}]"));
        match gracefully {
            true => self.plan(Goal::Promote(id), true),
            false => self.promotion(id),
        }
        Reply::Done
    }

    fn plan_switchover(&mut self, id: NodeId, gracefully: bool, by: ProcessId) -> Reply {
        let Some(primary) = self.primary else {
            return Reply::Refused("there is no primary node to switch over from".to_owned());
        };
        if let Some(refused) = self.disallowed(primary, by).or_else(|| self.occupied(true)) {
            return refused;
        }
        self.received_degenerate(id, by);
        self.plan(Goal::Switchover(id), gracefully);
        Reply::Done
    }

    pub(super) fn plan_detach(&mut self, id: NodeId, by: ProcessId) -> Reply {
        if let Some(refused) = self.occupied(true) {
            return refused;
        }
        self.received_degenerate(id, by);
        self.plan(Goal::Detach(id), true);
        Reply::Done
    }

    /// The refusal, while something else is under way. `waits`: sessions will be waited for.
    fn occupied(&self, waits: bool) -> Option<Reply> {
        let is_occupied = self.planned.is_some() || waits && self.search.is_some();
        is_occupied.then(|| {
            Reply::Refused("another change is planned already, or a primary is being looked for".to_owned())
        })
    }

    fn plan(&mut self, goal: Goal, gracefully: bool) {
        self.last_plan += 1;
        let (ticket, until) = (self.last_plan, self.now + self.rules.drain_timeout);
        let planned = Planned { goal, ticket, gracefully, until, wait: Wait::Scripts, next_look: self.now };
        self.planned = Some(planned);
    }

    /// No script is in the way.
    pub(super) fn begin_planned(&mut self) {
        let limit = self.rules.drain_timeout;
        let Some(planned) = self.planned.as_mut().filter(|planned| planned.wait == Wait::Scripts) else {
            return;
        };
        planned.wait = Wait::Sessions;
        planned.until = self.now + limit;
        let text = format!(
            "{}: new transactions wait until those under way have ended, at most {} s",
            planned.name(),
            limit.as_secs()
        );
        self.log(Level::Log, text);
    }

    pub(super) fn is_quiet(&mut self) {
        let Some(planned) = self.planned.as_mut().filter(|planned| planned.wait == Wait::Sessions) else {
            return;
        };
        planned.wait = Wait::Ready;
        if matches!(planned.goal, Goal::Switchover(_)) {
            planned.wait = Wait::Standby(None);
            planned.next_look = self.now + LOOK_EVERY;
            self.act(Action::Look);
        }
    }

    pub(super) fn is_behind(&mut self, bytes: Option<u64>) {
        let Some(planned) = &mut self.planned else { return };
        if let (Wait::Standby(_), Some(bytes)) = (planned.wait, bytes) {
            planned.wait = if bytes == 0 { Wait::Ready } else { Wait::Standby(Some(bytes)) };
        }
    }

    pub(super) fn planned_time_passes(&mut self) {
        let now = self.now;
        let Some(planned) = &mut self.planned else { return };
        if planned.until <= now {
            return self.time_is_up();
        }
        if matches!(planned.wait, Wait::Standby(_)) && planned.next_look <= now {
            planned.next_look = now + LOOK_EVERY;
            self.act(Action::Look);
        }
    }

    /// Transactions that go on are lost with the node, which somebody may want. What was committed must not be.
    fn time_is_up(&mut self) {
        let Some(planned) = self.planned else { return };
        let (goes_on, why) = match (planned.wait, planned.goal) {
            (Wait::Sessions, _) => (!planned.gracefully, "transactions are still under way".to_owned()),
            (Wait::Standby(None), _) => {
                (!planned.gracefully, "nobody knows how far the standby is behind".to_owned())
            }
            (Wait::Standby(Some(bytes)), _) => {
                (false, format!("the standby has not replayed {bytes} bytes of what the primary wrote"))
            }
            (Wait::Scripts | Wait::Ready, _) => {
                (false, "a script of an earlier change still runs".to_owned())
            }
        };
        let goes_on = goes_on && self.scripts.is_idle();
        let (name, limit) = (planned.name(), self.rules.drain_timeout.as_secs());
        if goes_on {
            self.log(Level::Warning, format!("{name}: goes on after {limit} s, although {why}"));
            self.planned = Some(Planned { wait: Wait::Ready, ..planned });
        } else {
            self.planned = None;
            let text = format!("given up after {limit} s, since {why}");
            self.log(Level::Warning, format!("{name}: {text}"));
            self.act(Action::AnswerTo(planned.ticket, Reply::Refused(text)));
        }
    }

    /// Everything has ended that should.
    pub(super) fn do_planned(&mut self) {
        let Some(planned) = self.planned.take() else { return };
        self.act(Action::AnswerTo(planned.ticket, Reply::Done));
        match planned.goal {
            Goal::Detach(id) => self.take_out(id, NodeStatus::Down, DETACHED, None, FailoverReason::Operator),
            Goal::Promote(id) => self.promotion(id),
            Goal::Switchover(id) => {
                if let Some(primary) = self.primary {
                    let reason = format!("switchover to node {id}");
                    let why = FailoverReason::Operator;
                    self.take_out(primary, NodeStatus::Down, &reason, Some(id), why);
                }
            }
        }
    }

    /// A node fails while a change is planned. Returns the node that shall be promoted in its place.
    pub(super) fn overtake_planned(&mut self, failed: NodeId) -> Option<NodeId> {
        let (target, is_done, why) = match self.planned?.goal {
            Goal::Switchover(id) if self.primary == Some(failed) => {
                (Some(id), true, "the primary goes without it")
            }
            Goal::Switchover(id) | Goal::Promote(id) if id == failed => {
                (None, false, "that node goes out of use")
            }
            Goal::Detach(id) if id == failed => (None, true, "it goes out of use without it"),
            _ => return None,
        };
        if is_done && let Some(planned) = self.planned.take() {
            self.log(Level::Log, format!("{}: no longer planned, since {why}", planned.name()));
            self.act(Action::AnswerTo(planned.ticket, Reply::Done));
        }
        self.drop_planned(|_| true, why);
        target
    }

    /// The primary has changed without us.
    pub(super) fn drop_promotion(&mut self, why: &str) {
        self.drop_planned(|goal| !matches!(goal, Goal::Detach(_)), why);
    }

    pub(super) fn drop_planned(&mut self, which: impl Fn(Goal) -> bool, why: &str) {
        if let Some(planned) = self.planned.take_if(|planned| which(planned.goal)) {
            let text = format!("no longer planned, since {why}");
            self.log(Level::Log, format!("{}: {text}", planned.name()));
            self.act(Action::AnswerTo(planned.ticket, Reply::Refused(text)));
        }
    }

    /// An operator has made the node the primary, or is about to: here it only gets the role, and the others lose theirs.
    fn promotion(&mut self, id: NodeId) {
        let place = self.place(id);
        self.log(Level::Log, format!("starting promotion. promote {place}"));
        let before = Before { primary: self.primary, main: self.main() };
        let change = self.change();
        (change.before, change.is_promotion) = (Some(before), true);
        change.parts.push(Part { kind: Kind::Promotion, node: id });
        self.search = None;
        self.why = FailoverReason::Operator;
        self.set_primary(Some(id));
        self.trusted_until = Some(self.now + self.rules.search_primary_node_timeout.unwrap_or(TRUST));
    }
}
