//! Statements, errors, transactions and lent connections per worker and node: the worker counts, readers add up.
//!
//! They belong to the worker's place, not to its process: a replaced worker counts on.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($name:ident: $doc:literal,)*) => {
        /// One worker's counters for one node; add with `fetch_add(1, Relaxed)`.
        #[derive(Clone, Copy, Debug)]
        pub struct NodeCounters { $(#[doc = $doc] pub $name: &'static AtomicU64,)* }

        /// Sums over all workers.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Totals { $(#[doc = $doc] pub $name: u64,)* }

        /// Words of one worker's counters for one node.
        pub(super) const COUNTERS: usize = [$(stringify!($name)),*].len();

        impl NodeCounters {
            pub(super) fn new(words: &'static [AtomicU64]) -> NodeCounters {
                let mut words = words.iter();
                NodeCounters { $($name: words.next().unwrap_or(&NOWHERE),)* }
            }
        }

        impl Totals {
            pub(super) fn add(&mut self, counters: &NodeCounters) {
                $(self.$name = self.$name.wrapping_add(counters.$name.load(Ordering::Relaxed));)*
            }
        }
    };
}

counters! {
    select: "SELECT.",
    insert: "INSERT.",
    update: "UPDATE.",
    delete: "DELETE.",
    ddl: "DDL.",
    other: "Everything else.",
    panic: "Errors of severity PANIC.",
    fatal: "Errors of severity FATAL.",
    error: "Errors of severity ERROR.",
    committed: "Transactions that were committed, also those of a statement that stood alone.",
    aborted: "Transactions that were not.",
    pool_hits: "Times that a session got a connection that was there.",
    pool_misses: "Times that one had to be opened for it.",
}

/// Where counts of a worker or node that does not exist go.
static NOWHERE: AtomicU64 = AtomicU64::new(0);
