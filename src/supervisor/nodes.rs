//! Changes of the nodes' state. Only the supervisor makes them, one at a time; everybody else asks.
#![forbid(unsafe_code)]

use crate::config::{Backend, Config};
use crate::error::{MAX_NODES, NodeId};
use crate::shm::{NodeStatus, PgRole, Segment};
use crate::sys::process::ProcessId;

use super::request::Answer;

/// Room for nodes that a reload adds; empty rows cost no memory.
const SPARE_NODES: usize = 8;

/// Rows of the segment's node table.
pub(super) fn capacity(config: &Config) -> usize {
    let configured = config.backends().iter().map(|backend| backend.id + 1).max().unwrap_or(0);
    (configured + SPARE_NODES).min(MAX_NODES)
}

/// The nodes and what is needed to change them.
pub(super) struct Nodes<'a> {
    pub(super) segment: &'a Segment,
    pub(super) config: &'a Config,
    pub(super) now: u64,
}

impl Nodes<'_> {
    /// At the start: all configured nodes wait for their first connection.
    pub(super) fn wait_for_all(&self) {
        for backend in self.config.backends() {
            self.segment.set_status(backend.id, NodeStatus::Waiting, "", self.now);
        }
    }

    /// After a reload: a new node stays out until it is known to answer.
    pub(super) fn take_new(&self) {
        for backend in self.config.backends() {
            if self.segment.node(backend.id).status == NodeStatus::Unused {
                self.segment.set_status(backend.id, NodeStatus::Down, "added by a reload", self.now);
            }
        }
    }

    /// A node failed: take it out, where the configuration lets us.
    pub(super) fn failed(&self, id: NodeId, reason: &str, pid: ProcessId) -> Answer {
        let Some(backend) = self.backend(id) else { return unknown(id) };
        if !self.is_usable(id) {
            return Answer::Done;
        }
        if !backend.allow_to_failover {
            crate::say!(
                Log,
                "degenerate backend request for node_id: {id} from pid [{pid}] is canceled because failover is disallowed on the node"
            );
            return Answer::Refused("failover is disallowed on the node".to_owned());
        }
        if !self.config.failover_on_backend_error {
            crate::say!(Debug1, "node {id} failed ({reason}); failover_on_backend_error is off");
            return Answer::Refused("failover_on_backend_error is off".to_owned());
        }
        let place = format!("host {}({})", backend.hostname, backend.port);
        crate::say!(Log, "received degenerate backend request for node_id: {id} from pid [{pid}]");
        crate::log::Line::new(
            crate::log::Level::Log,
            format!("=== Starting degeneration. shutdown {place} ==="),
        )
        .detail(reason)
        .emit();
        self.segment.set_status(id, NodeStatus::Down, reason, self.now);
        if self.segment.primary() == Some(id) {
            // Writes wait until the replication check finds the next one.
            self.segment.set_primary(None, self.now);
        }
        crate::say!(Log, "=== Failover done. shutdown {place} ===");
        Answer::Done
    }

    /// A node answers: put it (back) in use.
    pub(super) fn answers(&self, id: NodeId) -> Answer {
        let Some(backend) = self.backend(id) else { return unknown(id) };
        match self.segment.node(id).status {
            NodeStatus::Up => {}
            NodeStatus::Waiting => self.segment.set_status(id, NodeStatus::Up, "", self.now),
            NodeStatus::Unused | NodeStatus::Down | NodeStatus::Quarantine => {
                let place = format!("host {}({})", backend.hostname, backend.port);
                crate::say!(Log, "=== Starting fail back. reconnect {place} ===");
                self.segment.set_status(id, NodeStatus::Up, "", self.now);
                crate::say!(Log, "=== Failback done. reconnect {place} ===");
            }
        }
        Answer::Done
    }

    /// The replication check found the primary, or lost it.
    pub(super) fn primary(&self, found: Option<NodeId>) -> Answer {
        if let Some(id) = found.filter(|id| self.backend(*id).is_none()) {
            return unknown(id);
        }
        if self.segment.primary() != found {
            self.segment.set_primary(found, self.now);
            match found {
                Some(id) => crate::say!(Log, "failover: set new primary node: {id}"),
                None => crate::say!(Warning, "there is no primary node"),
            }
        }
        Answer::Done
    }

    /// Whether the replication check has looked at every node and the primary, if one is there, is known.
    pub(super) fn are_known(&self) -> bool {
        self.config.backends().iter().all(|backend| {
            let probe = self.segment.node(backend.id).probe;
            probe.at != 0 && (probe.pg_role != PgRole::Primary || self.segment.primary().is_some())
        })
    }

    /// What pgpool-II's `node status[i]` says: 0 unused or not known, 1 primary, 2 standby.
    pub(super) fn log_roles(&self) {
        for backend in self.config.backends() {
            let node = self.segment.node(backend.id);
            let code = match node.probe.pg_role {
                _ if node.is_primary => 1,
                PgRole::Standby => 2,
                PgRole::Unknown | PgRole::Primary => 0,
            };
            crate::say!(Log, "node status[{}]: {code}", backend.id);
        }
    }

    fn backend(&self, id: NodeId) -> Option<Backend> {
        self.config.backends().into_iter().find(|backend| backend.id == id)
    }

    fn is_usable(&self, id: NodeId) -> bool {
        matches!(self.segment.node(id).status, NodeStatus::Up | NodeStatus::Waiting)
    }
}

