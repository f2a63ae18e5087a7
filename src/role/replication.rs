//! The replication check: which node is the primary, and how far behind the others are.
//!
//! One round every `sr_check_period`, the first at once. The nodes are asked side by side (`asking`);
//! what the answers mean is decided in `cluster::probe`. Writes probes into the segment and asks the
//! supervisor to change the primary; changes no status itself.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::asking::{Asking, Job};
use crate::auth::pool_passwd::{self, PoolPasswd, Secret};
use crate::cluster::client::Target;
use crate::cluster::probe::{Asked, Findings, Reply, Rules, Tracker, settles_primary};
use crate::config::{Backend, ClusteringMode, Config};
use crate::error::NodeId;
use crate::shm::NodeStatus;
use crate::supervisor::ChildContext;
use crate::supervisor::request::{Incoming, Request};
use crate::sys::signals::{Signal, Signals};
use crate::sys::{clock, process};
use crate::{log, say};

/// With `sr_check_period = 0` roles must be known all the same, so a round is made this often.
const PERIOD_WITHOUT_ONE: Duration = Duration::from_secs(10);
/// How often a round is made while there is no primary: pgpool-II looks for one every second too.
const PERIOD_WITHOUT_PRIMARY: Duration = Duration::from_secs(1);
/// A round closes this long after it began, with whatever is there.
const GRACE: Duration = Duration::from_secs(1);
/// How often the status of the nodes is looked at: a change calls for a round at once.
const LOOK: Duration = Duration::from_millis(500);
/// Time limit where `connect_timeout` is 0 (none): asking a node must end some time.
const LONGEST_ASKING: Duration = Duration::from_secs(60);

/// Runs the replication check until it is told to end or the supervisor is gone.
pub fn run(context: ChildContext) -> ! {
    let code = match Check::new(context).and_then(|mut check| check.serve()) {
        Ok(()) => 0,
        Err(error) => {
            say!(Fatal, "replication check: {error}");
            1
        }
    };
    process::exit_now(code)
}

struct Check {
    context: ChildContext,
    signals: Signals,
    passwords: PoolPasswd,
    asking: Asking,
    tracker: Tracker,
    open: Option<Round>,
    next: Instant,
    statuses: Vec<NodeStatus>,
}

/// A round that waits for replies.
struct Round {
    closes: Instant,
    backends: Vec<Backend>,
    replies: BTreeMap<NodeId, Reply>,
}

