//! The formulas of the original's learner, which it never compiled in: scores of lifetime success, latency and a "load"
//! that is a class of latency, and the node with the highest one.

use pgbalancer::route::learn::Candidate;

use super::policy::{Policy, Token, unit};
use crate::simulation::dice::Dice;

#[derive(Clone)]
struct Known {
    /// Milliseconds.
    latency: f64,
    load: f64,
    total: f64,
    ok: f64,
    health: f64,
    updated: u64,
}

pub(super) struct Original {
    nodes: Vec<Known>,
    rate: f64,
}

impl Original {
    const EXPLORATION: f64 = 0.2;
    const STALE: u64 = 60_000_000;

    pub(super) fn new(nodes: usize) -> Original {
        let known = Known { latency: 0.0, load: 0.0, total: 0.0, ok: 0.0, health: 1.0, updated: 0 };
        Original { nodes: vec![known; nodes], rate: 0.1 }
    }

    fn score(&self, node: usize) -> f64 {
        let known = &self.nodes[node];
        let fast = if known.total > 0.0 { 1.0 - (known.latency / 1000.0).min(1.0) } else { 0.5 };
        0.4 * known.health + 0.3 * (1.0 - known.load) + 0.3 * fast
    }
}

impl Policy for Original {
    fn choose(&mut self, candidates: &[Candidate], _: Option<usize>, now: u64, dice: &mut Dice) -> usize {
        for one in candidates {
            let known = &mut self.nodes[one.node];
            if now.saturating_sub(known.updated) > Self::STALE {
                known.load *= 0.9;
                known.health = (known.health + 0.05).min(1.0);
            }
        }
        if unit(dice) < Self::EXPLORATION {
            let mut left = unit(dice) * candidates.iter().map(|one| self.score(one.node)).sum::<f64>();
            let drawn = candidates.iter().find(|one| {
                left -= self.score(one.node);
                left < 0.0
            });
            return drawn.unwrap_or(&candidates[0]).node;
        }
        let first = candidates[0].node;
        candidates.iter().fold(
            first,
            |best, one| {
                if self.score(one.node) > self.score(best) { one.node } else { best }
            },
        )
    }

    fn begin(&mut self, _: usize, node: usize, _: usize, now: u64) -> Token {
        Token { node, begin: now, before: 0, ours: None }
    }

    fn end(&mut self, _: usize, token: Token, is_ok: bool, now: u64) {
        let rate = self.rate;
        let known = &mut self.nodes[token.node];
        let latency = now.saturating_sub(token.begin) as f64 / 1000.0;
        let predicted = if known.latency > 0.0 { known.latency } else { 50.0 };
        known.total += 1.0;
        known.ok += f64::from(u8::from(is_ok));
        known.latency =
            if known.total == 1.0 { latency } else { known.latency * (1.0 - rate) + latency * rate };
        let fast = if known.latency < 100.0 {
            1.0
        } else if known.latency < 500.0 {
            0.8
        } else {
            0.5
        };
        known.health = 0.6 * known.ok / known.total + 0.4 * fast;
        let load = if latency > 100.0 {
            0.7
        } else if latency > 50.0 {
            0.5
        } else {
            0.3
        };
        known.load = known.load * (1.0 - rate) + load * rate;
        known.updated = now;
        let error = (latency - predicted).abs();
        if error > 100.0 {
            self.rate = (rate * 1.1).min(0.2);
        } else if error < 10.0 {
            self.rate = (rate * 0.95).max(0.05);
        }
    }
}
