//! A statement begins and ends on a node: what runs there, and what is learned from it.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use super::estimate::{room, wait};
use super::mean::{Mean, feed};
use super::settings::Settings;
use super::words::{Learned, Model, add, count};
use super::{Class, Outcome};
use crate::error::NodeId;

/// Most that one statement can surprise: how many times its expected latency.
const MOST_SURPRISE: f32 = 64.0;
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
    /// What ran on the node before it.
    count: u32,
    /// What each of those was expected to take, in microseconds.
    each: f32,
}

impl Ticket {
    /// The node that it runs on.
    pub fn node(&self) -> NodeId {
        self.node
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
        let cost = self.class_view(class, now, settings.memory).cost;
        let cost = cost.min(4e9) as u32;
        let mut ticket = Ticket { node, class, cost, count: 0, each: 0.0 };
        let (Some(row), Some(running)) = (self.row(worker, node), self.running(node)) else { return ticket };
        add(row.count, 1);
        add(row.work, u64::from(cost));
        add(row.total, 1);
        match why {
            Why::Given => {}
            Why::Chosen => add(row.chosen, 1),
            Why::Explored => {
                add(row.chosen, 1);
                add(row.explored, 1);
            }
        }
        let before = count(running.count);
        let work = count(running.work);
        running.count.fetch_add(1, Ordering::Relaxed);
        running.work.fetch_add(u64::from(cost), Ordering::Relaxed);
        if before == 0 {
            running.busy_since.store(now, Ordering::Relaxed);
        }
        ticket.count = before.min(u64::from(u32::MAX)) as u32;
        ticket.each = if before == 0 { 0.0 } else { work as f32 / before as f32 };
        ticket
    }

    /// A statement that nothing is to be learned from runs no more: the client went away, or it was never sent.
    pub fn abandon(&self, worker: usize, ticket: Ticket) {
        let (Some(row), Some(running)) = (self.row(worker, ticket.node), self.running(ticket.node)) else {
            return;
        };
        let cost = u64::from(ticket.cost);
        add(row.count, 1_u64.wrapping_neg());
        add(row.work, cost.wrapping_neg());
        running.count.fetch_sub(1, Ordering::Relaxed);
        running.work.fetch_sub(cost, Ordering::Relaxed);
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
                if was_failing {
                    running.last_look.store(0, Ordering::Relaxed);
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
        let Some(estimate) = self.estimate(settings, &class, ticket.node, now) else { return };
        let room_now = room(Mean::load(learned.crowd), Mean::load(learned.stretch));
        let (service, each) = (estimate.service, ticket.each);
        let waited = wait(u64::from(ticket.count), each, room_now);
        let surprise = (latency / (service + waited)).min(MOST_SURPRISE);
        let crowd = ticket.count as f32 + 1.0;

        feed(learned.mood, surprise, 1.0, 1.0, now, short);
        if crowd >= room_now {
            let each = if each > 0.0 { each } else { service };
            let stretch = 1.0 + (latency - service) / each;
            feed(learned.crowd, crowd, 1.0, 1.0, now, memory);
            feed(learned.stretch, stretch.clamp(0.0, MOST_SURPRISE), 1.0, 1.0, now, memory);
        }
        // A node that has changed is believed less of what it was.
        let mood = Mean::load(learned.mood).or(1.0, 2.0, now, short);
        let change = mood.max(1.0 / mood.max(1e-3));
        let keep = (1.0 / (change * change)).clamp(1.0 / 64.0, 1.0);
        let (own, weight) = if waited > 0.0 { (service * surprise, 0.5) } else { (latency, 1.0) };
        feed(learned.speed, own / class.cost, weight, keep, now, memory);
        let learn_class = |overall: &AtomicU64, on: &[AtomicU64]| {
            feed(overall, own, weight, 1.0, now, memory);
            if let Some(on) = on.get(ticket.node) {
                feed(on, own, weight, keep, now, memory);
            }
        };
        match self.claim_place(ticket.class, now, memory) {
            Some(place) => {
                let is_rare = Mean::load(place.overall).weight < 2.0;
                learn_class(place.overall, place.on);
                if is_rare && let Some(group) = self.group_place(ticket.class) {
                    learn_class(group.overall, group.on);
                }
            }
            None => {
                if let Some(group) = self.group_place(ticket.class) {
                    learn_class(group.overall, group.on);
                }
            }
        }
        feed(self.typical(), own.max(1.0).log2(), 1.0, 1.0, now, memory);
        let peak = Mean::load(learned.peak);
        let at_once = if latency > peak.mean { 0.0 } else { 1.0 };
        feed(learned.peak, latency, 1.0, at_once, now, memory);
        feed(learned.latency, latency, 1.0, 1.0, now, memory);
        feed(learned.load, crowd / room_now, 1.0, 1.0, now, memory);
        if surprise < BETTER
            && let Some(running) = self.running(ticket.node)
        {
            running.last_look.store(0, Ordering::Relaxed);
        }
    }

    /// A worker has died: what it ran does not run any more. What it counted stays.
    pub fn forget_worker(&self, worker: usize) {
        for node in 0..self.nodes {
            let (Some(row), Some(running)) = (self.row(worker, node), self.running(node)) else { continue };
            row.count.store(0, Ordering::Relaxed);
            row.work.store(0, Ordering::Relaxed);
            // Added up anew, not subtracted: the worker may have died between its row and the sum.
            let rows = || (0..self.workers).filter_map(|worker| self.row(worker, node));
            set_sum(running.count, || rows().map(|row| count(row.count)).fold(0, u64::wrapping_add));
            set_sum(running.work, || rows().map(|row| count(row.work)).fold(0, u64::wrapping_add));
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
