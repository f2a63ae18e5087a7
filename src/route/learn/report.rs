//! What the model knows, for people: `SHOW POOL_AI`, `EXPLAIN ROUTE`, the REST API and metrics.
#![forbid(unsafe_code)]

use serde::Serialize;

use super::Class;
use super::estimate::{ClassView, Estimate};
use super::mean::Mean;
use super::settings::Settings;
use super::words::{Model, Row, count};
use crate::error::NodeId;

/// What the model thinks of a candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// The node.
    pub node: NodeId,
    /// The lower, the better: expected microseconds, made worse by errors and fullness.
    pub score: f64,
    /// Expected latency in microseconds.
    pub latency_micros: f64,
    /// Statements that it runs.
    pub in_flight: u64,
    /// Statements that it runs at once before they get slower.
    pub room: f64,
    /// 1: no errors; towards 0: nothing but errors.
    pub health: f64,
    /// Part of the statements that fail by its fault, 0 to 1.
    pub error_rate: f64,
    /// Part of its share that it has while it is warmed up, 0 to 1.
    pub warm: f64,
    /// Part of such statements that it would get, 0 to 1, without exploration.
    pub share: f64,
}

/// What is known of all nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Statements that were sent to nodes.
    pub total_queries: u64,
    /// Those whose node the model has chosen.
    pub ai_routed_queries: u64,
    /// Those of them that went there only to learn.
    pub exploration_queries: u64,
    /// One for each node, in order.
    pub nodes: Vec<NodeReport>,
}

/// What is known of a node; counts are since the start.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NodeReport {
    /// The node.
    pub id: NodeId,
    /// Milliseconds that statements have taken lately.
    pub avg_response_time: f64,
    /// What it runs, in parts of its room: 0 to 1.
    pub current_load: f64,
    /// Statements that were sent there.
    pub total_queries: u64,
    /// Those that it has done.
    pub successful_queries: u64,
    /// Those that failed by its fault.
    pub failed_queries: u64,
    /// Part of those of late that failed, 0 to 1.
    pub error_rate: f64,
    /// What it is expected to run, by what it ran lately, in parts of its room: 0 to 1.
    pub predicted_load: f64,
    /// 1: all is well; towards 0: nothing but errors.
    pub health_score: f64,
    /// Statements that it runs.
    pub in_flight: u64,
    /// Statements that it runs at once before they get slower.
    pub room: f64,
    /// Part of its share that it has while it is warmed up, 0 to 1.
    pub warm: f64,
    /// Speed in relation to the other nodes: 2 takes twice as long.
    pub slowness: f64,
    /// Statements that were sent there by choice of the model, and those of them only to learn.
    pub chosen_queries: u64,
    /// The latter.
    pub exploration_queries: u64,
}

impl Model<'_> {
    /// What is known of all nodes now.
    pub fn report(&self, settings: &Settings, now: u64) -> Report {
        let nodes: Vec<NodeReport> =
            (0..self.nodes).filter_map(|node| self.of_node(settings, node, now)).collect();
        let total = |of: fn(&NodeReport) -> u64| nodes.iter().map(of).fold(0, u64::saturating_add);
        Report {
            total_queries: total(|node| node.total_queries),
            ai_routed_queries: total(|node| node.chosen_queries),
            exploration_queries: total(|node| node.exploration_queries),
            nodes,
        }
    }

    fn of_node(&self, settings: &Settings, node: NodeId, now: u64) -> Option<NodeReport> {
        let class = ClassView { lasts: false, ..self.class_view(Class::UNKNOWN, now, settings.memory) };
        let mut estimate = Estimate::default();
        self.estimate(settings, &class, node, now, &mut estimate).then_some(())?;
        let learned = self.learned(node)?;
        let sum = |of: fn(&Row) -> u64| {
            let rows = (0..self.workers).filter_map(|worker| self.row(worker, node));
            rows.map(|row| of(&row)).fold(0, u64::saturating_add)
        };
        let known = |mean: Mean| if mean.weight > 0.0 { f64::from(mean.mean) } else { 0.0 };
        Some(NodeReport {
            id: node,
            avg_response_time: known(Mean::load(learned.latency)) / 1000.0,
            current_load: f64::from((estimate.crowd.count() / estimate.room).min(1.0)),
            total_queries: sum(|row| count(row.total)),
            successful_queries: sum(|row| count(row.ok)),
            failed_queries: sum(|row| count(row.failed)),
            error_rate: self.error_rate(settings, node, now),
            predicted_load: f64::from(
                (Mean::load(learned.crowd).or(0.0, 1.0, now, settings.memory) / estimate.room).min(1.0),
            ),
            health_score: f64::from(estimate.health),
            in_flight: estimate.crowd.count() as u64,
            room: f64::from(estimate.room),
            warm: f64::from(estimate.warm),
            slowness: f64::from(Mean::load(learned.speed).or(1.0, 1.0, now, settings.memory)),
            chosen_queries: sum(|row| count(row.chosen)),
            exploration_queries: sum(|row| count(row.explored)),
        })
    }

    pub(super) fn error_rate(&self, settings: &Settings, node: NodeId, now: u64) -> f64 {
        let errors = self.learned(node).map(|learned| Mean::load(learned.errors)).unwrap_or_default();
        f64::from(errors.or(0.0, 1.0, now, settings.memory / 2.0).clamp(0.0, 1.0))
    }
}
