//! TLS with a server: asked for, answered, and what is done without.
#![forbid(unsafe_code)]

use std::rc::Rc;

use openssl::ssl::Ssl;

use super::{Failure, Phase, Pool};
use crate::error::NodeId;
use crate::net::{Address, Owner, Wire};
use crate::tls::{self, Connector, NOT_THIS_WAY, Secured};
use crate::wire::{backend, frontend};

impl Pool {
    /// What this connection is to be secured with. Not one over a Unix socket: servers have no TLS there.
    pub(super) fn connector_now(&mut self, slot: u32) -> Option<Rc<Connector>> {
        let backend = self.peek(slot)?;
        if !matches!(backend.address, Some(Address::Tcp(_))) {
            return None;
        }
        let connector = self.connectors.get(&backend.node)?;
        connector.mode.wants(backend.is_second_try).then(|| Rc::clone(connector))
    }

    pub(super) fn ask_for_tls(&mut self, wire: &mut dyn Wire, slot: u32) {
        let Some(backend) = self.get(slot) else { return };
        backend.phase = Phase::Asking;
        let mut out = Vec::new();
        frontend::put_ssl_request(&mut out);
        wire.send(backend.conn, &out);
    }

    /// The server has said whether it speaks TLS.
    pub(super) fn tls_answer(&mut self, wire: &mut dyn Wire, slot: u32, bytes: &[u8]) {
        let Some(connector) = self.connector_now(slot) else { return };
        let failure = match connector.mode.begins(bytes) {
            Ok(true) => match self.peek(slot).and_then(|backend| self.tls_for(backend.node)) {
                Some(ssl) => return self.begin_tls(wire, slot, ssl),
                None => "could not begin TLS",
            },
            Ok(false) => return self.log_in(wire, slot),
            Err(failure) => failure,
        };
        self.fail(wire, slot, Failure::protocol(failure.to_owned()));
    }

    /// Our side of a new connection to a node.
    pub fn tls_for(&self, node: NodeId) -> Option<Ssl> {
        let (connector, site) = (self.connectors.get(&node)?, self.site(node)?);
        connector
            .start(&site.host)
            .inspect_err(|e| crate::say!(Warning, "could not begin TLS: {}", tls::reasons(e)))
            .ok()
    }

    fn begin_tls(&mut self, wire: &mut dyn Wire, slot: u32, ssl: Ssl) {
        if let Some(backend) = self.get(slot) {
            backend.phase = Phase::Securing;
            wire.secure(backend.conn, Owner::Backend(slot), ssl, &[]);
        }
    }

    /// The handshake is done: logs in.
    pub fn on_secured(&mut self, wire: &mut dyn Wire, slot: u32, secured: Secured) {
        if let Some(backend) = self.get(slot).filter(|backend| matches!(backend.phase, Phase::Securing)) {
            backend.secured = Some(Box::new(secured));
            self.log_in(wire, slot);
        }
    }

    /// The server may want the other way.
    pub(super) fn try_the_other_way(&mut self, wire: &mut dyn Wire, slot: u32, failure: &Failure) -> bool {
        let code = failure.answer.as_deref().and_then(|answer| answer.get(5..));
        let not_this_way = code.is_some_and(|body| {
            backend::error(body).is_ok_and(|fields| fields.code == NOT_THIS_WAY.as_bytes())
        });
        let Some(found) = self.peek(slot).filter(|found| not_this_way && !found.is_second_try) else {
            return false;
        };
        let (conn, address) = (found.conn, found.address.clone());
        let is_secured = found.secured.is_some();
        let connector = self.connectors.get(&found.node);
        let has_both = connector.is_some_and(|connector| connector.mode.has_other_way(is_secured));
        let Some(address @ Address::Tcp(_)) = address.filter(|_| has_both) else { return false };
        let Ok(again) = wire.connect(&address, Owner::Backend(slot)) else { return false };
        wire.close(conn);
        if let Some(backend) = self.get(slot) {
            backend.conn = again;
            backend.held.clear();
            backend.secured = None;
            backend.is_second_try = true;
            backend.phase = Phase::Connecting(Vec::new());
        }
        true
    }
}
