//! Carries out a plan, step by step. Blocks; every step but the first stage ends within `recovery_timeout`, and that one
//! when the server or its host has gone.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::call::{self, Functions};
use super::error::RecoveryError;
use super::plan::{Plan, Stage, Step};
use super::world::{Server, Servers, Supervisor};
use crate::cluster::client::{ClientError, Row, Target};
use crate::config::Backend;
use crate::log::{Level, Line};
use crate::say;

/// How often the log is told that the first stage still runs.
const BEAT: Duration = Duration::from_secs(60);
/// Between two looks at a node that starts: at first soon, then as often as pgpool-II.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(1),
    Duration::from_secs(3),
];
/// Between two looks at what the supervisor does.
const LOOK: Duration = Duration::from_millis(100);

/// Recovers the node of the plan, and returns when it is in use.
pub fn run<S: Servers>(
    plan: &Plan,
    servers: &mut S,
    supervisor: &mut impl Supervisor,
) -> Result<(), RecoveryError> {
    say!(Log, "starting recovering node {}", plan.target.id);
    let (source, functions) = connect(plan, servers)?;
    let mut recovery = Recovery { plan, servers, supervisor, source, functions, holding: false };
    let done = plan.steps.iter().try_for_each(|step| recovery.step(*step));
    let let_in = recovery.let_clients_in();
    done?;
    let_in?;
    say!(Log, "recovery done");
    Ok(())
}

struct Recovery<'a, S: Servers, V> {
    plan: &'a Plan,
    servers: &'a mut S,
    supervisor: &'a mut V,
    source: S::Server,
    functions: Functions,
    /// Clients are held back.
    holding: bool,
}

/// A connection to the node that the other is made from, in a database that has the functions.
fn connect<S: Servers>(plan: &Plan, servers: &mut S) -> Result<(S::Server, Functions), RecoveryError> {
    let with_stage = plan.steps.iter().any(|step| matches!(step, Step::Script(_)));
    let mut error = None;
    for database in &plan.databases {
        let target = target(plan, &plan.source, database);
        let found = servers.connect(&target, plan.connect).and_then(|mut server| {
            let functions = Functions::of(&server.rows(call::FUNCTIONS, plan.timeout)?);
            Ok((server, functions))
        });
        match found {
            Ok((server, functions)) => match functions.missing(with_stage) {
                None => return Ok((server, functions)),
                // That it can be reached is the better news.
                Some(function) => error = Some(no_function(plan, function)),
            },
            Err(reason) => {
                error.get_or_insert(RecoveryError::Connect {
                    node: plan.source.id,
                    reason: reason.to_string(),
                });
            }
        }
    }
    Err(error.unwrap_or(RecoveryError::NoSource))
}

fn no_function(plan: &Plan, function: &'static str) -> RecoveryError {
    let databases: Vec<String> = plan.databases.iter().map(|database| format!("\"{database}\"")).collect();
    RecoveryError::NoFunction { function, node: plan.source.id, databases: databases.join(" and ") }
}

fn target(plan: &Plan, node: &Backend, database: &str) -> Target {
    Target {
        host: node.hostname.clone(),
        port: node.port,
        user: plan.user.clone(),
        database: database.to_owned(),
        application_name: "pgbalancer",
        tls: node.tls.clone(),
    }
}

