//! The choice: a draw among the candidates in which one that is twice as good is far more likely.
//!
//! No maximum is taken, so workers that see the same figures do not all run to the same node, and nodes that are equally
//! good share by weight.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use super::estimate::{ClassView, Crowd, Estimate};
use super::mean::Mean;
use super::settings::{Algorithm, Settings};
use super::words::{LOOK_AGAIN, Model};
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
const MOST: usize = 8;

/// What is expected of a candidate, and what it costs.
#[derive(Clone, Copy)]
struct Judged {
    is_known: bool,
    estimate: Estimate,
    cost: f32,
}

impl Default for Judged {
    fn default() -> Judged {
        Judged { is_known: false, estimate: Estimate::default(), cost: f32::INFINITY }
    }
}
/// How much a full node counts as worse than an empty one that is as fast.
const FULLNESS: f32 = 0.2;
/// Nodes that differ by no more than this factor count as equally fast.
const ALIKE: f32 = 1.15;
/// Part of its room that the emptiest node has for long statements.
const LANE: f32 = 0.5;
/// Part of the choices that may look at a node of which nothing was heard lately which do so.
const RARELY: f32 = 0.05;
/// A node of which nothing was heard for so many microseconds may be looked at.
const STALE: u64 = 500_000;

impl Model<'_> {
    /// Chooses among the candidates, which hard limits have left over. `now` is in microseconds, of a clock that all
    /// workers share and that does not go back; `random` gives numbers of 64 random bits. `None`: there is no candidate with a
    /// weight above 0.
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
            Algorithm::WeightedRandom => draw(by_weight(candidates), random).map(chosen),
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
            let count = self.running(one.node).map_or(0.0, |running| Crowd::of(&running).count());
            (f64::from(count) + 1.0) / one.weight.max(1e-9)
        };
        let least = candidates.iter().map(cost).fold(f64::INFINITY, f64::min);
        let is_least = |one: &&Candidate| cost(one) <= least;
        draw(candidates.iter().filter(is_least).map(|one| (one.node, one.weight as f32)), random)
    }

    fn peak_ewma(
        &self,
        settings: &Settings,
        candidates: &[Candidate],
        now: u64,
        random: &mut impl FnMut() -> u64,
    ) -> Option<NodeId> {
        let first = draw(by_weight(candidates), random)?;
        let Some(second) = draw(by_weight(candidates).filter(|(node, _)| *node != first), random) else {
            return Some(first);
        };
        let cost = |node| {
            let (Some(learned), Some(running)) = (self.learned(node), self.running(node)) else {
                return f32::INFINITY;
            };
            let peak = Mean::load(learned.peak).or(0.0, 0.1, now, settings.memory);
            let health = self.health(&learned, now, settings.memory);
            (peak + 1.0) * (Crowd::of(&running).count() + 1.0) / health.max(1e-6)
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
        // A few of many: a window that begins anywhere.
        let begin = if candidates.len() > MOST { random() as usize % candidates.len() } else { 0 };
        let (behind, before) =
            candidates.split_at_checked(begin).map_or((candidates, candidates), |(a, b)| (b, a));
        let some = || behind.iter().chain(before).take(MOST);
        let judged = self.judge(settings, some(), &class, now);
        let least = judged.iter().map(|one| one.cost).fold(f32::INFINITY, f32::min);
        let share = |(one, judged): (&Candidate, &Judged)| {
            (one.node, one.weight as f32 * sharpened(least / judged.cost))
        };
        let mut shares = [(0, 0.0); MOST];
        shares.iter_mut().zip(some().zip(&judged).map(share)).for_each(|(to, share)| *to = share);
        draw(shares.into_iter(), random).map(|node| Choice { node, explored: false })
    }

    /// A node of which nothing was heard lately, drawn by weight: a bad node gets no more of these than any other. At once
    /// where the last look was a good surprise, else so rarely that slow answers stay rare.
    fn look(&self, candidates: &[Candidate], now: u64, random: &mut impl FnMut() -> u64) -> Option<NodeId> {
        let node = draw(by_weight(candidates), random)?;
        let running = self.running(node)?;
        let last_look = running.last_look.load(Ordering::Relaxed);
        let mut is_stale = || {
            let heard = running.last_end.load(Ordering::Relaxed).max(last_look);
            now.saturating_sub(heard) > STALE && unit(random()) < RARELY
        };
        let is_wanted = last_look == LOOK_AGAIN || is_stale();
        let ours =
            || running.last_look.compare_exchange(last_look, now, Ordering::Relaxed, Ordering::Relaxed);
        (is_wanted && ours().is_ok()).then_some(node)
    }

    /// What is expected of each candidate, in the order given, and what it costs: expected microseconds, made worse by
    /// errors and fullness.
    fn judge<'c>(
        &self,
        settings: &Settings,
        candidates: impl Iterator<Item = &'c Candidate>,
        class: &ClassView,
        now: u64,
    ) -> [Judged; MOST] {
        let mut judged = [Judged::default(); MOST];
        let (mut number, mut rooms, mut fastest) = (0.0_f32, 0.0, f32::INFINITY);
        for (to, one) in judged.iter_mut().zip(candidates) {
            to.is_known = self.estimate(settings, class, one.node, now, &mut to.estimate);
            if to.is_known {
                number += 1.0;
                rooms += 1.0 / to.estimate.room;
                fastest = fastest.min(to.estimate.service * to.estimate.mood);
            }
        }
        let usual_room = number / rooms.max(1e-6);
        for Judged { estimate, .. } in judged.iter_mut().filter(|one| one.is_known) {
            // Where nothing has waited yet, there is at least as much room as elsewhere.
            if estimate.room < usual_room * estimate.warm && !estimate.is_tight(now, settings.memory) {
                estimate.set_room(usual_room * estimate.warm);
            }
            estimate.usual_room = usual_room;
            estimate.alike = (estimate.service * estimate.mood / ALIKE).max(fastest);
        }
        if class.is_long
            && let Some(lane) = emptiest(&mut judged)
        {
            lane.set_room(lane.room * LANE);
        }
        for one in judged.iter_mut().filter(|one| one.is_known) {
            one.cost = cost_of(settings, &one.estimate);
        }
        judged
    }

    /// For whoever wants to see why: what the model thinks of each candidate; of more than 8, of the first 8.
    pub fn scores(
        &self,
        settings: &Settings,
        candidates: &[Candidate],
        class: Class,
        now: u64,
    ) -> Vec<Score> {
        let class = self.class_view(class, now, settings.memory);
        let judged = self.judge(settings, candidates.iter(), &class, now);
        let least = judged.iter().map(|one| one.cost).fold(f32::INFINITY, f32::min);
        let share = |one: &Candidate, cost: f32| one.weight * f64::from(sharpened(least / cost));
        let known = || candidates.iter().zip(&judged).filter(|(_, judged)| judged.is_known);
        let all: f64 = known().map(|(one, judged)| share(one, judged.cost)).sum();
        let score = |(one, Judged { estimate, cost, .. }): (&Candidate, &Judged)| Score {
            node: one.node,
            score: f64::from(*cost),
            latency_micros: f64::from(estimate.latency()),
            in_flight: estimate.crowd.count() as u64,
            room: f64::from(estimate.room),
            health: f64::from(estimate.health),
            error_rate: self.error_rate(settings, one.node, now),
            warm: f64::from(estimate.warm),
            share: share(one, *cost) / all.max(f64::MIN_POSITIVE),
        };
        known().map(score).collect()
    }
}

