//! The health check of one node: logs in to it now and then, and asks the supervisor to take it out if that fails.
//!
//! When to log in, what comes of it and what is counted is decided in `cluster::health`. Here are the clock, the thread
//! that logs in, and the row of counts in the segment. Changes no status itself.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::account;
use super::helpers::Helpers;
use crate::auth::pool_passwd::{PoolPasswd, Secret};
use crate::cluster::client::{Client, ClientError, Limits, Target};
use crate::cluster::down_request;
use crate::cluster::failover::{self, Cause};
use crate::cluster::health::{Checker, Moment, Outcome, Report, Rules, Step};
use crate::config::{Backend, Config};
use crate::error::NodeId;
use crate::shm::{EventKind, HealthRow, NodeStatus, Note};
use crate::supervisor::ChildContext;
use crate::supervisor::request::{Incoming, Request};
use crate::sys::signals::{Signal, Signals};
use crate::sys::{clock, poll, process, title};
use crate::{log, say};

/// Runs the health check of the node with the number of this process until it is told to end or the supervisor is gone.
pub fn run(context: ChildContext) -> ! {
    let node = context.index;
    // Once in the life of the process.
    log::set_process(format!("health_check{node}").leak());
    title::set(&format!("health check process({node})"));
    let code = match Check::new(context).and_then(|mut check| check.serve()) {
        Ok(()) => 0,
        Err(error) => {
            say!(Fatal, "health check of node {node}: {error}");
            super::FAILED
        }
    };
    process::exit_now(code)
}

struct Check {
    node: NodeId,
    context: ChildContext,
    signals: Signals,
    passwords: PoolPasswd,
    helpers: Helpers<Outcome>,
    checker: Checker,
    /// What was counted when a result was told last.
    told: HealthRow,
}

