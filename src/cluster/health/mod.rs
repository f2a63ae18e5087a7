//! When a node's health is checked, what an attempt to log in means, and when the node is given up.
//!
//! Pure: time, the node's status and the outcome of attempts in; steps, reports and counts out. No socket, no clock,
//! no shared memory. `role::health` makes the attempts and does what comes back.
#![forbid(unsafe_code)]

mod outcome;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::config::{Backend, Config};
use crate::error::NodeId;
use crate::log::{Level, Line};
use crate::shm::{HealthRow, NodeStatus, latency_class};

pub use outcome::Outcome;

/// The parameters that count here, as they are for the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// `health_check_period`; `None`: no checks.
    pub period: Option<Duration>,
    /// `health_check_max_retries`.
    pub max_retries: u64,
    /// `health_check_retry_delay`.
    pub retry_delay: Duration,
    /// DISALLOW_TO_FAILOVER does not stand in its `backend_flag`.
    pub allow_to_failover: bool,
}

impl Rules {
    /// The rules of a configuration for one of its nodes.
    pub fn configured(config: &Config, backend: &Backend) -> Rules {
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        let seconds = |value: i64| Duration::from_secs(number(value));
        Rules {
            period: Some(seconds(*config.health_check_period.get(backend.id)))
                .filter(|period| !period.is_zero()),
            max_retries: number(*config.health_check_max_retries.get(backend.id)),
            retry_delay: seconds(*config.health_check_retry_delay.get(backend.id)),
            allow_to_failover: backend.allow_to_failover,
        }
    }
}

/// A moment, by the clock that never goes back and by the wall's (unix seconds).
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub at: Instant,
    pub unix: u64,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing for so long; `None`: until something happens.
    Wait(Option<Duration>),
    /// An attempt to log in.
    Probe,
    /// The node that a test had declared dead is out: the test's request is done.
    EndRequest,
}

/// What is to be told.
#[derive(Debug, Clone)]
pub enum Report {
    Line(Line),
    /// The node is given up, for this reason.
    Failed(String),
    /// The node, which is in quarantine, is well.
    Answers,
}

/// While the node may be taken out by somebody else meanwhile, this often is looked.
const LOOK: Duration = Duration::from_millis(500);

/// The check of one node.
#[derive(Debug)]
pub struct Checker {
    node: NodeId,
    stage: Stage,
    counts: HealthRow,
    /// The refusal that was last warned of.
    refusal: Option<String>,
    /// The last failure was one that a test wanted.
    declared: bool,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Between two checks, since the last one ended; `None`: there was none yet.
    Resting(Option<Instant>),
    /// An attempt is under way.
    Probing(Round),
    /// Between two attempts of a check, since the last one failed.
    Pausing(Round, Instant),
}

#[derive(Debug, Clone, Copy)]
struct Round {
    begun: Instant,
    retries: u64,
}

impl Checker {
    /// Begins with a check at once. `counts` is what processes before this one have counted.
    pub fn new(node: NodeId, counts: HealthRow) -> Checker {
        Checker { node, stage: Stage::Resting(None), counts, refusal: None, declared: false }
    }

    /// What was counted.
    pub fn counts(&self) -> &HealthRow {
        &self.counts
    }

    /// After a reload: a login that is refused all the same is worth another warning.
    pub fn forget_refusal(&mut self) {
        self.refusal = None;
    }

    /// An attempt could not be made, which says nothing about the node: as if the check had not begun.
    pub fn abandon(&mut self, now: Moment) {
        if let Stage::Probing(_) = self.stage {
            self.counts.total = self.counts.total.saturating_sub(1);
            self.stage = Stage::Resting(Some(now.at));
        }
    }

    /// The next step. `status` is what is thought of the node now.
    pub fn step(&mut self, now: Moment, status: NodeStatus, rules: &Rules) -> Step {
        match self.stage {
            Stage::Resting(_) if self.declared && is_out(status) => {
                self.declared = false;
                Step::EndRequest
            }
            Stage::Resting(since) => self.rest(now, since, status, rules),
            Stage::Probing(_) => Step::Wait(None),
            // Somebody else has taken it out, or the checks are off now.
            Stage::Pausing(round, _) if is_out(status) || rules.period.is_none() => {
                self.count_failure(now);
                self.finish(now, round);
                self.step(now, status, rules)
            }
            Stage::Pausing(round, since) => match left(since, rules.retry_delay, now.at) {
                Some(left) => Step::Wait(Some(left.min(LOOK))),
                None => {
                    self.stage = Stage::Probing(round);
                    Step::Probe
                }
            },
        }
    }

    fn rest(&mut self, now: Moment, since: Option<Instant>, status: NodeStatus, rules: &Rules) -> Step {
        let Some(period) = rules.period else { return Step::Wait(None) };
        if let Some(left) = since.and_then(|since| left(since, period, now.at)) {
            return Step::Wait(Some(if self.declared { left.min(LOOK) } else { left }));
        }
        self.counts.total += 1;
        if is_out(status) {
            self.counts.skip += 1;
            (self.counts.last, self.counts.last_skip) = (now.unix, now.unix);
            self.stage = Stage::Resting(Some(now.at));
            return Step::Wait(Some(period));
        }
        self.stage = Stage::Probing(Round { begun: now.at, retries: 0 });
        Step::Probe
    }

