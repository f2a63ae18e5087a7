//! Statements, errors and time by user, database and node, and how long statements take on each node.
//!
//! Each worker counts in rows of its own, so a count is a load and a store; readers add up. A row is taken by the first
//! session of its user and database; the last one is for all that find no room. Rows belong to the worker's place, not to
//! its process: a replaced worker counts on.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use super::rows::TrafficKey;
use super::seqlock;
use super::table::Segment;
use super::text::Text;
use crate::error::NodeId;

/// Rows of one worker.
pub(super) const ROWS: usize = 64;

/// Words of a row for each node: statements, errors, microseconds.
pub(super) const COUNTS: usize = 3;

/// In place of user and database in the row of those without one.
pub const OTHERS: &str = "(others)";

/// Upper bounds of the classes of latency, in microseconds; what is above the last is a class, too.
pub const LATENCY_BOUNDS: [u64; 17] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// Classes of latency.
pub const LATENCY_CLASSES: usize = LATENCY_BOUNDS.len() + 1;

/// The class of something that took so many microseconds.
pub fn latency_class(micros: u64) -> usize {
    LATENCY_BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(LATENCY_BOUNDS.len())
}

/// What one worker has counted of a user and a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    pub user: Text<64>,
    pub database: Text<64>,
    pub node: NodeId,
    pub statements: u64,
    pub errors: u64,
    pub micros: u64,
}

/// Where a session counts its statements.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrafficCounts {
    traffic: &'static [AtomicU64],
    latency: &'static [AtomicU64],
}

impl TrafficCounts {
    /// A statement has ended on a node after this time.
    #[inline]
    pub fn statement(&self, node: NodeId, micros: u64) {
        let of_node = |words: &'static [AtomicU64], width: usize| words.get(node * width..)?.get(..width);
        if let Some([statements, _, time]) = of_node(self.traffic, COUNTS) {
            add(statements, 1);
            add(time, micros);
        }
        let class =
            of_node(self.latency, LATENCY_CLASSES).and_then(|counts| counts.get(latency_class(micros)));
        if let Some(count) = class {
            add(count, 1);
        }
    }

    /// A statement has failed on a node.
    pub fn failure(&self, node: NodeId) {
        if let Some([_, errors, _]) = self.traffic.get(node * COUNTS..).and_then(|words| words.get(..COUNTS))
        {
            add(errors, 1);
        }
    }
}

impl Segment {
    /// Where a worker counts for this user and database. That worker alone may ask, and count.
    pub fn traffic_counts(&self, worker: usize, user: &str, database: &str) -> TrafficCounts {
        let row = self.traffic_row(worker, user, database);
        TrafficCounts {
            traffic: self.cell(self.layout.traffic_of_row(worker, row)),
            latency: self.cell(self.layout.latencies(worker)),
        }
    }

    fn traffic_row(&self, worker: usize, user: &str, database: &str) -> usize {
        let used = self.traffic_used(worker);
        let key = TrafficKey { user: user.into(), database: database.into() };
        if let Some(row) = (0..used).find(|row| self.traffic_key(worker, *row) == key) {
            return row;
        }
        let (row, key) = match used + 1 < ROWS {
            true => (used, key),
            false => (ROWS - 1, TrafficKey { user: OTHERS.into(), database: OTHERS.into() }),
        };
        seqlock::write(self.cell(self.layout.traffic_key(worker, row)), &key);
        self.store(self.layout.traffic_used(worker), row as u64 + 1);
        row
    }

