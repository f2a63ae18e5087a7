//! What routing has learnt of the nodes.
#![forbid(unsafe_code)]

use serde::Serialize;

use super::Context;
use crate::config::LoadBalanceAlgorithm;
use crate::error::NodeId;
use crate::route;
use crate::route::learn::{NodeReport, Report, Score, Settings};
use crate::sys::clock;

/// What was learnt of the configured nodes, and how it is used.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// `load_balance_algorithm`, as it is in force.
    pub algorithm: LoadBalanceAlgorithm,
    pub learning_rate: f64,
    pub exploration_rate: f64,
    pub report: Report,
}

/// What was learnt until now.
pub fn learned(context: &Context<'_>) -> Learned {
    let settings = Settings::from(context.config);
    let model = route::model(context.segment);
    let nothing =
        Report { total_queries: 0, ai_routed_queries: 0, exploration_queries: 0, nodes: Vec::new() };
    let mut report = model.map_or(nothing, |model| model.report(&settings, clock::monotonic_micros()));
    let backends = context.config.backends();
    report.nodes.retain(|node| backends.iter().any(|backend| backend.id == node.id));
    Learned {
        algorithm: settings.algorithm(),
        learning_rate: settings.learning_rate(),
        exploration_rate: settings.exploration_rate(),
        report,
    }
}

/// A row of `SHOW POOL_AI`.
pub(super) fn values(node: &NodeReport) -> Vec<String> {
    vec![
        node.id.to_string(),
        format!("{:.3}", node.avg_response_time),
        format!("{:.3}", node.current_load),
        format!("{:.3}", node.predicted_load),
        format!("{:.3}", node.health_score),
        format!("{:.4}", node.error_rate),
        format!("{:.2}", node.slowness),
        node.in_flight.to_string(),
        format!("{:.1}", node.room),
        format!("{:.2}", node.warm),
        node.total_queries.to_string(),
        node.successful_queries.to_string(),
        node.failed_queries.to_string(),
        node.chosen_queries.to_string(),
        node.exploration_queries.to_string(),
    ]
}

/// What was learnt of a node, for statements like one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeScore {
    pub node_id: NodeId,
    /// Microseconds that are expected, made worse by errors and fullness: less is better.
    pub score: f64,
    /// Milliseconds that are expected.
    pub expected_ms: f64,
    /// Statements that it runs.
    pub in_flight: u64,
    /// 1: no errors; towards 0: nothing but errors.
    pub health: f64,
    /// Part of such statements that it would get.
    pub share: f64,
}

impl From<Score> for NodeScore {
    fn from(score: Score) -> NodeScore {
        NodeScore {
            node_id: score.node,
            score: score.score,
            expected_ms: score.latency_micros / 1000.0,
            in_flight: score.in_flight,
            health: score.health,
            share: score.share,
        }
    }
}

/// The scores in a line, for people.
pub fn scores_text(scores: &[NodeScore]) -> String {
    let text = |score: &NodeScore| {
        let NodeScore { node_id, score, expected_ms, in_flight, health, share } = score;
        format!(
            "node {node_id}: score {score:.0}, expected {expected_ms:.3} ms, {in_flight} in flight, health {health:.2}, \
             {:.0} % of such statements",
            share * 100.0
        )
    };
    scores.iter().map(text).collect::<Vec<_>>().join("; ")
}