    /// Takes what became of an attempt.
    pub fn outcome(
        &mut self,
        outcome: Outcome,
        now: Moment,
        status: NodeStatus,
        rules: &Rules,
    ) -> Vec<Report> {
        let Stage::Probing(round) = self.stage else { return Vec::new() };
        match outcome {
            Outcome::Well => self.well(now, round, status),
            Outcome::Refused(text) => self.refused(now, round, text),
            Outcome::Failed { reason, timed_out } => {
                self.declared = false;
                self.failed(now, round, (&reason, timed_out), status, rules)
            }
            Outcome::Declared => {
                self.declared = true;
                self.failed(now, round, ("backend_down_request declares it down", false), status, rules)
            }
        }
    }

    fn well(&mut self, now: Moment, round: Round, status: NodeStatus) -> Vec<Report> {
        self.counts.success += 1;
        self.counts.last_success = now.unix;
        (self.refusal, self.declared) = (None, false);
        let mut reports = self.succeeded(round);
        if status == NodeStatus::Quarantine {
            reports.push(Report::Answers);
        }
        self.finish(now, round);
        reports
    }

    /// The node stays: who refuses us serves others. It counts as a failure all the same, since the check has not
    /// seen what it was to see.
    fn refused(&mut self, now: Moment, round: Round, text: String) -> Vec<Report> {
        self.count_failure(now);
        self.declared = false;
        let mut reports = self.succeeded(round);
        if self.refusal.as_ref() != Some(&text) {
            let line = Line::new(
                Level::Warning,
                format!("health check of node {}: the login was refused: {text}", self.node),
            )
            .detail("A server that refuses a login serves, so the node stays in use.")
            .hint(
                "Check health_check_user, health_check_password (or pool_passwd) and health_check_database, \
                 and pg_hba.conf of the server.",
            );
            reports.push(Report::Line(line));
            self.refusal = Some(text);
        }
        self.finish(now, round);
        reports
    }

    fn failed(
        &mut self,
        now: Moment,
        mut round: Round,
        (reason, timed_out): (&str, bool),
        status: NodeStatus,
        rules: &Rules,
    ) -> Vec<Report> {
        let node = self.node;
        let log = |text: String| Report::Line(Line::new(Level::Log, text).detail(reason));
        let gone = is_out(status) || rules.period.is_none();
        if round.retries < rules.max_retries && !gone {
            round.retries += 1;
            self.counts.retry += 1;
            self.stage = Stage::Pausing(round, now.at);
            return vec![log(format!("health check retrying on DB node: {node} (round:{})", round.retries))];
        }
        self.count_failure(now);
        self.finish(now, round);
        if gone {
            return Vec::new();
        }
        if !rules.allow_to_failover {
            return vec![log(format!(
                "health check failed on node {node} but failover is disallowed for the node"
            ))];
        }
        let timer = u8::from(timed_out);
        let failed = log(format!("health check failed on node {node} (timeout:{timer})"));
        if status == NodeStatus::Quarantine {
            let text = format!("health check failed on quarantine node {node} (timeout:{timer})");
            return vec![failed, Report::Line(Line::new(Level::Log, text).detail("ignoring.."))];
        }
        vec![failed, Report::Failed(format!("health check: {reason}"))]
    }

    fn succeeded(&self, round: Round) -> Vec<Report> {
        let text = || format!("health check retrying on DB node: {} succeeded", self.node);
        let line = (round.retries > 0).then(|| Report::Line(Line::new(Level::Log, text())));
        line.into_iter().collect()
    }

    fn count_failure(&mut self, now: Moment) {
        self.counts.fail += 1;
        self.counts.last_fail = now.unix;
    }

    fn finish(&mut self, now: Moment, round: Round) {
        let counts = &mut self.counts;
        let lasted = now.at.saturating_duration_since(round.begun);
        let took = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
        let micros = u64::try_from(lasted.as_micros()).unwrap_or(u64::MAX);
        counts.micros = counts.micros.saturating_add(micros);
        if let Some(class) = counts.classes.get_mut(latency_class(micros)) {
            *class += 1;
        }
        let is_first = counts.success + counts.fail == 1;
        counts.last = now.unix;
        counts.duration = counts.duration.saturating_add(took);
        counts.max_duration = counts.max_duration.max(took);
        counts.min_duration = if is_first { took } else { counts.min_duration.min(took) };
        counts.max_retry = counts.max_retry.max(round.retries);
        self.stage = Stage::Resting(Some(now.at));
    }
}

/// Out of use, so there is nothing to check. One in quarantine is checked: it comes back by itself.
fn is_out(status: NodeStatus) -> bool {
    matches!(status, NodeStatus::Down | NodeStatus::Unused)
}

/// What is left of a time that began at `since`.
fn left(since: Instant, whole: Duration, now: Instant) -> Option<Duration> {
    Some(whole.saturating_sub(now.saturating_duration_since(since))).filter(|left| !left.is_zero())
}
