//! The primary has changed: the other nodes are set up anew as its standbys by `follow_primary_command`.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::manager::{Before, Manager};
use super::scripts::Follow;
use crate::error::NodeId;
use crate::log::Level;
use crate::shm::NodeStatus;

impl Manager {
    /// All other nodes go out of use: they do not follow the new primary until the script has seen to it.
    pub(super) fn begin_following(&mut self, before: Before, is_promotion: bool) {
        let has_command = !self.rules.follow_primary_command.is_empty();
        if !self.rules.streaming || !(has_command || is_promotion) {
            return;
        }
        let others: Vec<NodeId> = match self.primary {
            Some(primary) => self.nodes.iter().map(|node| node.id).filter(|id| *id != primary).collect(),
            None => Vec::new(),
        };
        let Some(primary) = self.primary.filter(|_| !others.is_empty()) else {
            return self.log(Level::Log, "failover: no follow backends are degenerated");
        };
        for id in &others {
            let place = self.place(*id);
            self.log(Level::Log, format!("starting follow degeneration. shutdown {place}"));
            if self.node(*id).is_some_and(|node| node.status != NodeStatus::Down) {
                let reason = format!("does not follow the new primary, node {primary}, yet");
                self.set_down_in_order(*id, &reason);
                self.write_status_file();
            }
        }
        let count = others.len();
        self.log(Level::Log, format!("failover: {count} follow backends have been degenerated"));
        if has_command {
            self.stop_following();
            let nodes = VecDeque::from(others);
            self.scripts.follow = Some(Follow { nodes, primary, before, has_begun: false });
        }
    }

    /// The next node, when the script for the one before has ended.
    pub(super) fn follow_on(&mut self) {
        if self.scripts.following.is_some() {
            return;
        }
        if let Some(follow) = self.scripts.follow.as_mut().filter(|follow| !follow.has_begun) {
            follow.has_begun = true;
            self.log(Level::Log, "start triggering follow command.");
        }
        while let Some(follow) = &mut self.scripts.follow {
            let Some(id) = follow.nodes.pop_front() else {
                self.scripts.follow = None;
                return;
            };
            // One that was attached meanwhile needs nothing.
            if self.node(id).is_some_and(|node| node.status == NodeStatus::Down) {
                return self.run_follow(id);
            }
        }
    }
}
