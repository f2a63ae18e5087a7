//! The replication check: which node is the primary, and how far behind the others are.
//!
//! One round every `sr_check_period`, the first at once. The nodes are asked side by side (`asking`);
//! what the answers mean is decided in `cluster::probe`. Writes probes into the segment and asks the
//! supervisor to change the primary; changes no status itself.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::account;
use super::asking::{Asking, Job};
use super::delay_source::DelaySource;
use super::statistics::Statistics;
use crate::auth::pool_passwd::PoolPasswd;
use crate::cluster::failover::{self, Cause};
use crate::cluster::probe::{Asked, Findings, Pace, Reply, Round, Rules, Tracker, note_given};
use crate::config::{Backend, ClusteringMode, Config, LogStandbyDelay};
use crate::error::NodeId;
use crate::shm::{Hold, NodeStatus};
use crate::supervisor::ChildContext;
use crate::supervisor::request::{Incoming, Order, Request};
use crate::sys::signals::{Signal, Signals};
use crate::sys::{clock, poll, process};
use crate::{log, say};

/// With `sr_check_period = 0` roles must be known all the same, so a round is made this often.
const PERIOD_WITHOUT_ONE: Duration = Duration::from_secs(10);
/// How often the status of the nodes is looked at: a change calls for a round at once.
const LOOK: Duration = Duration::from_millis(200);
/// However often somebody doubts the roles: time between two rounds.
const LEAST: Duration = Duration::from_millis(50);

/// Runs the replication check until it is told to end or the supervisor is gone.
pub fn run(context: ChildContext) -> ! {
    let code = match Check::new(context).and_then(|mut check| check.serve()) {
        Ok(()) => 0,
        Err(error) => {
            say!(Fatal, "replication check: {error}");
            super::FAILED
        }
    };
    process::exit_now(code)
}

struct Check {
    context: ChildContext,
    signals: Signals,
    passwords: PoolPasswd,
    asking: Asking,
    delays: DelaySource,
    tracker: Tracker,
    pace: Pace,
    open: Option<Round>,
    /// When the last round began.
    begun: Option<Instant>,
    /// A round is wanted at once.
    wanted: bool,
    /// A round has been made for a node that is slow to answer, and it is slow still.
    was_late: bool,
    /// As the last round found it.
    statuses: Vec<NodeStatus>,
    statistics: Statistics,
}

