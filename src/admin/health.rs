//! What the health checks have counted.
#![forbid(unsafe_code)]

use super::nodes::{self, Role, status_text};
use super::{Context, time_text};
use crate::error::NodeId;
use crate::shm::{HealthRow, NodeStatus};

/// What the health check of a backend has counted.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthReport {
    pub id: NodeId,
    pub hostname: String,
    pub port: u16,
    pub status: NodeStatus,
    pub role: Role,
    /// When status or role changed last (unix seconds).
    pub changed_at: u64,
    pub counts: HealthRow,
}

/// Every configured backend, in the order of the numbers.
pub fn health(context: &Context<'_>) -> Vec<HealthReport> {
    let report = |node: nodes::NodeReport| HealthReport {
        id: node.id,
        hostname: node.hostname,
        port: node.port,
        status: node.status,
        role: node.role,
        changed_at: node.changed_at,
        counts: context.segment.health(node.id),
    };
    nodes::nodes(context).into_iter().map(report).collect()
}

impl HealthReport {
    /// Checks that were made; those that were left out do not count.
    fn made(&self) -> u64 {
        self.counts.success.saturating_add(self.counts.fail)
    }

    /// Retries a check.
    pub fn average_retries(&self) -> f64 {
        average(self.counts.retry, self.made())
    }

    /// Milliseconds a check.
    pub fn average_duration(&self) -> f64 {
        average(self.counts.duration, self.made())
    }

    /// A row of `SHOW pool_health_check_stats`. Averages of nothing read 0.
    pub fn values(&self) -> Vec<String> {
        let counts = &self.counts;
        let made = self.made();
        vec![
            self.id.to_string(),
            self.hostname.clone(),
            self.port.to_string(),
            status_text(self.status).to_owned(),
            self.role.name().to_owned(),
            time_text(self.changed_at),
            counts.total.to_string(),
            counts.success.to_string(),
            counts.fail.to_string(),
            counts.skip.to_string(),
            counts.retry.to_string(),
            average_text(counts.retry, made),
            counts.max_retry.to_string(),
            counts.max_duration.to_string(),
            counts.min_duration.to_string(),
            average_text(counts.duration, made),
            time_text(counts.last),
            time_text(counts.last_success),
            time_text(counts.last_skip),
            time_text(counts.last_fail),
        ]
    }
}

fn average(sum: u64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { sum as f64 / count as f64 }
}

fn average_text(sum: u64, count: u64) -> String {
    format!("{:.6}", average(sum, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages() {
        for (sum, count, text) in [(0, 0, "0.000000"), (5, 0, "0.000000"), (155, 44, "3.522727")] {
            assert_eq!(average_text(sum, count), text);
        }
    }
}
