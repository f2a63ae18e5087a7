//! A small PostgreSQL: nodes that speak the protocol for the statements of the simulation, commit them to a log,
//! stream that to their standbys, crash, stall and lie.

mod process;
mod storage;
mod transaction;

use std::collections::BTreeMap;

use pgbalancer::error::NodeId;

pub(super) use process::{Process, Surroundings};
pub(super) use storage::Storage;
pub(super) use transaction::Backend;

/// What a node says that is not so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lies {
    /// A standby says that it is no standby.
    pub(super) is_primary: bool,
    /// It says to have replayed what it has not.
    pub(super) is_ahead: bool,
    /// It refuses reads as if they were writes.
    pub(super) refuses_reads: bool,
}

/// One server.
pub(super) struct Node {
    pub(super) id: NodeId,
    /// Its processes run; otherwise its host refuses connections.
    pub(super) is_up: bool,
    /// Its processes are stopped: connections are taken and nothing is answered.
    pub(super) is_stalled: bool,
    /// No packet reaches it or leaves it.
    pub(super) is_silent: bool,
    pub(super) storage: Storage,
    /// The node that it streams from.
    pub(super) upstream: Option<NodeId>,
    /// By the number of their connection.
    pub(super) processes: BTreeMap<usize, Process>,
    next_pid: i32,
}

impl Node {
    pub(super) fn new(id: NodeId, upstream: Option<NodeId>, is_synchronous: bool) -> Node {
        Node {
            id,
            is_up: true,
            is_stalled: false,
            is_silent: false,
            storage: Storage::new(upstream.is_some(), is_synchronous),
            upstream,
            processes: BTreeMap::new(),
            next_pid: 1000 * (id as i32 + 1),
        }
    }

    /// Whether it does anything for anybody.
    pub(super) fn is_well(&self) -> bool {
        self.is_up && !self.is_stalled && !self.is_silent
    }

    /// A client has connected.
    pub(super) fn accept(&mut self, connection: usize) {
        self.next_pid += 1;
        self.processes.insert(connection, Process::new(self.next_pid));
    }

    /// All processes are gone, with what was not committed.
    pub(super) fn crash(&mut self) {
        self.processes.clear();
        self.is_up = false;
        self.is_stalled = false;
    }
}
