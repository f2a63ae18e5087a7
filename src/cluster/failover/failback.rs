//! A node is used (again): because somebody attaches it, or because it streams and `auto_failback` is on.
#![forbid(unsafe_code)]

use super::manager::{Kind, Manager, Part, unknown};
use super::request::{Action, Command, Reply};
use super::scripts::Job;
use crate::error::NodeId;
use crate::log::Level;
use crate::shm::NodeStatus;
use crate::sys::process::ProcessId;

impl Manager {
    pub(super) fn answers(&mut self, id: NodeId, streams: bool, by: ProcessId) -> Reply {
        let Some(node) = self.node(id) else { return unknown(id) };
        match node.status {
            NodeStatus::Waiting => self.set_status(id, NodeStatus::Up, ""),
            NodeStatus::Quarantine => self.fail_back(id),
            NodeStatus::Down if streams && self.may_attach_by_itself(id) => {
                self.failback_from.insert(id, self.now + self.rules.auto_failback_interval);
                self.log(Level::Log, format!("request auto failback, node id:{id}"));
                return self.attach(id, by);
            }
            NodeStatus::Down | NodeStatus::Up | NodeStatus::Unused => {}
        }
        Reply::Done
    }

    /// Not while the primary may change, or scripts set nodes up anew.
    fn may_attach_by_itself(&self, id: NodeId) -> bool {
        self.rules.auto_failback
            && self.rules.streaming
            && self.primary.is_some()
            && !self.is_busy()
            && self.failback_from.get(&id).is_none_or(|from| self.now >= *from)
    }

    pub(super) fn attach(&mut self, id: NodeId, by: ProcessId) -> Reply {
        if self.node(id).is_none() {
            return unknown(id);
        }
        self.received(format!("received failback request for node_id: {id} from pid [{by}]"));
        if !self.attaches.contains(&id) {
            self.attaches.push_back(id);
        }
        Reply::Done
    }

    pub(super) fn fail_back(&mut self, id: NodeId) {
        let Some(node) = self.node(id) else { return };
        let (status, code, place) = (node.status, node.status_code(), node.place());
        if !matches!(status, NodeStatus::Down | NodeStatus::Quarantine) {
            let text = format!(
                "invalid failback request, status: [{code}] of node id : {id} is invalid for failback"
            );
            return self.log(Level::Log, text);
        }
        self.log(Level::Log, format!("=== Starting fail back. reconnect {place} ==="));
        if let Some(up) = self.nodes.iter().find(|node| node.is_usable()) {
            let text = format!("Node {} is not down (status: {})", up.id, up.status_code());
            self.log(Level::Log, text);
        }
        let main = self.main().or(self.last_main);
        // It is up when it has been reached.
        self.set_status(id, NodeStatus::Waiting, "attached");
        self.write_status_file();
        self.act(Action::Look);
        self.change().parts.push(Part { kind: Kind::Failback, node: id });
        if status == NodeStatus::Down {
            // As pgpool-II tells these scripts: without a primary the main node stands in its place.
            let primary = self.primary.or(main);
            self.scripts.add(Job { command: Command::Failback, node: id, main, primary, target: None });
        }
        if self.primary.is_none() && self.had_primary {
            self.lose_primary();
        }
    }
}
