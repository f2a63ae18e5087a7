//! Events to their owners.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::{RESOLVER, SIGNALS, SUPERVISOR, TICKER, Worker};
use crate::net::{ConnId, Event, Named, Owner, Peer, Socket};
use crate::pool::{Backend, Outcome, Phase};
use crate::session::{Ctx, Lost, Session};
use crate::supervisor::{Incoming, Order, Request};
use crate::wire::frontend;

/// How long no client is taken after descriptors or memory have run out.
const BREATH: Duration = Duration::from_secs(1);

impl Worker {
    /// Handles an event; a panic ends the session it belongs to. `Some`: the process ends with this code.
    pub(super) fn handle_safely(&mut self, event: Event) -> Option<i32> {
        let victim = self.session_of(&event);
        match catch_unwind(AssertUnwindSafe(|| self.handle(event))) {
            Ok(code) => code,
            Err(_) => {
                if let Some((slot, client)) = victim {
                    self.close_client(client);
                    self.bury(slot);
                }
                None
            }
        }
    }

    fn session_of(&self, event: &Event) -> Option<(u32, ConnId)> {
        let owner = match event {
            Event::Received(_, owner, _) | Event::Drained(_, owner) | Event::Closed(_, owner, _) => *owner,
            Event::Connected(..) | Event::Incoming(_) | Event::Watched(_) => return None,
        };
        let slot = match owner {
            Owner::Client(slot) => slot,
            Owner::Backend(slot) => self.pool.peek(slot)?.session?,
            Owner::Cancel(_) => return None,
        };
        let session = self.sessions.get(slot as usize)?.as_ref()?;
        Some((slot, session.client))
    }

    fn handle(&mut self, event: Event) -> Option<i32> {
        match event {
            Event::Incoming(listener) => self.incoming(listener),
            Event::Watched(SIGNALS) => {
                while let Some(signal) = self.signals.read() {
                    if let Some(code) = self.on_signal(signal) {
                        return Some(code);
                    }
                }
            }
            Event::Watched(SUPERVISOR) => return self.supervisor_speaks(),
            Event::Watched(RESOLVER) => {
                self.pool.on_resolved(&mut self.net, self.shared.now);
                self.hosts_are_named();
            }
            Event::Watched(TICKER) => self.ticker.rest(),
            Event::Watched(_) => {}
            Event::Connected(id, owner) => self.connected(id, owner),
            Event::Received(id, owner, chunk) => {
                self.received(id, owner, chunk.bytes());
                self.net.give_back(chunk);
            }
            Event::Drained(id, Owner::Client(slot)) => {
                self.with_client(id, slot, |session, ctx| session.on_client_drained(ctx));
            }
            Event::Drained(id, Owner::Backend(slot)) => {
                if let Some(session) = self.backend(id, slot).and_then(|b| b.session) {
                    self.with_session(session, |session, ctx| session.pump(ctx));
                }
            }
            Event::Drained(_, Owner::Cancel(_)) => {}
            Event::Closed(id, owner, reason) => self.closed(id, owner, &reason),
        }
        None
    }

    fn supervisor_speaks(&mut self) -> Option<i32> {
        loop {
            match self.context.supervisor.recv() {
                Some(Incoming::Order(Order::Cancel { pid, key, ticket })) => {
                    self.cancel_here(pid, &key, ticket);
                }
                Some(Incoming::Order(Order::Cancelled(ticket))) => self.cancel_done(ticket),
                Some(Incoming::Order(Order::Leave)) => self.leaving = self.is_unused(),
                Some(Incoming::Order(Order::LookForClients)) => self.net.look_at_listeners(),
                Some(Incoming::Answer(_)) => {}
                None => return None,
                // Nobody is left to serve for.
                Some(Incoming::Gone) => return Some(self.stop_now()),
            }
        }
    }

    /// Takes one client, and another if there is room. Without room somebody else must hear of it: the kernel
    /// wakes one worker a client.
    fn incoming(&mut self, listener: usize) {
        if !self.has_room() {
            // One that only gives way looks again in a moment.
            if self.courtesy.is_none() {
                self.tell(&Request::ClientWaits);
            }
            return;
        }
        while self.has_room() {
            match self.net.accept(listener) {
                Ok(Some((socket, peer))) => self.welcome(socket, peer),
                Ok(None) => return,
                Err(e) => {
                    crate::say!(Warning, "cannot take a client: {}", e);
                    self.full_until = Some(self.shared.now + BREATH);
                    return;
                }
            }
            // Others have nothing to do while this one takes all: one client a turn where there are many workers.
            if self.sessions.len() > 1 {
                return;
            }
        }
    }

