//! What holds sessions back: a change of roles, and operators who pause the program; and how far workers have followed.
#![forbid(unsafe_code)]

use super::layout;
use super::rows::Hold;
use super::table::Segment;

/// The low bits of the word of the hold are its kind; the others count.
const HOLD_BITS: u32 = 2;
const HOLD_KIND: u64 = (1 << HOLD_BITS) - 1;

impl Segment {
    /// What sessions hold back, and the number of this time; 0 while they hold back nothing.
    pub fn hold(&self) -> (Hold, u64) {
        let word = self.load(Some(layout::HOLD));
        match Hold::from_word(word & HOLD_KIND) {
            Hold::Nothing => (Hold::Nothing, 0),
            hold => (hold, word >> HOLD_BITS),
        }
    }

    /// Says what sessions hold back from now on; the same again is the same time. The supervisor alone may.
    pub fn set_hold(&self, hold: Hold) {
        let word = self.load(Some(layout::HOLD));
        if word & HOLD_KIND != hold as u64 {
            self.store(Some(layout::HOLD), ((word >> HOLD_BITS) + 1) << HOLD_BITS | hold as u64);
            self.bump();
        }
    }

    /// Number of the last hold that a worker has nothing left to end for.
    pub fn quiet(&self, worker: usize) -> u64 {
        self.load(self.layout.quiet(worker))
    }

    /// Says that no transaction is left in a worker that began before hold `number`. That worker alone may.
    pub fn set_quiet(&self, worker: usize, number: u64) {
        self.store(self.layout.quiet(worker), number);
    }

    /// The number of the pause that is on.
    pub fn pause(&self) -> Option<u64> {
        Some(self.load(Some(layout::PAUSE))).filter(|number| number % 2 == 1)
    }

    /// Begins or ends a pause; to do so twice is to do so once. The supervisor alone may.
    pub fn set_paused(&self, paused: bool) {
        if self.pause().is_some() != paused {
            self.store(Some(layout::PAUSE), self.load(Some(layout::PAUSE)).wrapping_add(1));
            self.bump();
        }
    }

    /// Number of the last pause that a worker has nothing left to end for.
    pub fn pause_quiet(&self, worker: usize) -> u64 {
        self.load(self.layout.pause_quiet(worker))
    }

    /// Says that no transaction is left in a worker that began before pause `number`. That worker alone may.
    pub fn set_pause_quiet(&self, worker: usize, number: u64) {
        self.store(self.layout.pause_quiet(worker), number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::Sizes;

    fn segment() -> Segment {
        Segment::create(Sizes { workers: 2, nodes: 2, ..Sizes::default() }).unwrap()
    }

    #[test]
    fn every_hold_has_a_number_of_its_own() {
        let segment = segment();
        assert_eq!(segment.hold(), (Hold::Nothing, 0));
        segment.set_hold(Hold::Transactions);
        let (kind, first) = segment.hold();
        segment.set_hold(Hold::Transactions);
        assert_eq!((kind, segment.hold().1), (Hold::Transactions, first));
        segment.set_quiet(1, first);
        assert_eq!([segment.quiet(0), segment.quiet(1)], [0, first]);
        segment.set_hold(Hold::Writes);
        assert_eq!(segment.hold().0, Hold::Writes);
        assert!(segment.hold().1 > first);
        segment.set_hold(Hold::Nothing);
        assert_eq!(segment.hold(), (Hold::Nothing, 0));
    }

    #[test]
    fn every_pause_has_a_number_of_its_own() {
        let segment = segment();
        assert_eq!(segment.pause(), None);
        segment.set_paused(true);
        let (first, generation) = (segment.pause().unwrap(), segment.generation());
        segment.set_paused(true);
        assert_eq!((segment.pause(), segment.generation()), (Some(first), generation));
        segment.set_pause_quiet(1, first);
        assert_eq!((segment.pause_quiet(0), segment.pause_quiet(1)), (0, first));
        segment.set_paused(false);
        assert_eq!(segment.pause(), None);
        segment.set_paused(true);
        assert!(segment.pause().unwrap() > first);
        segment.clear_worker(1);
        assert_eq!(segment.pause_quiet(1), 0);
    }
}
