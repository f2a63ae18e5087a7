//! A statement begins and ends on a node: what runs there, and what is learned from it.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use super::estimate::{Crowd, more_than_chance, room};
use super::mean::{Mean, feed};
use super::settings::Settings;
use super::words::{LOOK_AGAIN, Learned, Model, ONE_LONG, Place, Row, add, count};
use super::{Class, Outcome};
use crate::error::NodeId;

/// Most that one statement can surprise: how many times its expected latency.
const MOST_SURPRISE: f32 = 64.0;
/// A mean that counts as fewer samples takes what it gets.
const FEW: f32 = 5.0;
/// How much is forgotten with each sample of a node that answers twice as fast or slowly as it did, or more so.
const FORGET_CHANGED: f32 = 0.05;
/// A statement that took less than this part of what was expected has the node looked at again at once.
const BETTER: f32 = 0.25;

/// How a statement came to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It could go nowhere else, or something else has decided.
    Given,
    /// By the choice of the model.
    Chosen,
    /// By its choice, only to learn.
    Explored,
}

/// A statement that runs; its worker keeps it and gives it back with the end.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "a ticket that is not given back counts as a statement that runs for ever"]
pub struct Ticket {
    node: NodeId,
    class: Class,
    /// Added to the work of the node, in microseconds.
    cost: u32,
    /// It went there only to learn.
    explored: bool,
    /// It counts among the long ones.
    is_long: bool,
    /// What ran on the node before it.
    crowd: Crowd,
}

impl Ticket {
    /// The node that it runs on.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// What it is in a word of counts.
    fn one(&self) -> u64 {
        if self.is_long { ONE_LONG } else { 1 }
    }
}

