//! A node as the manager knows it, and the parameters that it decides by.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::config::{ClusteringMode, Config};
use crate::error::NodeId;
use crate::shm::NodeStatus;

/// A configured node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Host name, address, or directory of its socket.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `backend_data_directoryN`; may be empty.
    pub data_directory: String,
    /// It may be taken out of use (`ALLOW_TO_FAILOVER`).
    pub allow_to_failover: bool,
    /// In use or not.
    pub status: NodeStatus,
}

impl Node {
    /// A node that waits for its first connection and may be taken out of use.
    pub fn named(id: NodeId, host: &str, port: u16) -> Node {
        Node {
            id,
            host: host.to_owned(),
            port,
            data_directory: String::new(),
            allow_to_failover: true,
            status: NodeStatus::Waiting,
        }
    }

    /// The nodes of a configuration, in order of their numbers; the status comes from elsewhere.
    pub fn configured(config: &Config, status: impl Fn(NodeId) -> NodeStatus) -> Vec<Node> {
        let node = |backend: crate::config::Backend| Node {
            id: backend.id,
            data_directory: backend.data_directory,
            allow_to_failover: backend.allow_to_failover,
            status: status(backend.id),
            ..Node::named(backend.id, &backend.hostname, backend.port)
        };
        config.backends().into_iter().map(node).collect()
    }

    /// Sessions may use it.
    pub fn is_usable(&self) -> bool {
        matches!(self.status, NodeStatus::Waiting | NodeStatus::Up)
    }

    /// As the log names it.
    pub(super) fn place(&self) -> String {
        format!("host {}({})", self.host, self.port)
    }

    /// The number that pgpool-II's texts have for the status.
    pub(super) fn status_code(&self) -> u8 {
        match self.status {
            NodeStatus::Unused => 0,
            NodeStatus::Waiting => 1,
            NodeStatus::Up => 2,
            NodeStatus::Down | NodeStatus::Quarantine => 3,
        }
    }
}

/// The parameters that count here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `backend_clustering_mode = streaming_replication`: nodes have roles. Elsewhere the usable node of the lowest
    /// number takes the part of the primary.
    pub streaming: bool,
    /// A session's failure to reach a node takes it out.
    pub failover_on_backend_error: bool,
    /// So does a server's word that it shuts down.
    pub failover_on_backend_shutdown: bool,
    /// Run when a node was taken out; empty: nothing.
    pub failover_command: String,
    /// Run when a node was attached; empty: nothing.
    pub failback_command: String,
    /// Run for each other node when the primary has changed; empty: nothing, and they stay in use.
    pub follow_primary_command: String,
    /// How long a new primary is looked for; `None`: without limit.
    pub search_primary_node_timeout: Option<Duration>,
    /// A node that is down and streams is attached.
    pub auto_failback: bool,
    /// Least time between two such attachments of a node.
    pub auto_failback_interval: Duration,
    /// How long open transactions are waited for before a switchover or graceful detach.
    pub drain_timeout: Duration,
}

impl Rules {
    /// The rules of a configuration.
    pub fn configured(config: &Config) -> Rules {
        let seconds = |value: i64| Duration::from_secs(u64::try_from(value).unwrap_or(0));
        Rules {
            streaming: config.backend_clustering_mode == ClusteringMode::StreamingReplication,
            failover_on_backend_error: config.failover_on_backend_error,
            failover_on_backend_shutdown: config.failover_on_backend_shutdown,
            failover_command: config.failover_command.clone(),
            failback_command: config.failback_command.clone(),
            follow_primary_command: config.follow_primary_command.clone(),
            search_primary_node_timeout: Some(seconds(config.search_primary_node_timeout))
                .filter(|limit| !limit.is_zero()),
            auto_failback: config.auto_failback,
            auto_failback_interval: seconds(config.auto_failback_interval),
            drain_timeout: drain_timeout(
                seconds(config.failover_wait_timeout),
                seconds(config.recovery_timeout),
            ),
        }
    }
}

/// Statements that begin meanwhile wait as well, at most `failover_wait_timeout`, and the switchover itself shall
/// fit into what is left of that. `recovery_timeout` bounds it as in pgpool-II, which waits for clients to leave.
fn drain_timeout(wait: Duration, recovery: Duration) -> Duration {
    match wait.is_zero() {
        true => recovery,
        false => recovery.min(wait / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_transactions_get_a_part_of_the_time_that_statements_wait() {
        let seconds = Duration::from_secs;
        for (wait, recovery, limit) in [(30, 90, 15), (30, 10, 10), (0, 90, 90), (1, 0, 0)] {
            assert_eq!(drain_timeout(seconds(wait), seconds(recovery)), seconds(limit), "{wait} {recovery}");
        }
    }
}
