//! Opening a connection: look the name up, try its addresses, log in.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::time::Instant;

use super::login::{Login, Progress};
use super::{Backend, Borrower, Failure, Key, Lease, Outcome, Phase, Pool, Sent};
use crate::error::NodeId;
use crate::net::{Address, Owner, Resolved, Wire};
use crate::wire::frame;

/// Longest message of a start-up that is taken: errors and parameters are short.
const MAX_MESSAGE: usize = 64 * 1024;

impl Pool {
    pub(super) fn open(
        &mut self,
        wire: &mut dyn Wire,
        key: &Rc<Key>,
        node: NodeId,
        borrower: Borrower<'_>,
        now: Instant,
    ) -> Lease {
        let Some(site) = self.site(node).cloned() else {
            return Lease::Failed(Failure::protocol(format!("backend {node} is not configured")));
        };
        let name = borrower.application_name.map(str::to_string);
        let place = self.free_place(node);
        let mut backend = Backend::new(node, place, Rc::clone(key), name, borrower.session, now);
        backend.deadline = Some(now + site.connect_timeout);
        let used = |sent: &&Sent| sent.comes_first || self.passwords.get(&key.user).is_none();
        backend.sent = borrower.sent.filter(used).map(|sent| sent.secret.clone());
        backend.secret = borrower.proved.cloned();
        backend.needs_proof = borrower.proved.is_some();
        let slot = self.insert(backend);
        match self.resolver.resolve(&site.host, site.port, now) {
            Resolved::Wait => Lease::Opening(slot),
            Resolved::Known(addresses) => match self.try_addresses(wire, slot, addresses) {
                Ok(()) => Lease::Opening(slot),
                Err(failure) => self.refuse(slot, failure),
            },
            Resolved::Failed(text) => {
                self.refuse(slot, Failure::unreachable(format!("cannot find host \"{}\": {text}", site.host)))
            }
        }
    }

    fn refuse(&mut self, slot: u32, failure: Failure) -> Lease {
        self.take(slot);
        Lease::Failed(failure)
    }

    /// Names have been looked up: goes on with the connections that waited for them.
    pub fn on_resolved(&mut self, wire: &mut dyn Wire, now: Instant) {
        self.resolver.collect(now);
        for slot in 0..self.backends.len() as u32 {
            let Some(backend) = self.peek(slot).filter(|b| matches!(b.phase, Phase::Resolving)) else {
                continue;
            };
            let Some(site) = self.site(backend.node).cloned() else { continue };
            let failed = match self.resolver.resolve(&site.host, site.port, now) {
                Resolved::Wait => None,
                Resolved::Known(addresses) => self.try_addresses(wire, slot, addresses).err(),
                Resolved::Failed(text) => {
                    Some(Failure::unreachable(format!("cannot find host \"{}\": {text}", site.host)))
                }
            };
            if let Some(failure) = failed {
                self.fail(wire, slot, failure);
            }
        }
    }

    /// Begins to connect to the first address that can be tried; the rest is kept.
    fn try_addresses(
        &mut self,
        wire: &mut dyn Wire,
        slot: u32,
        mut rest: Vec<Address>,
    ) -> Result<(), Failure> {
        let mut last = String::from("the host has no address");
        while !rest.is_empty() {
            let address = rest.remove(0);
            match wire.connect(&address, Owner::Backend(slot)) {
                Ok(conn) => {
                    if let Some(backend) = self.get(slot) {
                        backend.conn = conn;
                        backend.address = Some(address);
                        backend.phase = Phase::Connecting(rest);
                    }
                    return Ok(());
                }
                Err(e) => last = e.to_string(),
            }
        }
        Err(Failure::unreachable(last))
    }

    /// A connection attempt came to nothing: the next address, if there is one.
    pub(super) fn attempt_failed(&mut self, wire: &mut dyn Wire, slot: u32, reason: &str, _now: Instant) {
        let Some(backend) = self.get(slot) else { return };
        let rest = match &mut backend.phase {
            Phase::Connecting(rest) => std::mem::take(rest),
            _ => Vec::new(),
        };
        let failure = if rest.is_empty() {
            Some(Failure::unreachable(reason.to_string()))
        } else {
            self.try_addresses(wire, slot, rest).err()
        };
        if let Some(failure) = failure {
            self.fail(wire, slot, failure);
        }
    }

