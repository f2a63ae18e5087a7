//! What a session tells others: the log of statements, counters and its row in shared memory.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use super::holdings::Holdings;
use super::{Ctx, Effect, Session, Stage};
use crate::config::Config;
use crate::error::NodeId;
use crate::log;
use crate::pool::{Backend, Lease, Phase};
use crate::route::{CounterClass, Write, statement_class};
use crate::shm::{SessionRow, SessionStatus};
use crate::sql::{Facts, Kind, ParseOutcome};
use crate::sys;
use crate::wire::backend::{self, ErrorFields, Notice, TxStatus};

/// Most bytes of a statement that the log of its error repeats.
pub(super) const MAX_LOGGED: usize = 1024;

/// The same for slow statements, where these are logged.
const MAX_SLOW: usize = 64 * 1024;

/// Most records that wait for the end of a message to the client.
const MAX_UNHEARD: usize = 100;

/// Logs a statement of ours, as pgpool-II logs its internal ones.
pub(super) fn log_internal(config: &Config, node: NodeId, pid: i32, text: &str) {
    if config.log_per_node_statement {
        crate::say!(Log, "DB node id: {} backend pid: {} statement: {}", node, pid, text);
    }
}

impl Session {
    /// A statement goes to `node` now: log it, count it, remember what it will change.
    pub(super) fn begin_statement(
        &mut self,
        ctx: &mut Ctx<'_>,
        node: NodeId,
        facts: &Rc<Facts>,
        text: &[u8],
        form: &str,
        write: Write,
    ) {
        let executed = self.executed(facts);
        if write.is_any() {
            self.note_write(ctx, write, executed.as_ref().unwrap_or(facts));
        }
        self.count(ctx, node, facts);
        self.again.note_statement(facts);
        let executed = executed.filter(|facts| changes_session(facts));
        let facts = executed.as_ref().unwrap_or(facts);
        if changes_session(facts) {
            let (flight, first) = (self.flight, self.sent);
            self.effects.push_back(Effect { facts: Rc::clone(facts), text: text.into(), flight, first });
        }
        self.sent += facts.statements.len().max(1);
        self.keep_statement(text);
        if form.is_empty() && ctx.shared.config.log_min_duration_statement >= 0 {
            self.statement.clear();
            self.statement.extend_from_slice(text.get(..MAX_SLOW).unwrap_or(text));
        }
        self.log_statement(ctx, text);
        if form.is_empty() {
            self.log_unparsed(facts, text);
        }
        self.log_at_node(ctx, node, form, text);
        self.set_status(ctx, SessionStatus::ExecuteCommand);
    }

    /// The facts of the statement that EXECUTE runs.
    fn executed(&self, facts: &Facts) -> Option<Rc<Facts>> {
        let Kind::Execute(name) = &facts.single()?.kind else { return None };
        Some(Rc::clone(&self.statements.get(name.as_bytes())?.facts))
    }

    /// A statement of the client begins.
    pub(super) fn log_statement(&self, ctx: &Ctx<'_>, text: &[u8]) {
        if ctx.shared.config.log_statement {
            crate::say!(Log, "statement: {}", String::from_utf8_lossy(text));
        }
    }

    /// One that only the server can say what is wrong with.
    pub(super) fn log_unparsed(&self, facts: &Facts, text: &[u8]) {
        if facts.parse == ParseOutcome::Failed {
            let (text, host, port) = (String::from_utf8_lossy(text), &self.host, self.peer.port());
            crate::say!(Log, "Unable to parse the query: \"{text}\" from client {host}({port})");
        }
    }

    /// A message goes to a node. `form`: what kind of message, if it is no simple query.
    pub(super) fn log_at_node(&mut self, ctx: &mut Ctx<'_>, node: NodeId, form: &str, text: &[u8]) {
        if ctx.shared.config.log_per_node_statement {
            let pid = self.backend(ctx, node).map_or(0, |backend| backend.pid);
            let text = String::from_utf8_lossy(text);
            crate::say!(Log, "DB node id: {} backend pid: {} statement: {}{}", node, pid, form, text);
        }
        if ctx.shared.config.notice_per_node_statement {
            let text = format!("DB node id: {node} statement: {form}{}", String::from_utf8_lossy(text));
            let heard = log::Heard { level: log::Level::Notice, text, detail: None, hint: None };
            self.pass_on(ctx, vec![heard]);
        }
    }

