//! What a statement would take on a node now: its own time there, what it waits for, and how far the node is trusted.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use super::Class;
use super::mean::Mean;
use super::settings::Settings;
use super::words::{Learned, Model, Place, Running, count, counts};
use crate::error::NodeId;

/// What a class takes of which nobody knows anything, in microseconds.
const UNKNOWN_COST: f32 = 1000.0;
/// Samples that the guess for a node by its speed counts as, against what the class took there.
const GUESS: f32 = 8.0;
/// How much of what may be chance in few samples is taken as being in favour of a node.
const BENEFIT: f32 = 0.3;
/// So many standard errors a change must have to be more than chance.
const CHANCE: f32 = 2.0;
/// Samples that "no errors" counts as.
const NO_ERRORS: f32 = 2.0;
/// As many more than there is room for must have been seen to wait.
const TIGHT: f32 = 0.3;
/// A node may be silent for so many times what the longest of its statements takes.
const PATIENCE: f32 = 3.0;
/// A class is a long one if it takes so many times what statements typically take.
const LONG: f32 = 8.0;
/// A node that comes back has its full share after so many microseconds.
const WARM_UP: f32 = 3_000_000.0;
/// What it begins with.
const COLD: f32 = 0.1;

/// What is known of a class, without a node.
pub(super) struct ClassView<'a> {
    /// Its own place or that of its group.
    pub(super) place: Option<Place<'a>>,
    /// What it takes on the nodes together, in microseconds.
    pub(super) cost: f32,
    /// It takes much longer than what statements typically take.
    pub(super) is_long: bool,
    /// It is not one statement but a session of many, which outlives the crowd of this moment.
    pub(super) lasts: bool,
}

/// What is expected of a class on a node, now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Estimate {
    /// Its own time, without waiting, in microseconds.
    pub(super) service: f32,
    /// What it waits for others, in microseconds.
    pub(super) wait: f32,
    /// How long the node has given no sign of life beyond what is usual, in microseconds.
    pub(super) silence: f32,
    /// How much slower (or faster, below 1) the node is just now than it was.
    pub(super) mood: f32,
    /// Statements that the node runs at once before they get slower.
    pub(super) room: f32,
    /// How many too many had to wait when there was no room: the word of the mean.
    excess: u64,
    /// Its own time in this mood, the same for nodes that differ too little to tell; set by comparison.
    pub(super) alike: f32,
    /// The room that such nodes have; set by comparison.
    pub(super) usual_room: f32,
    /// Part of its share that a node has which came back lately, 0 to 1.
    pub(super) warm: f32,
    /// 1: no errors; towards 0: nothing but errors.
    pub(super) health: f32,
    /// What it runs.
    pub(super) crowd: Crowd,
}

impl Estimate {
    /// Expected latency in microseconds.
    pub(super) fn latency(&self) -> f32 {
        self.service * self.mood + self.wait + self.silence
    }

    /// Whether statements have waited there for each other, so that there is no more room than that.
    #[inline(always)]
    pub(super) fn is_tight(&self, now: u64, memory: f32) -> bool {
        Mean::decode(self.excess).or(0.0, GUESS, now, memory) > TIGHT
    }

    /// With that much room.
    #[inline(always)]
    pub(super) fn set_room(&mut self, room: f32) {
        self.room = room.max(1.0);
        self.wait = self.crowd.wait(self.room);
    }
}

/// What runs on a node: short and long ones, and what one of each is expected to take, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Crowd {
    pub(super) short: f32,
    pub(super) long: f32,
    pub(super) each_short: f32,
    pub(super) each_long: f32,
}

impl Crowd {
    #[inline(always)]
    pub(super) fn of(running: &Running) -> Crowd {
        let (short, long) = counts(running.counts);
        let each = |work: &AtomicU64, number: u32| match number {
            0 => 0.0,
            _ => (count(work) as f32 / number as f32).max(1.0),
        };
        let (each_short, each_long) = (each(running.short_work, short), each(running.long_work, long));
        Crowd { short: short as f32, long: long as f32, each_short, each_long }
    }

    #[inline(always)]
    pub(super) fn count(&self) -> f32 {
        self.short + self.long
    }

    /// The same mixture of no more than so many.
    fn at_most(self, number: f32) -> Crowd {
        let part = (number / self.count().max(1.0)).min(1.0);
        Crowd { short: self.short * part, long: self.long * part, ..self }
    }

    /// How many end in a microsecond where `room` of them run at once: the long ones, and short ones beside them.
    #[inline(always)]
    pub(super) fn drain(&self, room: f32) -> f32 {
        let long = room.min(self.long);
        let rate = |number: f32, each: f32| if each > 0.0 { number / each } else { 0.0 };
        rate(room - long, self.each_short) + rate(long, self.each_long)
    }

    /// What one more waits for, in microseconds, where `room` run at once: until so many have ended that it is its turn.
    #[inline(always)]
    pub(super) fn wait(&self, room: f32) -> f32 {
        let ahead = self.count() + 1.0 - room;
        if ahead <= 0.0 { 0.0 } else { (ahead / self.drain(room).max(1e-9)).min(1e12) }
    }

