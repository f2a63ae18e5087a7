//! The state of the manager, and what each step of it begins and ends with.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::node::{Node, Rules};
use super::planned::Planned;
use super::request::{Action, Input, Reply, Request, Ticket, Told};
use super::scripts::Scripts;
use super::search::Search;
use super::take_out::DETACHED;
use crate::error::NodeId;
use crate::log::Level;
use crate::shm::{FailoverReason, Hold, NodeStatus};
use crate::sys::process::ProcessId;

/// Decides over the nodes. See the module.
#[derive(Debug)]
pub struct Manager {
    pub(super) rules: Rules,
    pub(super) nodes: Vec<Node>,
    pub(super) primary: Option<NodeId>,
    /// A primary has been known before.
    pub(super) had_primary: bool,
    /// Why the primary was lost or replaced last.
    pub(super) why: FailoverReason,
    /// An operator has said who the primary is; until then what the node says of itself does not count.
    pub(super) trusted_until: Option<Duration>,
    /// The main node when one was there last.
    pub(super) last_main: Option<NodeId>,
    hold: Hold,
    /// What has begun and is not done.
    pub(super) change: Option<Change>,
    pub(super) search: Option<Search>,
    pub(super) planned: Option<Planned>,
    /// The ticket of who planned last.
    pub(super) last_plan: Ticket,
    pub(super) scripts: Scripts,
    /// Nodes to be attached when no script runs.
    pub(super) attaches: VecDeque<NodeId>,
    /// From when on a node may be attached by `auto_failback` again.
    pub(super) failback_from: BTreeMap<NodeId, Duration>,
    /// When it was logged last that a node must not be taken out.
    pub(super) denied: BTreeMap<NodeId, Duration>,
    /// Another program decides.
    retired: bool,
    pub(super) now: Duration,
    actions: Vec<Action>,
}

/// Changes that are worked together: what begins before the one before it is done belongs to it.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// In the order in which they began.
    pub(super) parts: Vec<Part>,
    /// The primary that this began with losing or replacing.
    pub(super) before: Option<Before>,
    /// An operator has named the new primary.
    pub(super) is_promotion: bool,
}

/// Who was what when the primary was lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub(super) primary: Option<NodeId>,
    pub(super) main: Option<NodeId>,
}

/// A node that a change is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) kind: Kind,
    pub(super) node: NodeId,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Failover,
    Failback,
    Promotion,
}

impl Manager {
    /// A manager of these nodes, with the statuses that they have; no primary is known yet.
    pub fn new(rules: Rules, nodes: Vec<Node>) -> Manager {
        let mut manager = Manager {
            rules,
            nodes,
            primary: None,
            had_primary: false,
            why: FailoverReason::Roles,
            trusted_until: None,
            last_main: None,
            hold: Hold::Nothing,
            change: None,
            search: None,
            planned: None,
            last_plan: 0,
            scripts: Scripts::default(),
            attaches: VecDeque::new(),
            failback_from: BTreeMap::new(),
            denied: BTreeMap::new(),
            retired: false,
            now: Duration::ZERO,
            actions: Vec::new(),
        };
        manager.last_main = manager.main();
        manager
    }