fn unknown(id: NodeId) -> Answer {
    Answer::Refused(format!("there is no node {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::{Probe, Sizes};

    fn config(text: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgbalancer.conf");
        let nodes =
            "backend_hostname0 = 'a'\nbackend_port0 = 5432\nbackend_hostname1 = 'b'\nbackend_port1 = 5433\n";
        std::fs::write(&path, format!("{nodes}{text}")).unwrap();
        crate::config::load(&path).ok().unwrap().config
    }

    fn segment(config: &Config) -> Segment {
        let nodes = capacity(config);
        Segment::create(Sizes {
            workers: 1,
            sessions_per_worker: 1,
            pools_per_worker: 1,
            nodes,
            ..Sizes::default()
        })
        .unwrap()
    }

    #[test]
    fn a_failed_node_goes_out_and_comes_back_when_it_answers() {
        let config = config("");
        let segment = segment(&config);
        let nodes = Nodes { segment: &segment, config: &config, now: 9 };
        nodes.wait_for_all();
        assert_eq!(segment.node(1).status, NodeStatus::Waiting);
        assert_eq!(segment.node(2).status, NodeStatus::Unused);
        assert_eq!(nodes.answers(1), Answer::Done);
        assert_eq!(nodes.primary(Some(1)), Answer::Done);
        assert_eq!(nodes.failed(1, "refused", 7), Answer::Done);
        let node = segment.node(1);
        assert_eq!(
            (node.status, node.reason.as_str(), node.is_primary),
            (NodeStatus::Down, "refused", false)
        );
        assert_eq!(segment.primary(), None);
        let generation = segment.generation();
        assert_eq!(nodes.failed(1, "refused again", 7), Answer::Done);
        assert_eq!(segment.generation(), generation, "a node that is down cannot fail");
        assert_eq!(nodes.answers(1), Answer::Done);
        assert_eq!(segment.node(1).status, NodeStatus::Up);
    }

    #[test]
    fn the_configuration_may_forbid_it() {
        for text in ["failover_on_backend_error = off", "backend_flag1 = 'DISALLOW_TO_FAILOVER'"] {
            let config = config(text);
            let segment = segment(&config);
            let nodes = Nodes { segment: &segment, config: &config, now: 9 };
            nodes.wait_for_all();
            assert!(matches!(nodes.failed(1, "refused", 7), Answer::Refused(_)), "{text}");
            assert_eq!(segment.node(1).status, NodeStatus::Waiting, "{text}");
        }
    }

    #[test]
    fn nodes_that_do_not_exist_are_refused() {
        let config = config("");
        let segment = segment(&config);
        let nodes = Nodes { segment: &segment, config: &config, now: 9 };
        assert!(matches!(nodes.failed(2, "", 7), Answer::Refused(_)));
        assert!(matches!(nodes.answers(500), Answer::Refused(_)));
        assert!(matches!(nodes.primary(Some(2)), Answer::Refused(_)));
    }

    #[test]
    fn the_start_waits_until_all_nodes_are_known() {
        let config = config("");
        let segment = segment(&config);
        let nodes = Nodes { segment: &segment, config: &config, now: 9 };
        assert!(!nodes.are_known());
        segment.set_probe(0, Probe { pg_status: crate::shm::PgStatus::Down, at: 1, ..Probe::default() });
        let probe = Probe { pg_role: PgRole::Primary, at: 1, ..Probe::default() };
        segment.set_probe(1, probe);
        assert!(!nodes.are_known());
        nodes.primary(Some(1));
        assert!(nodes.are_known());
    }
}
