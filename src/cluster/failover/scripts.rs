//! Scripts that run and wait to run. One at a time; one that hangs is spoken of, and in the end left alone.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::Duration;

use super::command::{Told, expand};
use super::manager::{Before, Manager};
use super::node::{Node, Rules};
use super::request::{Action, Command, Script, ScriptEnd, ScriptId};
use crate::error::NodeId;
use crate::log::Level;

/// How often the log says that a script still runs.
const SPEAK_EVERY: Duration = Duration::from_secs(10);

/// How long others wait for a script where `search_primary_node_timeout` is without limit.
const PATIENCE: Duration = Duration::from_secs(300);

/// Scripts that nobody waits for any more; the oldest of more is ended.
const MOST_LEFT: usize = 8;

/// Scripts, by what waits for them.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    last: ScriptId,
    waiting: VecDeque<Job>,
    running: Option<Run>,
    /// They hang, and others have gone on.
    left: Vec<Run>,
    pub(super) follow: Option<Follow>,
    pub(super) following: Option<Run>,
}

/// A script to be run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) command: Command,
    pub(super) node: NodeId,
    /// Before the change: the main node and the primary.
    pub(super) main: Option<NodeId>,
    pub(super) primary: Option<NodeId>,
    /// Stands for the main node after the change.
    pub(super) target: Option<NodeId>,
}

/// Nodes that are to follow a new primary.
#[derive(Debug)]
pub(super) struct Follow {
    pub(super) nodes: VecDeque<NodeId>,
    pub(super) primary: NodeId,
    pub(super) before: Before,
    pub(super) has_begun: bool,
}

/// A script that runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    id: ScriptId,
    command: Command,
    node: NodeId,
    since: Duration,
    next_word: Duration,
}

impl Run {
    fn name(&self) -> String {
        format!("{} for node {}", self.command.name(), self.node)
    }

    /// What the log says of it by now.
    fn word(&mut self, now: Duration) -> Option<String> {
        if self.next_word > now {
            return None;
        }
        self.next_word = now + SPEAK_EVERY;
        Some(format!("{} still runs after {} s", self.name(), now.saturating_sub(self.since).as_secs()))
    }
}

impl Scripts {
    /// No script runs that others wait for, and none waits.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none() && self.waiting.is_empty()
    }

    /// `follow_primary_command` is at work.
    pub(super) fn is_following(&self) -> bool {
        self.follow.is_some() || self.following.is_some()
    }

    pub(super) fn are_at_rest(&self) -> bool {
        self.is_idle() && !self.is_following()
    }

    pub(super) fn add(&mut self, job: Job) {
        self.waiting.push_back(job);
    }

    pub(super) fn drop_waiting(&mut self) {
        self.waiting.clear();
        self.follow = None;
    }

    pub(super) fn due(&self, rules: &Rules) -> Option<Duration> {
        let words = self.running.iter().chain(&self.following).chain(&self.left).map(|run| run.next_word);
        let patience = self.running.as_ref().map(|run| run.since + patience(rules));
        words.chain(patience).min()
    }
}

/// A new primary is looked for as long again when the script has been given up.
fn patience(rules: &Rules) -> Duration {
    rules.search_primary_node_timeout.unwrap_or(PATIENCE)
}

impl Manager {
    /// Starts the next script, if it is its turn.
    pub(super) fn run_scripts(&mut self) {
        while self.scripts.running.is_none() {
            let Some(job) = self.scripts.waiting.pop_front() else { return };
            let template = match job.command {
                Command::Failback => self.rules.failback_command.clone(),
                _ => self.rules.failover_command.clone(),
            };
            if template.is_empty() {
                continue;
            }
            let target = job.target.filter(|id| self.node(*id).is_some_and(Node::is_usable));
            let Some(told) = self.told_of(job, target.or_else(|| self.main())) else { continue };
            let line = expand(&template, &told);
            self.scripts.running = Some(self.start(job.command, job.node, line));
        }
    }