    pub(super) fn application_name(&self) -> Option<&str> {
        self.startup.as_ref().and_then(|startup| startup.application_name.as_deref())
    }

    fn count(&self, ctx: &Ctx<'_>, node: NodeId, facts: &Facts) {
        let counters = ctx.shared.segment.counters(ctx.shared.worker, node);
        let class = facts.statements.first().map_or(CounterClass::Other, statement_class);
        let counter = match class {
            CounterClass::Select => &counters.select,
            CounterClass::Insert => &counters.insert,
            CounterClass::Update => &counters.update,
            CounterClass::Delete => &counters.delete,
            CounterClass::Ddl => &counters.ddl,
            CounterClass::Other => &counters.other,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// A transaction has ended, if only that of a statement which stood alone.
    pub(super) fn count_transaction(&self, ctx: &Ctx<'_>, node: NodeId, committed: bool) {
        let counters = ctx.shared.segment.counters(ctx.shared.worker, node);
        let counter = if committed { counters.committed } else { counters.aborted };
        counter.fetch_add(1, Relaxed);
    }

    /// The session has asked for a connection. One that is being reset is there, too.
    pub(super) fn count_lease(&self, ctx: &Ctx<'_>, node: NodeId, lease: &Lease) {
        let is_reset =
            |slot| ctx.pool.peek(slot).is_some_and(|backend| matches!(backend.phase, Phase::Resetting(_)));
        let is_there = match lease {
            Lease::Ready(_) => true,
            Lease::Opening(slot) => is_reset(*slot),
            Lease::Failed(_) => false,
        };
        let counters = ctx.shared.segment.counters(ctx.shared.worker, node);
        let counter = if is_there { counters.pool_hits } else { counters.pool_misses };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn count_error(&self, ctx: &Ctx<'_>, node: NodeId, fields: &ErrorFields<'_>) {
        let counters = ctx.shared.segment.counters(ctx.shared.worker, node);
        let counter = match fields.severity_plain.unwrap_or(fields.severity) {
            b"PANIC" => &counters.panic,
            b"FATAL" => &counters.fatal,
            _ => &counters.error,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Sets the state that SHOW POOL_PROCESSES shows, from the state of the transaction.
    pub(super) fn show_status(&mut self, ctx: &mut Ctx<'_>) {
        let status = match self.status() {
            TxStatus::Idle => SessionStatus::Idle,
            _ => SessionStatus::IdleInTransaction,
        };
        self.set_status(ctx, status);
    }

    pub(super) fn set_status(&mut self, ctx: &mut Ctx<'_>, status: SessionStatus) {
        ctx.shared.segment.set_session_status(ctx.shared.worker, self.slot as usize, status);
        if !self.title.is_empty() {
            let begin = self.title.len();
            self.title.push_str(match status {
                SessionStatus::WaitForConnection => return sys::title::set("wait for connection request"),
                SessionStatus::Connecting => "authentication",
                SessionStatus::Idle => "idle",
                SessionStatus::IdleInTransaction => "idle in transaction",
                SessionStatus::ExecuteCommand => "active",
            });
            sys::title::set(&self.title);
            self.title.truncate(begin);
        }
    }

    /// The client is here; `name`: of its host, if that is known by another than its address.
    pub fn came_from(&mut self, config: &Config, name: Option<String>) {
        self.waits_for_name = None;
        if let Some(name) = name {
            self.host = name;
        }
        if config.log_connections {
            log::Line::new(log::Level::Log, "new connection received")
                .detail(format!("connecting host={} port={}", self.host, self.peer.port()))
                .emit();
        }
    }

    /// The name of the host is there, some time after the client.
    pub fn is_named(&mut self, ctx: &mut Ctx<'_>, name: &str) {
        self.came_from(&ctx.shared.config, Some(name.to_owned()));
        if self.identity.is_some() {
            self.introduce(ctx);
        }
        if matches!(self.stage, Stage::Active) {
            self.write_row(ctx, SessionStatus::Idle);
            match self.in_flight {
                0 => self.show_status(ctx),
                _ => self.set_status(ctx, SessionStatus::ExecuteCommand),
            }
        }
    }

    /// From now on the log and the process title know the client.
    pub(super) fn introduce(&mut self, ctx: &Ctx<'_>) {
        let (user, database, host) = (self.key.user.clone(), self.key.database.clone(), self.host.clone());
        if ctx.shared.config.sessions_per_child == 1 {
            self.title = format!("{user} {database} {host}({}) ", self.peer.port());
        }
        let application = self.application_name().unwrap_or_default().to_string();
        self.identity = Some(Rc::new(log::Client { application, user, database, host, levels: None }));
        self.know_levels(ctx);
    }

    /// Keeps the begin of a statement for the log of its error.
    pub(super) fn keep_statement(&mut self, text: &[u8]) {
        self.statement.clear();
        self.statement.extend_from_slice(text.get(..MAX_LOGGED).unwrap_or(text));
    }

    pub(super) fn log_error(&self, node: NodeId, pid: i32, fields: &ErrorFields<'_>, simple: bool) {
        let form = if simple { "pool_send_and_wait" } else { "Parse" };
        let statement = self.statement.get(..MAX_LOGGED).unwrap_or(&self.statement);
        let (statement, message) =
            (String::from_utf8_lossy(statement), String::from_utf8_lossy(fields.message));
        crate::say!(
            Log,
            "{form}: Error or notice message from backend: DB node id: {node} backend pid: {pid} \
             statement: \"{statement}\" message: \"{message}\""
        );
    }

    /// Tells the client what was logged on its behalf (`client_min_messages`): between two messages, and not before it
    /// is let in.
    pub fn pass_on(&mut self, ctx: &mut Ctx<'_>, heard: Vec<log::Heard>) {
        if !matches!(self.stage, Stage::Active) {
            return;
        }
        self.unheard.extend(heard);
        self.unheard.truncate(MAX_UNHEARD);
        if self.is_mid_message(ctx) || self.unheard.is_empty() {
            return;
        }
        let mut out = Vec::new();
        for log::Heard { level, text, detail, hint } in self.unheard.drain(..) {
            let notice = Notice {
                severity: level.name(),
                code: if level == log::Level::Warning { "01000" } else { "00000" },
                message: &text,
                detail: detail.as_deref(),
                hint: hint.as_deref(),
            };
            backend::put_notice(&mut out, &notice);
        }
        ctx.wire.send(self.client, &out);
    }

    /// Whether the client has the begin of a message of a server and not its end: a word of ours would stand within it.
    pub(super) fn is_mid_message(&self, ctx: &Ctx<'_>) -> bool {
        self.links.iter().any(|link| ctx.pool.peek(link.backend).is_some_and(Backend::is_mid_message))
    }

    /// Whether something waits for `pass_on`.
    pub fn has_unheard(&self) -> bool {
        !self.unheard.is_empty()
    }

    /// Writes the session's row.
    pub(super) fn write_row(&self, ctx: &mut Ctx<'_>, status: SessionStatus) {
        let here = ctx.shared.now.duration_since(self.started).as_secs();
        let mut row = SessionRow {
            status,
            user: self.key.user.as_str().into(),
            database: self.key.database.as_str().into(),
            application: self.application_name().unwrap_or_default().into(),
            client_host: self.host.as_str().into(),
            client_port: u32::from(self.peer.port()),
            connected_at: ctx.shared.unix_now.saturating_sub(here),
            number: self.number,
            admission: self.admission,
            ..SessionRow::default()
        };
        row.set_key(self.cancel.0, &self.cancel.1);
        row.set_balance_node(self.balance);
        ctx.shared.segment.set_session(ctx.shared.worker, self.slot as usize, &row);
    }
}

/// Whether its success changes what routing or the other nodes must know.
fn changes_session(facts: &Facts) -> bool {
    facts.statements.iter().any(|statement| {
        !statement.creates_temp.is_empty()
            || !statement.set_config.is_empty()
            || Holdings::are_changed_by(statement)
            || matches!(
                statement.kind,
                Kind::Ddl
                    | Kind::Discard
                    | Kind::Begin(_)
                    | Kind::Commit { .. }
                    | Kind::Rollback { .. }
                    | Kind::Savepoint(_)
                    | Kind::Release(_)
                    | Kind::RollbackTo(_)
                    | Kind::PrepareTransaction
                    | Kind::Set { .. }
                    | Kind::SetTransaction { .. }
                    | Kind::Reset { .. }
                    | Kind::ResetAll
                    | Kind::DiscardAll
                    | Kind::Prepare { .. }
                    | Kind::Deallocate(_)
            )
    })
}