impl Model<'_> {
    /// A statement of this worker has been sent to a node.
    pub fn begin(
        &self,
        settings: &Settings,
        worker: usize,
        node: NodeId,
        class: Class,
        why: Why,
        now: u64,
    ) -> Ticket {
        let known = self.class_view(class, now, settings.memory);
        let (cost, is_long) = (known.cost.min(4e9) as u32, known.is_long);
        let explored = why == Why::Explored;
        let mut ticket = Ticket { node, class, cost, explored, is_long, crowd: Crowd::default() };
        let (Some(row), Some(running)) = (self.row(worker, node), self.running(node)) else { return ticket };
        add(row.counts, ticket.one());
        add(if is_long { row.long_work } else { row.short_work }, u64::from(cost));
        add(row.total, 1);
        match why {
            Why::Given => {}
            Why::Chosen => add(row.chosen, 1),
            Why::Explored => {
                add(row.chosen, 1);
                add(row.explored, 1);
            }
        }
        ticket.crowd = Crowd::of(&running);
        running.counts.fetch_add(ticket.one(), Ordering::Relaxed);
        let work = if is_long { running.long_work } else { running.short_work };
        work.fetch_add(u64::from(cost), Ordering::Relaxed);
        if ticket.crowd.count() == 0.0 {
            running.busy_since.store(now, Ordering::Relaxed);
        }
        ticket
    }

    /// A statement that nothing is to be learned from runs no more: the client went away, or it was never sent.
    pub fn abandon(&self, worker: usize, ticket: Ticket) {
        let (Some(row), Some(running)) = (self.row(worker, ticket.node), self.running(ticket.node)) else {
            return;
        };
        let cost = u64::from(ticket.cost);
        let (own, work) = match ticket.is_long {
            true => (row.long_work, running.long_work),
            false => (row.short_work, running.short_work),
        };
        add(row.counts, ticket.one().wrapping_neg());
        add(own, cost.wrapping_neg());
        running.counts.fetch_sub(ticket.one(), Ordering::Relaxed);
        work.fetch_sub(cost, Ordering::Relaxed);
    }

    /// A statement has ended after so many microseconds: what runs, and all that is learned.
    pub fn end(
        &self,
        settings: &Settings,
        worker: usize,
        ticket: Ticket,
        latency_micros: u64,
        outcome: Outcome,
        now: u64,
    ) {
        self.abandon(worker, ticket);
        if let Some(row) = self.row(worker, ticket.node) {
            add(if outcome == Outcome::Ok { row.ok } else { row.failed }, 1);
        }
        self.observe(settings, ticket, latency_micros, outcome, now);
    }

    fn observe(&self, settings: &Settings, ticket: Ticket, latency: u64, outcome: Outcome, now: u64) {
        let (Some(learned), Some(running)) = (self.learned(ticket.node), self.running(ticket.node)) else {
            return;
        };
        running.last_end.fetch_max(now, Ordering::Relaxed);
        let errors =
            |bad: f32, weight: f32| feed(learned.errors, bad, weight, 1.0, now, settings.memory / 2.0);
        match outcome {
            // How soon a node fails says nothing about how soon it would answer.
            Outcome::Error => errors(1.0, 1.0),
            Outcome::Lost => errors(1.0, 2.0),
            Outcome::Ok => {
                errors(0.0, 1.0);
                let was_failing = learned.streak.swap(0, Ordering::Relaxed) > 0;
                if was_failing && ticket.explored {
                    running.last_look.store(LOOK_AGAIN, Ordering::Relaxed);
                }
                self.learn(settings, ticket, &learned, (latency as f32).max(1.0), now);
            }
        }
        if outcome != Outcome::Ok {
            learned.streak.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What a success teaches.
    fn learn(&self, settings: &Settings, ticket: Ticket, learned: &Learned, latency: f32, now: u64) {
        let (memory, short) = (settings.memory, settings.short_memory());
        let class = self.class_view(ticket.class, now, memory);
        let room = room(learned);
        let service = self.service(&class, ticket.node, learned, now, memory);
        let (crowd, waited) = (ticket.crowd.count() + 1.0, ticket.crowd.wait(room));
        let surprise = (latency / (service + waited)).min(MOST_SURPRISE);
        feed(learned.mood, surprise, 1.0, 1.0, now, short);
        if crowd >= room {
            self.learn_room(learned, &ticket.crowd, latency - service, service, now, memory);
        }
        // A node that has changed is believed less of what it was.
        let mood = more_than_chance(Mean::load(learned.mood), now, short);
        if mood < 1.0 {
            // It has become faster, so what made statements wait may be gone.
            learned.excess.store(0, Ordering::Relaxed);
        }
        let keep = 1.0 - FORGET_CHANGED * (mood.max(1.0 / mood) - 1.0).min(1.0);
        // One that has waited says how long it takes by itself only where nothing else does.
        let is_clear = crowd <= room;
        let learn = |word: &AtomicU64, sample: f32, keep: f32| {
            if is_clear || Mean::load(word).weight_at(now, memory) < FEW {
                feed(word, sample, 1.0, keep, now, memory);
            }
        };
        learn(learned.speed, latency / class.cost, keep);
        let learn_class = |place: &Place| {
            learn(place.overall, latency, 1.0);
            if let Some(on) = place.on.get(ticket.node) {
                learn(on, latency, keep);
            }
        };
        let own = self.claim_place(ticket.class, now, memory);
        let is_rare = own.as_ref().is_none_or(|place| Mean::load(place.overall).weight < FEW);
        own.iter().for_each(learn_class);
        if is_rare {
            self.group_place(ticket.class).iter().for_each(learn_class);
        }
        feed(self.typical(), class.cost.log2(), 1.0, 1.0, now, memory);
        let peak = Mean::load(learned.peak);
        let at_once = if latency > peak.mean { 0.0 } else { 1.0 };
        feed(learned.peak, latency, 1.0, at_once, now, memory);
        feed(learned.latency, latency, 1.0, 1.0, now, memory);
        feed(learned.crowd, crowd, 1.0, 1.0, now, memory);
        if ticket.explored
            && surprise < BETTER
            && let Some(running) = self.running(ticket.node)
        {
            running.last_look.store(LOOK_AGAIN, Ordering::Relaxed);
        }
    }

    /// How many the node runs at once, from one that began when there was no room by what is known: so many more than there
    /// is room for would have had it wait as long as it did.
    fn learn_room(&self, learned: &Learned, crowd: &Crowd, waited: f32, service: f32, now: u64, memory: f32) {
        let known = Mean::load(learned.room);
        let room = known.mean.clamp(1.0, 1e6);
        let drain = crowd.drain(room);
        let drain = if drain > 0.0 { drain } else { room / service };
        // How long a statement takes is chance; a long one among short ones says little.
        let chance = (service * drain / room).max(1.0);
        let (limit, weight) = (4.0 * room, 1.0 / (chance * chance));
        let sample = (crowd.count() + 1.0 - waited * drain).clamp(-limit, limit);
        // Chance must not lift it above what was ever tried, where nothing would correct it.
        let tried = crowd.count() + 2.0;
        let highest = known.mean + (tried - known.mean) * (known.weight_at(now, memory) + weight) / weight;
        feed(learned.room, sample.min(highest), weight, 1.0, now, memory);
        feed(learned.excess, (waited * drain).clamp(-limit, limit), weight, 1.0, now, memory);
    }

    /// A worker has died: what it ran does not run any more. What it counted stays.
    pub fn forget_worker(&self, worker: usize) {
        for node in 0..self.nodes {
            let (Some(row), Some(running)) = (self.row(worker, node), self.running(node)) else { continue };
            for word in [row.counts, row.short_work, row.long_work] {
                word.store(0, Ordering::Relaxed);
            }
            // Added up anew, not subtracted: the worker may have died between its row and the sum.
            let sum = |word: &AtomicU64, of: fn(&Row) -> u64| {
                let rows = || (0..self.workers).filter_map(|worker| self.row(worker, node));
                set_sum(word, || rows().map(|row| of(&row)).fold(0, u64::wrapping_add));
            };
            sum(running.counts, |row| row.counts.load(Ordering::Relaxed));
            sum(running.short_work, |row| count(row.short_work));
            sum(running.long_work, |row| count(row.long_work));
        }
    }

    /// A node has come back (attached, promoted, recovered, restarted): it is warmed up, and what it was is known no more.
    pub fn node_back(&self, node: NodeId, now: u64) {
        let (Some(learned), Some(running)) = (self.learned(node), self.running(node)) else { return };
        for word in [learned.mood, learned.errors, learned.streak] {
            word.store(0, Ordering::Relaxed);
        }
        running.last_end.store(now, Ordering::Relaxed);
        learned.back.store(now.max(1), Ordering::Relaxed);
    }
}

/// Stores a sum unless the word has changed meanwhile; then once more, but not for ever.
fn set_sum(word: &AtomicU64, sum: impl Fn() -> u64) {
    for _ in 0..64 {
        let before = word.load(Ordering::Relaxed);
        if word.compare_exchange(before, sum(), Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return;
        }
    }
}
