//! The segment as its users see it: typed copies in and out.

use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use subtle::ConstantTimeEq;

use super::counters::{NodeCounters, Totals};
use super::layout::{self, Layout, Sizes};
use super::rows::{
    HealthRow, NodeRow, NodeState, NodeStatus, PgRole, PoolRow, Probe, SessionRow, SessionStatus, WorkerRow,
};
use super::seqlock;
use super::words::Word;
use crate::error::NodeId;
use crate::sys::clock;

/// The sign of a weight, which has none, says that there is one.
const WEIGHT_SET: u64 = 1 << 63;

/// The shared segment; copies of the handle mean the same memory. Never unmapped: it lives as long as
/// the last process that has it.
#[derive(Clone, Copy)]
pub struct Segment {
    words: &'static [AtomicU64],
    pub(super) layout: Layout,
    sizes: Sizes,
}

impl Segment {
    /// Maps the segment, empty. Do it before the first fork.
    pub fn create(sizes: Sizes) -> io::Result<Segment> {
        let layout = Layout::new(sizes).ok_or(io::ErrorKind::OutOfMemory)?;
        let words = map(layout.total)?;
        let segment = Segment { words, layout, sizes };
        segment.begin();
        Ok(segment)
    }

    /// Makes it as it was when it was new. For simulations, which use one segment for run after run.
    pub fn renew(&self) {
        for word in self.words {
            word.store(0, Ordering::Release);
        }
        self.begin();
    }

    fn begin(&self) {
        self.store(Some(layout::STARTED_AT), clock::unix_seconds());
        self.begin_writes();
    }

