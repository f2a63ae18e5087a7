//! What is known of the nodes when a message is made.
#![forbid(unsafe_code)]

use crate::admin::{self, Context, NodeReport};
use crate::config::Config;
use crate::shm::NodeStatus;

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeFacts {
    /// Its number.
    pub id: usize,
    /// Where it is.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// In use or not.
    pub status: NodeStatus,
    /// As reports have it.
    pub role: &'static str,
    /// Why its status is what it is.
    pub reason: String,
    /// Share of its health checks that found it well, of 1.
    pub health_score: Option<f64>,
    /// Open connections to it.
    pub connections: u64,
    /// Share of the places for connections to it that a session has, of 1.
    pub load: f64,
}

/// The nodes, and what is wanted.
#[derive(Clone, Debug)]
pub struct Scene {
    /// `mqtt_topic_prefix`.
    pub prefix: String,
    /// `mqtt_publish_node_status`.
    pub node_status: bool,
    /// `mqtt_publish_failover`.
    pub failover: bool,
    /// `mqtt_publish_health_check`.
    pub health_check: bool,
    /// `mqtt_publish_statistics`.
    pub statistics: bool,
    /// All of them.
    pub nodes: Vec<NodeFacts>,
}

impl Scene {
    /// Without the nodes, which take a look.
    pub fn wanted(config: &Config) -> Scene {
        Scene {
            prefix: config.mqtt_topic_prefix.clone(),
            node_status: config.mqtt_publish_node_status,
            failover: config.mqtt_publish_failover,
            health_check: config.mqtt_publish_health_check,
            statistics: config.mqtt_publish_statistics,
            nodes: Vec::new(),
        }
    }

    /// As it is now.
    pub fn of(context: &Context<'_>) -> Scene {
        let nodes = admin::nodes(context).into_iter().map(|report| facts(context, report));
        Scene { nodes: nodes.collect(), ..Scene::wanted(context.config) }
    }

    /// Whether a primary, or a main node, is there and all others are, too.
    pub(super) fn cluster_status(&self, primary: Option<usize>) -> &'static str {
        match primary {
            None => "down",
            Some(_) if self.nodes.iter().all(|node| node.status.is_used()) => "healthy",
            Some(_) => "degraded",
        }
    }
}

fn facts(context: &Context<'_>, report: NodeReport) -> NodeFacts {
    let counts = context.segment.health(report.id);
    let checks = counts.success + counts.fail;
    let links = admin::links(context, report.id);
    let sizes = context.segment.sizes();
    let places = sizes.workers.saturating_mul(sizes.sessions_per_worker).max(1);
    NodeFacts {
        id: report.id,
        host: report.hostname,
        port: report.port,
        status: report.status,
        role: report.role.name(),
        reason: report.reason,
        health_score: (checks > 0).then(|| counts.success as f64 / checks as f64),
        connections: links.open,
        load: links.lent as f64 / places as f64,
    }
}
