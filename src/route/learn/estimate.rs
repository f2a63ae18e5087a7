//! What a statement would take on a node now: its own time there, what it waits for, and how far the node is trusted.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use super::Class;
use super::mean::Mean;
use super::settings::Settings;
use super::words::{Model, Place, count};
use crate::error::NodeId;

/// What a class takes of which nobody knows anything, in microseconds.
const UNKNOWN_COST: f32 = 1000.0;
/// Samples that the guess for a node by its speed counts as, against what the class took there.
const GUESS: f32 = 8.0;
/// Samples that "as always" counts as, against what was seen just now.
const AS_ALWAYS: f32 = 2.0;
/// Samples that "no errors" counts as.
const NO_ERRORS: f32 = 2.0;
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
}

/// What is expected of a class on a node, now.
#[derive(Clone, Copy, Debug)]
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
    /// Part of its share that a node has which came back lately, 0 to 1.
    pub(super) warm: f32,
    /// 1: no errors; towards 0: nothing but errors.
    pub(super) health: f32,
    /// What it runs.
    pub(super) count: u64,
    /// What that costs, in microseconds.
    pub(super) work: u64,
}

impl Estimate {
    /// Expected latency in microseconds.
    pub(super) fn latency(&self) -> f32 {
        (self.service + self.wait) * self.mood + self.silence
    }

    /// Statements that find room at once.
    pub(super) fn free(&self) -> f32 {
        self.room - self.count as f32
    }

    /// The same if it had only that part of its room.
    pub(super) fn with_room(self, part: f32) -> Estimate {
        let room = (self.room * part).max(1.0);
        let each = if self.count == 0 { 0.0 } else { self.work as f32 / self.count as f32 };
        Estimate { wait: wait(self.count, each, room), ..self }
    }
}

/// What one more waits for where `count` statements of `each` microseconds run and `room` of them run at once: until so
/// many have ended that there is room for it.
pub(super) fn wait(count: u64, each: f32, room: f32) -> f32 {
    (count as f32 + 1.0 - room).max(0.0) * each / room
}

impl<'a> Model<'a> {
    pub(super) fn class_view(&self, class: Class, now: u64, memory: f32) -> ClassView<'a> {
        let own = self.own_place(class).filter(|place| Mean::load(place.overall).weight > 0.0);
        let place = own.or_else(|| self.group_place(class));
        let known = place.as_ref().map(|place| Mean::load(place.overall)).filter(|mean| mean.weight > 0.0);
        let typical = Mean::load(self.typical());
        let usual = if typical.weight_at(now, memory) > 0.0 { typical.mean.exp2() } else { UNKNOWN_COST };
        let cost = known.map_or(usual, |mean| mean.mean).clamp(1.0, 1e10);
        ClassView { place, cost, is_long: cost > LONG * usual }
    }

    pub(super) fn estimate(
        &self,
        settings: &Settings,
        class: &ClassView,
        node: NodeId,
        now: u64,
    ) -> Option<Estimate> {
        let (running, learned) = (self.running(node)?, self.learned(node)?);
        let (memory, short) = (settings.memory, settings.short_memory());
        let speed = Mean::load(learned.speed).or(1.0, GUESS, now, memory);
        let guess = class.cost * speed;
        let seen =
            class.place.as_ref().and_then(|place| place.on.get(node)).map(Mean::load).unwrap_or_default();
        let service = seen.or(guess, GUESS, now, memory);
        let count = count(running.count);
        let work = super::words::count(running.work);
        let each = if count == 0 { 0.0 } else { work as f32 / count as f32 };
        let mood = Mean::load(learned.mood).or(1.0, AS_ALWAYS, now, short);
        let warm = warm(learned.back.load(Ordering::Relaxed), now);
        let room = (room(Mean::load(learned.crowd), Mean::load(learned.stretch)) * warm).max(1.0);
        let silence = if count == 0 {
            0.0
        } else {
            let heard =
                running.last_end.load(Ordering::Relaxed).max(running.busy_since.load(Ordering::Relaxed));
            (now.saturating_sub(heard) as f32 - 3.0 * each.max(service)).max(0.0)
        };
        let errors = Mean::load(learned.errors).or(0.0, NO_ERRORS, now, memory / 2.0).clamp(0.0, 1.0);
        let streak = learned.streak.load(Ordering::Relaxed).min(20) as i32;
        let health = (1.0 - errors) * 0.5_f32.powi(streak);
        let wait = wait(count, each, room);
        Some(Estimate { service, wait, silence, mood, room, warm, health, count, work })
    }
}

/// How many a node runs at once before they get slower; 1 where nothing is known.
pub(super) fn room(crowd: Mean, stretch: Mean) -> f32 {
    if crowd.weight > 0.0 { (crowd.mean / stretch.mean.max(1.0)).clamp(1.0, 1e6) } else { 1.0 }
}

fn warm(back: u64, now: u64) -> f32 {
    if back == 0 {
        return 1.0;
    }
    let part = now.saturating_sub(back) as f32 / WARM_UP;
    (COLD + (1.0 - COLD) * part).min(1.0)
}
