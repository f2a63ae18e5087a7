//! Where everything stands in the segment, on one page. Offsets count words of 64 bits.
//!
//! ```text
//! head      started_at, generation, primary, hold, pause, last events  supervisor (generation: also the check)
//!           sessions begun                                             whoever begins one
//!           recovery                                                   who recovers a node
//!           catalog epochs                                             whoever changes a database
//! answers   × answers               cell CatalogRow                   whoever asks; see `seqlock::try_write`
//! replayed  × nodes                 position, commit                   whoever asks; the supervisor forgets it
//! tables    × tables + 1            written at, commit                 whoever writes; the first is for all tables
//! events    × rings × EVENTS        cell EventRow                      supervisor
//! mqtt                              cell MqttRow                       MQTT process
//! recovery                          cell RecoveryRow                   who recovers a node
//! nodes     × nodes                 status, weight | cell NodeState    supervisor
//!                                   cell Probe                         replication check
//!                                   cell HealthRow                     that node's health check
//! workers   × workers               sessions used, quiet, pause quiet | cell WorkerRow   that worker
//! sessions  × workers × sessions    status, cancel pid | cell SessionRow   that worker
//! pools     × workers × nodes × rows    cell PoolRow                   that worker
//! counters  × workers × nodes       pools used | words                 that worker
//! traffic   × workers               rows used | words × nodes | (cell TrafficKey | words × nodes) × rows   that worker
//! learned   words                   what routing has learnt, in lines of the cache    see `route::learn`
//! ```
//! Rows beyond those used, and nodes that are only room for a reload, never become memory.
#![forbid(unsafe_code)]

use std::ops::Range;

use super::counters::COUNTERS;
use super::rows::{
    CatalogRow, EventRow, FailoverReason, HealthRow, MqttRow, NodeState, PoolRow, Probe, RecoveryRow, Ring,
    SessionRow, TrafficKey, WorkerRow,
};
use super::seqlock::size;
use super::traffic;

/// How many rows of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Worker processes (`num_init_children`).
    pub workers: usize,
    /// Sessions of one worker (`sessions_per_child`).
    pub sessions_per_worker: usize,
    /// Pool slots of one worker (`max_pool` × sessions); each has a row for every node.
    pub pools_per_worker: usize,
    /// Backends.
    pub nodes: usize,
    /// Answers of the catalog that workers share.
    pub answers: usize,
    /// Places for the tables that were written; several tables may have the same one.
    pub tables: usize,
    /// Words for what routing learns.
    pub learned: usize,
}

pub(super) const STARTED_AT: usize = 0;
pub(super) const GENERATION: usize = 1;
/// Number of the primary plus one; 0 while there is none.
pub(super) const PRIMARY: usize = 2;

/// Commits that clients were told of, and the newest position on the primary that is known with its commits.
pub(super) const COMMITS: usize = 3;
pub(super) const KNOWN_COMMITS: usize = 4;
pub(super) const KNOWN_LSN: usize = 5;
/// When the program started, by the clock that never goes back.
pub(super) const STARTED_MICROS: usize = 6;
/// What sessions hold back, with a number that tells two such times apart.
pub(super) const HOLD: usize = 7;

/// How many sessions have begun: each gets its number here.
pub(super) const SESSIONS_BEGUN: usize = 8;

/// Whether operators hold all new transactions back: odd while they do, and every time has another number.
pub(super) const PAUSE: usize = 9;

/// How often another node has become the primary, the first one included.
pub(super) const PRIMARIES: usize = 10;
/// Who recovers a node now, as a number; 0: nobody.
pub(super) const RECOVERY: usize = 11;
/// Numbers of the last event of each ring.
const LAST_EVENTS_AT: usize = 12;
/// Primaries that were replaced, a word for each reason.
const FAILOVERS_AT: usize = LAST_EVENTS_AT + Ring::ALL.len();

const EPOCHS_AT: usize = FAILOVERS_AT + FailoverReason::ALL.len();
/// Databases share these by the hash of their names.
pub(super) const EPOCHS: usize = 64;

/// Events of each ring that are kept.
pub(super) const EVENTS: usize = 1024;
const EVENTS_AT: usize = EPOCHS_AT + EPOCHS;

const RECOVERED_AT: usize = EVENTS_AT + Ring::ALL.len() * EVENTS * size::<EventRow>();
const MQTT_AT: usize = RECOVERED_AT + size::<RecoveryRow>();
const HEAD: usize = MQTT_AT + size::<MqttRow>();
const NODE: usize = 2 + size::<NodeState>() + size::<Probe>() + size::<HealthRow>();
const WORKER: usize = 3 + size::<WorkerRow>();
const COUNTED: usize = 1 + COUNTERS;
/// Words that are read one by one.
const PAIR: usize = 2;
const TRIPLE: usize = 3;
/// Words of a line of the processor's cache.
const LINE: usize = 8;
const SESSION: usize = 2 + size::<SessionRow>();

