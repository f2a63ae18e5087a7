//! A worker process: one event loop, up to `sessions_per_child` clients.
//!
//! A thin shell: it hands events to sessions and the pool, and does the errands they ask for. A panic inside a
//! session ends that session only.
#![forbid(unsafe_code)]

mod cancel;
mod events;
mod life;
mod setup;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::config::ProcessManagementMode;
use crate::net::{Names, Net, Wire};
use crate::pool::Pool;
use crate::session::{Ctx, Errand, Session, Shared};
use crate::shm::{SessionRow, WorkerRow};
use crate::supervisor::{ChildContext, Request, Ticket};
use crate::sys;
use crate::sys::signals::{Signal, Signals};
use crate::sys::ticker::Ticker;
use cancel::CancelConn;
use life::Courtesy;

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

/// Exit code of a worker that cannot work.
const FAILED: i32 = 4;

/// One worker.
struct Worker {
    net: Net,
    signals: Signals,
    ticker: Ticker,
    /// What the process was born with; its configuration is the one in force.
    context: ChildContext,
    sessions: Vec<Option<Box<Session>>>,
    /// Slots without a session.
    free: Vec<u32>,
    pool: Pool,
    /// For `log_hostname`.
    names: Names,
    shared: Shared,
    cancels: Vec<Option<CancelConn>>,
    /// Clients that brought a cancel request and wait for its end.
    tickets: Vec<(Ticket, u32)>,
    last_ticket: u64,
    generation: u64,
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
            FAILED
        }
    };
    sys::process::exit_now(code)
}