    /// How many rows there are.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The words for what routing learns, which begin with a line of the processor's cache.
    pub fn learned(&self) -> &'static [AtomicU64] {
        self.words.get(self.layout.learned()).unwrap_or_default()
    }

    /// Bytes of the segment.
    pub fn bytes(&self) -> usize {
        size_of_val(self.words)
    }

    /// When the program started (unix seconds).
    pub fn started_at(&self) -> u64 {
        self.load(Some(layout::STARTED_AT))
    }

    /// Goes up with every change of status, role or delay that routing must see.
    pub fn generation(&self) -> u64 {
        self.word(Some(layout::GENERATION)).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// What is known about a node; the empty row if there is no such node.
    pub fn node(&self, id: NodeId) -> NodeRow {
        let state: NodeState = self.read(self.layout.node_state(id));
        NodeRow {
            status: NodeStatus::from_word(self.load(self.layout.node_status(id))),
            reason: state.reason,
            changed_at: state.changed_at,
            orderly: state.orderly,
            times_out: state.times_out,
            times_back: state.times_back,
            is_primary: self.primary() == Some(id),
            probe: self.read(self.layout.probe(id)),
        }
    }

    /// Changes the status of a node. The supervisor alone may.
    pub fn set_status(&self, id: NodeId, status: NodeStatus, reason: &str, now: u64) {
        self.change_status(id, status, reason, now, false);
    }

    /// Takes a node out of use that has not failed: what sessions have begun there may end there. The supervisor alone
    /// may.
    pub fn set_detached(&self, id: NodeId, reason: &str, now: u64) {
        self.change_status(id, NodeStatus::Down, reason, now, true);
    }

    fn change_status(&self, id: NodeId, status: NodeStatus, reason: &str, now: u64, orderly: bool) {
        let before: NodeState = self.read(self.layout.node_state(id));
        let was_used = self.node(id).status.is_used();
        let count = |happened: bool| u64::from(happened);
        let state = NodeState {
            reason: reason.into(),
            changed_at: now,
            orderly,
            times_out: before.times_out + count(was_used && status == NodeStatus::Down),
            // One that is new has not come back.
            times_back: before.times_back + count(!was_used && status.is_used() && before.times_out > 0),
        };
        self.write(self.layout.node_state(id), &state);
        self.store(self.layout.node_status(id), status as u64);
        self.forget_replayed(id);
        self.bump();
    }

    /// Changes the primary. The supervisor alone may.
    pub fn set_primary(&self, primary: Option<NodeId>, now: u64) {
        let before = self.primary();
        if before == primary {
            return;
        }
        for id in before.into_iter().chain(primary) {
            let state: NodeState = self.read(self.layout.node_state(id));
            self.write(self.layout.node_state(id), &NodeState { changed_at: now, ..state });
        }
        // What is replayed was written by the one before.
        let primaries = self.load(Some(layout::PRIMARIES)) + u64::from(primary.is_some());
        self.store(Some(layout::PRIMARIES), primaries);
        (0..self.sizes.nodes).for_each(|id| self.forget_replayed(id));
        self.store(Some(layout::PRIMARY), primary.map_or(0, |id| id as u64 + 1));
        self.forget_position();
        self.bump();
    }

    /// The primary that we route writes to.
    pub fn primary(&self) -> Option<NodeId> {
        usize::try_from(self.load(Some(layout::PRIMARY))).ok()?.checked_sub(1)
    }

    /// Notes what the replication check found. The replication check alone may.
    pub fn set_probe(&self, id: NodeId, probe: Probe) {
        let before: Probe = self.read(self.layout.probe(id));
        self.write(self.layout.probe(id), &probe);
        self.note_root(id, probe.root);
        match probe.pg_role {
            PgRole::Standby => self.note_replayed(id, probe.replay_lsn),
            PgRole::Primary | PgRole::Unknown => self.forget_replayed(id),
        }
        let seen = |p: &Probe| (p.pg_status, p.pg_role, p.lag_bytes, p.lag_micros, p.astray);
        if seen(&before) != seen(&probe) {
            self.bump();
        }
    }

    /// The share of the reads that an operator has given a node.
    pub fn weight(&self, id: NodeId) -> Option<f64> {
        let word = self.load(self.layout.weight(id));
        (word & WEIGHT_SET != 0).then(|| f64::from_bits(word & !WEIGHT_SET))
    }

    /// Gives a node a share of the reads, at least 0, or back that of the configuration. The supervisor alone may.
    pub fn set_weight(&self, id: NodeId, weight: Option<f64>) {
        self.store(self.layout.weight(id), weight.map_or(0, |weight| weight.to_bits() | WEIGHT_SET));
        self.bump();
    }

    /// What a node's health check has counted.
    pub fn health(&self, id: NodeId) -> HealthRow {
        self.read(self.layout.health(id))
    }

    /// Notes what a node's health check has counted. That health check alone may.
    pub fn set_health(&self, id: NodeId, row: &HealthRow) {
        self.write(self.layout.health(id), row);
    }

    /// A worker's row.
    pub fn worker(&self, worker: usize) -> WorkerRow {
        self.read(self.layout.worker(worker))
    }

    /// Notes a worker's row. That worker alone may.
    pub fn set_worker(&self, worker: usize, row: &WorkerRow) {
        self.write(self.layout.worker(worker), row);
    }

    /// A session's row.
    pub fn session(&self, worker: usize, slot: usize) -> SessionRow {
        if slot >= self.sessions_used(worker) {
            return SessionRow::default();
        }
        let status = self.session_status(worker, slot);
        SessionRow { status, ..self.read(self.layout.session(worker, slot)) }
    }

    /// What a session does.
    pub fn session_status(&self, worker: usize, slot: usize) -> SessionStatus {
        if slot >= self.sessions_used(worker) {
            return SessionStatus::default();
        }
        SessionStatus::from_word(self.load(self.layout.session_status(worker, slot)))
    }

    /// A number for a session that begins.
    pub fn number_session(&self) -> u64 {
        self.word(Some(layout::SESSIONS_BEGUN)).map_or(0, |word| word.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// How many sessions there are with such rows. Whatever the caller has written before, others that count see it, or it
    /// sees what they have written.
    pub fn count_sessions(&self, is_such: impl Fn(&SessionRow) -> bool) -> u64 {
        fence(Ordering::SeqCst);
        let is_there = |worker: usize, slot: usize| {
            self.load(self.layout.session_status(worker, slot)) != SessionStatus::WaitForConnection as u64
                && is_such(&self.session(worker, slot))
        };
        let of_worker =
            |worker| (0..self.sessions_used(worker)).filter(|slot| is_there(worker, *slot)).count() as u64;
        (0..self.sizes.workers).map(of_worker).sum()
    }

    /// Notes a session's row. Its worker alone may.
    pub fn set_session(&self, worker: usize, slot: usize, row: &SessionRow) {
        self.use_up_to(self.layout.sessions_used(worker), slot, self.sizes.sessions_per_worker);
        self.write(self.layout.session(worker, slot), row);
        self.store(self.layout.session_cancel_pid(worker, slot), u64::from(row.cancel_pid.cast_unsigned()));
        self.set_session_status(worker, slot, row.status);
    }

    /// Notes what a session does: one store, cheap enough for each statement. Its worker alone may.
    pub fn set_session_status(&self, worker: usize, slot: usize, status: SessionStatus) {
        self.store(self.layout.session_status(worker, slot), status as u64);
    }

    /// A pooled connection's row.
    pub fn pool(&self, worker: usize, pool: usize, node: NodeId) -> PoolRow {
        if pool >= self.pools_used(worker, node) {
            return PoolRow::default();
        }
        self.read(self.layout.pool(worker, pool, node))
    }

    /// How many places for connections of a worker to a node were ever used; those behind are empty.
    pub fn pools_used(&self, worker: usize, node: NodeId) -> usize {
        let used = self.load(self.layout.pools_used(worker, node));
        usize::try_from(used).unwrap_or(usize::MAX).min(self.sizes.pools_per_worker)
    }

    /// Notes a pooled connection's row. Its worker alone may.
    pub fn set_pool(&self, worker: usize, pool: usize, node: NodeId, row: &PoolRow) {
        self.use_up_to(self.layout.pools_used(worker, node), pool, self.sizes.pools_per_worker);
        self.write(self.layout.pool(worker, pool, node), row);
    }

    /// The node of the server process with this number, if it serves one of our connections; the lowest, should two
    /// have one.
    pub fn node_of_process(&self, pid: i32) -> Option<NodeId> {
        let is_its = |worker: usize, node: NodeId| {
            (0..self.pools_used(worker, node)).any(|pool| self.pool(worker, pool, node).backend_pid == pid)
        };
        (0..self.sizes.nodes).find(|node| (0..self.sizes.workers).any(|worker| is_its(worker, *node)))
    }

    /// Worker and slot of the session whose cancel key this is.
    pub fn find_cancel(&self, pid: i32, key: &[u8]) -> Option<(usize, usize)> {
        let wanted = u64::from(pid.cast_unsigned());
        let slots = |worker| (0..self.sessions_used(worker)).map(move |slot| (worker, slot));
        let all = (0..self.sizes.workers).flat_map(slots);
        all.filter(|(worker, slot)| self.load(self.layout.session_cancel_pid(*worker, *slot)) == wanted).find(
            |(worker, slot)| {
                let row = self.session(*worker, *slot);
                // An empty key is a session that has none yet. Constant time: the key is a secret.
                row.cancel_pid == pid && !row.key().is_empty() && bool::from(row.key().ct_eq(key))
            },
        )
    }

    /// A worker's counters for a node.
    pub fn counters(&self, worker: usize, node: NodeId) -> NodeCounters {
        NodeCounters::new(self.cell(self.layout.counters(worker, node)))
    }

    /// Sums of a node's counters over all workers, also those that were replaced.
    pub fn node_totals(&self, node: NodeId) -> Totals {
        let mut totals = Totals::default();
        (0..self.sizes.workers).for_each(|worker| totals.add(&self.counters(worker, node)));
        totals
    }

    /// Empties all rows of a worker but its counters. For the supervisor, after it reaped that worker and
    /// before it starts the next: in between nobody writes there.
    pub fn clear_worker(&self, worker: usize) {
        self.set_worker(worker, &WorkerRow::default());
        self.set_quiet(worker, 0);
        self.set_pause_quiet(worker, 0);
        for slot in 0..self.sessions_used(worker) {
            self.set_session(worker, slot, &SessionRow::default());
        }
        for node in 0..self.sizes.nodes {
            for pool in 0..self.pools_used(worker, node) {
                self.clear::<PoolRow>(self.layout.pool(worker, pool, node));
            }
        }
    }

    /// Makes probes whole that a replication check left half written. For the supervisor, after it reaped it.
    pub fn mend_probes(&self) {
        for id in (0..self.sizes.nodes).filter(|id| self.torn(self.layout.probe(*id))) {
            self.set_probe(id, Probe::default());
        }
    }

    /// The same for the counts of a node's health check.
    pub fn mend_health(&self, id: NodeId) {
        if self.torn(self.layout.health(id)) {
            self.set_health(id, &HealthRow::default());
        }
    }

    pub(super) fn bump(&self) {
        if let Some(word) = self.word(Some(layout::GENERATION)) {
            word.fetch_add(1, Ordering::Release);
        }
    }

    pub(super) fn word(&self, place: Option<usize>) -> Option<&'static AtomicU64> {
        self.words.get(place?)
    }

    pub(super) fn cell(&self, place: Option<Range<usize>>) -> &'static [AtomicU64] {
        place.and_then(|range| self.words.get(range)).unwrap_or(&[])
    }

    pub(super) fn load(&self, place: Option<usize>) -> u64 {
        self.word(place).map_or(0, |word| word.load(Ordering::Acquire))
    }

    pub(super) fn store(&self, place: Option<usize>, value: u64) {
        if let Some(word) = self.word(place) {
            word.store(value, Ordering::Release);
        }
    }

    pub(super) fn read<T: Word + Default>(&self, place: Option<Range<usize>>) -> T {
        seqlock::read(self.cell(place)).unwrap_or_default()
    }

    pub(super) fn write<T: Word>(&self, place: Option<Range<usize>>, value: &T) {
        seqlock::write(self.cell(place), value);
    }

    /// Writes only where something is: a place below the highest that was used need not have been.
    fn clear<T: Word + Default>(&self, place: Option<Range<usize>>) {
        if seqlock::is_written(self.cell(place.clone())) {
            self.write(place, &T::default());
        }
    }

    // Bounded by the sizes, as `pools_used`: a foreign word must not make a reader loop for ever.
    fn sessions_used(&self, worker: usize) -> usize {
        let used = self.load(self.layout.sessions_used(worker));
        usize::try_from(used).unwrap_or(usize::MAX).min(self.sizes.sessions_per_worker)
    }

    fn use_up_to(&self, place: Option<usize>, index: usize, most: usize) {
        if index < most && index as u64 >= self.load(place) {
            self.store(place, index as u64 + 1);
        }
    }

    fn torn(&self, place: Option<Range<usize>>) -> bool {
        seqlock::is_torn(self.cell(place))
    }
}

