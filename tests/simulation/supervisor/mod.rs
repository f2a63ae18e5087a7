//! The supervisor without processes: the real manager decides, and what it decides is written into the real segment,
//! where the workers see it. Scripts and the processes that watch the nodes are simulated beside it.

mod checks;
mod scripts;

use std::time::Duration;

use pgbalancer::cluster::failover::{Action, CatchUp, Cause, Input, Manager, Node, Reply, Request, Rules};
use pgbalancer::cluster::view::ClusterView;
use pgbalancer::config::Config;
use pgbalancer::error::NodeId;
use pgbalancer::session::Errand;
use pgbalancer::shm::{Hold, NodeStatus};

use super::dice::Dice;
use super::event::Event;
use super::sabotage::Sabotage;
use super::schedule::{MILLISECOND, Micros, SECOND};
use super::world::World;
use checks::Checks;
use scripts::Scripts;

/// Process that every request is said to come from.
const BY: i32 = 7;

/// How often the sessions are looked at that a planned change waits for, as in the supervisor.
const GLANCE: Micros = 10 * MILLISECOND;

/// The supervisor and what it has started.
pub(super) struct Supervisor {
    manager: Manager,
    checks: Checks,
    scripts: Scripts,
    /// For when the manager's time is planned.
    planned: Option<Micros>,
    /// Since when the primary is what it is.
    pub(super) primary_since: Micros,
    /// Whether no node is in use, and when that was so last.
    is_none: bool,
    none_at: Option<Micros>,
    /// Since the sessions were seen to be quiet.
    catch_up: Option<CatchUp>,
    dice: Dice,
}

impl Supervisor {
    pub(super) fn new(config: &Config, mut dice: Dice) -> Supervisor {
        let nodes = Node::configured(config, |_| NodeStatus::Up);
        Supervisor {
            manager: Manager::new(Rules::configured(config), nodes),
            checks: Checks::new(config),
            scripts: Scripts::new(dice.split()),
            planned: None,
            primary_since: 0,
            is_none: false,
            none_at: None,
            catch_up: None,
            dice,
        }
    }
}

impl World {
    /// Somebody asks the supervisor for something.
    pub(super) fn ask(&mut self, request: Request) -> Reply {
        self.trace.note(self.now(), || format!("supervisor is asked: {request:?}"));
        self.manage(Input::Asked { request, by: BY }).unwrap_or(Reply::Done)
    }

    /// What a worker asks for; the datagram takes a moment.
    pub(super) fn errands(&mut self, errands: Vec<Errand>) {
        for errand in errands {
            if matches!(errand, Errand::RolesDoubted) {
                self.trace.note(self.now(), || "a worker doubts the roles".to_owned());
                self.supervisor.checks.look();
                self.plan_check(MILLISECOND);
            }
            if let Errand::Unreachable { node, reason, cause } = errand {
                self.trace.note(self.now(), || format!("a worker says that node {node} failed: {reason}"));
                let delay = self.supervisor.dice.between(10, MILLISECOND);
                let is_shutdown = cause == Cause::Shutdown;
                self.network.schedule.after(delay, Event::Failed(node, is_shutdown));
            }
        }
    }

    /// A step of the manager, and what it wants done.
    pub(super) fn manage(&mut self, input: Input) -> Option<Reply> {
        let now = Duration::from_micros(self.now());
        let actions = self.supervisor.manager.step(now, input);
        let mut reply = None;
        let changes = actions.iter().any(|action| {
            matches!(action, Action::SetStatus { .. } | Action::SetPrimary(_) | Action::SetHold(_))
        });
        for action in actions {
            if let Action::Answer(answer) = action {
                reply = Some(answer);
            } else {
                self.act(action);
            }
        }
        if changes {
            let delay = self.supervisor.dice.between(10, MILLISECOND);
            self.network.schedule.after(delay, Event::Told);
        }
        self.note_none();
        self.check_roles();
        self.plan_manager();
        reply
    }

    fn act(&mut self, action: Action) {
        let now = self.now();
        let seconds = now / SECOND;
        match action {
            Action::Log { level, text, detail } => {
                self.trace.note(now, || format!("supervisor: {}: {text} {detail}", level.name()));
            }
            Action::SetStatus { node, status, reason, orderly } => {
                self.trace.note(now, || format!("supervisor: node {node} is {status:?}: {reason}"));
                if orderly {
                    self.segment.set_detached(node, &reason, seconds);
                } else {
                    self.segment.set_status(node, status, &reason, seconds);
                }
                self.losses.push(now);
            }
            Action::SetPrimary(primary) => {
                self.trace.note(now, || format!("supervisor: primary is {primary:?}"));
                self.segment.set_primary(primary, seconds);
                self.supervisor.primary_since = now;
            }
            Action::SetHold(hold) => {
                self.trace.note(now, || format!("supervisor: sessions hold back {hold:?}"));
                self.segment.set_hold(hold);
                self.supervisor.catch_up = None;
                if hold == Hold::Transactions {
                    self.network.schedule.after(GLANCE, Event::Glance);
                }
            }
            Action::Run(script) => self.run_script(script),
            Action::End(id) => self.end_script(id),
            Action::Look => {
                self.supervisor.checks.look();
                self.plan_check(MILLISECOND);
            }
            Action::WriteStatusFile | Action::Answer(_) | Action::AnswerComes(_) | Action::AnswerTo(..) => {}
        }
    }

