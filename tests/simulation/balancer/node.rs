//! A node as the simulation knows it: a queue before a number of slots, each of which runs one statement at a time; or
//! as many processors that all its statements share.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::scenario::Change;

/// What it takes to fail fast, in microseconds.
const FAIL_FAST: u64 = 1_000;

/// A statement that waits for a slot: its number, and its time on a node as it should be.
type Waiting = (usize, u64);

/// What becomes of a statement that arrives.
pub(super) enum Arrival {
    /// It runs and ends after so many microseconds.
    Runs(u64),
    /// It waits, or its end hangs from those that come after it.
    Waits,
    /// It fails after so many microseconds.
    Fails(u64),
}

pub(super) struct Node {
    slots: usize,
    busy: usize,
    queue: VecDeque<Waiting>,
    /// How many times longer everything takes.
    pub(super) slowness: f64,
    is_failing: bool,
    shared: Option<Shared>,
}

/// Statements that share the processors: each gets an equal part, but at most one processor.
#[derive(Default)]
struct Shared {
    /// What each has got so far, in 1/1024 of a microsecond of a processor, and as of when.
    given: u64,
    at: u64,
    /// At how much given they end.
    ends: BinaryHeap<Reverse<(u64, usize)>>,
    /// Counts what changes the next end.
    version: u64,
}

const FINE: f64 = 1024.0;

impl Node {
    pub(super) fn new(slots: usize, slowness: f64, is_shared: bool) -> Node {
        let shared = is_shared.then(Shared::default);
        Node { slots, busy: 0, queue: VecDeque::new(), slowness, is_failing: false, shared }
    }

    pub(super) fn change(&mut self, change: Change, now: u64) {
        self.advance(now);
        match change {
            Change::Slowness(slowness) => self.slowness = slowness,
            Change::Fails(fails) => self.is_failing = fails,
            Change::Away | Change::Back | Change::Caught => {}
        }
    }

    pub(super) fn arrive(&mut self, statement: usize, time: u64, now: u64) -> Arrival {
        if self.is_failing {
            return Arrival::Fails(FAIL_FAST);
        }
        self.advance(now);
        if let Some(shared) = &mut self.shared {
            shared.ends.push(Reverse((shared.given + (time as f64 * FINE) as u64, statement)));
            return Arrival::Waits;
        }
        if self.busy < self.slots {
            self.busy += 1;
            return Arrival::Runs(self.takes(time));
        }
        self.queue.push_back((statement, time));
        Arrival::Waits
    }

    /// A statement has ended; the next one, and how long it runs.
    pub(super) fn leave(&mut self) -> Option<Waiting> {
        match self.queue.pop_front() {
            Some((statement, time)) => Some((statement, self.takes(time))),
            None => {
                self.busy -= 1;
                None
            }
        }
    }

    fn takes(&self, time: u64) -> u64 {
        ((time as f64 * self.slowness) as u64).max(1)
    }

    /// Fine units that each statement gets in a microsecond.
    fn rate(&self) -> f64 {
        let number = self.shared.as_ref().map_or(0, |shared| shared.ends.len());
        (self.slots as f64 / number.max(1) as f64).min(1.0) * FINE / self.slowness
    }

    fn advance(&mut self, now: u64) {
        let rate = self.rate();
        if let Some(shared) = &mut self.shared {
            shared.given += ((now - shared.at) as f64 * rate) as u64;
            shared.at = now;
        }
    }

    /// Where the processors are shared: when the next statement ends if nothing comes between, and the number to ask for
    /// it by then.
    pub(super) fn next_end(&mut self) -> Option<(u64, u64)> {
        let rate = self.rate();
        let shared = self.shared.as_mut()?;
        shared.version += 1;
        let Reverse((end, _)) = shared.ends.peek()?;
        Some((shared.at + (end.saturating_sub(shared.given) as f64 / rate).ceil() as u64, shared.version))
    }

    /// The statement that ends now, unless something came between.
    pub(super) fn end_of(&mut self, version: u64, now: u64) -> Option<usize> {
        self.shared.as_ref().filter(|shared| shared.version == version)?;
        self.advance(now);
        self.shared.as_mut()?.ends.pop().map(|Reverse((_, statement))| statement)
    }
}
