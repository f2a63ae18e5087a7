//! Cancel requests: to the worker that has the session, and from there to the backends that work for it.
//!
//! The client that brought one waits until we close its connection, and we wait until the servers have closed
//! theirs: a signal that came later could hit the session's next statement.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::Worker;
use super::events::cancel_packet;
use crate::error::NodeId;
use crate::log::{Level, Line};
use crate::net::{ConnId, Owner, Wire};
use crate::session::CancelTarget;
use crate::supervisor::{Request, Ticket};
use crate::wire::frontend;

/// A connection that carries one cancel request.
pub(super) struct CancelConn {
    conn: ConnId,
    packet: Vec<u8>,
    tls: Option<NodeId>,
    /// The connection to be cancelled: held back from others until this one has ended.
    backend: u32,
    backend_conn: ConnId,
    ticket: Ticket,
    /// A server that does not answer is given up then.
    deadline: Instant,
}

/// How long a cancel request may take; the client sends another if it still wants one.
const CANCEL_TIME: Duration = Duration::from_secs(30);

impl Worker {
    /// A client asks to cancel; the session may be any worker's.
    pub(super) fn route_cancel(&mut self, client: u32, pid: i32, key: Vec<u8>) {
        self.last_ticket += 1;
        let ticket = Ticket { worker: self.sessions.shared.worker, number: self.last_ticket };
        self.tickets.push((ticket, client));
        match self.sessions.shared.segment.find_cancel(pid, &key) {
            Some((worker, _)) if worker == self.sessions.shared.worker => self.cancel_here(pid, &key, ticket),
            found => {
                let worker = found.map(|(worker, _)| worker);
                self.tell(&Request::Cancel { worker, pid, key, ticket });
            }
        }
    }

    /// Cancels what a session of this worker is doing.
    pub(super) fn cancel_here(&mut self, pid: i32, key: &[u8], ticket: Ticket) {
        let found = self.sessions.find(|session| session.is_cancelled_by(pid, key));
        let mut targets = Vec::new();
        if let Some(slot) = found.first().copied() {
            self.with_session(slot, |session, ctx| targets = session.cancel(ctx));
        }
        for target in targets {
            self.send_cancel(target, ticket);
        }
        self.finish_cancel(ticket);
    }

    pub(super) fn send_cancel(&mut self, target: CancelTarget, ticket: Ticket) {
        let CancelTarget { backend, address, tls, pid, key } = target;
        let slot = self.cancels.iter().position(Option::is_none).unwrap_or_else(|| {
            self.cancels.push(None);
            self.cancels.len() - 1
        });
        let Some(owner) = self.sessions.pool.get(backend) else { return };
        match self.net.connect(&address, Owner::Cancel(slot as u32)) {
            Ok(conn) => {
                owner.cancels += 1;
                // Without the key, which pgpool-II writes too: whoever reads the log could cancel with it.
                Line::new(Level::Log, "forwarding cancel request to backend")
                    .detail(format!("canceling backend pid:{pid}"))
                    .emit();
                let (packet, backend_conn) = (cancel_packet(pid, &key), owner.conn);
                let deadline = self.sessions.shared.now + CANCEL_TIME;
                if let Some(place) = self.cancels.get_mut(slot) {
                    *place = Some(CancelConn { conn, packet, tls, backend, backend_conn, ticket, deadline });
                }
            }
            Err(e) => crate::say!(Warning, "cannot forward a cancel request: {}", e),
        }
    }

    pub(super) fn cancel_connected(&mut self, id: ConnId, slot: u32) {
        let Some(cancel) = self.cancel(id, slot) else { return };
        if cancel.tls.is_none() {
            return self.cancel_secured(id, slot);
        }
        let mut out = Vec::new();
        frontend::put_ssl_request(&mut out);
        self.net.send(id, &out);
    }

    /// The server has said whether it speaks TLS. It did a while ago: the key is not sent in the clear now.
    pub(super) fn cancel_answered(&mut self, id: ConnId, slot: u32, answer: &[u8]) {
        let Some(node) = self.cancel(id, slot).and_then(|cancel| cancel.tls) else { return };
        let ssl = self.sessions.pool.tls_for(node).filter(|_| answer == b"S");
        match ssl {
            Some(ssl) => self.net.secure(id, Owner::Cancel(slot), ssl, &[]),
            None => {
                crate::say!(Warning, "cannot forward a cancel request: no TLS with backend {}", node);
                self.net.close(id);
                self.cancel_ended(slot);
            }
        }
    }

    /// The way is free for the request.
    pub(super) fn cancel_secured(&mut self, id: ConnId, slot: u32) {
        if let Some(Some(cancel)) = self.cancels.get(slot as usize)
            && cancel.conn == id
        {
            self.net.send(id, &cancel.packet);
        }
    }

    fn cancel(&self, id: ConnId, slot: u32) -> Option<&CancelConn> {
        self.cancels.get(slot as usize)?.as_ref().filter(|cancel| cancel.conn == id)
    }

    /// Once a second: what a server has not taken is given up. Whether it still arrives is not known then, so
    /// the connection it was meant for is not lent any more.
    pub(super) fn tick_cancels(&mut self) {
        let now = self.sessions.shared.now;
        for place in &mut self.cancels {
            if let Some(late) = place.take_if(|cancel| cancel.deadline <= now) {
                self.net.close(late.conn);
            }
        }
    }

    /// The server has closed it: the signal is sent.
    pub(super) fn cancel_ended(&mut self, slot: u32) {
        let Some(cancel) = self.cancels.get_mut(slot as usize).and_then(Option::take) else { return };
        if let Some(backend) =
            self.sessions.pool.get(cancel.backend).filter(|b| b.conn == cancel.backend_conn)
        {
            backend.cancels = backend.cancels.saturating_sub(1);
        }
        self.finish_cancel(cancel.ticket);
    }

    /// Tells who waits, if nothing of the request is under way any more.
    fn finish_cancel(&mut self, ticket: Ticket) {
        if self.cancels.iter().flatten().any(|cancel| cancel.ticket == ticket) {
            return;
        }
        if ticket.worker == self.sessions.shared.worker {
            self.cancel_done(ticket);
        } else {
            self.tell(&Request::Cancelled(ticket));
        }
    }

    /// The client of this worker that waits for this ticket may go.
    pub(super) fn cancel_done(&mut self, ticket: Ticket) {
        let Some(at) = self.tickets.iter().position(|(waiting, _)| *waiting == ticket) else { return };
        let (_, client) = self.tickets.swap_remove(at);
        self.with_session(client, |session, ctx| session.cancel_is_done(ctx));
    }
}
