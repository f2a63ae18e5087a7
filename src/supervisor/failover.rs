//! The hands of `cluster::failover::Manager`: requests and time go to it, what it decides is done here.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::owed::Outcome;
use super::request::{Answer, Incoming, Order, tell};
use super::run::Supervisor;
use super::script::Scripts;
use super::start::Launch;
use super::status_file::StatusFile;
use super::upgrade::Service;
use crate::cluster::failover::{self, Action, CatchUp, Input, Manager, Node, Reply, Rules, ScriptEnd};
use crate::config::Config;
use crate::log::Line;
use crate::shm::{Hold, Segment};
use crate::sys::clock;
use crate::sys::process::{Ending, ProcessId};

/// How often the sessions are looked at that a planned change waits for. Clients wait for it, too.
const GLANCE: Duration = Duration::from_millis(10);

/// The manager and what it needs.
pub(super) struct Failover {
    pub(super) manager: Manager,
    pub(super) scripts: Scripts,
    status_file: StatusFile,
    /// The zero of the manager's time.
    born: Instant,
    /// Since the sessions were seen to be quiet.
    catch_up: Option<CatchUp>,
}

impl Failover {
    /// Of nodes whose status stands in the segment.
    pub(super) fn new(config: &Config, launch: &Launch, segment: &Segment) -> Failover {
        let nodes = Node::configured(config, |id| segment.node(id).status);
        Failover {
            manager: Manager::new(Rules::configured(config), nodes),
            scripts: Scripts::default(),
            status_file: StatusFile::new(config, launch),
            born: Instant::now(),
            catch_up: None,
        }
    }

    /// When something is to be done again.
    pub(super) fn due(&self) -> Option<Instant> {
        let manager = self.manager.due().map(|due| self.born + due);
        let now = Instant::now();
        let glance = (self.manager.hold() == Hold::Transactions).then(|| now + GLANCE);
        [manager, glance, self.scripts.due(now)].into_iter().flatten().min()
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Answer {
        match reply {
            Reply::Done => Answer::Done,
            Reply::Refused(why) => Answer::Refused(why),
        }
    }
}

impl Supervisor {
    /// Asks the manager, or the program whose word counts meanwhile.
    pub(super) fn ask_manager(&mut self, request: failover::Request, by: ProcessId) -> Outcome {
        match self.service {
            Service::Held => {}
            // What the nodes are does not depend on who decides what becomes of them.
            Service::Awaited => match request {
                failover::Request::Primary { .. } => {}
                _ => {
                    let why = "the program that this one takes over from decides";
                    return Outcome::Answered(Answer::Refused(why.to_owned()));
                }
            },
            Service::Passed => return Outcome::Answered(self.pass_to_successor(request, by)),
        }
        let promoted = match &request {
            failover::Request::Promote { node, .. } => Some(*node),
            _ => None,
        };
        let outcome = self.manage(Input::Asked { request, by }).unwrap_or(Outcome::Answered(Answer::Done));
        if let (Some(node), false) = (promoted, matches!(outcome, Outcome::Answered(Answer::Refused(_)))) {
            self.note_promotion(node);
        }
        outcome
    }

    /// Gives the manager an input and does what it says; returns what there is to be said, if that was a question.
    pub(super) fn manage(&mut self, input: Input) -> Option<Outcome> {
        let now = self.failover.born.elapsed();
        let actions = self.failover.manager.step(now, input);
        self.carry_out(actions)
    }

