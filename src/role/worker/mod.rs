//! A worker process: one event loop, up to `sessions_per_child` clients.
//!
//! A thin shell: it hands events to `session::Sessions`, and does the errands that these ask for.
#![forbid(unsafe_code)]

mod cancel;
mod command;
mod events;
mod life;
mod refusals;
mod setup;
mod users;

use std::time::{Duration, Instant};

use crate::auth::outside::{Answer, Outside};
use crate::cluster::failover;
use crate::config::ProcessManagementMode;
use crate::net::{Names, Net};
use crate::role::commands::Commands;
use crate::session::{Ctx, Errand, Session, Sessions};
use crate::shm::WorkerRow;
use crate::supervisor::{ChildContext, Request, Ticket};
use crate::sys;
use crate::sys::signals::{Signal, Signals};
use crate::sys::ticker::Ticker;
use cancel::CancelConn;
use command::Commander;
use life::Courtesy;
use refusals::{Refusal, Refusals};
use users::Askers;

/// Numbers of the descriptors that are watched besides sockets.
const SIGNALS: usize = 0;
const SUPERVISOR: usize = 1;
const RESOLVER: usize = 2;
const TICKER: usize = 3;

/// How long a worker waits for the primary to be found before it serves clients without.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);

/// Freed memory that a worker keeps for the next bulk data, in bytes.
const KEPT_MEMORY: u32 = 4 << 20;

/// One worker.
struct Worker {
    net: Net,
    signals: Signals,
    ticker: Ticker,
    /// What the process was born with; its configuration is the one in force.
    context: ChildContext,
    sessions: Sessions,
    /// For `log_hostname`.
    names: Names,
    /// For `auth_query`.
    askers: Askers,
    /// For pool_hba.conf.
    outside: Outside,
    /// Who will hear that it does not come in.
    refusals: Refusals,
    /// What sessions have asked of the supervisor.
    commands: Commands<Commander>,
    cancels: Vec<Option<CancelConn>>,
    /// Clients that brought a cancel request and wait for its end.
    tickets: Vec<(Ticket, u32)>,
    last_ticket: u64,
    last_tick: Instant,
    born: Instant,
    /// No new clients: a smart shutdown, or descriptors have run out until this moment.
    stopping: bool,
    /// One of too many: it ends when it is idle.
    leaving: bool,
    full_until: Option<Instant>,
    /// Until when new clients are left to workers that have fewer.
    courtesy: Option<Courtesy>,
    /// When the last client left.
    last_seen: Instant,
    /// When the supervisor was told last that the roles of the nodes are in doubt.
    doubted: Option<Instant>,
    row: WorkerRow,
}

/// Runs a worker until it is told to stop.
pub fn run(context: ChildContext) -> ! {
    sys::limits::keep_freed_memory(KEPT_MEMORY);
    let code = match Worker::new(context) {
        Ok(mut worker) => {
            let code = worker.run();
            worker.net.finish();
            code
        }
        Err(e) => {
            crate::say!(Fatal, "worker cannot start: {}", e);
            super::FAILED
        }
    };
    sys::process::exit_now(code)
}

impl Worker {
    fn run(&mut self) -> i32 {
        loop {
            if let Some(code) = self.ended() {
                self.sessions.drop_backends(&mut self.net);
                return code;
            }
            self.sessions.tell_quiet();
            let timeout = self.timeout();
            if let Err(e) = self.listen().and_then(|()| self.net.wait(timeout)) {
                crate::say!(Fatal, "worker cannot wait for events: {}", e);
                return super::FAILED;
            }
            self.look_around();
            while let Some(event) = self.net.next_event() {
                if let Some(code) = self.handle_safely(event) {
                    return code;
                }
                self.settle();
            }
        }
    }

    /// What an event has set in motion within the worker, and what it has queued to be sent.
    fn settle(&mut self) {
        loop {
            let errands = self.sessions.settle(&mut self.net);
            if errands.is_empty() {
                break;
            }
            for errand in errands {
                self.errand(errand);
            }
        }
        for slot in self.sessions.ended() {
            self.released(slot);
        }
        self.net.flush();
    }

    fn is_unused(&self) -> bool {
        self.sessions.count() == 0 && self.refusals.is_empty()
    }

    /// Takes clients as long as there is room, and says so to the other workers.
    fn listen(&mut self) -> std::io::Result<()> {
        self.end_courtesy();
        let listens = self.has_room() && self.knows_primary();
        if listens != self.row.listens {
            self.row.listens = listens;
            self.write_row();
            let dynamic =
                self.sessions.shared.config.process_management_mode == ProcessManagementMode::Dynamic;
            if !listens && !self.sessions.has_place() && dynamic {
                self.tell(&Request::Full);
            }
        }
        self.net.listen(listens)
    }

