//! The report about statements: how many, with how many errors and how much time, for whom and where.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde::Serialize;

use super::Context;
use crate::error::NodeId;
use crate::shm::{LATENCY_BOUNDS, Traffic};

/// Statements of all users on all nodes, and how long they took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrafficReport {
    /// In order of node, user and database; only where there was something.
    pub traffic: Vec<TrafficRow>,
    pub latency: Latency,
}

/// What one user had in one database on one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrafficRow {
    pub node: NodeId,
    pub user: String,
    pub database: String,
    pub statements: u64,
    pub errors: u64,
    pub duration_seconds: f64,
}

/// How many statements took how long.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latency {
    /// Upper bounds of the classes; the last class has none.
    pub buckets_ms: Vec<f64>,
    /// Of all nodes together, in each class.
    pub counts: Vec<u64>,
    /// Of each node.
    pub nodes: Vec<NodeLatency>,
}

/// How many statements took how long on a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeLatency {
    pub node: NodeId,
    pub counts: Vec<u64>,
}

/// What all workers have counted since the start, also those that were replaced.
pub fn traffic(context: &Context<'_>) -> TrafficReport {
    let segment = context.segment;
    let ids: Vec<NodeId> = context.config.backends().iter().map(|backend| backend.id).collect();
    let mut sums: BTreeMap<(NodeId, String, String), (u64, u64, u64)> = BTreeMap::new();
    let workers = 0..segment.sizes().workers;
    let parts = workers.flat_map(|worker| ids.iter().flat_map(move |node| segment.traffic(worker, *node)));
    for Traffic { user, database, node, statements, errors, micros } in parts {
        if statements > 0 || errors > 0 {
            let sum = sums.entry((node, user.to_string(), database.to_string())).or_default();
            *sum = (sum.0 + statements, sum.1 + errors, sum.2.saturating_add(micros));
        }
    }
    let row = |((node, user, database), (statements, errors, micros))| {
        let duration_seconds = micros as f64 / 1e6;
        TrafficRow { node, user, database, statements, errors, duration_seconds }
    };
    let of_node = |node: &NodeId| NodeLatency { node: *node, counts: segment.latency(*node).to_vec() };
    let nodes: Vec<NodeLatency> = ids.iter().map(of_node).collect();
    let class = |at: usize| nodes.iter().filter_map(|node| node.counts.get(at)).sum();
    let counts = (0..=LATENCY_BOUNDS.len()).map(class).collect();
    let buckets_ms = LATENCY_BOUNDS.map(|micros| micros as f64 / 1e3).to_vec();
    TrafficReport {
        traffic: sums.into_iter().map(row).collect(),
        latency: Latency { buckets_ms, counts, nodes },
    }
}

impl TrafficRow {
    /// A row of `SHOW pool_traffic`.
    pub(super) fn values(self) -> Vec<String> {
        vec![
            self.node.to_string(),
            self.user,
            self.database,
            self.statements.to_string(),
            self.errors.to_string(),
            format!("{:.6}", self.duration_seconds),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, context, segment};
    use super::*;

    #[test]
    fn what_all_workers_have_counted_is_added_up() {
        let (segment, config) = (segment(1), config(""));
        for worker in [0, 1] {
            let counts = segment.traffic_counts(worker, "ann", "db");
            counts.statement(1, 1_500_000);
            counts.failure(1);
            segment.traffic_counts(worker, "bob", "db").statement(0, 100);
        }
        let report = traffic(&context(&segment, &config));
        let told = serde_json::to_value(&report.traffic).unwrap();
        let expected = serde_json::json!([
            {"node": 0, "user": "bob", "database": "db", "statements": 2, "errors": 0, "duration_seconds": 0.0002},
            {"node": 1, "user": "ann", "database": "db", "statements": 2, "errors": 2, "duration_seconds": 3.0},
        ]);
        assert_eq!(told, expected);
        let latency = report.latency;
        assert_eq!((latency.buckets_ms[0], latency.buckets_ms.last().copied()), (0.25, Some(60_000.0)));
        assert_eq!(latency.counts.len(), latency.buckets_ms.len() + 1);
        assert_eq!((latency.counts[0], latency.counts[12]), (2, 2));
        assert_eq!((latency.nodes[0].counts[0], latency.nodes[1].counts[12]), (2, 2));
    }
}
