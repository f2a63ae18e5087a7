//! Events to their owners.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::{RESOLVER, SIGNALS, SUPERVISOR, TICKER, Worker};
use crate::net::{ConnId, Event, Named, Owner, Peer, Socket};
use crate::session::Session;
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
                    self.sessions.bury(&mut self.net, slot, client);
                }
                None
            }
        }
    }

    fn session_of(&self, event: &Event) -> Option<(u32, ConnId)> {
        match event {
            Event::Secured(_, owner, _)
            | Event::Received(_, owner, _)
            | Event::Drained(_, owner)
            | Event::Closed(_, owner, _) => self.sessions.owner(*owner),
            Event::Connected(..) | Event::Incoming(_) | Event::Watched(_) => None,
        }
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
                let now = self.sessions.shared.now;
                self.sessions.pool.on_resolved(&mut self.net, now);
                self.hosts_are_named();
                self.users_are_known();
                self.others_have_answered();
            }
            Event::Watched(TICKER) => self.ticker.rest(),
            Event::Watched(_) => {}
            Event::Connected(id, Owner::Backend(slot)) => self.sessions.connected(&mut self.net, id, slot),
            Event::Connected(id, Owner::Cancel(slot)) => self.cancel_connected(id, slot),
            Event::Connected(_, Owner::Client(_)) => {}
            Event::Secured(id, Owner::Cancel(slot), _) => self.cancel_secured(id, slot),
            Event::Secured(id, owner, secured) => {
                self.sessions.secured(&mut self.net, id, owner, *secured);
            }
            Event::Received(id, Owner::Cancel(slot), chunk) => {
                self.cancel_answered(id, slot, chunk.bytes());
                self.net.give_back(chunk);
            }
            Event::Received(id, owner, chunk) => {
                self.sessions.received(&mut self.net, id, owner, chunk.bytes());
                self.net.give_back(chunk);
            }
            Event::Drained(id, owner) => self.sessions.drained(&mut self.net, id, owner),
            Event::Closed(_, Owner::Cancel(slot), _) => self.cancel_ended(slot),
            Event::Closed(id, owner, reason) => self.sessions.closed(&mut self.net, id, owner, &reason),
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
                // That it is awake is all: each turn looks at the cluster.
                Some(Incoming::Order(Order::LookAtCluster)) => {}
                Some(Incoming::Order(Order::CancelSession { place, number })) => {
                    self.cancel_session(place, number);
                }
                Some(Incoming::Order(Order::TerminateSession { place, number })) => {
                    self.terminate_session(place, number);
                }
                Some(Incoming::Answer(answer)) => self.answered(answer),
                Some(Incoming::Order(Order::LookAtNodes)) => {}
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
                    self.full_until = Some(self.sessions.shared.now + BREATH);
                    return;
                }
            }
            // Others have nothing to do while this one takes all: one client a turn where there are many workers.
            if self.sessions.places() > 1 {
                return;
            }
        }
    }

    fn welcome(&mut self, socket: Socket, peer: Peer) {
        let Some(slot) = self.sessions.take_place() else { return };
        match self.net.add(socket, Owner::Client(slot)) {
            Ok(client) => {
                let timeout = self.sessions.shared.config.authentication_timeout;
                let deadline = (timeout > 0)
                    .then(|| self.sessions.shared.now + Duration::from_secs(timeout.unsigned_abs()));
                self.row.client_connections += 1;
                self.write_row();
                let mut session = Session::new(slot, client, peer, self.sessions.shared.now, deadline);
                session.is_too_many = self.is_crowded();
                match peer.ip().filter(|_| self.sessions.shared.config.log_hostname) {
                    Some(ip) => match self.names.name(ip, self.sessions.shared.now) {
                        Named::Known(name) => session.came_from(&self.sessions.shared.config, Some(name)),
                        Named::Wait => session.waits_for_name = Some(ip),
                    },
                    None => session.came_from(&self.sessions.shared.config, None),
                }
                self.sessions.add(session);
                self.share();
            }
            Err(e) => {
                crate::say!(Warning, "cannot watch a client's socket: {}", e);
                self.sessions.leave_place(slot);
            }
        }
    }

    /// Who was asked about clients has answered.
    fn others_have_answered(&mut self) {
        let sessions = &self.sessions;
        let is_there = |(slot, number)| sessions.has(slot, number);
        for ((slot, number), answer) in self.outside.collect(is_there) {
            self.with_session(slot, |session, ctx| {
                if session.is_numbered(number) {
                    session.on_outside_answer(ctx, answer);
                }
            });
        }
    }

    /// Names of hosts have been found.
    fn hosts_are_named(&mut self) {
        for (ip, name) in self.names.collect(self.sessions.shared.now) {
            let slots = self.sessions.find(|session| session.waits_for_name == Some(ip));
            for slot in slots {
                self.with_session(slot, |session, ctx| session.is_named(ctx, &name));
            }
        }
    }
}

/// The bytes of a cancel request.
pub(super) fn cancel_packet(pid: i32, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frontend::put_cancel(&mut out, pid, key);
    out
}
