//! The payloads, each declared once: what is sent, and the schema of the document. `timestamp` is what the documents of
//! before have it for: unix seconds on some topics, a text of ISO 8601 on others.
#![forbid(unsafe_code)]

use crate::face::rest::schema::answer;

answer! {
    /// A node as it is.
    pub(super) struct NodeState {
        /// Its number.
        pub node_id: usize,
        /// up or down.
        pub status: &'static str,
        /// When this was so (unix seconds).
        pub timestamp: u64,
        /// waiting (nobody has connected yet), up, down, quarantine or unused.
        pub state: &'static str,
        /// primary, standby, main or replica.
        pub role: &'static str,
        /// Where it is.
        pub host: String,
        /// Its port.
        pub port: u16,
        /// Why the status is what it is.
        pub reason: String,
    }

    /// The status of a node has changed, or a connection to the broker has begun.
    pub(super) struct NodeStatusChange {
        /// node_status_change, or snapshot when a connection to the broker has begun.
        pub event: &'static str,
        /// Its number among the events; 0 for a snapshot.
        pub id: u64,
        /// When (ISO 8601).
        pub timestamp: String,
        /// The node that has changed; null for a snapshot.
        pub node_id: Option<usize>,
        /// How it was: waiting, up, down or quarantine.
        pub old_status: String,
        /// How it is now.
        pub new_status: String,
        /// Why.
        pub reason: String,
        /// Share of its health checks that found it well, of 1; null without checks.
        pub health_score: Option<f64>,
        /// All nodes as they are now.
        pub nodes: Vec<NodeState>,
    }

    /// A node has another role.
    pub(super) struct NodeRole {
        /// Its number.
        pub node_id: usize,
        /// primary, standby, main or replica.
        pub role: String,
        /// What it was; empty: not known.
        pub old_role: String,
        /// Why.
        pub reason: String,
        /// When (unix seconds).
        pub timestamp: u64,
    }

    /// Something was done with a node.
    pub(super) struct NodeEvent {
        /// Its number.
        pub node_id: usize,
        /// attach, detach (an operator wants it out of use), down (it has failed), promote, recovery or failback.
        pub event: &'static str,
        /// Why, or how it goes.
        pub reason: String,
        /// When (unix seconds).
        pub timestamp: u64,
    }

    /// A health check has ended.
    pub(super) struct NodeHealth {
        /// The node.
        pub node_id: usize,
        /// It is well.
        pub healthy: bool,
        /// When (unix seconds).
        pub timestamp: u64,
        /// How long the check took, in milliseconds.
        pub response_time_ms: f64,
        /// Why it is not well.
        pub reason: String,
    }

    /// A health check has ended.
    pub(super) struct HealthCheck {
        /// health_check.
        pub event: &'static str,
        /// Its number among the readings.
        pub id: u64,
        /// When (ISO 8601).
        pub timestamp: String,
        /// The node.
        pub node_id: usize,
        /// healthy or unhealthy.
        pub status: String,
        /// How long the check took, in milliseconds.
        pub response_time_ms: f64,
        /// Share of its health checks that found it well, of 1.
        pub health_score: Option<f64>,
        /// Open connections to it.
        pub connections: u64,
        /// Share of the places for connections to it that a session has, of 1.
        pub load: f64,
        /// Attempts besides the first.
        pub retries: u64,
        /// Why it is not well.
        pub reason: String,
    }

    /// A primary that was lost has been replaced.
    pub(super) struct Failover {
        /// failover.
        pub event: &'static str,
        /// Its number among the events.
        pub id: u64,
        /// When (ISO 8601).
        pub timestamp: String,
        /// The primary before.
        pub old_primary: Option<usize>,
        /// The primary now.
        pub new_primary: Option<usize>,
        /// Why it is the primary.
        pub reason: String,
        /// The primary before.
        pub failed_node_id: Option<usize>,
        /// The primary now.
        pub new_primary_id: Option<usize>,
        /// Why it is the primary.
        pub promotion_reason: String,
        /// healthy, degraded (nodes are out of use) or down (there is no primary).
        pub cluster_status: &'static str,
    }

    /// The same.
    pub(super) struct FailoverEvent {
        /// failover.
        pub event: &'static str,
        /// Its number among the events.
        pub id: u64,
        /// The primary before.
        pub old_primary: Option<usize>,
        /// The primary now.
        pub new_primary: Option<usize>,
        /// Why it is the primary.
        pub reason: String,
        /// When (unix seconds).
        pub timestamp: u64,
    }

    /// Something has happened.
    pub(super) struct Happening {
        /// What: the last word of the topic, or ai.
        pub event: &'static str,
        /// Its number among the events, or the readings.
        pub id: u64,
        /// The node that it is about.
        pub node_id: Option<usize>,
        /// How it was before.
        pub old: String,
        /// How it is now.
        pub new: String,
        /// Why.
        pub reason: String,
        /// The process that it is about.
        pub pid: Option<u64>,
        /// When (unix seconds).
        pub timestamp: u64,
    }

    /// The clients.
    pub(super) struct Connections {
        /// All of them.
        pub total: u64,
        /// Those in a transaction, with a statement that runs, or on the way in.
        pub active: u64,
        /// The others.
        pub idle: u64,
        /// When (unix seconds).
        pub timestamp: u64,
    }

    /// The statements since the last message.
    pub(super) struct Queries {
        /// Statements a second.
        pub qps: u64,
        /// How long they took on average, in milliseconds.
        pub avg_response_time_ms: f64,
        /// How many there were.
        pub statements: u64,
        /// When (unix seconds).
        pub timestamp: u64,
    }

    /// Events were gone before they could be published.
    pub(super) struct Missed {
        /// missed.
        pub event: &'static str,
        /// How many.
        pub missed: u64,
        /// events or readings.
        pub of: &'static str,
        /// When (unix seconds).
        pub timestamp: u64,
    }
}
