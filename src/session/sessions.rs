//! The sessions of a worker and the connections to nodes that they share: what happens to a socket goes to its owner.
//!
//! Whose sockets they are does not matter, so that a simulation runs the same code. A panic inside a session ends that
//! session only.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::{Ctx, Errand, Lost, Session, Shared};
use crate::cluster::view::ClusterView;
use crate::log;
use crate::net::{ConnId, Owner, Wire};
use crate::pool::{Backend, Outcome, Phase, Pool};
use crate::shm::{Hold, SessionRow};
use crate::tls::Secured;
use crate::wire::backend::{self, Notice};

/// All sessions of a worker.
pub struct Sessions {
    places: Vec<Option<Box<Session>>>,
    /// Places without a session.
    free: Vec<u32>,
    pub pool: Pool,
    pub shared: Shared,
    /// Of the state of the nodes that was looked at last.
    generation: u64,
    /// Places whose session is over, since somebody asked.
    ended: Vec<u32>,
}

impl Sessions {
    /// Places for so many sessions.
    pub fn new(places: usize, pool: Pool, shared: Shared) -> Sessions {
        Sessions {
            places: (0..places).map(|_| None).collect(),
            free: (0..places as u32).rev().collect(),
            pool,
            generation: shared.segment.generation(),
            shared,
            ended: Vec::new(),
        }
    }

    /// How many sessions there may be.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether another one has a place.
    pub fn has_place(&self) -> bool {
        !self.free.is_empty()
    }