/// Offsets of the tables for given sizes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    sizes: Sizes,
    workers: usize,
    sessions: usize,
    pools: usize,
    counters: usize,
    answers: usize,
    replayed: usize,
    tables: usize,
    traffic: usize,
    learned: usize,
    /// Words of the whole segment.
    pub(super) total: usize,
}

impl Layout {
    /// `None` if the sizes do not fit in an address space.
    pub(super) fn new(sizes: Sizes) -> Option<Layout> {
        let table = |start: usize, width: usize, counts: &[usize]| {
            counts.iter().try_fold(width, |words, count| words.checked_mul(*count))?.checked_add(start)
        };
        let workers = table(HEAD, NODE, &[sizes.nodes])?;
        let sessions = table(workers, WORKER, &[sizes.workers])?;
        let pools = table(sessions, SESSION, &[sizes.workers, sizes.sessions_per_worker])?;
        let counters =
            table(pools, size::<PoolRow>(), &[sizes.workers, sizes.pools_per_worker, sizes.nodes])?;
        let answers = table(counters, COUNTED, &[sizes.workers, sizes.nodes])?;
        let replayed = table(answers, size::<CatalogRow>(), &[sizes.answers])?;
        let tables = table(replayed, TRIPLE, &[sizes.nodes])?;
        let traffic = table(tables, PAIR, &[sizes.tables.checked_add(1)?])?;
        let rows = table(0, traffic_row(sizes.nodes)?, &[traffic::ROWS])?;
        let of_worker = table(1, traffic::LATENCY_CLASSES, &[sizes.nodes])?.checked_add(rows)?;
        let learned = table(traffic, of_worker, &[sizes.workers])?.checked_next_multiple_of(LINE)?;
        let total = learned.checked_add(sizes.learned)?;
        Some(Layout {
            sizes,
            workers,
            sessions,
            pools,
            counters,
            answers,
            replayed,
            tables,
            traffic,
            learned,
            total,
        })
    }

    /// How often a primary was replaced for this reason.
    pub(super) fn failovers(&self, reason: FailoverReason) -> usize {
        FAILOVERS_AT + reason as usize
    }

    pub(super) fn epoch(&self, index: usize) -> Option<usize> {
        (index < EPOCHS).then_some(EPOCHS_AT + index)
    }

    /// Number of the last event of a ring.
    pub(super) fn last_event(&self, ring: Ring) -> usize {
        LAST_EVENTS_AT + ring as usize
    }

    /// Where the event of this number stands, or stood until a later one took its place.
    pub(super) fn event(&self, ring: Ring, number: u64) -> Option<Range<usize>> {
        let place = usize::try_from(number % EVENTS as u64).ok()?;
        cell::<EventRow>(EVENTS_AT + (ring as usize * EVENTS + place) * size::<EventRow>())
    }

    /// How the MQTT process does.
    pub(super) fn mqtt(&self) -> Option<Range<usize>> {
        cell::<MqttRow>(MQTT_AT)
    }

    /// The last recovery.
    pub(super) fn recovered(&self) -> Option<Range<usize>> {
        cell::<RecoveryRow>(RECOVERED_AT)
    }

    pub(super) fn answer(&self, index: usize) -> Option<Range<usize>> {
        (index < self.sizes.answers).then_some(())?;
        cell::<CatalogRow>(self.answers + index * size::<CatalogRow>())
    }

    /// Position that a node is known to have replayed; behind it the commit that it is known to have, and which of
    /// the primaries it was seen to stream from.
    pub(super) fn replayed(&self, node: usize) -> Option<usize> {
        (node < self.sizes.nodes).then(|| self.replayed + node * TRIPLE)
    }

    /// When a table was written last; the commit of that stands behind it. 0 is for all tables.
    pub(super) fn written(&self, table: usize) -> Option<usize> {
        (table <= self.sizes.tables).then(|| self.tables + table * PAIR)
    }

    pub(super) fn node_status(&self, id: usize) -> Option<usize> {
        (id < self.sizes.nodes).then(|| HEAD + id * NODE)
    }

    pub(super) fn node_state(&self, id: usize) -> Option<Range<usize>> {
        cell::<NodeState>(self.weight(id)? + 1)
    }

    /// Share of the reads that an operator has given a node.
    pub(super) fn weight(&self, id: usize) -> Option<usize> {
        Some(self.node_status(id)? + 1)
    }

    pub(super) fn probe(&self, id: usize) -> Option<Range<usize>> {
        cell::<Probe>(self.node_state(id)?.end)
    }