    /// While no node is in use, clients are told so at once.
    fn note_none(&mut self) {
        let view = ClusterView::of(&self.segment, &self.config);
        let is_none = view.nodes.iter().all(|node| !node.usable);
        if std::mem::replace(&mut self.supervisor.is_none, is_none) || is_none {
            self.supervisor.none_at = Some(self.now());
        }
    }

    /// What must hold whatever happens.
    fn check_roles(&mut self) {
        let primary = self.segment.primary();
        if let Some(node) = primary
            && !matches!(self.segment.node(node).status, NodeStatus::Up | NodeStatus::Waiting)
        {
            self.fail(format!("the primary is node {node}, which is {:?}", self.segment.node(node).status));
        }
        if self.segment.hold().0 == Hold::Writes && primary.is_some() {
            self.fail(format!("writes wait for a primary, and it is {primary:?}"));
        }
    }

    fn plan_manager(&mut self) {
        let Some(due) = self.supervisor.manager.due() else { return };
        let due = due.as_micros() as Micros;
        if self.supervisor.planned.is_none_or(|planned| planned > due) {
            self.supervisor.planned = Some(due);
            self.network.schedule.after(due.saturating_sub(self.now()), Event::Due);
        }
    }

    /// The manager's time may have come.
    pub(super) fn due(&mut self) {
        let now = Duration::from_micros(self.now());
        self.supervisor.planned = None;
        if self.supervisor.manager.due().is_some_and(|due| due <= now) {
            self.manage(Input::Time);
        }
        self.plan_manager();
    }

    /// Whether no node was in use at some time since then.
    pub(super) fn was_none(&self, since: Micros) -> bool {
        self.supervisor.is_none || self.supervisor.none_at.is_some_and(|at| at >= since)
    }

    /// Once a second: what the supervisor looks at by itself.
    pub(super) fn supervise(&mut self) {
        self.spoil_roles();
        if self.is_calm() {
            self.operate();
        }
        self.network.schedule.after(SECOND / 2, Event::Supervise);
    }

    /// Faults on purpose in what the workers see of the nodes.
    fn spoil_roles(&mut self) {
        let another = (self.cluster.leader + 1) % self.cluster.nodes.len();
        match self.sabotage {
            Some(Sabotage::WrongPrimary) => self.segment.set_primary(Some(another), 0),
            Some(Sabotage::ForgottenNode) => self.segment.set_status(another, NodeStatus::Down, "", 0),
            _ => {}
        }
    }

    /// Whether all workers say that nothing is under way any more that began before the hold, and how far the standby is
    /// behind that is to be promoted then.
    pub(super) fn watch_planned(&mut self) {
        let (hold, number) = self.segment.hold();
        if hold != Hold::Transactions {
            return;
        }
        let mut workers = 0..self.scenario.workers;
        if workers.all(|worker| self.segment.quiet(worker) >= number) && self.supervisor.catch_up.is_none() {
            self.trace.note(self.now(), || "all workers are quiet".to_owned());
            self.supervisor.catch_up = Some(CatchUp::since(self.now()));
            self.saw("sessions are quiet for a switchover");
            self.manage(Input::Quiet);
        }
        if let Some(bytes) = self.bytes_behind() {
            self.manage(Input::Behind(Some(bytes)));
        }
        self.network.schedule.after(GLANCE, Event::Glance);
    }

    /// What the standby has not replayed of what the primary had written when all was quiet.
    fn bytes_behind(&mut self) -> Option<u64> {
        let (standby, primary) = (self.supervisor.manager.watched()?, self.supervisor.manager.primary()?);
        let probe = |id| self.segment.node(id).probe;
        self.supervisor.catch_up.as_mut()?.bytes_behind(&probe(primary), &probe(standby))
    }

    /// An operator attaches what is well and out of use.
    fn operate(&mut self) {
        self.end_hanging();
        for node in 0..self.cluster.nodes.len() {
            if self.belongs(node) && self.segment.node(node).status == NodeStatus::Down {
                self.ask(Request::Attach { node });
            }
        }
    }

    /// Whether a node is well, and the primary or a standby of it.
    pub(super) fn belongs(&self, node: NodeId) -> bool {
        let leader = self.cluster.leader;
        let it = &self.cluster.nodes[node];
        it.is_well() && (node == leader || it.upstream == Some(leader))
    }

    /// A worker has told of a node that failed.
    pub(super) fn failed(&mut self, node: NodeId, is_shutdown: bool) {
        let cause = if is_shutdown { Cause::Shutdown } else { Cause::Session };
        self.ask(Request::Failed { node, reason: "a session could not use it".to_owned(), cause });
    }
}