    fn welcome(&mut self, socket: Socket, peer: Peer) {
        let Some(slot) = self.free.pop() else { return };
        match self.net.add(socket, Owner::Client(slot)) {
            Ok(client) => {
                let timeout = self.shared.config.authentication_timeout;
                let deadline =
                    (timeout > 0).then(|| self.shared.now + Duration::from_secs(timeout.unsigned_abs()));
                self.row.client_connections += 1;
                self.row.sessions = (self.sessions.len() - self.free.len()) as u64;
                self.shared.segment.set_worker(self.shared.worker, &self.row);
                let mut session = Session::new(slot, client, peer, self.shared.now, deadline);
                session.is_too_many = self.is_crowded();
                match peer.ip().filter(|_| self.shared.config.log_hostname) {
                    Some(ip) => match self.names.name(ip, self.shared.now) {
                        Named::Known(name) => session.came_from(&self.shared.config, Some(name)),
                        Named::Wait => session.waits_for_name = Some(ip),
                    },
                    None => session.came_from(&self.shared.config, None),
                }
                if let Some(place) = self.sessions.get_mut(slot as usize) {
                    *place = Some(Box::new(session));
                }
                self.share();
            }
            Err(e) => {
                crate::say!(Warning, "cannot watch a client's socket: {}", e);
                self.free.push(slot);
            }
        }
    }

    /// Names of hosts have been found.
    fn hosts_are_named(&mut self) {
        for (ip, name) in self.names.collect(self.shared.now) {
            let waits = |session: &Option<Box<Session>>| {
                session.as_ref().is_some_and(|session| session.waits_for_name == Some(ip))
            };
            let slots: Vec<usize> = self
                .sessions
                .iter()
                .enumerate()
                .filter(|(_, session)| waits(session))
                .map(|(slot, _)| slot)
                .collect();
            for slot in slots {
                self.with_session(slot as u32, |session, ctx| session.is_named(ctx, &name));
            }
        }
    }

    /// Runs a step of a client's session, if the slot is still that client's.
    fn with_client(&mut self, id: ConnId, slot: u32, step: impl FnOnce(&mut Session, &mut Ctx<'_>)) {
        if matches!(self.sessions.get(slot as usize), Some(Some(session)) if session.client == id) {
            self.with_session(slot, step);
        }
    }

    /// The connection in a slot, if it is still the one the event is about.
    pub(super) fn backend(&mut self, id: ConnId, slot: u32) -> Option<&mut Backend> {
        self.pool.get(slot).filter(|backend| backend.conn == id)
    }

    fn connected(&mut self, id: ConnId, owner: Owner) {
        match owner {
            Owner::Backend(slot) => {
                if self.backend(id, slot).is_some() {
                    self.pool.on_connected(&mut self.net, slot);
                }
            }
            Owner::Cancel(slot) => self.cancel_connected(id, slot),
            Owner::Client(_) => {}
        }
    }

    fn received(&mut self, id: ConnId, owner: Owner, bytes: &[u8]) {
        match owner {
            Owner::Client(slot) => self.with_client(id, slot, |session, ctx| {
                session.heard = ctx.shared.now;
                session.on_client(ctx, bytes);
            }),
            Owner::Backend(slot) => {
                let Some(backend) = self.backend(id, slot) else { return };
                match (&backend.phase, backend.session) {
                    (Phase::Leased, Some(session)) => {
                        self.with_session(session, |session, ctx| session.on_backend(ctx, slot, bytes));
                    }
                    _ => self.pool.on_received(&mut self.net, slot, bytes),
                }
            }
            Owner::Cancel(_) => {}
        }
    }

    fn closed(&mut self, id: ConnId, owner: Owner, reason: &str) {
        match owner {
            Owner::Client(slot) => self.with_client(id, slot, |session, ctx| session.on_client_closed(ctx)),
            Owner::Backend(slot) => {
                let Some(backend) = self.backend(id, slot) else { return };
                let lost = remains(backend, reason);
                let session = self.pool.on_closed(&mut self.net, slot, reason, self.shared.now);
                if let Some((session, node)) = session {
                    self.with_session(session, |session, ctx| session.on_backend_closed(ctx, node, &lost));
                }
            }
            Owner::Cancel(slot) => self.cancel_ended(slot),
        }
    }

    pub(super) fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ready { session, backend } => {
                self.with_session(session, |session, ctx| session.on_backend_ready(ctx, backend));
            }
            Outcome::Failed { session, node, failure } => {
                self.with_session(session, |session, ctx| session.on_backend_failed(ctx, node, &failure));
            }
        }
    }
}

/// What a connection that closed still owed.
fn remains(backend: &mut Backend, reason: &str) -> Lost {
    Lost {
        reason: reason.to_string(),
        last_words: backend.last_words.take(),
        queries: backend.owed(),
        mid_message: backend.passing > 0 && backend.passing_to_client,
    }
}

/// The bytes of a cancel request.
pub(super) fn cancel_packet(pid: i32, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frontend::put_cancel(&mut out, pid, key);
    out
}