    /// The first clients wait until the primary has been found, which takes milliseconds when it is there.
    fn knows_primary(&self) -> bool {
        self.sessions.shared.view.primary.is_some()
            || self.sessions.shared.now.duration_since(self.born) >= PATIENCE
    }

    /// A worker without clients sleeps until something comes.
    fn timeout(&mut self) -> Option<Duration> {
        if !self.knows_primary() {
            return Some(PATIENCE / 20);
        }
        let quiet = self.is_unused()
            && self.sessions.pool.slots().all(|(_, b)| b.deadline.is_none())
            && !self.net.is_closing()
            && self.cancels.iter().all(Option::is_none);
        let ticks = !quiet || self.full_until.is_some() || self.row.listens && self.net.misses_clients();
        // Where the ticker cannot be set, the wait itself is limited.
        let tick = (self.ticker.run(ticks).is_err() && ticks).then_some(TICK);
        [tick, self.next_event_of_life()].into_iter().flatten().min()
    }

    /// Once a turn: the time, and the state of the nodes if it has changed.
    fn look_around(&mut self) {
        let now = Instant::now();
        if self.sessions.look_around(&mut self.net, now) {
            self.settle();
        }
        if now.duration_since(self.last_tick) >= TICK {
            self.last_tick = now;
            self.sessions.shared.unix_now = sys::clock::unix_seconds();
            self.sessions.pool.unix_now = self.sessions.shared.unix_now;
            self.tick(now);
            self.settle();
        }
        if self.refusals.next().is_some_and(|due| due <= now) {
            self.tell_due(now);
            self.net.flush();
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.row.listens && self.net.misses_clients() {
            self.net.look_at_listeners();
        }
        if self.full_until.is_some_and(|until| until <= now) {
            self.full_until = None;
        }
        self.sessions.tick(&mut self.net, now);
        self.expire_connections(now);
        self.net.tick(now);
        self.tick_cancels();
        self.tick_commands(now);
    }

    /// Runs a step of a session.
    fn with_session(&mut self, slot: u32, step: impl FnOnce(&mut Session, &mut Ctx<'_>)) {
        self.sessions.with(&mut self.net, slot, step);
    }

    /// A session is over.
    fn released(&mut self, slot: u32) {
        self.tickets.retain(|(_, client)| *client != slot);
        self.last_seen = Instant::now();
        self.write_row();
    }

    fn write_row(&mut self) {
        self.row.sessions = self.sessions.count() as u64;
        let shared = &self.sessions.shared;
        shared.segment.set_worker(shared.worker, &self.row);
    }

    fn on_signal(&mut self, signal: Signal) -> Option<i32> {
        match signal {
            Signal::Terminate => {
                self.stopping = true;
                self.net.stop_listening();
                self.tell_all_refused();
                // The kernel may have told this worker, and no other, of a client.
                self.tell(&Request::ClientWaits);
            }
            Signal::Interrupt | Signal::Quit => return Some(self.stop_now()),
            Signal::Hangup => self.reload(),
            Signal::Child | Signal::User1 | Signal::User2 => {}
        }
        None
    }

    /// Ends every session and every backend connection.
    fn stop_now(&mut self) -> i32 {
        let message = "terminating connection due to administrator command";
        self.sessions.shut_all(&mut self.net, "57P01", message);
        self.tell_all_refused();
        self.sessions.drop_backends(&mut self.net);
        0
    }

    fn errand(&mut self, errand: Errand) {
        match errand {
            Errand::Cancel { client, pid, key } => self.route_cancel(client, pid, key),
            Errand::Unreachable { node, reason, cause } => {
                self.tell(&Request::Nodes(failover::Request::Failed { node, reason, cause }));
            }
            Errand::Command { client, session, number, actor, command } => {
                self.command(Commander { client, session, number }, actor, command);
            }
            Errand::User(user) => self.ask_for_user(user),
            Errand::RefuseLater { client, from, bytes } => self.refuse_later(Refusal { client, from, bytes }),
            Errand::Ask { client, session, question } => {
                if let Err(text) = self.outside.ask((client, session), question) {
                    self.with_session(client, |session, ctx| {
                        session.on_outside_answer(ctx, Answer::Failed(text))
                    });
                }
            }
            Errand::RolesDoubted => {
                let now = self.sessions.shared.now;
                if self.doubted.is_none_or(|at| now.duration_since(at) >= TICK) {
                    self.doubted = Some(now);
                    self.tell(&Request::RolesDoubted);
                }
            }
        }
    }

    /// Asks the supervisor for something; if it does not listen, somebody else will ask again.
    fn tell(&mut self, request: &Request) {
        match self.context.supervisor.send(request) {
            Ok(()) => self.commands.note_other(),
            Err(e) => crate::say!(Warning, "the supervisor does not take requests: {}", e),
        }
    }
}