    /// What a worker has counted on a node, for each of its rows.
    pub fn traffic(&self, worker: usize, node: NodeId) -> impl Iterator<Item = Traffic> + '_ {
        (0..self.traffic_used(worker)).map(move |row| {
            let TrafficKey { user, database } = self.traffic_key(worker, row);
            let counts = self.cell(self.layout.traffic(worker, row, node));
            let count = |at: usize| counts.get(at).map_or(0, |count| count.load(Ordering::Relaxed));
            Traffic { user, database, node, statements: count(0), errors: count(1), micros: count(2) }
        })
    }

    /// How long all statements of all workers have taken on a node, together.
    pub fn traffic_micros(&self, node: NodeId) -> u64 {
        let rows = (0..self.sizes().workers)
            .flat_map(|worker| (0..self.traffic_used(worker)).map(move |row| (worker, row)));
        let micros = rows.filter_map(|(worker, row)| {
            Some(self.cell(self.layout.traffic(worker, row, node)).get(2)?.load(Ordering::Relaxed))
        });
        micros.fold(0, u64::saturating_add)
    }

    /// How many statements of all workers have ended on a node in the time of each class.
    pub fn latency(&self, node: NodeId) -> [u64; LATENCY_CLASSES] {
        let mut sums = [0; LATENCY_CLASSES];
        for worker in 0..self.sizes().workers {
            // A worker that has served nobody has counted nothing, and its part is not memory yet.
            if self.traffic_used(worker) > 0 {
                let counts = self.cell(self.layout.latency(worker, node));
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum += count.load(Ordering::Relaxed);
                }
            }
        }
        sums
    }

    fn traffic_key(&self, worker: usize, row: usize) -> TrafficKey {
        seqlock::read(self.cell(self.layout.traffic_key(worker, row))).unwrap_or_default()
    }

    fn traffic_used(&self, worker: usize) -> usize {
        usize::try_from(self.load(self.layout.traffic_used(worker))).unwrap_or(ROWS).min(ROWS)
    }
}

/// With one writer this needs no locked instruction.
#[inline]
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::Sizes;

    fn segment() -> Segment {
        Segment::create(Sizes { workers: 2, sessions_per_worker: 1, nodes: 3, ..Sizes::default() }).unwrap()
    }

    #[test]
    fn each_user_and_database_has_a_row_until_there_is_no_room() {
        let segment = segment();
        assert_eq!(segment.traffic_row(0, "ann", "a"), 0);
        assert_eq!(segment.traffic_row(0, "ann", "b"), 1);
        assert_eq!(segment.traffic_row(0, "ann", "a"), 0);
        assert_eq!(segment.traffic_row(1, "bob", "b"), 0);
        for number in 2..ROWS - 1 {
            assert_eq!(segment.traffic_row(0, "ann", &number.to_string()), number);
        }
        for late in ["x", "y"] {
            assert_eq!(segment.traffic_row(0, "ann", late), ROWS - 1);
        }
        assert_eq!(segment.traffic_row(0, "ann", "b"), 1);
        segment.traffic_counts(0, "ann", "x").statement(2, 7);
        let last = segment.traffic(0, 2).last().unwrap();
        assert_eq!(
            (last.user.as_str(), last.database.as_str(), last.statements, last.micros),
            (OTHERS, OTHERS, 1, 7)
        );
        segment.clear_worker(0);
        assert_eq!(segment.traffic(0, 2).count(), ROWS, "the place counts on");
    }

    #[test]
    fn statements_are_counted_by_node_and_by_how_long_they_took() {
        let segment = segment();
        let counts = segment.traffic_counts(1, "ann", "a");
        for micros in [0, 250, 251, 60_000_000, 60_000_001, u64::MAX / 4] {
            counts.statement(1, micros);
        }
        counts.failure(1);
        counts.statement(0, 3);
        for nowhere in [counts, segment.traffic_counts(7, "ann", "a"), TrafficCounts::default()] {
            nowhere.statement(9, 3);
            nowhere.failure(9);
        }
        let of = |node| segment.traffic(1, node).next().map(|row| (row.statements, row.errors)).unwrap();
        assert_eq!((of(0), of(1), of(2)), ((1, 0), (6, 1), (0, 0)));
        assert_eq!((segment.traffic_micros(0), segment.traffic_micros(9)), (3, 0));
        let latency = segment.latency(1);
        assert_eq!((latency[0], latency[1], latency[16], latency[17]), (2, 1, 1, 2));
        assert_eq!((latency.iter().sum::<u64>(), segment.latency(0)[0]), (6, 1));
    }
}
