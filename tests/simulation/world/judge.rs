//! The rules that every run must hold.

use pgbalancer::error::NodeId;
use pgbalancer::shm::{Hold, NodeStatus};

use super::super::client::{Complaint, Stage};
use super::super::event::Event;
use super::super::scenario::WAIT_TIMEOUT;
use super::super::schedule::{MILLISECOND, SECOND};
use super::super::worker::Worker;
use super::{LONGEST, World};

impl World {
    fn note_complaint(&mut self, complaint: &Complaint) {
        match complaint.code.as_str() {
            _ if complaint.is_fatal && complaint.bound => self.saw("a session ends with what it had"),
            "08007" if complaint.ends => self.saw("a commit is in doubt"),
            "08007" => self.saw("a write is in doubt"),
            "08006" if complaint.explicit => self.saw("a transaction is lost"),
            "57P03" if !complaint.is_fatal => self.saw("a statement waits in vain"),
            _ => {}
        }
        if complaint.copies {
            self.saw("a COPY is lost");
        }
    }

    /// A client was told that something is lost: may that be?
    pub(super) fn complaint(&mut self, client: usize, complaint: &Complaint) {
        self.note_complaint(complaint);
        if complaint.code == "XX000" {
            return self.fail(format!("client {client}: {}: its session has panicked", complaint.message));
        }
        let Complaint { code, message, is_fatal, lone_read, bound, explicit, since, .. } = complaint;
        // It has gone on with what it had there until now.
        let is_left_behind = *bound && message.contains("another node is the primary now");
        let is_calm = self.now() >= self.end_of_recovery() && !is_left_behind;
        if self.scenario.faults.is_empty() || is_calm {
            return self.fail(format!("client {client}: {code} {message}, though nothing is wrong"));
        }
        if self.scenario.is_planned && !bound && (!*explicit || self.scenario.is_graceful()) {
            return self.fail(format!("client {client}: {code} {message} in a planned switchover"));
        }
        if *is_fatal && !bound && self.clients[client].stage == Stage::In {
            return self
                .fail(format!("client {client}: {code} {message} ended a session that needed nothing lost"));
        }
        // A read is run again once, and not if an administrator has ended it.
        let losses = self.losses.iter().filter(|at| **at >= *since).count();
        let is_ended = message.contains("the server is there and has ended it");
        // Nor if a standby that lies had refused it the first time.
        let is_refused = self.scenario.refuses_reads();
        if *lone_read && !is_fatal && code == "08006" && losses < 2 && !is_ended && !is_refused {
            return self
                .fail(format!("client {client}: {code} {message} for a read that could be run again"));
        }
        let waited = self.now() - since;
        if code == "57P03" && !self.was_none(*since) && waited + SECOND < WAIT_TIMEOUT * SECOND {
            self.fail(format!("client {client}: {code} {message} after {} ms only", waited / MILLISECOND));
        }
    }

    /// A node writes something that a session has sent: the one that was the primary then.
    pub(super) fn judge_write(&mut self, node: NodeId, connection: usize) {
        let sent_at = self.network.connections[connection].sent_at;
        if let Some(primary) = self.segment.primary()
            && primary != node
            && sent_at > self.supervisor.primary_since
        {
            self.fail(format!("node {node} writes, and node {primary} is the primary"));
        }
    }

    pub(super) fn watch(&mut self) {
        let now = self.now();
        for client in 0..self.clients.len() {
            if self.clients[client].waits_since.is_some_and(|since| now - since > LONGEST) {
                let owed = self.clients[client].owed();
                return self
                    .fail(format!("client {client} has waited for {} s for {owed}", LONGEST / SECOND));
            }
        }
        self.network.schedule.after(SECOND, Event::Watch);
    }

    // --- the end

    pub(super) fn audit(&mut self) {
        for client in 0..self.clients.len() {
            if self.passed[client] < 2 {
                return self.fail(format!("client {client} did not get through at the end"));
            }
        }
        let leader = self.cluster.leader;
        let rows = self.cluster.rows(leader);
        if let Err(text) = self.ledger.audit(&rows, !self.cluster.is_synchronous) {
            return self.fail(text);
        }
        if let Some((id, count)) = self.cluster.executed.iter().find(|(_, count)| **count > 1) {
            return self.fail(format!("row {id} was written {count} times"));
        }
        let sessions: usize = self.workers.iter().map(Worker::sessions).sum();
        if sessions != self.clients.len() {
            return self.fail(format!("{} clients have {sessions} sessions", self.clients.len()));
        }
        let orphans: usize = self.workers.iter().map(Worker::orphans).sum();
        if orphans > 0 {
            return self.fail(format!("{orphans} connections to nodes are kept for sessions that are gone"));
        }
        let (hold, _) = self.segment.hold();
        if hold != Hold::Nothing {
            return self.fail(format!("sessions still hold back {hold:?}"));
        }
        if self.segment.primary() != Some(leader) {
            return self
                .fail(format!("the primary is said to be {:?}, and is {leader}", self.segment.primary()));
        }
        for node in 0..self.cluster.nodes.len() {
            let status = self.segment.node(node).status;
            if status != NodeStatus::Up {
                return self.fail(format!("node {node} is well and {status:?}"));
            }
        }
    }
}