impl Check {
    fn new(context: ChildContext) -> io::Result<Check> {
        let mut check = Check {
            signals: Signals::new()?,
            passwords: PoolPasswd::default(),
            asking: Asking::new()?,
            delays: DelaySource::new()?,
            tracker: Tracker::default(),
            pace: Pace::default(),
            open: None,
            begun: None,
            wanted: false,
            was_late: false,
            statuses: Vec::new(),
            statistics: Statistics::default(),
            context,
        };
        say!(Log, "process started");
        check.prepare();
        Ok(check)
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            self.advance(Instant::now());
            self.wait(Instant::now())?;
            while let Some(signal) = self.signals.read() {
                match signal {
                    Signal::Terminate | Signal::Interrupt | Signal::Quit => return Ok(()),
                    Signal::Hangup => {
                        self.context.reload();
                        self.prepare();
                    }
                    _ => (),
                }
            }
            while let Some(incoming) = self.context.supervisor.recv() {
                match incoming {
                    Incoming::Gone => return Ok(()),
                    Incoming::Order(Order::LookAtNodes) => self.wanted = true,
                    _ => (),
                }
            }
        }
    }

    /// Makes ready for the configuration as it is now; a round follows at once.
    fn prepare(&mut self) {
        self.passwords = account::passwords(&self.context);
        self.asking.forget();
        self.delays.forget();
        self.open = None;
        self.wanted = true;
        let config = &self.context.config;
        if has_roles(config) && config.sr_check_user.is_empty() {
            log::Line::new(
                log::Level::Warning,
                "sr_check_user is empty: roles and replication delay cannot be known",
            )
            .detail("The first usable node is taken as the primary.")
            .hint("Set sr_check_user to a user that may log in to every backend.")
            .emit();
        }
    }

    /// Sleeps until something comes or is due.
    fn wait(&mut self, now: Instant) -> io::Result<()> {
        let due = self.open.as_ref().map_or(self.next(now), Round::closes);
        let sleep = due.saturating_duration_since(now).min(LOOK);
        let fds =
            [self.signals.as_fd(), self.context.supervisor.as_fd(), self.asking.as_fd(), self.delays.as_fd()];
        let [_, _, asking, delays] = poll::readable(fds, Some(sleep))?;
        if asking {
            self.asking.rest();
        }
        if delays {
            self.delays.rest();
        }
        Ok(())
    }

    /// When the next round is due.
    fn next(&self, now: Instant) -> Instant {
        let Some(begun) = self.begun else { return now };
        let held = self.context.segment.hold().0 == Hold::Writes;
        let period = period(&self.context.config);
        begun + if self.wanted { LEAST } else { self.pace.interval(period, held, now) }
    }

    fn advance(&mut self, now: Instant) {
        self.take_replies(now);
        if self.open.as_ref().is_some_and(|round| round.is_over(now)) {
            self.close(now);
        }
        self.take_delays();
        if let Some(note) = self.statistics.due(&self.context.segment, &self.context.config, now) {
            self.request(&Request::Note(note));
        }
        self.wanted |= self.statuses() != self.statuses;
        if self.open.is_none() && now >= self.next(now) {
            self.begin(now);
        }
    }

    /// What a change of calls for a round: the first client of a node is none.
    fn statuses(&self) -> Vec<NodeStatus> {
        let segment = &self.context.segment;
        let status = |id| match segment.node(id).status {
            NodeStatus::Waiting => NodeStatus::Up,
            status => status,
        };
        (0..segment.sizes().nodes).map(status).collect()
    }

    fn begin(&mut self, now: Instant) {
        self.statuses = self.statuses();
        (self.begun, self.wanted) = (Some(now), false);
        let config = &self.context.config;
        if measures_delay(config) {
            self.delays.start(config);
        }
        let known = |id: NodeId| self.statuses.get(id).is_some_and(|status| *status != NodeStatus::Unused);
        let backends = config.backends().into_iter().filter(|backend| known(backend.id)).collect();
        let mut round = Round::new(backends, now);
        for backend in round.backends.clone() {
            if has_roles(config) && !config.sr_check_user.is_empty() {
                let is_awaited = self.asking.start(backend.id, job(config, &self.passwords, &backend));
                round.asked(backend.id, is_awaited);
            } else {
                round.replied(backend.id, Reply::NotAsked);
            }
        }
        let over = round.is_over(now);
        self.open = Some(round);
        if over {
            self.close(now);
        }
    }

    fn take_replies(&mut self, now: Instant) {
        for (id, reply) in self.asking.finished() {
            match (self.open.as_mut(), reply) {
                (Some(round), Some(reply)) => round.replied(id, reply),
                (None, Some(Reply::Failed(_))) => (),
                // It can be asked again, or is there after all: not only the next period may tell of it.
                _ => self.wanted |= !std::mem::replace(&mut self.was_late, true),
            }
        }
        let Some(round) = self.open.as_mut() else { return };
        if self.context.segment.primary().is_none() {
            round.hurry(now);
        }
    }

    /// The nodes of the open round and what is known of them by now.
    fn asked(&self) -> Vec<Asked> {
        let Some(round) = &self.open else { return Vec::new() };
        let asked = |backend: &Backend| Asked {
            backend: backend.clone(),
            status: self.context.segment.node(backend.id).status,
            reply: round.reply(backend.id).unwrap_or_else(|| self.asking.overdue(backend.id)),
        };
        round.backends.iter().map(asked).collect()
    }

    fn close(&mut self, now: Instant) {
        let asked = self.asked();
        self.was_late &= asked.iter().any(|node| matches!(node.reply, Reply::Late));
        self.open = None;
        let current = self.context.segment.primary();
        let rules = self.rules();
        let findings = self.tracker.round(&asked, current, &rules, clock::unix_seconds());
        self.pace.note(findings.unsettled, now);
        self.apply(findings);
    }

    fn rules(&self) -> Rules {
        let config = &self.context.config;
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        Rules {
            log_standby_delay: match measures_delay(config) {
                true => config.log_standby_delay,
                false => LogStandbyDelay::None,
            },
            delay_threshold: number(config.delay_threshold),
            delay_threshold_micros: number(config.delay_threshold_by_time).saturating_mul(1000),
            detach_false_primary: config.detach_false_primary,
            given: self.delays.told(config),
        }
    }

    fn apply(&self, findings: Findings) {
        findings.lines.into_iter().for_each(log::Line::emit);
        for (id, probe) in findings.probes {
            self.context.segment.set_probe(id, probe);
        }
        // The true one first: the loss of a false one is not the loss of the primary then.
        if let Some(node) = findings.new_primary {
            self.request(&Request::Nodes(failover::Request::Primary { node }));
        }
        for (node, reason) in findings.false_primaries {
            self.request(&Request::Nodes(failover::Request::Failed {
                node,
                reason,
                cause: Cause::FalsePrimary,
            }));
        }
        for (node, streams) in findings.answers {
            self.request(&Request::Nodes(failover::Request::Answers { node, streams }));
        }
    }

    /// What the command has told about delays goes into the rows that the rounds have written.
    fn take_delays(&mut self) {
        let config = &self.context.config;
        let nodes: Vec<NodeId> = config.backends().iter().map(|backend| backend.id).collect();
        let primary = self.context.segment.primary();
        let Some(told) = self.delays.finished(config, &nodes, primary).cloned() else { return };
        for id in nodes.into_iter().filter(|id| Some(*id) != primary) {
            let mut probe = self.context.segment.node(id).probe;
            probe.lag_micros = told.get(&id).copied().flatten();
            self.context.segment.set_probe(id, probe);
        }
        note_given(&told, primary, &self.rules()).into_iter().for_each(log::Line::emit);
    }

    /// A request that cannot be sent is made again by the next round, which finds the same.
    fn request(&self, request: &Request) {
        if let Err(error) = self.context.supervisor.send(request) {
            say!(Debug1, "replication check: could not ask the supervisor: {error}");
        }
    }
}

/// Only in streaming replication do nodes have roles of their own; elsewhere the first usable one is the main node.
fn has_roles(config: &Config) -> bool {
    config.backend_clustering_mode == ClusteringMode::StreamingReplication
}

/// `sr_check_period = 0` is for sites that do not want to hear of delays.
fn measures_delay(config: &Config) -> bool {
    config.sr_check_period > 0
}

fn period(config: &Config) -> Duration {
    match u64::try_from(config.sr_check_period) {
        Ok(seconds @ 1..) => Duration::from_secs(seconds),
        _ => PERIOD_WITHOUT_ONE,
    }
}

fn job(config: &Config, passwords: &PoolPasswd, backend: &Backend) -> Job {
    let user = config.sr_check_user.clone();
    Job {
        secret: account::secret(passwords, &user, &config.sr_check_password),
        target: account::target(backend, user, &config.sr_check_database),
        limit: account::connect_limit(config, backend),
    }
}