impl Check {
    fn new(context: ChildContext) -> io::Result<Check> {
        let node = context.index;
        say!(Log, "process started");
        Ok(Check {
            node,
            signals: Signals::new()?,
            passwords: account::passwords(&context),
            helpers: Helpers::new()?,
            checker: Checker::new(node, context.segment.health(node)),
            told: context.segment.health(node),
            context,
        })
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            let sleep = self.advance();
            let fds = [self.signals.as_fd(), self.context.supervisor.as_fd(), self.helpers.as_fd()];
            if poll::readable(fds, sleep)?[2] {
                self.helpers.rest();
            }
            while let Some(signal) = self.signals.read() {
                match signal {
                    Signal::Terminate | Signal::Interrupt | Signal::Quit => return Ok(()),
                    Signal::Hangup => self.reload(),
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

    fn reload(&mut self) {
        self.context.reload();
        self.passwords = account::passwords(&self.context);
        self.checker.forget_refusal();
    }

    /// Takes what has come and does what is due; returns how long nothing more will be.
    fn advance(&mut self) -> Option<Duration> {
        let backend = self.context.config.backends().into_iter().find(|backend| backend.id == self.node)?;
        let rules = Rules::configured(&self.context.config, &backend);
        while let Some(outcome) = self.helpers.finished() {
            let reason = outcome.reason().to_owned();
            let reports = self.checker.outcome(outcome, moment(), self.status(), &rules);
            reports.into_iter().for_each(|report| self.report(report));
            self.tell_result(reason);
        }
        loop {
            let step = self.checker.step(moment(), self.status(), &rules);
            self.context.segment.set_health(self.node, self.checker.counts());
            match step {
                Step::Wait(sleep) => return sleep,
                Step::EndRequest => self.end_request(),
                Step::Probe => {
                    let attempt = Attempt::new(&self.context.config, &self.passwords, &backend);
                    let started = self.helpers.start(format!("node {}", self.node), move || attempt.make());
                    if let Err(error) = started {
                        // Says nothing about the node; the next check may have a thread again.
                        say!(Warning, "could not start a thread: {error}");
                        self.checker.abandon(moment());
                    }
                }
            }
        }
    }

    /// A check that has ended is an event.
    fn tell_result(&mut self, reason: String) {
        let (before, now) = (self.told, *self.checker.counts());
        let is_well = now.success > before.success;
        if !is_well && now.fail == before.fail {
            return;
        }
        self.told = now;
        let note = Note {
            kind: EventKind::HealthCheck,
            node: Some(self.node),
            new: if is_well { "healthy" } else { "unhealthy" }.to_owned(),
            reason,
            values: [
                now.micros.saturating_sub(before.micros),
                now.retry.saturating_sub(before.retry),
                now.success,
                now.fail,
                0,
                0,
            ],
            ..Note::default()
        };
        if let Err(error) = self.context.supervisor.send(&Request::Note(note)) {
            say!(Debug1, "health check: could not tell the supervisor of its result: {error}");
        }
    }

    fn status(&self) -> NodeStatus {
        self.context.segment.node(self.node).status
    }

    fn report(&self, report: Report) {
        let node = self.node;
        let request = match report {
            Report::Line(line) => return line.emit(),
            Report::Failed(reason) => failover::Request::Failed { node, reason, cause: Cause::HealthCheck },
            Report::Answers => failover::Request::Answers { node, streams: false },
        };
        // The next check finds the same and asks again.
        if let Err(error) = self.context.supervisor.send(&Request::Nodes(request)) {
            say!(Warning, "health check: could not ask the supervisor: {error}");
        }
    }

    /// Others may do the same for other nodes at this moment, so the file is locked.
    fn end_request(&self) {
        let path = request_file(&self.context.config);
        let rewrite = || {
            let mut file = File::options().read(true).write(true).open(&path)?;
            file.lock()?;
            let text = read_some(&mut file)?;
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(down_request::ended(&text, self.node).as_bytes())
        };
        if let Err(error) = rewrite() {
            say!(
                Warning,
                "could not note in \"{}\" that node {} is down: {error}",
                path.display(),
                self.node
            );
        }
    }
}

/// One login, made in a thread.
struct Attempt {
    target: Target,
    /// The first that exists counts.
    databases: Vec<String>,
    secret: Option<Secret>,
    limits: Limits,
    node: NodeId,
    /// With `health_check_test = on`.
    request_file: Option<PathBuf>,
}

impl Attempt {
    fn new(config: &Config, passwords: &PoolPasswd, backend: &Backend) -> Attempt {
        let user = config.health_check_user.get(backend.id).clone();
        let databases = match config.health_check_database.get(backend.id).as_str() {
            "" => vec!["postgres".to_owned(), "template1".to_owned()],
            name => vec![name.to_owned()],
        };
        Attempt {
            secret: account::secret(passwords, &user, config.health_check_password.get(backend.id)),
            target: account::target(backend, user, ""),
            databases,
            limits: Limits {
                connect: account::connect_limit(config, backend),
                whole: seconds(*config.health_check_timeout.get(backend.id)).unwrap_or(account::LONGEST),
            },
            node: backend.id,
            request_file: config.health_check_test.then(|| request_file(config)),
        }
    }

    fn make(self) -> Outcome {
        match self.log_in() {
            Err(error) => error.into(),
            Ok(()) if self.is_declared_down() => Outcome::Declared,
            Ok(()) => Outcome::Well,
        }
    }

    fn log_in(&self) -> Result<(), ClientError> {
        const NO_DATABASE: &str = "3D000";
        let deadline = Instant::now() + self.limits.whole;
        let mut last = Ok(());
        for database in &self.databases {
            let target = Target { database: database.clone(), ..self.target.clone() };
            let whole = deadline.saturating_duration_since(Instant::now());
            last = Client::connect(&target, self.secret.as_ref(), Limits { whole, ..self.limits }).map(drop);
            if !matches!(&last, Err(ClientError::Server { code, .. }) if code == NO_DATABASE) {
                break;
            }
        }
        last
    }

    fn is_declared_down(&self) -> bool {
        let Some(path) = &self.request_file else { return false };
        match File::open(path).and_then(|mut file| read_some(&mut file)) {
            Ok(text) => down_request::declares(&text, self.node),
            Err(error) => {
                say!(Debug1, "check_backend_down_request: failed to open file {}: {error}", path.display());
                false
            }
        }
    }
}

/// A line for each node that there may be, and then some.
fn read_some(file: &mut File) -> io::Result<String> {
    const MOST: u64 = 64 * 1024;
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text)?;
    Ok(text)
}

fn request_file(config: &Config) -> PathBuf {
    config.path(&config.work_dir).join(down_request::FILE)
}

/// `None` for 0.
fn seconds(value: i64) -> Option<Duration> {
    u64::try_from(value).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

fn moment() -> Moment {
    Moment { at: Instant::now(), unix: clock::unix_seconds() }
}
