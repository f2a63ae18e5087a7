//! Answers of the databases' catalogs that the workers share, and the epochs by which DDL outdates them.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::Ordering;
use std::time::Duration;

use foldhash::fast::FixedState;

use super::layout::EPOCHS;
use super::rows::{ANSWER, CatalogRow};
use super::seqlock;
use super::table::Segment;
use crate::sys::clock;

/// A question, as a hash that no two share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogKey(pub u128);

/// Places that an answer may have.
const WAYS: usize = 2;

impl Segment {
    /// Where the epoch of a database stands, in every process.
    pub fn catalog_place(database: &str) -> usize {
        let mut hasher = FixedState::default().build_hasher();
        hasher.write(database.as_bytes());
        // Of 64, so that it fits.
        (hasher.finish() % EPOCHS as u64) as usize
    }

    /// Goes up with every change to the catalog of the databases that have this place.
    pub fn catalog_epoch(&self, place: usize) -> u64 {
        self.load(self.layout.epoch(place))
    }

    /// The catalog of `database` has changed.
    pub fn outdate_catalog(&self, database: &str) {
        if let Some(epoch) = self.word(self.layout.epoch(Self::catalog_place(database))) {
            epoch.fetch_add(1, Ordering::Release);
        }
    }

    /// Leaves an answer to the others, if it is short and nobody else writes there just now.
    pub fn share_answer(&self, key: CatalogKey, epoch: u64, answer: &str) {
        let places = self.places(key);
        if answer.len() > ANSWER || places.is_empty() {
            return;
        }
        let (question, question_end) = halves(key);
        let row =
            CatalogRow { question, question_end, epoch, at: clock::unix_seconds(), answer: answer.into() };
        // Its own place, one that is of no use any more, or the one that was written first.
        let worth = |at: &usize| match self.answer(*at) {
            Some(old) if (old.question, old.question_end) == (question, question_end) => (0, 0),
            Some(old) => (1, old.at),
            None => (2, 0),
        };
        if let Some(at) = places.into_iter().min_by_key(worth) {
            seqlock::try_write(self.cell(self.layout.answer(at)), &row);
        }
    }

    /// The answer that somebody left at `epoch`, and how old it is.
    pub fn shared_answer(&self, key: CatalogKey, epoch: u64) -> Option<(String, Duration)> {
        let (question, question_end) = halves(key);
        let is_it = |row: &CatalogRow| {
            (row.question, row.question_end, row.epoch) == (question, question_end, epoch) && row.at > 0
        };
        let row = self.places(key).into_iter().filter_map(|at| self.answer(at)).find(is_it)?;
        let age = clock::unix_seconds().saturating_sub(row.at);
        Some((row.answer.as_str().to_owned(), Duration::from_secs(age)))
    }

    fn answer(&self, at: usize) -> Option<CatalogRow> {
        seqlock::read(self.cell(self.layout.answer(at)))
    }

    fn places(&self, key: CatalogKey) -> Vec<usize> {
        let count = self.sizes().answers as u64;
        let (one, two) = halves(key);
        let place = |half: u64| usize::try_from(half.checked_rem(count)?).ok();
        [one, two].into_iter().take(WAYS).filter_map(place).collect()
    }
}

fn halves(key: CatalogKey) -> (u64, u64) {
    ((key.0 >> 64) as u64, key.0 as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::Sizes;

    #[test]
    fn answers_are_of_their_question_and_epoch() {
        let sizes = Sizes {
            workers: 1,
            sessions_per_worker: 1,
            pools_per_worker: 1,
            nodes: 1,
            answers: 2,
            tables: 0,
            learned: 16,
        };
        let segment = Segment::create(sizes).unwrap();
        let key = |one: u64, two: u64| CatalogKey((u128::from(one) << 64) | u128::from(two));
        let get = |key, epoch| segment.shared_answer(key, epoch).map(|(answer, _)| answer);
        assert_eq!(get(key(0, 0), 0), None, "nobody has written");
        segment.share_answer(key(0, 1), 3, "a");
        assert_eq!(get(key(0, 1), 3).as_deref(), Some("a"));
        assert_eq!((get(key(0, 1), 4), get(key(0, 3), 3)), (None, None));
        segment.share_answer(key(0, 1), 4, "b");
        segment.share_answer(key(2, 3), 4, "c");
        assert_eq!(get(key(0, 1), 4).as_deref(), Some("b"), "the other place was free");
        assert_eq!(get(key(2, 3), 4).as_deref(), Some("c"));
        segment.share_answer(key(4, 5), 4, &"x".repeat(ANSWER + 1));
        assert_eq!(get(key(4, 5), 4), None);
        segment.share_answer(key(4, 5), 4, &"x".repeat(ANSWER));
        assert_eq!(get(key(4, 5), 4).map(|answer| answer.len()), Some(ANSWER));
    }

    #[test]
    fn a_change_is_seen_in_the_database_s_epoch() {
        let sizes =
            Sizes { workers: 1, sessions_per_worker: 1, pools_per_worker: 1, nodes: 1, ..Sizes::default() };
        let segment = Segment::create(sizes).unwrap();
        let epoch = |database| segment.catalog_epoch(Segment::catalog_place(database));
        let before = (epoch("a"), epoch("b"));
        segment.outdate_catalog("a");
        assert_ne!(epoch("a"), before.0);
        assert_eq!(epoch("b"), before.1);
        segment.share_answer(CatalogKey(1), 0, "a");
        assert_eq!(segment.shared_answer(CatalogKey(1), 0), None, "no room for any");
    }
}
