//! What happens to the program and its nodes, noted in the ring of events for those who follow it.
#![forbid(unsafe_code)]

use super::run::Supervisor;
use super::tree::{NO_RESTART, RENEW};
use crate::admin::status_text;
use crate::error::NodeId;
use crate::route;
use crate::shm::{EventKind, NodeStatus};
use crate::sys::clock;
use crate::sys::process::{Ending, ProcessId};

impl Supervisor {
    /// An event that is about no node.
    pub(super) fn note(&self, kind: EventKind, new: &str, reason: &str) {
        self.segment.note_event(kind, None, "", new, reason);
    }

    /// A child has been born in this place.
    pub(super) fn note_start(&self, place: usize, pid: ProcessId) {
        self.note_process(EventKind::ProcessStart, place, "", pid);
    }

    /// The child in this place has died; if not as it should, that is an event.
    pub(super) fn note_crash(&self, place: usize, pid: ProcessId, ending: Ending) {
        let how = match ending {
            Ending::Exited(0 | RENEW | NO_RESTART) => return,
            Ending::Exited(code) => format!("exited with status {code}"),
            Ending::Killed(signal) => format!("ended by signal {signal}"),
        };
        self.note_process(EventKind::ProcessCrash, place, &how, pid);
    }

    fn note_process(&self, kind: EventKind, place: usize, how: &str, pid: ProcessId) {
        let Some(slot) = self.tree.slots.get(place) else { return };
        let pid = u64::try_from(pid).unwrap_or(0);
        self.segment.note_figures(kind, None, ["", slot.role.label, how], [pid, 0, 0, 0, 0, 0]);
    }

    /// Changes the status of a node; `orderly`: an operator wants it out of use, and it is well.
    pub(super) fn set_status(&self, node: NodeId, status: NodeStatus, reason: &str, orderly: bool) {
        let before = self.segment.node(node).status;
        match orderly {
            true => self.segment.set_detached(node, reason, clock::unix_seconds()),
            false => self.segment.set_status(node, status, reason, clock::unix_seconds()),
        }
        if before == status {
            return;
        }
        if !before.is_used()
            && status.is_used()
            && let Some(model) = route::model(&self.segment)
        {
            model.node_back(node, clock::monotonic_micros());
        }
        let texts = [status_text(before), status_text(status), reason];
        let values = [u64::from(orderly), 0, 0, 0, 0, 0];
        self.segment.note_figures(EventKind::NodeStatus, Some(node), texts, values);
        if matches!(before, NodeStatus::Down | NodeStatus::Quarantine) && status.is_used() {
            self.segment.note_event(EventKind::Failback, Some(node), texts[0], texts[1], reason);
        }
    }

    /// An operator's wish for another primary has been heard.
    pub(super) fn note_promotion(&self, node: NodeId) {
        let before = text(self.segment.primary());
        self.segment.note_event(
            EventKind::Promotion,
            Some(node),
            &before,
            &node.to_string(),
            "an operator wants it so",
        );
    }

    /// Changes the primary.
    pub(super) fn set_primary(&mut self, primary: Option<NodeId>) {
        let before = self.segment.primary();
        self.segment.set_primary(primary, clock::unix_seconds());
        if before == primary {
            return;
        }
        let why = primary.map(|node| self.segment.node(node).probe.why);
        let why = why.as_ref().map_or("it is lost", |why| why.as_str());
        self.begin_failover(primary);
        self.segment.note_event(EventKind::Primary, primary, &text(before), &text(primary), why);
        let Some(now) = primary else { return };
        let last = self.last_primary.replace(now);
        if let Some(last) = last.filter(|last| *last != now) {
            let (old, new) = (last.to_string(), now.to_string());
            self.segment.count_failover(self.failover.manager.why());
            self.segment.note_event(EventKind::Failover, Some(now), &old, &new, why);
            self.segment.note_event(EventKind::Role, Some(last), "primary", "standby", why);
        }
        if last != Some(now) {
            // Of the first one it is not known what it was.
            let was = if last.is_some() { "standby" } else { "" };
            self.segment.note_event(EventKind::Role, Some(now), was, "primary", why);
        }
        if std::mem::take(&mut self.is_failing_over) {
            let (old, new) = (text(last), now.to_string());
            self.segment.note_event(EventKind::FailoverEnd, Some(now), &old, &new, why);
        }
    }

    /// What there is before another primary is known, and behind the loss of one.
    fn begin_failover(&mut self, primary: Option<NodeId>) {
        let Some(last) = self.last_primary.filter(|last| Some(*last) != primary) else { return };
        if std::mem::replace(&mut self.is_failing_over, true) {
            return;
        }
        let why = self.segment.node(last).reason;
        let why = if why.as_str().is_empty() { "the roles have changed" } else { why.as_str() };
        self.segment.note_event(EventKind::FailoverStart, Some(last), &last.to_string(), &text(primary), why);
    }
}

fn text(node: Option<NodeId>) -> String {
    node.map_or_else(|| "none".to_owned(), |node| node.to_string())
}