impl Check {
    fn new(context: ChildContext) -> io::Result<Check> {
        let mut check = Check {
            signals: Signals::new()?,
            passwords: PoolPasswd::default(),
            asking: Asking::new()?,
            tracker: Tracker::default(),
            open: None,
            next: Instant::now(),
            statuses: Vec::new(),
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
                if incoming == Incoming::Gone {
                    return Ok(());
                }
            }
        }
    }

    /// Makes ready for the configuration as it is now; a round follows at once.
    fn prepare(&mut self) {
        self.passwords = read_passwords(&self.context);
        self.asking.forget();
        self.open = None;
        self.next = Instant::now();
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
        let due = self.open.as_ref().map_or(self.next, |round| round.closes);
        let sleep = due.saturating_duration_since(now).min(LOOK);
        // Rounded up: to wake a fraction of a millisecond early would be to spin.
        let timeout = PollTimeout::try_from(sleep + Duration::from_millis(1)).unwrap_or(PollTimeout::ZERO);
        let fds = [self.signals.as_fd(), self.context.supervisor.as_fd(), self.asking.as_fd()];
        let mut polled = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => (),
            Err(error) => return Err(error.into()),
        }
        if polled[2].any().unwrap_or(false) {
            self.asking.rest();
        }
        Ok(())
    }

    fn advance(&mut self, now: Instant) {
        self.take_replies();
        if self.open.as_ref().is_some_and(|round| round.is_complete() || now >= round.closes) {
            self.close(now);
        }
        let changed = self.statuses_changed();
        if changed || now >= self.next {
            self.next = self.next.min(now);
            if self.open.is_none() {
                self.begin(now);
            }
        }
    }

    fn statuses_changed(&mut self) -> bool {
        let segment = &self.context.segment;
        let statuses: Vec<NodeStatus> =
            (0..segment.sizes().nodes).map(|id| segment.node(id).status).collect();
        let changed = statuses != self.statuses;
        self.statuses = statuses;
        changed
    }

    fn begin(&mut self, now: Instant) {
        self.asking.begin();
        let config = &self.context.config;
        let known = |id: NodeId| self.statuses.get(id).is_some_and(|status| *status != NodeStatus::Unused);
        let backends: Vec<Backend> =
            config.backends().into_iter().filter(|backend| known(backend.id)).collect();
        let mut replies = BTreeMap::new();
        for backend in &backends {
            if has_roles(config) && !config.sr_check_user.is_empty() {
                self.asking.start(backend.id, job(config, &self.passwords, backend));
            } else {
                replies.insert(backend.id, Reply::NotAsked);
            }
        }
        let round = Round { closes: now + GRACE, backends, replies };
        let complete = round.is_complete();
        self.next = now + period(config);
        self.open = Some(round);
        if complete {
            self.close(now);
        }
    }

    fn take_replies(&mut self) {
        let finished = self.asking.finished();
        let Some(round) = self.open.as_mut() else { return };
        round.replies.extend(finished);
        // Clients that come right after the start need not wait for a node that does not answer.
        if self.context.segment.primary().is_none() && !round.is_complete() {
            let asked = self.asked();
            if let Some(node) = asked.iter().find(|node| settles_primary(node, &asked)) {
                self.request(&Request::Primary { node: Some(node.id) });
            }
        }
    }

    /// The nodes of the open round and what is known of them by now.
    fn asked(&self) -> Vec<Asked> {
        let Some(round) = &self.open else { return Vec::new() };
        let asked = |backend: &Backend| Asked {
            id: backend.id,
            application_name: backend.application_name.clone(),
            always_primary: backend.always_primary,
            status: self.context.segment.node(backend.id).status,
            reply: round.replies.get(&backend.id).cloned().unwrap_or_else(|| self.asking.overdue(backend.id)),
        };
        round.backends.iter().map(asked).collect()
    }

    fn close(&mut self, now: Instant) {
        let asked = self.asked();
        self.open = None;
        let current = self.context.segment.primary();
        let findings =
            self.tracker.round(&asked, current, &rules(&self.context.config), clock::unix_seconds());
        let primary = findings.new_primary.unwrap_or(current);
        if primary.is_none() {
            self.next = self.next.min(now + PERIOD_WITHOUT_PRIMARY);
        }
        self.apply(findings);
    }

    fn apply(&self, findings: Findings) {
        for (level, text) in findings.lines {
            log::emit(level, format_args!("{text}"));
        }
        for (id, probe) in findings.probes {
            self.context.segment.set_probe(id, probe);
        }
        if let Some(node) = findings.new_primary {
            self.request(&Request::Primary { node });
        }
        for node in findings.answers_again {
            self.request(&Request::BackendAnswers { node });
        }
    }

    /// A request that cannot be sent is made again by the next round, which finds the same.
    fn request(&self, request: &Request) {
        if let Err(error) = self.context.supervisor.send(request) {
            say!(Debug1, "replication check: could not ask the supervisor: {error}");
        }
    }
}

impl Round {
    fn is_complete(&self) -> bool {
        self.backends.iter().all(|backend| self.replies.contains_key(&backend.id))
    }
}

/// Only in streaming replication do nodes have roles of their own; elsewhere the first usable one is the main node.
fn has_roles(config: &Config) -> bool {
    config.backend_clustering_mode == ClusteringMode::StreamingReplication
}

fn period(config: &Config) -> Duration {
    match u64::try_from(config.sr_check_period) {
        Ok(seconds @ 1..) => Duration::from_secs(seconds),
        _ => PERIOD_WITHOUT_ONE,
    }
}

fn rules(config: &Config) -> Rules {
    Rules {
        log_standby_delay: config.log_standby_delay,
        delay_threshold: u64::try_from(config.delay_threshold).unwrap_or(0),
        delay_threshold_micros: u64::try_from(config.delay_threshold_by_time)
            .unwrap_or(0)
            .saturating_mul(1000),
    }
}

fn job(config: &Config, passwords: &PoolPasswd, backend: &Backend) -> Job {
    let user = config.sr_check_user.clone();
    let secret = match config.sr_check_password.as_str() {
        "" => passwords.get(&user).cloned(),
        password => Secret::parse(password),
    };
    let limit = match u64::try_from(*config.connect_timeout.get(backend.id)) {
        Ok(millis @ 1..) => Duration::from_millis(millis).min(LONGEST_ASKING),
        _ => LONGEST_ASKING,
    };
    let target = Target {
        host: backend.hostname.clone(),
        port: backend.port,
        user,
        database: config.sr_check_database.clone(),
        application_name: "pgbalancer",
    };
    Job { target, secret, limit }
}

fn read_passwords(context: &ChildContext) -> PoolPasswd {
    let Some(path) = &context.files.pool_passwd else { return PoolPasswd::default() };
    match pool_passwd::load(path) {
        Ok((passwords, _)) => passwords,
        // Its absence is no fault of this process, which may need no password.
        Err(error) => {
            say!(Debug1, "could not read \"{}\": {error}", path.display());
            PoolPasswd::default()
        }
    }
}
