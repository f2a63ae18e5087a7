//! A node goes out of use: because it failed, because somebody wants it, or into quarantine.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::manager::{Before, Kind, Manager, Part, unknown};
use super::request::{Command, Reply};
use super::scripts::Job;
use super::{Cause, node::Node};
use crate::error::NodeId;
use crate::log::Level;
use crate::shm::{FailoverReason, NodeStatus};
use crate::sys::process::ProcessId;

/// The reason where an operator wants it.
pub(super) const DETACHED: &str = "detached";

/// A thousand sessions that meet the same node are one line.
const DENIED_EVERY: Duration = Duration::from_secs(1);

impl Manager {
    pub(super) fn failed(&mut self, id: NodeId, reason: &str, cause: Cause, by: ProcessId) -> Reply {
        let Some(node) = self.node(id) else { return unknown(id) };
        if matches!(node.status, NodeStatus::Down | NodeStatus::Unused) {
            // Somebody else was quicker.
            return Reply::Done;
        }
        let switched_off = match cause {
            Cause::Session => (!self.rules.failover_on_backend_error).then_some("failover_on_backend_error"),
            Cause::Shutdown => {
                (!self.rules.failover_on_backend_shutdown).then_some("failover_on_backend_shutdown")
            }
            Cause::HealthCheck | Cause::FalsePrimary => None,
        };
        if let Some(parameter) = switched_off {
            self.log(Level::Debug1, format!("node {id} failed ({reason}) and stays: {parameter} is off"));
            return Reply::Refused(format!("{parameter} is off"));
        }
        if cause == Cause::FalsePrimary && self.scripts.is_following() {
            return Reply::Refused("follow_primary_command is at work".to_owned());
        }
        if let Some(refused) = self.disallowed(id, by) {
            return refused;
        }
        self.received_degenerate(id, by);
        self.take_out(id, NodeStatus::Down, reason, None, cause.into());
        Reply::Done
    }

    /// The refusal, where the node must stay.
    pub(super) fn disallowed(&mut self, id: NodeId, by: ProcessId) -> Option<Reply> {
        if self.node(id).is_none_or(|node| node.allow_to_failover) {
            return None;
        }
        let text = format!(
            "degenerate backend request for node_id: {id} from pid [{by}] is canceled because failover is \
             disallowed on the node"
        );
        if self.denied.get(&id).is_none_or(|at| self.now.saturating_sub(*at) >= DENIED_EVERY) {
            self.denied.insert(id, self.now);
            self.log(Level::Log, text.as_str());
        }
        Some(Reply::Refused(text))
    }

    pub(super) fn received_degenerate(&mut self, id: NodeId, by: ProcessId) {
        self.received(format!("received degenerate backend request for node_id: {id} from pid [{by}]"));
    }

    pub(super) fn received(&mut self, text: String) {
        self.log(Level::Log, text);
        self.log(Level::Log, "Pgpool-II parent process has received failover request");
    }

    pub(super) fn detach(&mut self, id: NodeId, gracefully: bool, by: ProcessId) -> Reply {
        let Some(node) = self.node(id) else { return unknown(id) };
        if !node.is_usable() && node.status != NodeStatus::Quarantine {
            return Reply::Refused(not_valid_for_failover(node));
        }
        if let Some(refused) = self.disallowed(id, by) {
            return refused;
        }
        if gracefully {
            return self.plan_detach(id, by);
        }
        self.received_degenerate(id, by);
        self.take_out(id, NodeStatus::Down, DETACHED, None, FailoverReason::Operator);
        Reply::Done
    }

    pub(super) fn quarantine(&mut self, id: NodeId, reason: &str) -> Reply {
        let Some(node) = self.node(id) else { return unknown(id) };
        if node.is_usable() {
            self.take_out(id, NodeStatus::Quarantine, reason, None, FailoverReason::HealthCheck);
        }
        Reply::Done
    }

    /// `target`: the node that shall be promoted in its place, where one is named.
    pub(super) fn take_out(
        &mut self,
        id: NodeId,
        to: NodeStatus,
        reason: &str,
        target: Option<NodeId>,
        why: FailoverReason,
    ) {
        let before = Before { primary: self.primary, main: self.main().or(self.last_main) };
        let target = target.or_else(|| self.overtake_planned(id));
        let what = if to == NodeStatus::Quarantine { "quarantine" } else { "degeneration" };
        let place = self.place(id);
        self.log_with(Level::Log, format!("=== Starting {what}. shutdown {place} ==="), reason);
        self.set_status(id, to, reason);
        self.change().parts.push(Part { kind: Kind::Failover, node: id });
        if self.primary == Some(id) {
            self.change().before = Some(before);
            self.why = why;
            self.lose_primary();
        } else if self.primary.is_none() && self.had_primary {
            // Perhaps the script makes one of those that are left the primary.
            self.lose_primary();
        }
        self.write_status_file();
        if self.main().is_none() {
            self.log(Level::Log, "failover: no valid backend node found");
        }
        if to == NodeStatus::Down {
            let Before { primary, main } = before;
            self.scripts.add(Job { command: Command::Failover, node: id, main, primary, target });
        }
    }
}

pub(super) fn not_valid_for_failover(node: &Node) -> String {
    let (id, status) = (node.id, node.status_code());
    format!("invalid degenerate backend request, node id : {id} status: [{status}] is not valid for failover")
}
