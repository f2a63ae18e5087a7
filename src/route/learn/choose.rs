//! The choice: a draw among the candidates in which one that is twice as good is far more likely.
//!
//! No maximum is taken, so workers that see the same figures do not all run to the same node, and nodes that are equally
//! good share by weight.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use super::estimate::{ClassView, Estimate};
use super::mean::Mean;
use super::settings::{Algorithm, Settings};
use super::words::{Model, count};
use super::{Class, Score};
use crate::error::NodeId;

/// A node that may serve the statement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Its number.
    pub node: NodeId,
    /// Its weight: how nodes share that are equally good, and all that counts for one of which nothing is known.
    pub weight: f64,
}

/// The node that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its number.
    pub node: NodeId,
    /// It was chosen only to learn how it is doing.
    pub explored: bool,
}

/// Most candidates that are looked at; of more, that many in a row from a random one.
const MOST: usize = 16;
/// Power of the draw: how much likelier the better of two is.
const SHARPNESS: i32 = 16;
/// How much a full node counts as worse than an empty one that is as fast.
const FULLNESS: f32 = 0.1;
/// Part of its room that the emptiest node keeps free of long statements, while they can wait elsewhere.
const LANE: f32 = 0.5;
/// A node of which nothing was heard for so many microseconds may be looked at.
const STALE: u64 = 500_000;

impl Model<'_> {
    /// Chooses among the candidates, which hard limits have left over. `now` is in microseconds, of a clock that all
    /// workers share and that does not go back; `random` gives numbers of 64 random bits. `None`: there is no candidate.
    pub fn choose(
        &self,
        settings: &Settings,
        candidates: &[Candidate],
        class: Class,
        now: u64,
        random: &mut impl FnMut() -> u64,
    ) -> Option<Choice> {
        if let [] | [_] = candidates {
            return candidates.first().map(|candidate| Choice { node: candidate.node, explored: false });
        }
        let chosen = |node| Choice { node, explored: false };
        match settings.algorithm {
            Algorithm::WeightedRandom => draw(candidates, |_, one| one.weight as f32, random).map(chosen),
            Algorithm::LeastConnections => self.least_connections(candidates, random).map(chosen),
            Algorithm::PeakEwma => self.peak_ewma(settings, candidates, now, random).map(chosen),
            Algorithm::Adaptive => self.adaptive(settings, candidates, class, now, random),
        }
    }

    fn least_connections(
        &self,
        candidates: &[Candidate],
        random: &mut impl FnMut() -> u64,
    ) -> Option<NodeId> {
        let cost = |one: &Candidate| {
            let count = self.running(one.node).map_or(0, |running| count(running.count));
            (count as f64 + 1.0) / one.weight.max(1e-9)
        };
        let least = candidates.iter().map(cost).fold(f64::INFINITY, f64::min);
        let is_least = |one: &Candidate| if cost(one) <= least { one.weight as f32 } else { 0.0 };
        draw(candidates, |_, one| is_least(one), random)
    }

    fn peak_ewma(
        &self,
        settings: &Settings,
        candidates: &[Candidate],
        now: u64,
        random: &mut impl FnMut() -> u64,
    ) -> Option<NodeId> {
        let first = draw(candidates, |_, one| one.weight as f32, random)?;
        let other = |one: &Candidate| if one.node == first { 0.0 } else { one.weight as f32 };
        let Some(second) = draw(candidates, |_, one| other(one), random) else { return Some(first) };
        let class = self.class_view(Class::UNKNOWN, now, settings.memory);
        let cost = |node| {
            let (Some(learned), Some(now_there)) =
                (self.learned(node), self.estimate(settings, &class, node, now))
            else {
                return f32::INFINITY;
            };
            let peak = Mean::load(learned.peak).or(0.0, 0.1, now, settings.memory);
            (peak + 1.0) * (now_there.count as f32 + 1.0) / now_there.health.max(1e-6)
        };
        Some(if cost(second) < cost(first) { second } else { first })
    }

    fn adaptive(
        &self,
        settings: &Settings,
        candidates: &[Candidate],
        class: Class,
        now: u64,
        random: &mut impl FnMut() -> u64,
    ) -> Option<Choice> {
        let class = self.class_view(class, now, settings.memory);
        if unit(random()) < settings.exploration
            && !class.is_long
            && let Some(node) = self.look(candidates, now, random)
        {
            return Some(Choice { node, explored: true });
        }
        let mut costs = [f32::INFINITY; MOST];
        let begin = if candidates.len() > MOST { random() as usize % candidates.len() } else { 0 };
        let at = |number: usize| candidates.get((begin + number) % candidates.len());
        self.costs(settings, (0..candidates.len().min(MOST)).filter_map(at), &class, now, &mut costs);
        let least = costs.iter().copied().fold(f32::INFINITY, f32::min);
        let share = |number: usize, one: &Candidate| {
            let ratio = costs.get(number).map_or(0.0, |cost| least / cost);
            one.weight as f32 * ratio.powi(SHARPNESS)
        };
        let drawn = if candidates.len() > MOST {
            let mut some = [Candidate { node: 0, weight: 0.0 }; MOST];
            some.iter_mut().zip((0..).map_while(at)).for_each(|(to, one)| *to = *one);
            draw(&some, share, random)
        } else {
            draw(candidates, share, random)
        };
        drawn.map(|node| Choice { node, explored: false })
    }

    /// A node of which nothing was heard lately, drawn by weight: a bad node gets no more of these than any other.
    fn look(&self, candidates: &[Candidate], now: u64, random: &mut impl FnMut() -> u64) -> Option<NodeId> {
        let node = draw(candidates, |_, one| one.weight as f32, random)?;
        let running = self.running(node)?;
        let last_look = running.last_look.load(Ordering::Relaxed);
        let heard = running.last_end.load(Ordering::Relaxed).max(last_look);
        let is_stale = now.saturating_sub(heard) > STALE;
        let ours =
            || running.last_look.compare_exchange(last_look, now, Ordering::Relaxed, Ordering::Relaxed);
        (is_stale && ours().is_ok()).then_some(node)
    }

    /// What each candidate costs, in the order given: expected microseconds, made worse by errors and fullness.
    fn costs<'c>(
        &self,
        settings: &Settings,
        candidates: impl Iterator<Item = &'c Candidate>,
        class: &ClassView,
        now: u64,
        costs: &mut [f32; MOST],
    ) {
        let mut estimates = [None; MOST];
        for (to, one) in estimates.iter_mut().zip(candidates) {
            *to = self.estimate(settings, class, one.node, now);
        }
        // Long statements leave one node, the emptiest, to the short ones as long as they can.
        let emptiest = class.is_long.then(|| {
            let free = |estimate: &Option<Estimate>| estimate.map_or(f32::NEG_INFINITY, |known| known.free());
            (0..MOST).max_by(|a, b| free(&estimates[*a]).total_cmp(&free(&estimates[*b])))
        });
        for (number, (cost, estimate)) in costs.iter_mut().zip(estimates).enumerate() {
            let Some(estimate) = estimate else { continue };
            let is_lane = emptiest.flatten() == Some(number);
            let estimate = if is_lane { estimate.with_room(LANE) } else { estimate };
            *cost = cost_of(settings, &estimate);
        }
    }

    /// For whoever wants to see why: what the model thinks of each candidate.
    pub fn scores(
        &self,
        settings: &Settings,
        candidates: &[Candidate],
        class: Class,
        now: u64,
    ) -> Vec<Score> {
        let class = self.class_view(class, now, settings.memory);
        let score = |one: &Candidate| {
            let estimate = self.estimate(settings, &class, one.node, now)?;
            let cost = cost_of(settings, &estimate);
            Some(Score {
                node: one.node,
                score: f64::from(cost),
                latency_micros: f64::from(estimate.latency()),
                in_flight: estimate.count,
                room: f64::from(estimate.room),
                health: f64::from(estimate.health),
                error_rate: self.error_rate(settings, one.node, now),
                warm: f64::from(estimate.warm),
                share: 0.0,
            })
        };
        let mut scores: Vec<Score> = candidates.iter().filter_map(score).collect();
        let least = scores.iter().map(|score| score.score).fold(f64::INFINITY, f64::min);
        let weight = |node| candidates.iter().find(|one| one.node == node).map_or(0.0, |one| one.weight);
        for score in &mut scores {
            score.share = weight(score.node) * score.warm * (least / score.score).powi(SHARPNESS);
        }
        let total: f64 = scores.iter().map(|score| score.share).sum();
        scores.iter_mut().for_each(|score| score.share /= total.max(f64::MIN_POSITIVE));
        scores
    }
}