impl<S: Servers, V: Supervisor> Recovery<'_, S, V> {
    fn step(&mut self, step: Step) -> Result<(), RecoveryError> {
        self.supervisor.goes_on(&step.text());
        match step {
            Step::Checkpoint(stage) => self.checkpoint(stage),
            Step::Script(stage) => self.script(stage),
            Step::ClientsLeave => self.clients_leave(),
            Step::RemoteStart => self.remote_start(),
            Step::Answer => self.answer(),
            Step::Attach => self.attach(),
        }
    }

    /// In the first stage it may have much to write; in the second one clients wait for it.
    fn checkpoint(&mut self, stage: Stage) -> Result<(), RecoveryError> {
        self.ask(stage, call::CHECKPOINT, "CHECKPOINT")
            .map_err(|error| RecoveryError::Checkpoint(error.to_string()))?;
        say!(Log, "node recovery, CHECKPOINT in the {} done", stage.name());
        Ok(())
    }

    fn script(&mut self, stage: Stage) -> Result<(), RecoveryError> {
        let command = self.plan.command(stage);
        let failed = |reason: String| RecoveryError::Script { stage, command: command.to_owned(), reason };
        let sql = self
            .functions
            .stage(command, &self.plan.source, &self.plan.target)
            .ok_or_else(|| no_function(self.plan, call::STAGE))?;
        log("executing recovery", format!("starting recovery command: \"{sql}\""));
        log("executing recovery", "disabling statement_timeout");
        self.source
            .rows(call::NO_TIMEOUT, self.plan.timeout)
            .map_err(|error| RecoveryError::StatementTimeout { stage, reason: error.to_string() })?;
        succeeded(self.ask(stage, &sql, command), self.plan.timeout).map_err(failed)?;
        say!(Log, "node recovery, {} is done", stage.name());
        Ok(())
    }

    /// Asks the node that the other is made from; `what` is for the log.
    fn ask(&mut self, stage: Stage, sql: &str, what: &str) -> Result<Vec<Row>, ClientError> {
        if stage == Stage::Second {
            return self.source.rows(sql, self.plan.timeout);
        }
        let mut beats = 0;
        self.source.rows_at_last(sql, BEAT, &mut || {
            beats += 1;
            say!(Log, "node recovery, {what} in the {} has been running for {beats} min", stage.name());
        })
    }

    fn clients_leave(&mut self) -> Result<(), RecoveryError> {
        say!(Log, "node recovery, starting 2nd stage");
        self.holding = true;
        self.supervisor.hold_clients(true).map_err(RecoveryError::Hold)?;
        let deadline = self.deadline();
        loop {
            let clients = self.supervisor.clients();
            if clients == 0 {
                say!(Log, "node recovery, all connections from clients have been closed");
                return Ok(());
            }
            if self.servers.now() >= deadline {
                return Err(RecoveryError::ClientsStay { clients, limit: self.plan.timeout });
            }
            self.servers.pause(LOOK);
        }
    }

    fn let_clients_in(&mut self) -> Result<(), RecoveryError> {
        if !std::mem::take(&mut self.holding) {
            return Ok(());
        }
        self.supervisor.hold_clients(false).map_err(RecoveryError::Hold)
    }

    fn remote_start(&mut self) -> Result<(), RecoveryError> {
        let sql = self
            .functions
            .remote_start(&self.plan.target)
            .ok_or_else(|| no_function(self.plan, call::REMOTE_START))?;
        log("executing remote start", "start pgpool_remote_start");
        let limit = self.plan.timeout;
        succeeded(self.source.rows(&sql, limit), limit).map_err(RecoveryError::RemoteStart)?;
        log("executing remote start", "finish pgpool_remote_start");
        Ok(())
    }

    /// Waits until the node takes a connection, and looks at what has come up.
    fn answer(&mut self) -> Result<(), RecoveryError> {
        let deadline = self.deadline();
        let node = &self.plan.target;
        let mut tries = 0;
        loop {
            // A database may be missing there; any that takes us shows that the server is up.
            let databases = &self.plan.databases;
            let database = databases.get(tries % databases.len().max(1)).map_or("postgres", String::as_str);
            let place = format!("hostname:{} database:{database} user:{}", node.hostname, self.plan.user);
            log(
                "checking if postmaster is started",
                format!("trying to connect to postmaster on {place} (retry {tries} times)"),
            );
            let left = deadline.saturating_duration_since(self.servers.now());
            let limit = left.min(self.plan.connect).max(LOOK);
            let target = target(self.plan, node, database);
            let reason = match self.servers.connect(&target, limit) {
                Ok(server) => return self.answered(server),
                Err(error) => error.to_string(),
            };
            log(
                "checking if postmaster is started",
                format!("failed to connect to postmaster on {place}, {reason}"),
            );
            if self.servers.now() >= deadline {
                let (host, user) = (node.hostname.clone(), self.plan.user.clone());
                let (database, limit) = (database.to_owned(), self.plan.timeout);
                return Err(RecoveryError::NotStarted { host, database, user, limit, reason });
            }
            let pause = PAUSES.get(tries).or(PAUSES.last()).copied().unwrap_or(LOOK);
            self.servers.pause(pause.min(deadline.saturating_duration_since(self.servers.now())));
            tries += 1;
        }
    }

    fn answered(&mut self, mut server: S::Server) -> Result<(), RecoveryError> {
        let node = self.plan.target.id;
        if self.plan.standby {
            let rows = server.rows(call::IS_STANDBY, self.plan.timeout);
            let rows = rows.map_err(|error| RecoveryError::Attach { node, reason: error.to_string() })?;
            if single(&rows) != Some("t") {
                return Err(RecoveryError::NoStandby(node));
            }
        }
        say!(Log, "node recovery, node: {node} restarted");
        Ok(())
    }

    fn attach(&mut self) -> Result<(), RecoveryError> {
        let node = self.plan.target.id;
        let failed = |reason| RecoveryError::Attach { node, reason };
        self.supervisor.attach(node).map_err(failed)?;
        let deadline = self.deadline();
        while !self.supervisor.is_attached(node) {
            if self.servers.now() >= deadline {
                let seconds = self.plan.timeout.as_secs();
                return Err(failed(format!(
                    "Its server runs, but it is not in use after {seconds} seconds."
                )));
            }
            self.servers.pause(LOOK);
        }
        Ok(())
    }

    fn deadline(&self) -> Instant {
        self.servers.now() + self.plan.timeout
    }
}

/// A function that ran a script: it says `true`, or an error.
fn succeeded(answer: Result<Vec<Row>, ClientError>, limit: Duration) -> Result<(), String> {
    match answer {
        Ok(rows) if single(&rows) == Some("t") => Ok(()),
        Ok(_) => Err("the function did not return true".to_owned()),
        Err(ClientError::TimedOut) => {
            Err(format!("no answer within {} s; the script may still run", limit.as_secs()))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn single(rows: &[Row]) -> Option<&str> {
    rows.first()?.first()?.as_deref()
}

fn log(text: &str, detail: impl Into<String>) {
    Line::new(Level::Log, text).detail(detail).emit();
}