/// The candidate with the most room free of long statements, half of which they leave to short ones as long as they can.
fn emptiest(judged: &mut [Judged; MOST]) -> Option<&mut Estimate> {
    let free = |estimate: &Estimate| estimate.room - estimate.crowd.long;
    let known = judged.iter_mut().filter(|one| one.is_known).map(|one| &mut one.estimate);
    known.max_by(|a, b| free(a).total_cmp(&free(b)))
}

fn cost_of(settings: &Settings, estimate: &Estimate) -> f32 {
    let powers = settings.powers;
    let fullness = 1.0 + FULLNESS * (estimate.crowd.count() + 1.0) / (estimate.usual_room * estimate.warm);
    let health = estimate.health.max(1e-6);
    let cost = power((estimate.alike + estimate.wait + estimate.silence).max(1.0), powers.latency)
        * power(fullness, powers.load)
        / power(health * health, powers.health);
    cost.clamp(1e-6, 1e30)
}

/// `base` to a power that is 1 mostly.
fn power(base: f32, power: f32) -> f32 {
    if power == 1.0 { base } else { base.powf(power) }
}

/// Draws among nodes by their share; one that is not above 0 is never drawn.
fn draw(
    shares: impl Iterator<Item = (NodeId, f32)> + Clone,
    random: &mut impl FnMut() -> u64,
) -> Option<NodeId> {
    let total: f32 = shares.clone().map(|(_, share)| share.max(0.0)).sum();
    let mut left = unit(random()) * total;
    let mut last = None;
    for (node, share) in shares.filter(|(_, share)| *share > 0.0) {
        last = Some(node);
        if left < share {
            break;
        }
        left -= share;
    }
    // Rounding can leave a crumb behind the last one, which gets it.
    last
}

/// Candidates with their weights.
fn by_weight(candidates: &[Candidate]) -> impl Iterator<Item = (NodeId, f32)> + Clone {
    candidates.iter().map(|one| (one.node, one.weight as f32))
}

/// The 24th power of a ratio: how much likelier the better of two is.
fn sharpened(ratio: f32) -> f32 {
    let third = ratio * ratio * ratio;
    let sixth = third * third;
    let twelfth = sixth * sixth;
    twelfth * twelfth
}

/// 64 random bits as a number in 0..1.
fn unit(bits: u64) -> f32 {
    (bits >> 40) as f32 / (1_u64 << 24) as f32
}
