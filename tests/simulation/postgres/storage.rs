//! What a node has on disk: a log of commits, which a standby gets from its primary and replays.

use super::super::statement::Id;
use super::Lies;

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::simulation) struct Record {
    /// Of this run, so that two timelines are told apart.
    pub(in crate::simulation) number: u64,
    pub(in crate::simulation) ids: Vec<Id>,
}

/// The log and how far it is visible.
pub(in crate::simulation) struct Storage {
    pub(in crate::simulation) is_standby: bool,
    /// Each promotion begins one.
    pub(in crate::simulation) timeline: u32,
    pub(in crate::simulation) lies: Lies,
    /// Commits are answered when the standbys have them.
    pub(in crate::simulation) is_synchronous: bool,
    pub(in crate::simulation) log: Vec<Record>,
    /// Records that reads see.
    pub(in crate::simulation) replayed: usize,
    /// Records that every synchronous standby has.
    pub(in crate::simulation) confirmed: usize,
}

impl Storage {
    pub(in crate::simulation) fn new(is_standby: bool, is_synchronous: bool) -> Storage {
        Storage {
            is_standby,
            timeline: 1,
            lies: Lies::default(),
            is_synchronous,
            log: Vec::new(),
            replayed: 0,
            confirmed: 0,
        }
    }

    /// Commits; returns how much of the log must be confirmed before the client may be told.
    pub(super) fn commit(&mut self, number: u64, ids: Vec<Id>) -> usize {
        self.log.push(Record { number, ids });
        self.replayed = self.log.len();
        self.replayed
    }

    /// Whether a commit up to there may be told.
    pub(super) fn is_confirmed(&self, up_to: usize) -> bool {
        !self.is_synchronous || up_to <= self.confirmed
    }

    /// Whether reads see this row.
    pub(super) fn has(&self, id: Id) -> bool {
        self.log.iter().take(self.replayed).any(|record| record.ids.contains(&id))
    }

    /// The position that the node tells.
    pub(in crate::simulation) fn position(&self) -> u64 {
        let ahead = if self.lies.is_ahead { 1 << 20 } else { 0 };
        0x1000 + 16 * self.replayed as u64 + ahead
    }

    /// Whether the other's log continues this one.
    pub(in crate::simulation) fn is_continued_by(&self, other: &Storage) -> bool {
        other.log.len() >= self.log.len()
            && other.log.iter().zip(&self.log).all(|(theirs, ours)| theirs == ours)
    }
}
