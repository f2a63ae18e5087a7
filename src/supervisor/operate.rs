//! What operators have done to sessions and to the shares of nodes.
#![forbid(unsafe_code)]

use super::request::{Answer, Order};
use super::run::Supervisor;
use super::upgrade::Service;
use crate::admin::{self, AdminError, SessionId, Weight};
use crate::config::Config;
use crate::error::NodeId;

impl Supervisor {
    /// Passes an order about a session on to the worker that has it.
    pub(super) fn order_session(&self, id: SessionId, order: fn(u32, u64) -> Order) -> Answer {
        match admin::find_session(&self.segment, id) {
            Some((worker, _)) => self.pass_on(worker, order(id.place, id.number)),
            None => Answer::Refused(AdminError::UnknownSession(id).to_string()),
        }
    }

    /// Gives a node another share of the reads, until the next start, or a reload that changes it.
    pub(super) fn set_weight(&mut self, node: NodeId, weight: Weight) -> Answer {
        if self.service != Service::Held {
            return Answer::Refused("another program takes over, or has: ask that one".to_owned());
        }
        if !self.config.backends().iter().any(|backend| backend.id == node) {
            return Answer::Refused(format!("there is no node {node}"));
        }
        let mut told = self.segment.generation();
        self.segment.set_weight(node, Some(weight.value()));
        self.tell_of_changes(&mut told);
        Answer::Done
    }

    /// The configuration has been read again: what it says anew of a node's share counts.
    pub(super) fn reload_weights(&self, before: &Config) {
        let before = before.backends();
        for backend in self.config.backends() {
            let is_same = before.iter().any(|known| known.id == backend.id && known.weight == backend.weight);
            if !is_same {
                self.segment.set_weight(backend.id, None);
            }
        }
    }
}
