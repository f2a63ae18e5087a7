//! What the answers of one round of the replication check mean: roles, delays, who is the primary.
//!
//! Pure: no socket, no clock, no shared memory. `role::replication` asks the nodes, hands their
//! answers to [`Tracker::round`] and does what comes back: probes to write, a primary to ask for, lines to log.
#![forbid(unsafe_code)]

mod delay;
mod pace;
mod position;
mod primary;
mod round;
mod row;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::config::{Backend, LogStandbyDelay};
use crate::error::NodeId;
use crate::log::{Level, Line};
use crate::shm::{NodeStatus, PgRole, Probe};

pub use delay::{Delays, note_given, parse_delays, seconds_text};
pub use pace::Pace;
pub use position::{Lsn, parse_lsn, parse_timeline};
use primary::{Choice, choose, streams_from};
pub use round::Round;

/// What one node answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// `pg_is_in_recovery()`: the node is a standby.
    pub in_recovery: bool,
    /// Before the first question was sent (microseconds of CLOCK_MONOTONIC).
    pub asked_at: u64,
    /// How far a primary has written or a standby replayed; `None` if it could not tell.
    pub lsn: Option<Lsn>,
    /// The timeline that a primary writes: each promotion begins one.
    pub timeline: Option<u32>,
    /// The standbys a primary feeds.
    pub replicas: Vec<Replica>,
    /// What a standby receives from now; `None` also where the user may not see it.
    pub upstream: Option<Upstream>,
}

/// A row of pg_stat_replication.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replica {
    pub application_name: String,
    pub state: String,
    pub sync_state: String,
    /// Null in PostgreSQL when the standby has caught up and nothing is being written.
    pub lag_micros: Option<u64>,
}

/// Whom a standby streams from, by pg_stat_wal_receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    pub host: String,
    pub port: u16,
}

/// How asking one node ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Not asked: nothing to log in with, or a clustering mode without roles.
    NotAsked,
    /// Still at it when the round closed.
    Late,
    /// No connection, no login, or no answer; the text says which.
    Failed(String),
    Answered(Answer),
}

/// A configured node, and what it replied.
#[derive(Debug, Clone)]
pub struct Asked {
    pub backend: Backend,
    pub status: NodeStatus,
    pub reply: Reply,
}

impl Asked {
    fn id(&self) -> NodeId {
        self.backend.id
    }

    fn usable(&self) -> bool {
        matches!(self.status, NodeStatus::Waiting | NodeStatus::Up)
    }

    fn answer(&self) -> Option<&Answer> {
        match &self.reply {
            Reply::Answered(answer) => Some(answer),
            _ => None,
        }
    }

    /// Says that it is a primary.
    fn claims(&self) -> bool {
        self.answer().is_some_and(|answer| !answer.in_recovery)
    }

    /// Was asked, and has said nothing.
    fn is_silent(&self) -> bool {
        matches!(self.reply, Reply::Late | Reply::Failed(_))
    }
}

/// The parameters that count here.
#[derive(Debug, Clone)]
pub struct Rules {
    pub log_standby_delay: LogStandbyDelay,
    /// `delay_threshold`, bytes; 0 is no threshold.
    pub delay_threshold: u64,
    /// `delay_threshold_by_time`, microseconds; other than 0 it takes the place of `delay_threshold`.
    pub delay_threshold_micros: u64,
    /// `detach_false_primary`.
    pub detach_false_primary: bool,
    /// With `replication_delay_source_cmd`: what that command told last, which is empty if it failed.
    pub given: Option<Delays>,
}

/// What is to be done after a round.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    pub probes: Vec<(NodeId, Probe)>,
    /// The primary, where it is another than the one everybody knows.
    pub new_primary: Option<Option<NodeId>>,
    /// Nodes that are not in use and answer; true: a standby that the primary feeds.
    pub answers: Vec<(NodeId, bool)>,
    /// Primaries that are none and must go, each with the reason.
    pub false_primaries: Vec<(NodeId, String)>,
    /// Who is the primary may change any moment, so the next look should come soon.
    pub unsettled: bool,
    pub lines: Vec<Line>,
}

/// What must be remembered from round to round, so that a fact is logged when it changes and not every time.
#[derive(Debug, Default)]
pub struct Tracker {
    primary: Option<NodeId>,
    roles: BTreeMap<NodeId, PgRole>,
    failures: BTreeMap<NodeId, String>,
    rivals: Vec<NodeId>,
    suspicion: Option<Suspicion>,
}

/// The true primary and the false ones. A node that was just demoted may have answered before that, so one round is not
/// enough to detach anybody.
#[derive(Debug)]
struct Suspicion {
    truth: NodeId,
    false_ones: Vec<NodeId>,
    /// Rounds that have seen it so.
    rounds: u32,
}

impl Tracker {
    /// Reads a round. `current` is the primary that all processes know now.
    pub fn round(&mut self, asked: &[Asked], current: Option<NodeId>, rules: &Rules, now: u64) -> Findings {
        let mut findings = Findings::default();
        let mut choice = choose(asked, current);
        if rules.detach_false_primary {
            self.detach(&mut choice, asked, &mut findings);
        }
        self.note_failures(asked, &mut findings.lines);
        self.note_roles(asked, &choice, &mut findings.lines);
        self.note_rivals(&choice, rules, &mut findings.lines);
        findings.probes =
            asked.iter().map(|node| (node.id(), row::probe(node, asked, &choice, rules, now))).collect();
        delay::note_asked(&findings.probes, choice.primary, rules, &mut findings.lines);
        findings.answers = answers(asked, choice.primary);
        findings.unsettled |= choice.is_unsettled(asked);
        if choice.primary != current {
            findings.new_primary = Some(choice.primary);
        }
        findings
    }

