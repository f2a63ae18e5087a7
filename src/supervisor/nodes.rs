//! The nodes as the start sees them: how many rows there are, and whether everything is known of them.
#![forbid(unsafe_code)]

use crate::config::Config;
use crate::error::{MAX_NODES, NodeId};
use crate::shm::{NodeStatus, PgRole, Segment};

/// Room for nodes that a reload adds; empty rows cost no memory.
const SPARE_NODES: usize = 8;

/// Rows of the segment's node table.
pub(super) fn capacity(config: &Config) -> usize {
    let configured = config.backends().iter().map(|backend| backend.id + 1).max().unwrap_or(0);
    (configured + SPARE_NODES).min(MAX_NODES)
}

/// The nodes of a configuration in the segment.
pub(super) struct Nodes<'a> {
    pub(super) segment: &'a Segment,
    pub(super) config: &'a Config,
}

impl Nodes<'_> {
    /// At the start: those that were down stay so, all others wait for their first connection.
    pub(super) fn begin(&self, down: &[NodeId], now: u64) {
        for id in self.config.backends().iter().map(|backend| backend.id) {
            match down.contains(&id) {
                true => {
                    let reason = "down when the program ran last";
                    self.segment.set_status(id, NodeStatus::Down, reason, now);
                }
                false => self.segment.set_status(id, NodeStatus::Waiting, "", now),
            }
        }
    }

    /// Whether the replication check has looked at every node and the primary, if one is there, is known.
    pub(super) fn are_known(&self) -> bool {
        self.config.backends().iter().all(|backend| {
            let node = self.segment.node(backend.id);
            let is_used = node.status != NodeStatus::Down;
            let waits = is_used && node.probe.pg_role == PgRole::Primary && self.segment.primary().is_none();
            node.probe.at != 0 && !waits
        })
    }

    /// What pgpool-II's `node status[i]` says: 0 unused or not known, 1 primary, 2 standby.
    pub(super) fn log_roles(&self) {
        for backend in self.config.backends() {
            let node = self.segment.node(backend.id);
            let code = match node.probe.pg_role {
                _ if node.is_primary => 1,
                _ if node.status == NodeStatus::Down => 0,
                PgRole::Standby => 2,
                PgRole::Unknown | PgRole::Primary => 0,
            };
            crate::say!(Log, "node status[{}]: {code}", backend.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::{PgStatus, Probe, Sizes};

    fn config() -> Config {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgbalancer.conf");
        let nodes =
            "backend_hostname0 = 'a'\nbackend_port0 = 5432\nbackend_hostname1 = 'b'\nbackend_port1 = 5433\n";
        std::fs::write(&path, nodes).unwrap();
        crate::config::load(&path).ok().unwrap().config
    }

    fn segment(config: &Config) -> Segment {
        Segment::create(Sizes { nodes: capacity(config), ..Sizes::default() }).unwrap()
    }

    #[test]
    fn nodes_begin_as_they_were_left() {
        let config = config();
        let segment = segment(&config);
        Nodes { segment: &segment, config: &config }.begin(&[1, 5], 9);
        let status = |id| segment.node(id).status;
        assert_eq!([0, 1, 5].map(status), [NodeStatus::Waiting, NodeStatus::Down, NodeStatus::Unused]);
        assert_eq!(segment.node(1).reason.as_str(), "down when the program ran last");
    }

    #[test]
    fn the_start_waits_until_all_nodes_are_known() {
        let config = config();
        let segment = segment(&config);
        let nodes = Nodes { segment: &segment, config: &config };
        assert!(!nodes.are_known());
        segment.set_probe(0, Probe { pg_status: PgStatus::Down, at: 1, ..Probe::default() });
        let probe = Probe { pg_role: PgRole::Primary, at: 1, ..Probe::default() };
        segment.set_probe(1, probe);
        assert!(!nodes.are_known());
        segment.set_status(1, NodeStatus::Down, "", 1);
        assert!(nodes.are_known(), "one that is out of use is not waited for");
        segment.set_status(1, NodeStatus::Waiting, "", 1);
        segment.set_primary(Some(1), 1);
        assert!(nodes.are_known());
    }
}