    /// Takes an input and says what is to be done. `now` counts from any moment and never goes back.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Action> {
        self.now = self.now.max(now);
        match input {
            Input::Asked { request, by } => {
                let answer = self.asked(request, by);
                self.act(answer.map_or_else(Action::AnswerComes, Action::Answer));
            }
            Input::Quiet => self.is_quiet(),
            Input::Behind(bytes) => self.is_behind(bytes),
            Input::ScriptEnded { script, end } => self.script_ended(script, &end),
            Input::Time => self.time_passes(),
            Input::Reload(rules, nodes) => self.reload(rules, nodes),
            Input::Told(told) => self.take(told),
            Input::Retire => self.retire(),
        }
        if !self.retired {
            self.settle();
        }
        std::mem::take(&mut self.actions)
    }

    /// When [`Input::Time`] is wanted next.
    pub fn due(&self) -> Option<Duration> {
        let search = self.search.as_ref().map(Search::due);
        let planned = self.planned.as_ref().map(Planned::due);
        [search, planned, self.scripts.due(&self.rules)].into_iter().flatten().min()
    }

    /// Whether something has begun that is not done.
    pub fn is_busy(&self) -> bool {
        self.change.is_some()
            || self.search.is_some()
            || self.planned.is_some()
            || !self.attaches.is_empty()
            || !self.scripts.are_at_rest()
    }

    /// The state of the nodes, for another program.
    pub fn told(&self) -> Told {
        let node = |node: &Node| (node.id, node.status, String::new());
        Told { nodes: self.nodes.iter().map(node).collect(), primary: self.primary, hold: self.hold }
    }

    /// The nodes, in order of their numbers.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The primary.
    pub fn primary(&self) -> Option<NodeId> {
        self.primary
    }

    /// Why the last primary is none any more.
    pub fn why(&self) -> FailoverReason {
        self.why
    }

    /// The usable node of the lowest number.
    pub fn main(&self) -> Option<NodeId> {
        self.nodes.iter().find(|node| node.is_usable()).map(|node| node.id)
    }

    /// What sessions hold back.
    pub fn hold(&self) -> Hold {
        self.hold
    }

    /// The reply, or the ticket under which it comes later.
    fn asked(&mut self, request: Request, by: ProcessId) -> Result<Reply, Ticket> {
        let last_plan = self.last_plan;
        let reply = self.reply(request, by);
        if self.last_plan == last_plan { Ok(reply) } else { Err(self.last_plan) }
    }

    fn reply(&mut self, request: Request, by: ProcessId) -> Reply {
        if self.retired {
            return Reply::Refused("this program decides nothing any more".to_owned());
        }
        match request {
            Request::Failed { node, reason, cause } => self.failed(node, &reason, cause, by),
            Request::Answers { node, streams } => self.answers(node, streams, by),
            Request::Primary { node } => self.sees_primary(node),
            Request::Detach { node, gracefully } => self.detach(node, gracefully, by),
            Request::Attach { node } => self.attach(node, by),
            Request::Promote { node, switchover, gracefully } => {
                self.promote(node, switchover, gracefully, by)
            }
            Request::Quarantine { node, reason } => self.quarantine(node, &reason),
        }
    }

    fn time_passes(&mut self) {
        self.watch_scripts();
        self.go_on_searching();
        self.planned_time_passes();
    }

    /// Goes on with what nothing holds up any more.
    fn settle(&mut self) {
        loop {
            self.run_scripts();
            if !self.scripts.is_idle() {
                break;
            }
            self.begin_planned();
            if let Some(node) = self.attaches.pop_front() {
                self.fail_back(node);
            } else if self.planned.as_ref().is_some_and(Planned::is_ready) {
                self.do_planned();
            } else {
                self.begin_searching();
                if self.search.is_some() || self.change.is_none() {
                    break;
                }
                self.finish();
            }
        }
        self.follow_on();
        let wanted = self.wanted_hold();
        if self.hold != wanted {
            self.hold = wanted;
            // Nobody may see the primary gone and nothing held back: a write would go to the main node.
            let changes =
                |action: &Action| matches!(action, Action::SetStatus { .. } | Action::SetPrimary(_));
            let first = self.actions.iter().position(changes).filter(|_| wanted != Hold::Nothing);
            self.actions.insert(first.unwrap_or(self.actions.len()), Action::SetHold(wanted));
        }
    }

    fn wanted_hold(&self) -> Hold {
        match () {
            () if self.planned.as_ref().is_some_and(Planned::holds) => Hold::Transactions,
            // Without any node there is nothing to wait with: sessions are told so.
            () if self.search.is_some() && self.main().is_some() => Hold::Writes,
            () => Hold::Nothing,
        }
    }

    fn reload(&mut self, rules: Rules, nodes: Vec<Node>) {
        self.rules = rules;
        let known = std::mem::take(&mut self.nodes);
        let mut added = Vec::new();
        for mut node in nodes {
            match known.iter().find(|known| known.id == node.id) {
                Some(known) => node.status = known.status,
                None => added.push(node.id),
            }
            self.nodes.push(node);
        }
        for id in added {
            // Nobody knows whether it belongs to the cluster yet.
            self.set_status(id, NodeStatus::Down, "added by a reload");
            self.write_status_file();
        }
    }

    /// Another program has decided; here it only comes into force.
    fn take(&mut self, told: Told) {
        let changes = self.retired && self.hold != told.hold;
        if changes && told.hold != Hold::Nothing {
            self.act(Action::SetHold(told.hold));
        }
        for (id, status, reason) in told.nodes {
            if self.node(id).is_some_and(|node| node.status != status && status != NodeStatus::Unused) {
                self.set_status(id, status, &reason);
            }
        }
        if self.primary != told.primary {
            self.set_primary(told.primary);
        }
        if changes && told.hold == Hold::Nothing {
            self.act(Action::SetHold(told.hold));
        }
        if self.retired {
            self.hold = told.hold;
        } else if told.hold == Hold::Writes {
            self.lose_primary();
        }
    }

    fn retire(&mut self) {
        self.retired = true;
        self.change = None;
        self.search = None;
        self.drop_planned(|_| true, "this program decides nothing any more");
        self.attaches.clear();
        self.scripts.drop_waiting();
    }

    pub(super) fn change(&mut self) -> &mut Change {
        self.change.get_or_insert_default()
    }

    pub(super) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    pub(super) fn place(&self, id: NodeId) -> String {
        self.node(id).map(Node::place).unwrap_or_default()
    }

    pub(super) fn set_status(&mut self, id: NodeId, status: NodeStatus, reason: &str) {
        let orderly = status == NodeStatus::Down && reason == DETACHED;
        self.change_status(id, status, reason, orderly);
    }

    /// A node goes out of use that lives: what reads there may end its work.
    pub(super) fn set_down_in_order(&mut self, id: NodeId, reason: &str) {
        self.change_status(id, NodeStatus::Down, reason, true);
    }

    fn change_status(&mut self, id: NodeId, status: NodeStatus, reason: &str, orderly: bool) {
        self.last_main = self.main().or(self.last_main);
        if let Some(node) = self.nodes.iter_mut().find(|node| node.id == id) {
            node.status = status;
            self.act(Action::SetStatus { node: id, status, reason: reason.to_owned(), orderly });
        }
    }

    pub(super) fn set_primary(&mut self, primary: Option<NodeId>) {
        self.trusted_until = None;
        self.had_primary |= primary.is_some();
        if self.primary != primary {
            self.primary = primary;
            self.act(Action::SetPrimary(primary));
        }
    }

    /// A file that says that all nodes are down would be of no use to the next start.
    pub(super) fn write_status_file(&mut self) {
        match self.main() {
            Some(_) => self.act(Action::WriteStatusFile),
            None => {
                self.log(Level::Warning, "All the DB nodes are in down status and skip writing status file.");
            }
        }
    }

    pub(super) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(super) fn log(&mut self, level: Level, text: impl Into<String>) {
        self.log_with(level, text, "");
    }

    pub(super) fn log_with(&mut self, level: Level, text: impl Into<String>, detail: &str) {
        self.act(Action::Log { level, text: text.into(), detail: detail.to_owned() });
    }
}

/// The answer about a node that does not exist.
pub(super) fn unknown(id: NodeId) -> Reply {
    Reply::Refused(format!("there is no node {id}"))
}