    /// `detach_false_primary`: the true primary is the one that all standbys follow; without standbys it is the chosen
    /// one. Where nobody can tell, nothing happens.
    fn detach(&mut self, choice: &mut Choice, asked: &[Asked], findings: &mut Findings) {
        /// The supervisor may be busy, or refuse: it is asked again now and then.
        const AGAIN: u32 = 10;
        let before = self.suspicion.take();
        let Some((truth, false_ones)) = choice.verdict(asked) else { return };
        findings.unsettled = true;
        let same = before.filter(|before| before.truth == truth && before.false_ones == false_ones);
        let rounds = same.map_or(1, |before| before.rounds.saturating_add(1));
        self.suspicion = Some(Suspicion { truth, false_ones: false_ones.clone(), rounds });
        if rounds % AGAIN != 2 {
            return;
        }
        let why = match choice.owner {
            Some(_) => format!("all standbys follow node {truth}"),
            None => format!("node {truth} is the primary, and there are no standbys to tell otherwise"),
        };
        for id in false_ones {
            let (own, all) = primary::standbys_of(id, asked);
            let text = match choice.owner {
                Some(_) => format!("primary {id} owns only {own} standbys out of {all}"),
                None => format!("node {id} is a false primary"),
            };
            let line = Line::new(Level::Log, format!("verify_backend_node_status: {text}"));
            findings.lines.push(line.detail(format!("Node {truth} is the true primary: {why}.")));
            findings.false_primaries.push((id, format!("false primary: {why}")));
        }
        choice.rivals.retain(|id| *id != truth);
        choice.rivals.extend(choice.primary.filter(|id| *id != truth));
        choice.primary = Some(truth);
    }

    /// A node that stops answering is said once, and again only with another reason.
    fn note_failures(&mut self, asked: &[Asked], lines: &mut Vec<Line>) {
        for node in asked {
            match &node.reply {
                Reply::Failed(reason) if self.failures.get(&node.id()) != Some(reason) => {
                    let text = format!("replication check of node {}: {reason}", node.id());
                    lines.push(Line::new(Level::Log, text));
                    self.failures.insert(node.id(), reason.clone());
                }
                Reply::Answered(_) => drop(self.failures.remove(&node.id())),
                _ => (),
            }
        }
    }

    fn note_roles(&mut self, asked: &[Asked], choice: &Choice, lines: &mut Vec<Line>) {
        let known = self.primary;
        let why = |id: NodeId| {
            let of = asked.iter().find(|node| node.id() == id);
            of.map(|node| format!("node {id} {}", row::why(node, asked, choice)))
        };
        // Of the one that was the primary, and of the one that is.
        let because = |text: String, now: Option<NodeId>| {
            let old = known.filter(|id| Some(*id) != now);
            let both: Vec<String> = old.into_iter().chain(now).filter_map(why).collect();
            let line = Line::new(Level::Log, text);
            if both.is_empty() { line } else { line.detail(both.join("; ")) }
        };
        // One that is kept although it does not answer was not found.
        let found = |id| !asked.iter().any(|node| node.id() == id && choice.is_kept_unseen(node));
        match choice.primary {
            Some(id) if choice.primary != self.primary && found(id) => {
                lines.push(because(format!("find_primary_node: primary node is {id}"), choice.primary));
                self.primary = choice.primary;
            }
            None if self.primary.is_some() => {
                lines.push(because("find_primary_node: no primary node found".to_owned(), None));
                self.primary = None;
            }
            _ => (),
        }
        for node in asked.iter().filter(|node| node.answer().is_some()) {
            let role = row::role(node);
            let known = self.roles.insert(node.id(), role);
            if role == PgRole::Standby && known != Some(role) {
                let text = format!("find_primary_node: standby node is {}", node.id());
                lines.push(Line::new(Level::Log, text));
            }
        }
    }

    fn note_rivals(&mut self, choice: &Choice, rules: &Rules, lines: &mut Vec<Line>) {
        if let Some(primary) = choice.primary
            && self.rivals != choice.rivals
        {
            for rival in &choice.rivals {
                let text = format!(
                    "node {rival} says it is a primary, and so does node {primary}: keeping node {primary}"
                );
                let line = Line::new(Level::Warning, text).detail(format!(
                    "{} Nothing is read from node {rival} or from who follows it.",
                    choice.who_is_followed()
                ));
                lines.push(match rules.detach_false_primary {
                    true => line,
                    false => line.hint("Stop the wrong one, or set detach_false_primary."),
                });
            }
        }
        self.rivals.clone_from(&choice.rivals);
    }
}

/// Nodes that are not in use and answer.
fn answers(asked: &[Asked], primary: Option<NodeId>) -> Vec<(NodeId, bool)> {
    let waits = |node: &&Asked| matches!(node.status, NodeStatus::Down | NodeStatus::Waiting);
    let answering = asked.iter().filter(waits).filter(|node| node.answer().is_some());
    let primary = asked.iter().find(|node| Some(node.id()) == primary);
    let streams = |node: &Asked| primary.is_some_and(|primary| streams_from(node, primary));
    answering.map(|node| (node.id(), streams(node))).collect()
}