    pub(super) fn run_follow(&mut self, id: NodeId) {
        let Some(Follow { primary, before, .. }) = self.scripts.follow else { return };
        let job = Job {
            command: Command::FollowPrimary,
            node: id,
            main: before.main,
            primary: before.primary,
            target: None,
        };
        let Some(told) = self.told_of(job, Some(primary)) else { return };
        let line = expand(&self.rules.follow_primary_command, &told);
        self.scripts.following = Some(self.start(Command::FollowPrimary, id, line));
    }

    fn told_of(&self, job: Job, new_main: Option<NodeId>) -> Option<Told<'_>> {
        Some(Told {
            node: self.node(job.node)?,
            new_main: new_main.and_then(|id| self.node(id)),
            old_main: job.main,
            old_primary: job.primary.and_then(|id| self.node(id)),
        })
    }

    fn start(&mut self, command: Command, node: NodeId, line: String) -> Run {
        self.scripts.last += 1;
        let id = self.scripts.last;
        self.log(Level::Log, format!("execute command: {line}"));
        self.act(Action::Run(Script { id, command, node, line }));
        Run { id, command, node, since: self.now, next_word: self.now + SPEAK_EVERY }
    }

    pub(super) fn script_ended(&mut self, id: ScriptId, end: &ScriptEnd) {
        let is_it = |run: &mut Run| run.id == id;
        let scripts = &mut self.scripts;
        let run = scripts.running.take_if(is_it).or_else(|| scripts.following.take_if(is_it));
        let run = run.or_else(|| {
            let at = scripts.left.iter().position(|run| run.id == id)?;
            Some(scripts.left.remove(at))
        });
        let Some(run) = run else { return };
        let (name, took) = (run.name(), self.now.saturating_sub(run.since).as_secs_f64());
        match end {
            ScriptEnd::Exited(0) => {
                self.log(Level::Log, format!("{name} has ended well after {took:.1} s"));
            }
            ScriptEnd::Exited(status) => {
                self.log(Level::Warning, format!("{name} failed: exit status {status} after {took:.1} s"));
            }
            ScriptEnd::Killed(signal) => {
                self.log(Level::Warning, format!("{name} was ended by signal {signal} after {took:.1} s"));
            }
            ScriptEnd::NotStarted(why) => {
                self.log(Level::Warning, format!("{name} could not be started: {why}"))
            }
        }
        // The script may have made a node the primary.
        if self.search.is_some() {
            self.act(Action::Look);
        }
    }

    pub(super) fn watch_scripts(&mut self) {
        let now = self.now;
        let scripts = &mut self.scripts;
        let runs = scripts.running.iter_mut().chain(&mut scripts.following).chain(&mut scripts.left);
        let words: Vec<String> = runs.filter_map(|run| run.word(now)).collect();
        for word in words {
            self.log(Level::Log, word);
        }
        let limit = patience(&self.rules);
        if let Some(run) = self.scripts.running.take_if(|run| now.saturating_sub(run.since) >= limit) {
            let text =
                format!("{} has not ended after {} s: nobody waits for it", run.name(), limit.as_secs());
            self.log(Level::Warning, text);
            self.leave(run);
        }
    }

    /// The nodes followed another primary than the present one.
    pub(super) fn stop_following(&mut self) {
        self.scripts.follow = None;
        if let Some(run) = self.scripts.following.take() {
            self.log(Level::Log, format!("{} is ended: the primary has changed again", run.name()));
            self.act(Action::End(run.id));
            self.leave(run);
        }
    }

    fn leave(&mut self, run: Run) {
        if self.scripts.left.len() >= MOST_LEFT {
            let oldest = self.scripts.left.remove(0);
            self.log(Level::Warning, format!("{} is ended: too many scripts hang", oldest.name()));
            self.act(Action::End(oldest.id));
        }
        self.scripts.left.push(run);
    }
}
