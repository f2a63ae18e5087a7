//! Figures of runs, and how sure they are.

use super::scenario::{SECOND, Scenario};
use super::world::Seen;

/// What is compared.
#[derive(Clone, Copy, Default)]
pub(super) struct Figures {
    /// Milliseconds, of the first kind of statement.
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) mean: f64,
    /// Milliseconds, of the last kind.
    pub(super) last_p99: f64,
    /// Part of the statements that failed.
    pub(super) errors: f64,
    /// What a recovered node gets, in parts of its fair share, from 5 to 8 s after.
    pub(super) share: f64,
}

pub(super) fn figures(scenario: &Scenario, mut seen: Seen) -> Figures {
    let share = scenario.recovers.map_or(1.0, |(node, at)| {
        let seconds = ((at / SECOND) as usize + 5)..((at / SECOND) as usize + 8);
        let sent =
            |node: usize| seconds.clone().map(|second| f64::from(seen.sent[node][second])).sum::<f64>();
        let all: f64 = (0..seen.sent.len()).map(sent).sum();
        sent(node) / all * seen.sent.len() as f64
    });
    let ok: usize = seen.latencies.iter().map(Vec::len).sum();
    seen.latencies.iter_mut().for_each(|latencies| latencies.sort_unstable());
    let first = &seen.latencies[0];
    let last = seen.latencies.last().expect("there is a kind");
    Figures {
        p50: quantile(first, 0.5),
        p95: quantile(first, 0.95),
        p99: quantile(first, 0.99),
        mean: first.iter().sum::<u64>() as f64 / first.len().max(1) as f64 / 1000.0,
        last_p99: quantile(last, 0.99),
        errors: seen.failed as f64 / (ok as f64 + seen.failed as f64),
        share,
    }
}

/// Of sorted microseconds, in milliseconds.
pub(super) fn quantile(sorted: &[u64], part: f64) -> f64 {
    let at = ((sorted.len() as f64 * part).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).map_or(0.0, |micros| *micros as f64 / 1000.0)
}

/// Mean of some runs and half the width of its 95 % confidence interval (Student's t).
#[derive(Clone, Copy)]
pub(super) struct Interval {
    pub(super) mean: f64,
    pub(super) half: f64,
}

pub(super) fn interval(values: &[f64]) -> Interval {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    if values.len() < 2 {
        return Interval { mean, half: 0.0 };
    }
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Interval { mean, half: student(values.len() - 1) * (variance / count).sqrt() }
}

/// The 97.5 % quantile of Student's t for so many degrees of freedom.
fn student(freedom: usize) -> f64 {
    const T: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048,
        2.045, 2.042,
    ];
    T.get(freedom.max(1) - 1).copied().unwrap_or(1.96)
}
