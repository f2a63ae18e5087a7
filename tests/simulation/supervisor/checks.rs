//! The processes that watch the nodes, without sockets: what they ask is answered by the model after a while; when they
//! ask and what the answers mean is decided by the real code.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pgbalancer::cluster::failover::{Cause, Request};
use pgbalancer::cluster::health::{self, Checker, Moment, Outcome, Report, Step};
use pgbalancer::cluster::probe::{
    Answer, Asked, Findings, Pace, Replica, Reply, Round, Rules, Tracker, Upstream,
};
use pgbalancer::config::{Backend, Config, LogStandbyDelay};
use pgbalancer::error::NodeId;
use pgbalancer::shm::{HealthRow, Hold, NodeStatus};

use super::super::event::Event;
use super::super::network::FIRST_PORT;
use super::super::postgres::Node;
use super::super::schedule::{MILLISECOND, Micros, SECOND};
use super::super::world::World;

/// As `role::replication` has it: time between two rounds, and how often a process that waits looks around.
const LEAST: Duration = Duration::from_millis(50);
const LOOK: Micros = 200 * MILLISECOND;

/// The replication check, and the health check of each node.
pub(in super::super) struct Checks {
    tracker: Tracker,
    pace: Pace,
    round: Option<Round>,
    begun: Option<Instant>,
    wanted: bool,
    statuses: Vec<NodeStatus>,
    /// Nodes that are being asked, since when; and those that failed last, with the reason.
    asked: BTreeMap<NodeId, Micros>,
    failing: BTreeMap<NodeId, String>,
    checkers: Vec<Checker>,
    backends: Vec<Backend>,
    period: Duration,
    rules: Rules,
    health_rules: Vec<health::Rules>,
    /// How long a connection, and a whole check of the health, may take.
    patience: Micros,
    health_patience: Micros,
    /// The turn that is planned; others are void.
    turn: u64,
}

impl Checks {
    pub(super) fn new(config: &Config) -> Checks {
        let backends = config.backends();
        let millis = |value: i64| value.unsigned_abs() * MILLISECOND;
        Checks {
            tracker: Tracker::default(),
            pace: Pace::default(),
            round: None,
            begun: None,
            wanted: true,
            statuses: Vec::new(),
            asked: BTreeMap::new(),
            failing: BTreeMap::new(),
            checkers: backends.iter().map(|backend| Checker::new(backend.id, HealthRow::default())).collect(),
            health_rules: backends.iter().map(|backend| health::Rules::configured(config, backend)).collect(),
            backends,
            period: Duration::from_secs(config.sr_check_period.unsigned_abs()),
            rules: Rules {
                log_standby_delay: LogStandbyDelay::None,
                delay_threshold: 0,
                delay_threshold_micros: 0,
                detach_false_primary: config.detach_false_primary,
                given: None,
            },
            patience: millis(*config.connect_timeout.get(0)),
            health_patience: config.health_check_timeout.get(0).unsigned_abs() * SECOND,
            turn: 0,
        }
    }

    /// A round is wanted at once.
    pub(super) fn look(&mut self) {
        self.wanted = true;
    }

    fn next(&self, held: bool, now: Instant) -> Instant {
        let Some(begun) = self.begun else { return now };
        begun + if self.wanted { LEAST } else { self.pace.interval(self.period, held, now) }
    }
}

impl World {
    /// A turn of the replication check that was planned.
    pub(in super::super) fn check_turn(&mut self, turn: u64) {
        if turn == self.supervisor.checks.turn {
            self.check();
        }
    }

