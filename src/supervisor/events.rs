//! What happens to the program and its nodes, noted in the ring of events for those who follow it.
#![forbid(unsafe_code)]

use super::run::Supervisor;
use crate::admin::status_text;
use crate::error::NodeId;
use crate::route;
use crate::shm::{EventKind, NodeStatus};
use crate::sys::clock;

impl Supervisor {
    /// An event that is about no node.
    pub(super) fn note(&self, kind: EventKind, new: &str, reason: &str) {
        self.segment.note_event(kind, None, "", new, reason);
    }

    /// Changes the status of a node; `orderly`: an operator wants it out of use, and it is well.
    pub(super) fn set_status(&self, node: NodeId, status: NodeStatus, reason: &str, orderly: bool) {
        let before = self.segment.node(node).status;
        match orderly {
            true => self.segment.set_detached(node, reason, clock::unix_seconds()),
            false => self.segment.set_status(node, status, reason, clock::unix_seconds()),
        }
        if !before.is_used()
            && status.is_used()
            && let Some(model) = route::model(&self.segment)
        {
            model.node_back(node, clock::monotonic_micros());
        }
        if before != status {
            let (old, new) = (status_text(before), status_text(status));
            self.segment.note_event(EventKind::NodeStatus, Some(node), old, new, reason);
        }
    }

    /// Changes the primary.
    pub(super) fn set_primary(&mut self, primary: Option<NodeId>) {
        let before = self.segment.primary();
        self.segment.set_primary(primary, clock::unix_seconds());
        if before == primary {
            return;
        }
        let text = |node: Option<NodeId>| node.map_or_else(|| "none".to_owned(), |node| node.to_string());
        let why = primary.map(|node| self.segment.node(node).probe.why);
        let why = why.as_ref().map_or("it is lost", |why| why.as_str());
        self.segment.note_event(EventKind::Primary, primary, &text(before), &text(primary), why);
        let Some(now) = primary else { return };
        if let Some(last) = self.last_primary.replace(now).filter(|last| *last != now) {
            let (old, new) = (last.to_string(), now.to_string());
            self.segment.count_failover(self.failover.manager.why());
            self.segment.note_event(EventKind::Failover, Some(now), &old, &new, why);
        }
    }
}
