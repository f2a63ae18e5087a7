//! Virtual time: what is due when. Two things due at the same time happen in the order in which they were planned.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Virtual microseconds since the begin of the run.
pub(super) type Micros = u64;

pub(super) const MILLISECOND: Micros = 1000;
pub(super) const SECOND: Micros = 1_000_000;

struct Entry<E> {
    at: Micros,
    number: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    /// The greatest is the one that is due first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// What is going to happen.
pub(super) struct Schedule<E> {
    pub(super) now: Micros,
    heap: BinaryHeap<Entry<E>>,
    planned: u64,
}

impl<E> Schedule<E> {
    pub(super) fn new() -> Schedule<E> {
        Schedule { now: 0, heap: BinaryHeap::new(), planned: 0 }
    }

    /// Plans `event` for so long from now.
    pub(super) fn after(&mut self, delay: Micros, event: E) {
        self.planned += 1;
        self.heap.push(Entry { at: self.now + delay, number: self.planned, event });
    }

    /// Goes on to the next event and its time.
    pub(super) fn next(&mut self) -> Option<E> {
        let entry = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}