    /// A turn of the replication check.
    pub(super) fn check(&mut self) {
        let now = self.instant();
        let held = self.segment.hold().0 == Hold::Writes;
        let statuses: Vec<NodeStatus> = (0..self.scenario.nodes).map(|node| self.status(node)).collect();
        let has_primary = self.segment.primary().is_some();
        let checks = &mut self.supervisor.checks;
        if let Some(round) = checks.round.as_mut().filter(|_| !has_primary) {
            round.hurry(now);
        }
        if checks.round.as_ref().is_some_and(|round| round.is_over(now)) {
            self.close_round(now);
        }
        let checks = &mut self.supervisor.checks;
        checks.wanted |= statuses != checks.statuses;
        if checks.round.is_none() && now >= checks.next(held, now) {
            (checks.begun, checks.wanted) = (Some(now), false);
            checks.statuses = statuses;
            self.begin_round(now);
        }
        let checks = &self.supervisor.checks;
        let due = checks.round.as_ref().map_or_else(|| checks.next(held, now), Round::closes);
        let sleep = (due.saturating_duration_since(now).as_micros() as Micros).clamp(1, LOOK);
        self.plan_check(sleep);
    }

    pub(in super::super) fn plan_check(&mut self, sleep: Micros) {
        self.supervisor.checks.turn += 1;
        self.network.schedule.after(sleep, Event::Check(self.supervisor.checks.turn));
    }

    fn begin_round(&mut self, now: Instant) {
        let checks = &mut self.supervisor.checks;
        let mut round = Round::new(checks.backends.clone(), now);
        for node in 0..self.scenario.nodes {
            let is_busy = checks.asked.contains_key(&node);
            round.asked(node, !is_busy && !checks.failing.contains_key(&node));
            if !is_busy {
                checks.asked.insert(node, self.network.schedule.now);
                let delay = self.dice.between(self.scenario.latency, self.scenario.latency * 6);
                self.network.schedule.after(delay, Event::Answers(node));
            }
        }
        checks.round = Some(round);
    }

    /// A node answers the replication check, or does not.
    pub(in super::super) fn answers(&mut self, node: NodeId) {
        let now = self.now();
        let Some(since) = self.supervisor.checks.asked.get(&node).copied() else { return };
        let Some(reached) = self.reached(node, now - since, self.supervisor.checks.patience) else {
            return self.network.schedule.after(200 * MILLISECOND, Event::Answers(node));
        };
        let reply = match reached {
            Ok(()) => Reply::Answered(self.answer(node, since)),
            Err(reason) => Reply::Failed(reason.to_owned()),
        };
        let checks = &mut self.supervisor.checks;
        checks.asked.remove(&node);
        match &reply {
            Reply::Failed(reason) => drop(checks.failing.insert(node, reason.clone())),
            _ => drop(checks.failing.remove(&node)),
        }
        if let Some(round) = &mut checks.round {
            round.replied(node, reply);
        }
        self.check();
    }