    /// A place for a session that will be added, or left.
    pub fn take_place(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// The session that a place was taken for does not come.
    pub fn leave_place(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// Adds a session in the place that was taken for it.
    pub fn add(&mut self, mut session: Session) {
        session.number = self.shared.segment.number_session();
        let slot = session.slot as usize;
        if let Some(place) = self.places.get_mut(slot) {
            *place = Some(Box::new(session));
        }
    }

    /// Places whose session has ended since the last call.
    pub fn ended(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.ended)
    }

    /// Whether the session with this number is in this place, and not over.
    pub fn has(&self, slot: u32, number: u64) -> bool {
        self.places
            .get(slot as usize)
            .and_then(Option::as_ref)
            .is_some_and(|session| session.is_numbered(number))
    }

    /// Places whose sessions are such.
    pub fn find(&self, is_such: impl Fn(&Session) -> bool) -> Vec<u32> {
        let such = self.places.iter().flatten().filter(|session| is_such(session));
        such.map(|session| session.slot).collect()
    }

    /// The configuration has changed.
    pub fn on_reload(&mut self, wire: &mut dyn Wire) {
        for session in self.places.iter_mut().flatten() {
            session.on_reload(&self.shared);
        }
        self.see_cluster(wire);
    }

    /// Begin of a turn: the time, and the state of the nodes if it has changed. Whether it has.
    pub fn look_around(&mut self, wire: &mut dyn Wire, now: Instant) -> bool {
        self.shared.now = now;
        let generation = self.shared.segment.generation();
        let has_changed = generation != self.generation;
        if has_changed {
            self.generation = generation;
            self.see_cluster(wire);
        }
        has_changed
    }

    /// Something about the nodes has changed: connections to one that is gone are of no use.
    fn see_cluster(&mut self, wire: &mut dyn Wire) {
        self.shared.view = ClusterView::of(&self.shared.segment, &self.shared.config);
        let view = &self.shared.view;
        self.pool.drop_idle(wire, |backend| !view.is_usable(backend.node));
        for slot in self.find(|session| session.is_concerned(&self.shared)) {
            self.with(wire, slot, |session, ctx| session.on_cluster_changed(ctx));
        }
    }

    /// While roles are about to change, or all is paused: says so once no transaction is left that began before.
    pub fn tell_quiet(&self) {
        let (segment, worker, view) = (&self.shared.segment, self.shared.worker, &self.shared.view);
        let is_held = view.hold == Hold::Transactions;
        if !is_held && !view.paused {
            return;
        }
        let hold = Some(segment.hold()).filter(|(hold, _)| is_held && *hold == Hold::Transactions);
        let hold = hold.map(|(_, number)| number).filter(|number| segment.quiet(worker) != *number);
        let pause = segment.pause().filter(|number| view.paused && segment.pause_quiet(worker) != *number);
        let is_wanted = hold.is_some() || pause.is_some();
        if is_wanted && self.places.iter().flatten().all(|session| session.is_at_rest()) {
            hold.into_iter().for_each(|number| segment.set_quiet(worker, number));
            pause.into_iter().for_each(|number| segment.set_pause_quiet(worker, number));
        }
    }

    /// Once a second: deadlines, and who waits.
    pub fn tick(&mut self, wire: &mut dyn Wire, now: Instant) {
        self.pool.tick(wire, now);
        for slot in 0..self.places.len() as u32 {
            let Some(Some(session)) = self.places.get_mut(slot as usize) else { continue };
            let late = session.deadline.is_some_and(|deadline| deadline <= now);
            let held = session.is_held();
            let idle = session.idle_for(now).filter(|idle| session.is_too_idle(&self.shared, *idle));
            if late {
                self.with(wire, slot, |session, ctx| {
                    session.shut(ctx, "57014", "canceling authentication due to timeout");
                });
            } else if idle.is_some() {
                self.with(wire, slot, |session, ctx| session.end_idle(ctx));
            } else if held {
                self.with(wire, slot, |session, ctx| session.look_again(ctx));
            }
        }
    }

    /// An outgoing connection stands.
    pub fn connected(&mut self, wire: &mut dyn Wire, id: ConnId, slot: u32) {
        if self.backend(id, slot).is_some() {
            self.pool.on_connected(wire, slot);
        }
    }

    /// A handshake is done.
    pub fn secured(&mut self, wire: &mut dyn Wire, id: ConnId, owner: Owner, secured: Secured) {
        match owner {
            Owner::Client(slot) => {
                self.with_client(wire, id, slot, |session, ctx| session.on_secured(ctx, secured));
            }
            Owner::Backend(slot) => {
                if self.backend(id, slot).is_some() {
                    self.pool.on_secured(wire, slot, secured);
                }
            }
            Owner::Cancel(_) => {}
        }
    }

    /// Bytes have arrived.
    pub fn received(&mut self, wire: &mut dyn Wire, id: ConnId, owner: Owner, bytes: &[u8]) {
        match owner {
            Owner::Client(slot) => self.with_client(wire, id, slot, |session, ctx| {
                session.heard = ctx.shared.now;
                session.on_client(ctx, bytes);
            }),
            Owner::Backend(slot) => {
                let Some(backend) = self.backend(id, slot) else { return };
                match (&backend.phase, backend.session) {
                    (Phase::Leased, Some(session)) => {
                        self.with(wire, session, |session, ctx| session.on_backend(ctx, slot, bytes));
                    }
                    _ => self.pool.on_received(wire, slot, bytes),
                }
            }
            Owner::Cancel(_) => {}
        }
    }

    /// A long queue is empty again.
    pub fn drained(&mut self, wire: &mut dyn Wire, id: ConnId, owner: Owner) {
        match owner {
            Owner::Client(slot) => {
                self.with_client(wire, id, slot, |session, ctx| session.on_client_drained(ctx));
            }
            Owner::Backend(slot) => {
                if let Some(session) = self.backend(id, slot).and_then(|backend| backend.session) {
                    self.with(wire, session, |session, ctx| session.pump(ctx));
                }
            }
            Owner::Cancel(_) => {}
        }
    }

    /// A connection has closed or failed.
    pub fn closed(&mut self, wire: &mut dyn Wire, id: ConnId, owner: Owner, reason: &str) {
        match owner {
            Owner::Client(slot) => {
                self.with_client(wire, id, slot, |session, ctx| session.on_client_closed(ctx));
            }
            Owner::Backend(slot) => {
                let Some(backend) = self.backend(id, slot) else { return };
                let lost = Lost::of(backend, reason);
                let session = self.pool.on_closed(wire, slot, reason, self.shared.now);
                if let Some((session, node)) = session {
                    self.with(wire, session, |session, ctx| session.on_backend_closed(ctx, node, lost));
                }
            }
            Owner::Cancel(_) => {}
        }
    }

    /// What an event has set in motion within the worker; returns what only the worker can do.
    pub fn settle(&mut self, wire: &mut dyn Wire) -> Vec<Errand> {
        loop {
            let outcomes = self.pool.outcomes();
            if outcomes.is_empty() {
                break;
            }
            for outcome in outcomes {
                match outcome {
                    Outcome::Ready { session, backend } => {
                        self.with(wire, session, |session, ctx| session.on_backend_ready(ctx, backend));
                    }
                    Outcome::Failed { session, node, failure } => {
                        self.with(wire, session, |session, ctx| {
                            session.on_backend_failed(ctx, node, &failure);
                        });
                    }
                }
            }
        }
        self.pool.publish(&self.shared.segment, self.shared.worker);
        std::mem::take(&mut self.shared.errands)
    }

    /// The connection in a slot of the pool, if it is still the one the event is about.
    pub fn backend(&mut self, id: ConnId, slot: u32) -> Option<&mut Backend> {
        self.pool.get(slot).filter(|backend| backend.conn == id)
    }

    /// Runs a step of a client's session, if the place is still that client's.
    fn with_client(
        &mut self,
        wire: &mut dyn Wire,
        id: ConnId,
        slot: u32,
        step: impl FnOnce(&mut Session, &mut Ctx<'_>),
    ) {
        if matches!(self.places.get(slot as usize), Some(Some(session)) if session.client == id) {
            self.with(wire, slot, step);
        }
    }

    /// Runs a step of a session with all that it needs.
    pub fn with(&mut self, wire: &mut dyn Wire, slot: u32, step: impl FnOnce(&mut Session, &mut Ctx<'_>)) {
        let Some(mut session) = self.places.get_mut(slot as usize).and_then(Option::take) else { return };
        log::set_client(session.identity());
        session.exchange_own(&mut self.shared);
        let mut ctx = Ctx { wire, pool: &mut self.pool, shared: &mut self.shared };
        let done = catch_unwind(AssertUnwindSafe(|| step(&mut session, &mut ctx)));
        log::set_client(None);
        let heard = log::take_heard();
        if done.is_ok() && (!heard.is_empty() || session.has_unheard()) {
            session.pass_on(&mut ctx, heard);
        }
        session.exchange_own(&mut self.shared);
        if done.is_err() {
            session.forget_running(&self.shared, None);
            self.bury(wire, slot, session.client);
        } else if session.is_closed() {
            session.forget_running(&self.shared, None);
            self.free.push(slot);
            self.ended.push(slot);
        } else if let Some(place) = self.places.get_mut(slot as usize) {
            *place = Some(session);
        }
    }

    /// Ends every session.
    pub fn shut_all(&mut self, wire: &mut dyn Wire, code: &str, message: &str) {
        for slot in 0..self.places.len() as u32 {
            self.with(wire, slot, |session, ctx| session.shut(ctx, code, message));
        }
    }

    /// The session that a connection belongs to, and its client's connection.
    pub fn owner(&self, owner: Owner) -> Option<(u32, ConnId)> {
        let slot = match owner {
            Owner::Client(slot) => slot,
            Owner::Backend(slot) => self.pool.peek(slot)?.session?,
            Owner::Cancel(_) => return None,
        };
        let session = self.places.get(slot as usize)?.as_ref()?;
        Some((slot, session.client))
    }

    /// A session's panic is its own: its client and its backends go, the others stay.
    pub fn bury(&mut self, wire: &mut dyn Wire, slot: u32, client: ConnId) {
        let mut out = Vec::new();
        let notice = Notice {
            severity: "FATAL",
            code: "XX000",
            message: "internal error of pgbalancer, see its log",
            detail: None,
            hint: None,
        };
        backend::put_error(&mut out, &notice);
        wire.send(client, &out);
        wire.close_when_sent(client);
        let its = |(_, backend): &(u32, &Backend)| backend.session == Some(slot);
        let lost: Vec<u32> = self.pool.slots().filter(its).map(|(backend, _)| backend).collect();
        for backend in lost {
            self.pool.drop_backend(wire, backend);
        }
        if let Some(mut session) = self.places.get_mut(slot as usize).and_then(Option::take) {
            session.forget_running(&self.shared, None);
        }
        // Its cancel key must not find the next session in its place.
        self.shared.segment.set_session(self.shared.worker, slot as usize, &SessionRow::default());
        if !self.free.contains(&slot) {
            self.free.push(slot);
            self.ended.push(slot);
        }
    }

    /// Closes all connections to nodes.
    pub fn drop_backends(&mut self, wire: &mut dyn Wire) {
        let slots: Vec<u32> = self.pool.slots().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.pool.drop_backend(wire, slot);
        }
    }
}