    pub(super) fn health(&self, id: usize) -> Option<Range<usize>> {
        cell::<HealthRow>(self.probe(id)?.end)
    }

    pub(super) fn worker(&self, worker: usize) -> Option<Range<usize>> {
        cell::<WorkerRow>(self.pause_quiet(worker)? + 1)
    }

    /// Number of the last pause that the worker has nothing left to end for.
    pub(super) fn pause_quiet(&self, worker: usize) -> Option<usize> {
        Some(self.quiet(worker)? + 1)
    }

    /// Number of the last hold that the worker has nothing left to end for.
    pub(super) fn quiet(&self, worker: usize) -> Option<usize> {
        Some(self.sessions_used(worker)? + 1)
    }

    /// How many of a worker's sessions have ever been written; those behind read as empty.
    pub(super) fn sessions_used(&self, worker: usize) -> Option<usize> {
        (worker < self.sizes.workers).then(|| self.workers + worker * WORKER)
    }

    /// How many of a worker's pool slots have ever been written for a node. Not beside the slots: a reader of a
    /// node that was never used must not make a page of its rows.
    pub(super) fn pools_used(&self, worker: usize, node: usize) -> Option<usize> {
        Some(self.counters(worker, node)?.start - 1)
    }

    pub(super) fn session_status(&self, worker: usize, slot: usize) -> Option<usize> {
        let per_worker = self.sizes.sessions_per_worker;
        (worker < self.sizes.workers && slot < per_worker)
            .then(|| self.sessions + (worker * per_worker + slot) * SESSION)
    }

    pub(super) fn session_cancel_pid(&self, worker: usize, slot: usize) -> Option<usize> {
        Some(self.session_status(worker, slot)? + 1)
    }

    pub(super) fn session(&self, worker: usize, slot: usize) -> Option<Range<usize>> {
        cell::<SessionRow>(self.session_status(worker, slot)? + 2)
    }

    pub(super) fn pool(&self, worker: usize, pool: usize, node: usize) -> Option<Range<usize>> {
        let Sizes { workers, pools_per_worker, nodes, .. } = self.sizes;
        (worker < workers && pool < pools_per_worker && node < nodes).then_some(())?;
        let row = (worker * nodes + node) * pools_per_worker + pool;
        cell::<PoolRow>(self.pools + row * size::<PoolRow>())
    }

    pub(super) fn counters(&self, worker: usize, node: usize) -> Option<Range<usize>> {
        let Sizes { workers, nodes, .. } = self.sizes;
        (worker < workers && node < nodes).then_some(())?;
        let start = self.counters + (worker * nodes + node) * COUNTED + 1;
        Some(start..start + COUNTERS)
    }

    /// How many of a worker's rows of traffic are used.
    pub(super) fn traffic_used(&self, worker: usize) -> Option<usize> {
        let Sizes { workers, nodes, .. } = self.sizes;
        // It was computed before without an overflow.
        let of_worker = 1 + nodes * traffic::LATENCY_CLASSES + traffic::ROWS * traffic_row(nodes)?;
        (worker < workers).then(|| self.traffic + worker * of_worker)
    }

    /// How long statements took on a node.
    pub(super) fn latency(&self, worker: usize, node: usize) -> Option<Range<usize>> {
        (node < self.sizes.nodes).then_some(())?;
        let start = self.traffic_used(worker)? + 1 + node * traffic::LATENCY_CLASSES;
        Some(start..start + traffic::LATENCY_CLASSES)
    }

    /// How long statements took, on all nodes.
    pub(super) fn latencies(&self, worker: usize) -> Option<Range<usize>> {
        let start = self.traffic_used(worker)? + 1;
        Some(start..start + self.sizes.nodes * traffic::LATENCY_CLASSES)
    }

    /// Whom a row of traffic is of.
    pub(super) fn traffic_key(&self, worker: usize, row: usize) -> Option<Range<usize>> {
        let nodes = self.sizes.nodes;
        (row < traffic::ROWS).then_some(())?;
        let rows = self.traffic_used(worker)? + 1 + nodes * traffic::LATENCY_CLASSES;
        cell::<TrafficKey>(rows + row * traffic_row(nodes)?)
    }

    /// What a row of traffic counts, for all nodes.
    pub(super) fn traffic_of_row(&self, worker: usize, row: usize) -> Option<Range<usize>> {
        let start = self.traffic_key(worker, row)?.end;
        Some(start..start + self.sizes.nodes * traffic::COUNTS)
    }

    /// What a row of traffic counts for a node.
    pub(super) fn traffic(&self, worker: usize, row: usize, node: usize) -> Option<Range<usize>> {
        (node < self.sizes.nodes).then_some(())?;
        let start = self.traffic_key(worker, row)?.end + node * traffic::COUNTS;
        Some(start..start + traffic::COUNTS)
    }