    /// The socket stands: asks for TLS, or logs in.
    pub fn on_connected(&mut self, wire: &mut dyn Wire, slot: u32) {
        match self.connector_now(slot) {
            Some(_) => self.ask_for_tls(wire, slot),
            None => self.log_in(wire, slot),
        }
    }

    /// Sends the start-up packet.
    pub(super) fn log_in(&mut self, wire: &mut dyn Wire, slot: u32) {
        let nonce = (self.random)();
        let Some(backend) = self.backends.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let mut out = Vec::new();
        let secret = backend.secret.clone();
        let login = Login::start(
            &backend.key.user,
            &backend.key.database,
            backend.application_name.as_deref(),
            &backend.key.options,
            secret.as_deref().or(backend.sent.as_ref()).or_else(|| self.passwords.get(&backend.key.user)),
            nonce,
            &mut out,
        );
        let end_point = backend.secured.as_ref().and_then(|secured| secured.end_point.clone());
        backend.phase = Phase::Login(Box::new(login.over(end_point)));
        wire.send(backend.conn, &out);
    }

    /// Bytes for a connection that no session reads from.
    pub fn on_received(&mut self, wire: &mut dyn Wire, slot: u32, bytes: &[u8]) {
        let Some(backend) = self.get(slot) else { return };
        match backend.phase {
            Phase::Asking => self.tls_answer(wire, slot, bytes),
            Phase::Login(_) => self.login_bytes(wire, slot, bytes),
            Phase::Resetting(_) => self.reset_bytes(wire, slot, bytes),
            Phase::Idle => self.idle_bytes(wire, slot, bytes),
            Phase::Resolving | Phase::Connecting(_) | Phase::Securing | Phase::Leased => {}
        }
    }

    fn login_bytes(&mut self, wire: &mut dyn Wire, slot: u32, bytes: &[u8]) {
        let Some(backend) = self.backends.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let Phase::Login(login) = &mut backend.phase else { return };
        backend.held.extend_from_slice(bytes);
        let mut at = 0;
        let mut out = Vec::new();
        let result = loop {
            let rest = backend.held.get(at..).unwrap_or_default();
            let header = match frame::header(rest) {
                Ok(Some(header)) if header.length > MAX_MESSAGE => {
                    break Err(Failure::protocol("message too long at start-up".to_string()));
                }
                Ok(Some(header)) => header,
                Ok(None) => break Ok(Progress::More),
                Err(e) => break Err(Failure::protocol(e.to_string())),
            };
            let Some(frame) = rest.get(..header.length) else { break Ok(Progress::More) };
            at += header.length;
            match login.on(header, frame, &mut out, &mut self.keys) {
                Ok(Progress::More) => {}
                other => break other,
            }
        };
        backend.held.drain(..at);
        if !out.is_empty() {
            wire.send(backend.conn, &out);
        }
        match result {
            Ok(Progress::More) => {}
            Ok(Progress::Ready) => self.opened(slot),
            Err(failure) if self.try_the_other_way(wire, slot, &failure) => {}
            Err(failure) => self.fail(wire, slot, failure),
        }
    }

    /// Logged in: the connection is the session's.
    fn opened(&mut self, slot: u32) {
        let Some(backend) = self.backends.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let Phase::Login(login) = std::mem::replace(&mut backend.phase, Phase::Leased) else { return };
        backend.asked = login.asked();
        backend.pid = login.pid;
        backend.cancel_key = login.cancel_key;
        backend.parameters = login.parameters;
        backend.deadline = None;
        backend.secret = None;
        backend.opened_at = self.unix_now;
        backend.lend(self.unix_now);
        match backend.session {
            Some(session) => self.outcomes.push(Outcome::Ready { session, backend: slot }),
            None => backend.phase = Phase::Idle,
        }
        self.touch(slot);
    }

    /// Gives up a connection that was being opened, and tells who waits for it.
    pub(super) fn fail(&mut self, wire: &mut dyn Wire, slot: u32, failure: Failure) {
        let Some(backend) = self.take(slot) else { return };
        wire.close(backend.conn);
        if let Some(session) = backend.session {
            self.outcomes.push(Outcome::Failed { session, node: backend.node, failure });
        }
    }
}
