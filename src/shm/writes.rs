//! What has been written and what the standbys have of it: so that a read is not sent where it would be stale.
//!
//! By time: when a table was written last (`dml_adaptive_global`). By commit: each commit that a client is told of has
//! a number, a table that of the last one that wrote it; now and then somebody asks the primary for its position and
//! so learns where all commits up to a number are at the latest; a node that has replayed so far has them.
//! Words are read and raised one by one; every order of that is on the safe side, as told beside it.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::Ordering;

use foldhash::fast::FixedState;

use super::layout;
use super::table::Segment;
use crate::error::NodeId;
use crate::sys::clock;

/// Which table of a database; `None`: any of any.
pub type Written<'a> = Option<(&'a str, &'a str)>;

impl Segment {
    /// What was committed before the start counts as the first commit, of any table.
    pub(super) fn begin_writes(&self) {
        self.store(Some(layout::STARTED_MICROS), clock::monotonic_micros());
        self.note_commit(&[None]);
    }

    /// When this segment was made (microseconds of the clock that never goes back).
    pub fn started_micros(&self) -> u64 {
        self.load(Some(layout::STARTED_MICROS))
    }

    /// A table is being written, or was.
    pub fn note_written(&self, table: Written<'_>, now_micros: u64) {
        self.raise(self.layout.written(self.place(table)), now_micros);
    }

    /// When a table was written last, or another one that has the same place; 0: never.
    pub fn written_at(&self, table: Written<'_>) -> u64 {
        self.load(self.layout.written(self.place(table)))
    }