    /// What routing has learnt.
    pub(super) fn learned(&self) -> Range<usize> {
        self.learned..self.total
    }
}

/// Words of a row of traffic.
fn traffic_row(nodes: usize) -> Option<usize> {
    nodes.checked_mul(traffic::COUNTS)?.checked_add(size::<TrafficKey>())
}

fn cell<T: super::words::Word>(start: usize) -> Option<Range<usize>> {
    Some(start..start + size::<T>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_fill_the_segment_without_a_gap_or_an_overlap() {
        let sizes = Sizes {
            workers: 3,
            sessions_per_worker: 2,
            pools_per_worker: 4,
            nodes: 2,
            answers: 3,
            tables: 4,
            learned: 16,
        };
        let layout = Layout::new(sizes).unwrap();
        let mut owner = vec![0u8; layout.total];
        let mut mark = |range: Range<usize>| owner[range].iter_mut().for_each(|count| *count += 1);
        mark(0..LAST_EVENTS_AT);
        for reason in FailoverReason::ALL {
            mark(layout.failovers(reason)..layout.failovers(reason) + 1);
        }
        for index in 0..EPOCHS {
            let epoch = layout.epoch(index).unwrap();
            mark(epoch..epoch + 1);
        }
        for ring in Ring::ALL {
            mark(layout.last_event(ring)..layout.last_event(ring) + 1);
            (0..EVENTS as u64).for_each(|number| mark(layout.event(ring, number).unwrap()));
        }
        mark(layout.mqtt().unwrap());
        mark(layout.recovered().unwrap());
        for node in 0..sizes.nodes {
            let replayed = layout.replayed(node).unwrap();
            mark(replayed..replayed + TRIPLE);
        }
        for table in 0..=sizes.tables {
            let written = layout.written(table).unwrap();
            mark(written..written + PAIR);
        }
        (0..sizes.answers).for_each(|index| mark(layout.answer(index).unwrap()));
        for node in 0..sizes.nodes {
            let status = layout.node_status(node).unwrap();
            mark(status..status + 2);
            mark(layout.node_state(node).unwrap());
            mark(layout.probe(node).unwrap());
            mark(layout.health(node).unwrap());
        }
        for worker in 0..sizes.workers {
            let used = layout.traffic_used(worker).unwrap();
            mark(used..used + 1);
            (0..sizes.nodes).for_each(|node| mark(layout.latency(worker, node).unwrap()));
            for row in 0..traffic::ROWS {
                mark(layout.traffic_key(worker, row).unwrap());
                (0..sizes.nodes).for_each(|node| mark(layout.traffic(worker, row, node).unwrap()));
            }
        }
        for worker in 0..sizes.workers {
            let used = layout.sessions_used(worker).unwrap();
            mark(used..used + 3);
            mark(layout.worker(worker).unwrap());
            for slot in 0..sizes.sessions_per_worker {
                let status = layout.session_status(worker, slot).unwrap();
                mark(status..status + 2);
                mark(layout.session(worker, slot).unwrap());
            }
            for node in 0..sizes.nodes {
                for pool in 0..sizes.pools_per_worker {
                    mark(layout.pool(worker, pool, node).unwrap());
                }
                let used = layout.pools_used(worker, node).unwrap();
                mark(used..used + 1);
                mark(layout.counters(worker, node).unwrap());
            }
        }
        mark(layout.learned());
        // What fills up a line.
        let filled = owner.iter().filter(|count| **count == 0).count();
        assert!(filled < LINE && owner.iter().all(|count| *count <= 1));
        assert_eq!(owner[layout.learned().start - filled..layout.learned().start], vec![0; filled]);
        assert_eq!((layout.learned().start % LINE, layout.learned().len()), (0, sizes.learned));
    }

    #[test]
    fn what_is_out_of_range_has_no_place() {
        let layout = Layout::new(Sizes {
            workers: 1,
            sessions_per_worker: 1,
            pools_per_worker: 1,
            nodes: 1,
            answers: 1,
            tables: 0,
            learned: 16,
        })
        .unwrap();
        assert_eq!(layout.node_status(1), None);
        assert_eq!(layout.session(0, 1), None);
        assert_eq!(layout.pool(0, 0, 1), None);
        assert_eq!(layout.counters(1, 0), None);
        assert_eq!((layout.answer(1), layout.written(1), layout.replayed(1)), (None, None, None));
        let huge = Sizes {
            workers: usize::MAX,
            sessions_per_worker: 2,
            pools_per_worker: 1,
            nodes: 1,
            ..Sizes::default()
        };
        assert!(Layout::new(huge).is_none());
    }
}