    /// What the longest of them is expected to take.
    #[inline(always)]
    fn longest(&self) -> f32 {
        self.each_short.max(self.each_long)
    }
}

impl<'a> Model<'a> {
    pub(super) fn class_view(&self, class: Class, now: u64, memory: f32) -> ClassView<'a> {
        let own = self.own_place(class).filter(|place| Mean::load(place.overall).weight > 0.0);
        let place = own.or_else(|| self.group_place(class));
        let known = place.as_ref().map(|place| Mean::load(place.overall)).filter(|mean| mean.weight > 0.0);
        let typical = Mean::load(self.typical());
        let usual = if typical.weight_at(now, memory) > 0.0 { typical.mean.exp2() } else { UNKNOWN_COST };
        let cost = known.map_or(usual, |mean| mean.mean).clamp(1.0, 1e10);
        ClassView { place, cost, is_long: cost > LONG * usual, lasts: class.key == 0 }
    }

    /// Writes what is expected of a class on a node; false: there is no such node.
    #[inline(always)]
    pub(super) fn estimate(
        &self,
        settings: &Settings,
        class: &ClassView,
        node: NodeId,
        now: u64,
        to: &mut Estimate,
    ) -> bool {
        let (Some(running), Some(learned)) = (self.running(node), self.learned(node)) else { return false };
        let (memory, short) = (settings.memory, settings.short_memory());
        to.service = self.service(class, node, &learned, now, memory);
        to.mood = more_than_chance(Mean::load(learned.mood), now, short);
        to.warm = warm(learned.back.load(Ordering::Relaxed), now);
        to.crowd = Crowd::of(&running);
        if class.lasts {
            let usual = Mean::load(learned.crowd);
            to.crowd = if usual.weight > 0.0 { to.crowd.at_most(usual.mean) } else { to.crowd };
        }
        to.silence = 0.0;
        if to.crowd.count() > 0.0 {
            let heard =
                running.last_end.load(Ordering::Relaxed).max(running.busy_since.load(Ordering::Relaxed));
            let silent = now.saturating_sub(heard) as f32;
            to.silence = (silent - PATIENCE * to.crowd.longest().max(to.service)).max(0.0);
        }
        to.health = self.health(&learned, now, memory);
        to.excess = learned.excess.load(Ordering::Relaxed);
        to.set_room(room(&learned) * to.warm);
        (to.alike, to.usual_room) = (to.service * to.mood, to.room);
        true
    }

    /// 1: no errors; towards 0: nothing but errors.
    #[inline(always)]
    pub(super) fn health(&self, learned: &Learned, now: u64, memory: f32) -> f32 {
        let errors = Mean::load(learned.errors);
        let errors = match errors.mean < 1e-4 {
            true => 0.0,
            false => errors.or(0.0, NO_ERRORS, now, memory / 2.0).min(1.0),
        };
        match learned.streak.load(Ordering::Relaxed) {
            0 => 1.0 - errors,
            streak => (1.0 - errors) * 0.5_f32.powi(streak.min(20) as i32),
        }
    }

    /// What a class takes on a node, without waiting.
    #[inline(always)]
    pub(super) fn service(
        &self,
        class: &ClassView,
        node: NodeId,
        learned: &Learned,
        now: u64,
        memory: f32,
    ) -> f32 {
        let speed = Mean::load(learned.speed).or(1.0, GUESS, now, memory);
        let seen =
            class.place.as_ref().and_then(|place| place.on.get(node)).map(Mean::load).unwrap_or_default();
        let weight = seen.weight_at(now, memory);
        let known = (seen.mean * weight + class.cost * speed * GUESS) / (weight + GUESS);
        (known * (1.0 - BENEFIT / (weight + 2.0).sqrt())).max(1.0)
    }
}

/// A factor that differs from 1 only as far as that is no chance.
#[inline(always)]
pub(super) fn more_than_chance(factor: Mean, now: u64, memory: f32) -> f32 {
    let weight = factor.weight_at(now, memory);
    let seen = (factor.mean - 1.0) * weight;
    // The same as below where it comes to 1, without its divisions.
    if factor.mean >= 1.0 && seen * seen <= CHANCE * CHANCE * (weight + 1.0) {
        return 1.0;
    }
    let mean = (seen + weight + 1.0) / (weight + 1.0);
    let chance = CHANCE / (weight + 1.0).sqrt();
    if mean >= 1.0 { (mean - chance).max(1.0) } else { 1.0 / (1.0 / mean.max(1e-3) - chance).max(1.0) }
}

/// How many a node runs at once before they wait for each other; 1 where nothing is known.
#[inline(always)]
pub(super) fn room(learned: &Learned) -> f32 {
    Mean::load(learned.room).mean.clamp(1.0, 1e6)
}

#[inline(always)]
fn warm(back: u64, now: u64) -> f32 {
    if back == 0 {
        return 1.0;
    }
    let part = now.saturating_sub(back) as f32 / WARM_UP;
    (COLD + (1.0 - COLD) * part).min(1.0)
}
