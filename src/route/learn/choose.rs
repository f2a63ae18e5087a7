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
const MOST: usize = 16;
/// Power of the draw: how much likelier the better of two is.
const SHARPNESS: i32 = 24;
/// How much a full node counts as worse than an empty one that is as fast.
const FULLNESS: f32 = 0.1;
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
            let count = self.running(one.node).map_or(0.0, |running| Crowd::of(&running).count());
            (f64::from(count) + 1.0) / one.weight.max(1e-9)
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
        let begin = if candidates.len() > MOST { random() as usize % candidates.len() } else { 0 };
        let at = |number: usize| candidates.get((begin + number) % candidates.len());
        let judged = self.judge(settings, (0..candidates.len().min(MOST)).filter_map(at), &class, now);
        let least = judged.iter().flatten().map(|(_, cost)| *cost).fold(f32::INFINITY, f32::min);
        let share = |number: usize, one: &Candidate| {
            let ratio = judged.get(number).and_then(Option::as_ref).map_or(0.0, |(_, cost)| least / cost);
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

    /// A node of which nothing was heard lately, drawn by weight: a bad node gets no more of these than any other. At once
    /// where the last look was a good surprise, else so rarely that slow answers stay rare.
    fn look(&self, candidates: &[Candidate], now: u64, random: &mut impl FnMut() -> u64) -> Option<NodeId> {
        let node = draw(candidates, |_, one| one.weight as f32, random)?;
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
    ) -> [Option<(Estimate, f32)>; MOST] {
        let mut judged = [None; MOST];
        let (mut number, mut rooms, mut fastest) = (0.0_f32, 0.0, f32::INFINITY);
        for (to, one) in judged.iter_mut().zip(candidates) {
            let Some(estimate) = self.estimate(settings, class, one.node, now) else { continue };
            number += 1.0;
            rooms += 1.0 / estimate.room;
            fastest = fastest.min(estimate.service * estimate.mood);
            *to = Some((estimate, f32::INFINITY));
        }
        let usual_room = number / rooms.max(1e-6);
        for (estimate, _) in judged.iter_mut().flatten() {
            // Where nothing has waited yet, there is at least as much room as elsewhere.
            if !estimate.is_tight && estimate.room < usual_room * estimate.warm {
                *estimate = estimate.with_room(usual_room * estimate.warm);
            }
            estimate.usual_room = usual_room;
            estimate.alike = ((estimate.service * estimate.mood) / ALIKE).max(fastest);
        }
        let lane = class.is_long.then(|| emptiest(&judged)).flatten();
        for (number, (estimate, cost)) in
            judged.iter_mut().enumerate().filter_map(|(n, one)| Some((n, one.as_mut()?)))
        {
            let seen =
                if lane == Some(number) { estimate.with_room(estimate.room * LANE) } else { *estimate };
            *cost = cost_of(settings, &seen);
        }
        judged
    }

    /// For whoever wants to see why: what the model thinks of each candidate; of more than 16, of the first 16.
    pub fn scores(
        &self,
        settings: &Settings,
        candidates: &[Candidate],
        class: Class,
        now: u64,
    ) -> Vec<Score> {
        let class = self.class_view(class, now, settings.memory);
        let judged = self.judge(settings, candidates.iter(), &class, now);
        let least = judged.iter().flatten().map(|(_, cost)| *cost).fold(f32::INFINITY, f32::min);
        let share = |one: &Candidate, cost: f32| one.weight * f64::from((least / cost).powi(SHARPNESS));
        let known = || candidates.iter().zip(&judged).filter_map(|(one, known)| Some((one, known.as_ref()?)));
        let all: f64 = known().map(|(one, (_, cost))| share(one, *cost)).sum();
        let score = |(one, (estimate, cost)): (&Candidate, &(Estimate, f32))| Score {
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

/// The candidate with the most room free of long statements, which they leave to short ones as long as they can.
fn emptiest(judged: &[Option<(Estimate, f32)>; MOST]) -> Option<usize> {
    let free = |(number, known): (usize, &Option<(Estimate, f32)>)| {
        known.as_ref().map(|(estimate, _)| (number, estimate.room - estimate.crowd.long))
    };
    judged.iter().enumerate().filter_map(free).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(number, _)| number)
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