    /// A commit that wrote these tables is done, and its client is about to be told.
    pub fn note_commit(&self, tables: &[Written<'_>]) {
        let Some(commits) = self.word(Some(layout::COMMITS)) else { return };
        let number = commits.fetch_add(1, Ordering::AcqRel) + 1;
        for table in tables {
            self.raise(self.layout.written(self.place(*table)).map(|at| at + 1), number);
        }
    }

    /// The newest commit.
    pub fn commits(&self) -> u64 {
        self.load(Some(layout::COMMITS))
    }

    /// The newest commit that wrote a table, or another one that has the same place.
    pub fn last_commit(&self, table: Written<'_>) -> u64 {
        self.load(self.layout.written(self.place(table)).map(|at| at + 1))
    }

    /// The primary was at `lsn` when `commits` had been read before it was asked.
    pub fn learn_position(&self, commits: u64, lsn: u64) {
        // The position first: whoever sees the number sees a position that is at least its own.
        self.raise(Some(layout::KNOWN_LSN), lsn);
        self.raise(Some(layout::KNOWN_COMMITS), commits);
    }

    /// A commit, and a position at which it and all before it are done.
    pub fn known_position(&self) -> (u64, u64) {
        let commits = self.load(Some(layout::KNOWN_COMMITS));
        (commits, self.load(Some(layout::KNOWN_LSN)))
    }

    /// Another primary may be at an older position.
    pub(super) fn forget_position(&self) {
        self.store(Some(layout::KNOWN_COMMITS), 0);
        self.store(Some(layout::KNOWN_LSN), 0);
    }

    /// A node streams from this primary.
    pub(super) fn note_root(&self, node: NodeId, root: Option<u64>) {
        // The number first: if the primary changes meanwhile, it is one that no longer counts.
        let primaries = self.load(Some(layout::PRIMARIES));
        if root.is_some() && root == self.primary().map(|primary| primary as u64) {
            self.store(self.layout.replayed(node).map(|at| at + 2), primaries);
        }
    }

    /// Whether positions of the node are of the history of the primary. As long as the first one is the primary no other
    /// history is known; later the node must have been seen to stream from the one that is.
    fn is_of_the_primary(&self, node: NodeId) -> bool {
        let primaries = self.load(Some(layout::PRIMARIES));
        primaries <= 1 || self.load(self.layout.replayed(node).map(|at| at + 2)) == primaries
    }

    /// A node has replayed up to `lsn`.
    pub fn note_replayed(&self, node: NodeId, lsn: u64) {
        if !self.is_of_the_primary(node) {
            return;
        }
        let (commits, known) = self.known_position();
        self.raise(self.layout.replayed(node), lsn);
        if lsn >= known {
            self.raise(self.layout.replayed(node).map(|at| at + 1), commits);
        }
        // The primary may have changed meanwhile.
        if !self.is_of_the_primary(node) {
            self.forget_replayed(node);
        }
    }

    /// The position that a node is known to have replayed, and the commit that it has with all before it.
    pub fn replayed(&self, node: NodeId) -> (u64, u64) {
        let at = self.layout.replayed(node);
        (self.load(at), self.load(at.map(|at| at + 1)))
    }

    /// A node may be another server than before, or the same with an older state.
    pub(super) fn forget_replayed(&self, node: NodeId) {
        let at = self.layout.replayed(node);
        self.store(at, 0);
        self.store(at.map(|at| at + 1), 0);
    }

    fn raise(&self, place: Option<usize>, value: u64) {
        if let Some(word) = self.word(place) {
            word.fetch_max(value, Ordering::AcqRel);
        }
    }

    /// By name without the schema, since a search_path may lead from one to the other.
    fn place(&self, table: Written<'_>) -> usize {
        let (Some((database, table)), count @ 1..) = (table, self.sizes().tables as u64) else { return 0 };
        let mut hasher = FixedState::default().build_hasher();
        hasher.write(database.as_bytes());
        hasher.write_u8(0);
        hasher.write(table.as_bytes());
        usize::try_from(hasher.finish() % count).map_or(0, |place| place + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::{NodeStatus, PgRole, Probe, Sizes};

    fn segment(tables: usize) -> Segment {
        Segment::create(Sizes { nodes: 2, tables, ..Sizes::default() }).unwrap()
    }

    const A: Written<'_> = Some(("db", "a"));
    const B: Written<'_> = Some(("db", "b"));

    #[test]
    fn each_table_has_its_last_write() {
        let segment = segment(1000);
        segment.note_written(A, 7);
        segment.note_written(A, 5);
        let times = [A, B, Some(("other", "a")), None].map(|table| segment.written_at(table));
        assert_eq!(times, [7, 0, 0, 0]);
        let first = segment.commits();
        assert_eq!((first, segment.last_commit(None), segment.last_commit(A)), (1, 1, 0));
        segment.note_commit(&[A, None]);
        segment.note_commit(&[B]);
        assert_eq!([A, B, None].map(|table| segment.last_commit(table)), [2, 3, 2]);
        assert_eq!(segment.commits(), 3);
    }

    #[test]
    fn without_places_all_tables_are_one() {
        let segment = segment(0);
        segment.note_written(A, 7);
        assert_eq!((segment.written_at(B), segment.written_at(None)), (7, 7));
    }

    #[test]
    fn a_node_has_the_commits_up_to_the_position_that_it_has_replayed() {
        let segment = segment(10);
        segment.note_commit(&[A]);
        segment.learn_position(2, 100);
        assert_eq!(segment.known_position(), (2, 100));
        segment.note_replayed(1, 99);
        assert_eq!(segment.replayed(1), (99, 0));
        segment.note_replayed(1, 100);
        assert_eq!(segment.replayed(1), (100, 2));
        segment.note_replayed(1, 50);
        assert_eq!(segment.replayed(1), (100, 2));
        segment.set_status(1, NodeStatus::Down, "gone", 1);
        assert_eq!(segment.replayed(1), (0, 0), "it may come back with less");
        segment.set_probe(1, Probe { pg_role: PgRole::Standby, replay_lsn: 150, ..Probe::default() });
        assert_eq!(segment.replayed(1), (150, 2));
        segment.set_probe(1, Probe { pg_role: PgRole::Primary, replay_lsn: 150, ..Probe::default() });
        assert_eq!(segment.replayed(1), (0, 0));
        segment.set_primary(Some(0), 1);
        assert_eq!(segment.known_position(), (0, 0));
    }

    #[test]
    fn positions_of_another_history_than_that_of_the_primary_do_not_count() {
        let segment = segment(10);
        segment.set_primary(Some(0), 1);
        let standby = |root| Probe { pg_role: PgRole::Standby, replay_lsn: 200, root, ..Probe::default() };
        segment.set_probe(1, standby(None));
        assert_eq!(segment.replayed(1).0, 200, "there is only one history");
        segment.set_primary(None, 2);
        segment.set_primary(Some(0), 3);
        segment.set_probe(1, standby(None));
        segment.note_replayed(1, 300);
        assert_eq!(segment.replayed(1).0, 0, "nobody has seen whom it follows");
        segment.set_probe(1, standby(Some(7)));
        assert_eq!(segment.replayed(1).0, 0, "it follows another one");
        segment.set_probe(1, standby(Some(0)));
        segment.note_replayed(1, 300);
        assert_eq!(segment.replayed(1).0, 300);
        segment.set_primary(Some(1), 4);
        assert_eq!(segment.replayed(1).0, 0);
    }
}