fn map(words: usize) -> io::Result<&'static [AtomicU64]> {
    let bytes = words.checked_mul(size_of::<AtomicU64>()).and_then(NonZeroUsize::new);
    let bytes = bytes.ok_or(io::ErrorKind::OutOfMemory)?;
    // SAFETY: a new anonymous mapping at an address the kernel chooses touches no memory in use.
    let start = unsafe {
        mmap_anonymous(
            None,
            bytes,
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE,
        )?
    };
    // SAFETY: the mapping is page-aligned, `words` words long, zeroed (a valid AtomicU64) and never
    // unmapped. The supervisor and all children write to it, all of them through atomics only.
    Ok(unsafe { std::slice::from_raw_parts(start.as_ptr().cast::<AtomicU64>(), words) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::PgRole;

    fn segment() -> Segment {
        Segment::create(Sizes {
            workers: 2,
            sessions_per_worker: 3,
            pools_per_worker: 3,
            nodes: 2,
            ..Sizes::default()
        })
        .unwrap()
    }

    #[test]
    fn nodes_keep_status_role_and_probe_and_count_generations() {
        let segment = segment();
        assert_eq!(segment.node(0), NodeRow::default());
        segment.set_status(1, NodeStatus::Down, "connection refused", 5);
        segment.set_primary(Some(0), 6);
        assert_eq!(segment.generation(), 2);
        let probe = Probe { pg_role: PgRole::Standby, lag_bytes: Some(7), ..Probe::default() };
        segment.set_probe(1, probe);
        segment.set_probe(1, Probe { at: 9, ..probe });
        segment.set_primary(Some(0), 8);
        assert_eq!(segment.generation(), 3);
        let node = segment.node(1);
        assert_eq!(
            (node.status, node.reason.as_str(), node.changed_at),
            (NodeStatus::Down, "connection refused", 5)
        );
        assert_eq!((node.is_primary, node.probe.at, segment.node(0).changed_at), (false, 9, 6));
        assert!(segment.node(0).is_primary);
        assert_eq!(segment.node(2), NodeRow::default());
        segment.set_detached(0, "detached", 9);
        assert_eq!((segment.node(0).status, segment.node(0).orderly), (NodeStatus::Down, true));
        segment.set_primary(None, 10);
        assert!(segment.node(0).orderly && !segment.node(1).orderly);
        segment.set_status(0, NodeStatus::Up, "", 11);
        assert!(!segment.node(0).orderly);
    }

    #[test]
    fn a_weight_outlives_what_becomes_of_the_node() {
        let segment = segment();
        assert_eq!(segment.weight(1), None);
        for weight in [0.0, 2.5, 100_000_000.0] {
            segment.set_weight(1, Some(weight));
            segment.set_status(1, NodeStatus::Down, "gone", 5);
            assert_eq!((segment.weight(1), segment.weight(0)), (Some(weight), None));
        }
        segment.set_weight(1, None);
        assert_eq!((segment.weight(1), segment.weight(7)), (None, None));
    }

    #[test]
    fn how_often_a_node_went_out_and_came_back_is_counted() {
        use NodeStatus::{Down, Quarantine, Up, Waiting};
        let segment = segment();
        for (status, out, back) in [
            (Waiting, 0, 0),
            (Up, 0, 0),
            (Down, 1, 0),
            (Down, 1, 0),
            (Waiting, 1, 1),
            (Up, 1, 1),
            (Quarantine, 1, 1),
        ] {
            segment.set_status(0, status, "", 1);
            let node = segment.node(0);
            assert_eq!((node.times_out, node.times_back), (out, back), "{status:?}");
        }
        segment.set_status(0, Up, "", 1);
        segment.set_detached(0, "", 1);
        assert_eq!(segment.node(0).times_out, 2);
    }

    #[test]
    fn cancel_keys_are_found_by_number_and_key_only() {
        let segment = segment();
        let mut row = SessionRow::default();
        row.set_key(-3, &[1, 2, 3, 4]);
        segment.set_session(1, 2, &row);
        row.set_key(-3, &[9; 32]);
        segment.set_session(0, 1, &row);
        assert_eq!(segment.find_cancel(-3, &[1, 2, 3, 4]), Some((1, 2)));
        assert_eq!(segment.find_cancel(-3, &[9; 32]), Some((0, 1)));
        for (pid, key) in [(-3, &[1, 2, 3][..]), (4, &[1, 2, 3, 4]), (0, &[]), (-3, &[])] {
            assert_eq!(segment.find_cancel(pid, key), None);
        }
        segment.clear_worker(1);
        assert_eq!(segment.find_cancel(-3, &[1, 2, 3, 4]), None);
    }

    #[test]
    fn a_server_process_is_found_on_its_node() {
        let segment = segment();
        segment.set_pool(1, 2, 1, &PoolRow { backend_pid: 70, ..PoolRow::default() });
        segment.set_pool(0, 0, 0, &PoolRow { backend_pid: 71, ..PoolRow::default() });
        assert_eq!([70, 71, 72].map(|pid| segment.node_of_process(pid)), [Some(1), Some(0), None]);
    }

    #[test]
    fn the_status_of_a_session_is_a_word_of_its_own() {
        let segment = segment();
        segment.set_session(0, 0, &SessionRow { user: "ann".into(), ..SessionRow::default() });
        segment.set_session_status(0, 0, SessionStatus::ExecuteCommand);
        let row = segment.session(0, 0);
        assert_eq!((row.status, row.user.as_str()), (SessionStatus::ExecuteCommand, "ann"));
    }

    #[test]
    fn counters_add_up_and_outlive_the_worker() {
        let segment = segment();
        segment.counters(0, 1).select.fetch_add(2, Ordering::Relaxed);
        segment.counters(1, 1).select.fetch_add(3, Ordering::Relaxed);
        segment.counters(1, 1).error.fetch_add(1, Ordering::Relaxed);
        segment.counters(7, 7).select.fetch_add(100, Ordering::Relaxed);
        segment.clear_worker(1);
        assert_eq!(segment.node_totals(1), Totals { select: 5, error: 1, ..Totals::default() });
        assert_eq!(segment.node_totals(0), Totals::default());
    }

    /// Bytes of the segment that are in memory.
    fn resident(segment: &Segment) -> usize {
        let start = format!("{:x}-", segment.words.as_ptr().addr());
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let own = maps.lines().skip_while(|line| !line.starts_with(&start));
        let rss = own.filter_map(|line| line.strip_prefix("Rss:")).next().unwrap();
        rss.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    #[test]
    fn places_that_nobody_used_do_not_become_memory() {
        let segment = Segment::create(Sizes {
            workers: 4,
            sessions_per_worker: 2500,
            pools_per_worker: 10_000,
            nodes: 11,
            answers: 10_000,
            tables: 10_000,
            learned: 16,
        })
        .unwrap();
        assert!(segment.bytes() > 50_000_000);
        segment.set_session(2, 1, &SessionRow::default());
        segment.set_pool(2, 3, 1, &PoolRow { backend_pid: 7, ..PoolRow::default() });
        for worker in 0..4 {
            assert_eq!(segment.pool(worker, 9_999, 1), PoolRow::default());
            segment.clear_worker(worker);
            segment.clear_worker(worker);
        }
        assert_eq!(segment.pool(2, 3, 1), PoolRow::default());
        assert_eq!(segment.find_cancel(5, b"x"), None);
        assert!(resident(&segment) < 100_000, "{}", resident(&segment));
    }
}