impl Worker {
    fn run(&mut self) -> i32 {
        loop {
            if let Some(code) = self.ended() {
                self.drop_backends();
                return code;
            }
            let timeout = self.timeout();
            if let Err(e) = self.listen().and_then(|()| self.net.wait(timeout)) {
                crate::say!(Fatal, "worker cannot wait for events: {}", e);
                return FAILED;
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
            let outcomes = self.pool.outcomes();
            let errands = std::mem::take(&mut self.shared.errands);
            if outcomes.is_empty() && errands.is_empty() {
                break;
            }
            for outcome in outcomes {
                self.outcome(outcome);
            }
            for errand in errands {
                self.errand(errand);
            }
        }
        self.pool.publish(&self.shared.segment, self.shared.worker);
        self.net.flush();
    }

    fn is_unused(&self) -> bool {
        self.free.len() == self.sessions.len()
    }

    /// Takes clients as long as there is room, and says so to the other workers.
    fn listen(&mut self) -> std::io::Result<()> {
        self.end_courtesy();
        let listens = self.has_room() && self.knows_primary();
        if listens != self.row.listens {
            self.row.listens = listens;
            self.shared.segment.set_worker(self.shared.worker, &self.row);
            let dynamic = self.shared.config.process_management_mode == ProcessManagementMode::Dynamic;
            if !listens && self.free.is_empty() && dynamic {
                self.tell(&Request::Full);
            }
        }
        self.net.listen(listens)
    }

    /// The first clients wait until the primary has been found, which takes milliseconds when it is there.
    fn knows_primary(&self) -> bool {
        self.shared.view.primary.is_some() || self.shared.now.duration_since(self.born) >= PATIENCE
    }

    /// A worker without clients sleeps until something comes.
    fn timeout(&mut self) -> Option<Duration> {
        if !self.knows_primary() {
            return Some(PATIENCE / 20);
        }
        let quiet = self.is_unused()
            && self.pool.slots().all(|(_, b)| b.deadline.is_none())
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
        self.shared.now = now;
        let generation = self.shared.segment.generation();
        if generation != self.generation {
            self.generation = generation;
            self.see_cluster();
        }
        if now.duration_since(self.last_tick) >= TICK {
            self.last_tick = now;
            self.shared.unix_now = sys::clock::unix_seconds();
            self.pool.unix_now = self.shared.unix_now;
            self.tick(now);
            self.settle();
        }
    }

    /// Something about the nodes has changed: connections to one that is gone are of no use.
    fn see_cluster(&mut self) {
        self.shared.view = setup::view(&self.shared.segment, &self.shared.config);
        let view = &self.shared.view;
        let gone = |node| !view.nodes.iter().any(|n| n.id == node && n.usable);
        self.pool.drop_idle(&mut self.net, |backend| gone(backend.node));
        for session in self.sessions.iter_mut().flatten() {
            session.on_cluster_changed();
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.row.listens && self.net.misses_clients() {
            self.net.look_at_listeners();
        }
        if self.full_until.is_some_and(|until| until <= now) {
            self.full_until = None;
        }
        self.pool.tick(&mut self.net, now);
        self.expire_connections(now);
        self.net.tick(now);
        self.tick_cancels();
        for slot in 0..self.sessions.len() as u32 {
            let Some(Some(session)) = self.sessions.get_mut(slot as usize) else { continue };
            let late = session.deadline.is_some_and(|deadline| deadline <= now);
            let idle = session.idle_for(now).filter(|idle| session.is_too_idle(&self.shared, *idle));
            if late {
                self.with_session(slot, |session, ctx| {
                    session.shut(ctx, "57014", "canceling authentication due to timeout");
                });
            } else if idle.is_some() {
                self.with_session(slot, |session, ctx| session.end_idle(ctx));
            }
        }
    }

    /// Runs a step of a session with all that it needs.
    fn with_session(&mut self, slot: u32, step: impl FnOnce(&mut Session, &mut Ctx<'_>)) {
        let Some(mut session) = self.sessions.get_mut(slot as usize).and_then(Option::take) else { return };
        crate::log::set_client(session.identity());
        session.exchange_own(&mut self.shared);
        let mut ctx = Ctx { wire: &mut self.net, pool: &mut self.pool, shared: &mut self.shared };
        let done = catch_unwind(AssertUnwindSafe(|| step(&mut session, &mut ctx)));
        crate::log::set_client(None);
        let heard = crate::log::take_heard();
        if done.is_ok() && (!heard.is_empty() || session.has_unheard()) {
            session.pass_on(&mut ctx, heard);
        }
        session.exchange_own(&mut self.shared);
        if done.is_err() {
            self.close_client(session.client);
            self.bury(slot);
        } else if session.is_closed() {
            self.release(slot);
        } else if let Some(place) = self.sessions.get_mut(slot as usize) {
            *place = Some(session);
        }
    }

    fn release(&mut self, slot: u32) {
        self.free.push(slot);
        self.tickets.retain(|(_, client)| *client != slot);
        self.row.sessions = (self.sessions.len() - self.free.len()) as u64;
        self.last_seen = Instant::now();
        self.shared.segment.set_worker(self.shared.worker, &self.row);
    }

    fn on_signal(&mut self, signal: Signal) -> Option<i32> {
        match signal {
            Signal::Terminate => {
                self.stopping = true;
                self.net.stop_listening();
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
        for slot in 0..self.sessions.len() as u32 {
            self.with_session(slot, |session, ctx| {
                session.shut(ctx, "57P01", "terminating connection due to administrator command");
            });
        }
        self.drop_backends();
        0
    }

    fn drop_backends(&mut self) {
        let slots: Vec<u32> = self.pool.slots().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.pool.drop_backend(&mut self.net, slot);
        }
    }

    fn errand(&mut self, errand: Errand) {
        match errand {
            Errand::Cancel { client, pid, key } => self.route_cancel(client, pid, key),
            Errand::Unreachable { node, reason } => {
                self.tell(&Request::BackendFailed { node, reason });
            }
        }
    }

    /// Asks the supervisor for something; if it does not listen, somebody else will ask again.
    fn tell(&mut self, request: &Request) {
        if let Err(e) = self.context.supervisor.send(request) {
            crate::say!(Warning, "the supervisor does not take requests: {}", e);
        }
    }

    /// The session's panic is its own: its client and its backends go, the others stay.
    fn bury(&mut self, slot: u32) {
        let lost: Vec<u32> =
            self.pool.slots().filter(|(_, b)| b.session == Some(slot)).map(|(slot, _)| slot).collect();
        for backend in lost {
            self.pool.drop_backend(&mut self.net, backend);
        }
        if let Some(place) = self.sessions.get_mut(slot as usize) {
            *place = None;
        }
        // Its cancel key must not find the slot's next session.
        self.shared.segment.set_session(self.shared.worker, slot as usize, &SessionRow::default());
        if !self.free.contains(&slot) {
            self.release(slot);
        }
    }

    fn close_client(&mut self, conn: crate::net::ConnId) {
        let mut out = Vec::new();
        let notice = crate::wire::backend::Notice {
            severity: "FATAL",
            code: "XX000",
            message: "internal error of pgbalancer, see its log",
            detail: None,
            hint: None,
        };
        crate::wire::backend::put_error(&mut out, &notice);
        self.net.send(conn, &out);
        self.net.close_when_sent(conn);
    }
}
