//! The whole at a glance, and whether a client would be served now.
#![forbid(unsafe_code)]

use super::nodes::{self, known};
use super::{Context, process_workers, status_text};
use crate::error::NodeId;
use crate::shm::{Hold, PgStatus};

/// The whole at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// When the program started (unix seconds).
    pub started_at: u64,
    /// Seconds since then.
    pub uptime: u64,
    /// Clients that are connected.
    pub clients: u64,
    /// Clients that there is room for.
    pub max_clients: u64,
    /// Configured nodes.
    pub nodes: usize,
    /// Nodes that are in use and not known to be down.
    pub healthy_nodes: usize,
    /// Worker processes that live.
    pub workers: usize,
    /// Those of them without a client.
    pub idle_workers: usize,
    /// The primary, if one is known.
    pub primary: Option<NodeId>,
    /// New transactions wait.
    pub is_paused: bool,
}

/// The whole at a glance.
pub fn overview(context: &Context<'_>) -> Overview {
    let segment = context.segment;
    let (sizes, workers) = (segment.sizes(), process_workers(context));
    let backends = context.config.backends();
    let is_healthy =
        |row: &crate::shm::NodeRow| row.status.is_used() && row.probe.pg_status != PgStatus::Down;
    Overview {
        started_at: segment.started_at(),
        uptime: context.now.saturating_sub(segment.started_at()),
        clients: workers.iter().map(|worker| worker.sessions).sum(),
        max_clients: sizes.workers.saturating_mul(sizes.sessions_per_worker) as u64,
        nodes: backends.len(),
        healthy_nodes: backends.iter().filter(|backend| is_healthy(&known(context, backend))).count(),
        idle_workers: workers.iter().filter(|worker| worker.sessions == 0).count(),
        workers: workers.len(),
        primary: segment.primary(),
        is_paused: super::is_paused(context),
    }
}

/// Whether a client that came now would be served.
///
/// # Errors
/// Why not.
pub fn readiness(context: &Context<'_>) -> Result<(), String> {
    let nodes = nodes::nodes(context);
    if !nodes.iter().any(|node| node.status.is_used()) {
        let states = nodes.iter().map(|node| format!("node {} is {}", node.id, status_text(node.status)));
        return Err(format!("no node is in use: {}", states.collect::<Vec<_>>().join(", ")));
    }
    match context.segment.hold().0 {
        Hold::Nothing if super::is_paused(context) => {
            return Err("an operator has paused the program".to_owned());
        }
        Hold::Nothing => {}
        Hold::Writes => return Err("there is no primary, and the next one is being looked for".to_owned()),
        Hold::Transactions => return Err("new transactions wait for a planned change".to_owned()),
    }
    let workers = process_workers(context);
    match workers.iter().any(|worker| worker.listens) {
        true => Ok(()),
        false if workers.is_empty() => Err("no worker process has begun".to_owned()),
        false => Err("all places for clients are taken".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, config, context, segment};
    use super::*;
    use crate::shm::{NodeStatus, Probe, WorkerRow};

    #[test]
    fn clients_nodes_and_workers_are_counted() {
        let (segment, config) = (segment(3), config(""));
        let now = context(&segment, &config);
        let nothing = overview(&now);
        assert_eq!((nothing.workers, nothing.clients, nothing.max_clients), (0, 0, 6));
        assert_eq!((nothing.nodes, nothing.healthy_nodes, nothing.primary), (2, 2, Some(0)));
        for (index, sessions) in [(0, 0), (1, 2)] {
            segment.set_worker(index, &WorkerRow { pid: 5, sessions, ..WorkerRow::default() });
        }
        segment.set_probe(1, Probe { pg_status: PgStatus::Down, at: NOW, ..Probe::default() });
        segment.set_status(0, NodeStatus::Down, "", NOW);
        segment.set_paused(true);
        let some = overview(&now);
        assert_eq!((some.workers, some.idle_workers, some.clients), (2, 1, 2));
        assert_eq!((some.healthy_nodes, some.is_paused), (0, true));
    }

    #[test]
    fn readiness_says_what_is_missing() {
        let (segment, config) = (segment(1), config(""));
        let now = context(&segment, &config);
        let why = || readiness(&now).err().unwrap_or_default();
        assert_eq!(why(), "no worker process has begun");
        segment.set_worker(0, &WorkerRow { pid: 5, ..WorkerRow::default() });
        assert_eq!(why(), "all places for clients are taken");
        segment.set_worker(0, &WorkerRow { pid: 5, listens: true, ..WorkerRow::default() });
        assert_eq!(why(), "");
        segment.set_paused(true);
        assert_eq!(why(), "an operator has paused the program");
        segment.set_paused(false);
        segment.set_hold(Hold::Writes);
        assert!(why().starts_with("there is no primary"));
        segment.set_hold(Hold::Nothing);
        (0..2).for_each(|node| segment.set_status(node, NodeStatus::Down, "", NOW));
        assert_eq!(why(), "no node is in use: node 0 is down, node 1 is down");
    }
}