    fn carry_out(&mut self, actions: Vec<Action>) -> Option<Outcome> {
        let (mut outcome, mut not_started) = (None, Vec::new());
        let mut told = self.segment.generation();
        for action in actions {
            // These may take a moment, and sessions wait.
            if matches!(action, Action::WriteStatusFile | Action::Run(_)) {
                self.tell_of_changes(&mut told);
            }
            match action {
                Action::Log { level, text, detail } if detail.is_empty() => Line::new(level, text).emit(),
                Action::Log { level, text, detail } => Line::new(level, text).detail(detail).emit(),
                Action::SetStatus { node, status, reason, orderly } => {
                    self.set_status(node, status, &reason, orderly);
                }
                Action::SetPrimary(primary) => self.set_primary(primary),
                Action::SetHold(hold) => {
                    self.failover.catch_up = None;
                    self.segment.set_hold(hold);
                }
                Action::WriteStatusFile => self.write_status_file(),
                Action::Run(script) => {
                    if let Err(error) = self.failover.scripts.start(&script) {
                        let end = ScriptEnd::NotStarted(error.to_string());
                        not_started.push(Input::ScriptEnded { script: script.id, end });
                    }
                }
                Action::End(script) => self.failover.scripts.end(script, Instant::now()),
                Action::Look => self.order_replication_check(),
                Action::Answer(reply) => outcome = Some(Outcome::Answered(reply.into())),
                Action::AnswerComes(ticket) => outcome = Some(Outcome::Comes(ticket)),
                Action::AnswerTo(ticket, reply) => self.answer_comes(ticket, &reply.into()),
            }
        }
        self.tell_of_changes(&mut told);
        for input in not_started {
            self.manage(input);
        }
        outcome
    }

    /// Another program that decides writes the file itself.
    pub(super) fn write_status_file(&self) {
        if self.service == Service::Held {
            let nodes = self.failover.manager.nodes().iter().map(|node| (node.id, node.status));
            self.failover.status_file.write(nodes);
        }
    }

    /// Sessions may wait for what has changed since they were told, and the sessions of an older program, too.
    pub(super) fn tell_of_changes(&self, told: &mut u64) {
        let generation = self.segment.generation();
        if *told == generation {
            return;
        }
        *told = generation;
        for (_, child) in self.tree.servers() {
            if let Some(socket) = &child.socket {
                // One whose queue is full is awake, and looks by itself.
                let _ = tell(socket, &Incoming::Order(Order::LookAtCluster));
            }
        }
        self.tell_predecessor();
    }

    /// Once a turn: time for the manager, what scripts say, and whether sessions are quiet.
    pub(super) fn tend_failover(&mut self) {
        let now = Instant::now();
        self.failover.scripts.tend(now);
        if self.failover.manager.due().is_some_and(|due| due <= self.failover.born.elapsed()) {
            self.manage(Input::Time);
        }
        if let (Hold::Transactions, number) = self.segment.hold() {
            self.watch_planned(self.are_quiet(number));
        }
    }

    fn watch_planned(&mut self, are_quiet: bool) {
        if self.service == Service::Passed {
            if are_quiet {
                self.tell_successor_of_quiet();
            }
            return;
        }
        if are_quiet && self.failover.catch_up.is_none() {
            self.failover.catch_up = Some(CatchUp::since(clock::monotonic_micros()));
            self.manage(Input::Quiet);
        }
        if let Some(bytes) = self.bytes_behind() {
            self.manage(Input::Behind(Some(bytes)));
        }
    }

    /// Nothing is left in any living worker that began before this hold, nor in an older program.
    fn are_quiet(&self, number: u64) -> bool {
        let mut workers = self.tree.servers();
        workers.all(|(worker, _)| self.segment.quiet(worker) >= number) && self.predecessor_is_quiet(number)
    }

    /// What the standby that is to be promoted has not replayed of what sessions wrote before they were quiet.
    fn bytes_behind(&mut self) -> Option<u64> {
        let (standby, primary) = (self.failover.manager.watched()?, self.failover.manager.primary()?);
        let probe = |id| self.segment.node(id).probe;
        self.failover.catch_up.as_mut()?.bytes_behind(&probe(primary), &probe(standby))
    }

    /// The end of the program is near: nothing begins any more, and scripts are told to end.
    pub(super) fn end_failover(&mut self) {
        self.manage(Input::Retire);
        self.failover.scripts.end_all(Instant::now());
    }

    /// Whether this child that has ended was a script.
    pub(super) fn script_reaped(&mut self, pid: ProcessId, ending: Ending) -> bool {
        let Some((script, end)) = self.failover.scripts.reaped(pid, ending) else { return false };
        self.manage(Input::ScriptEnded { script, end });
        true
    }

    /// The configuration was read again.
    pub(super) fn reload_failover(&mut self) {
        let nodes = Node::configured(&self.config, |id| self.segment.node(id).status);
        self.manage(Input::Reload(Rules::configured(&self.config), nodes));
    }
}