    /// Whether a node lets a process of ours in; `None`: it has not answered yet.
    fn reached(&self, node: NodeId, waited: Micros, patience: Micros) -> Option<Result<(), &'static str>> {
        let it = &self.cluster.nodes[node];
        if it.is_silent || it.is_stalled {
            return (waited >= patience).then_some(Err("timed out"));
        }
        Some(if it.is_up { Ok(()) } else { Err("connection refused") })
    }

    fn answer(&self, id: NodeId, asked_at: Micros) -> Answer {
        let node = &self.cluster.nodes[id];
        let in_recovery = node.storage.is_standby && !node.storage.lies.is_primary;
        let feeds = |other: &&Node| {
            other.upstream == Some(id)
                && other.is_well()
                && other.storage.is_continued_by(&node.storage)
                && !node.storage.is_standby
        };
        let replica = |other: &Node| Replica {
            application_name: format!("node{}", other.id),
            state: "streaming".to_owned(),
            sync_state: if self.cluster.is_synchronous { "sync" } else { "async" }.to_owned(),
            lag_micros: Some(0),
        };
        let feeder = node.upstream.filter(|upstream| {
            let upstream = &self.cluster.nodes[*upstream];
            upstream.is_well() && node.storage.is_continued_by(&upstream.storage)
        });
        Answer {
            in_recovery,
            asked_at,
            lsn: Some(node.storage.position()),
            timeline: (!in_recovery).then_some(node.storage.timeline),
            replicas: self.cluster.nodes.iter().filter(feeds).map(replica).collect(),
            upstream: feeder.filter(|_| in_recovery).map(|upstream| Upstream {
                host: "127.0.0.1".to_owned(),
                port: FIRST_PORT + upstream as u16,
            }),
        }
    }

    fn close_round(&mut self, now: Instant) {
        let checks = &mut self.supervisor.checks;
        let Some(round) = checks.round.take() else { return };
        let overdue = |id: NodeId| checks.failing.get(&id).cloned().map_or(Reply::Late, Reply::Failed);
        let manager = &self.supervisor.manager;
        let status = |id: NodeId| manager.nodes().get(id).map_or(NodeStatus::Unused, |node| node.status);
        let asked: Vec<Asked> = checks
            .backends
            .iter()
            .map(|backend| Asked {
                backend: backend.clone(),
                status: status(backend.id),
                reply: round.reply(backend.id).unwrap_or_else(|| overdue(backend.id)),
            })
            .collect();
        let seconds = self.network.schedule.now / SECOND;
        let findings = checks.tracker.round(&asked, self.segment.primary(), &checks.rules, seconds);
        checks.pace.note(findings.unsettled, now);
        self.apply(findings);
    }

    fn apply(&mut self, findings: Findings) {
        findings.lines.into_iter().for_each(pgbalancer::log::Line::emit);
        for (id, probe) in findings.probes {
            self.segment.set_probe(id, probe);
        }
        self.note_none();
        if let Some(node) = findings.new_primary {
            self.ask(Request::Primary { node });
        }
        for (node, reason) in findings.false_primaries {
            self.ask(Request::Failed { node, reason, cause: Cause::FalsePrimary });
        }
        for (node, streams) in findings.answers {
            self.ask(Request::Answers { node, streams });
        }
    }

    // --- health checks

    /// A turn of the health check of a node.
    pub(in super::super) fn check_health(&mut self, node: NodeId) {
        let (moment, status) = (self.moment(), self.status(node));
        let checks = &mut self.supervisor.checks;
        let rules = checks.health_rules[node];
        match checks.checkers[node].step(moment, status, &rules) {
            Step::Wait(None) | Step::EndRequest => {}
            Step::Wait(Some(sleep)) => {
                self.network.schedule.after(sleep.as_micros() as Micros + 1, Event::Health(node));
            }
            Step::Probe => {
                let delay = self.dice.between(self.scenario.latency, self.scenario.latency * 6);
                self.network.schedule.after(delay, Event::HealthAnswers(node, self.now()));
            }
        }
    }

    /// What became of a login that began at `since`.
    pub(in super::super) fn health_answers(&mut self, node: NodeId, since: Micros) {
        let waited = self.now() - since;
        let limit = self.supervisor.checks.patience.min(self.supervisor.checks.health_patience);
        let Some(reached) = self.reached(node, waited, limit) else {
            return self.network.schedule.after(200 * MILLISECOND, Event::HealthAnswers(node, since));
        };
        let outcome = match reached {
            Ok(()) => Outcome::Well,
            Err(reason) => Outcome::Failed { reason: reason.to_owned(), timed_out: reason == "timed out" },
        };
        let (moment, status) = (self.moment(), self.status(node));
        let checks = &mut self.supervisor.checks;
        let rules = checks.health_rules[node];
        for report in checks.checkers[node].outcome(outcome, moment, status, &rules) {
            match report {
                Report::Line(line) => line.emit(),
                Report::Failed(reason) => {
                    self.ask(Request::Failed { node, reason, cause: Cause::HealthCheck });
                }
                Report::Answers => {
                    self.ask(Request::Answers { node, streams: false });
                }
            }
        }
        self.check_health(node);
    }

    /// As the segment has it, where reading costs more.
    fn status(&self, node: NodeId) -> NodeStatus {
        self.supervisor.manager.nodes().get(node).map_or(NodeStatus::Unused, |node| node.status)
    }

    fn moment(&self) -> Moment {
        Moment { at: self.instant(), unix: self.now() / SECOND }
    }
}