fn cost_of(settings: &Settings, estimate: &Estimate) -> f32 {
    let powers = settings.powers;
    let fullness = 1.0 + FULLNESS * (estimate.count as f32 + 1.0) / estimate.room;
    let health = estimate.health.max(1e-6);
    let cost = power(estimate.latency().max(1.0), powers.latency) * power(fullness, powers.load)
        / power(health * health, powers.health);
    cost.clamp(1e-6, 1e30)
}

/// `base` to a power that is 1 mostly.
fn power(base: f32, power: f32) -> f32 {
    if power == 1.0 { base } else { base.powf(power) }
}

/// Draws by share; what is not above 0 is never drawn unless nothing is.
fn draw(
    candidates: &[Candidate],
    share: impl Fn(usize, &Candidate) -> f32,
    random: &mut impl FnMut() -> u64,
) -> Option<NodeId> {
    let share = |(number, one): (usize, &Candidate)| share(number, one).max(0.0);
    let total: f32 = candidates.iter().enumerate().map(share).sum();
    let mut left = unit(random()) * total;
    let mut last = None;
    for (number, one) in candidates.iter().enumerate() {
        let share = share((number, one));
        if share > 0.0 {
            last = Some(one.node);
            if left < share {
                return last;
            }
        }
        left -= share;
    }
    // Rounding can leave a crumb behind the last one.
    last
}

/// 64 random bits as a number in 0..1.
fn unit(bits: u64) -> f32 {
    (bits >> 40) as f32 / (1_u64 << 24) as f32
}
