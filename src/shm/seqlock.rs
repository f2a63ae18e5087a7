//! Seqlock cells: one writer, any number of readers, nobody ever waits for somebody who died.
//!
//! A cell is a version word and the words of the value. Odd version: a write is under way, or its
//! writer died in it. A reader tries a bounded number of times; the next write, or `clear` by whoever
//! reaped the writer, makes the cell whole again. The writer may be any process; words never tear.
#![forbid(unsafe_code)]

use std::hint;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::thread;

use super::words::{Source, Word};

/// Words of the largest row; `read` copies into a buffer of this size.
const MAX_WORDS: usize = 128;

/// A writer needs well under a microsecond unless it loses the processor; yields let it have it back.
const SPINS: u32 = 64;
const YIELDS: u32 = 256;

/// Words a cell of `T` takes in the segment.
pub(super) const fn size<T: Word>() -> usize {
    assert!(T::WORDS <= MAX_WORDS);
    1 + T::WORDS
}

/// Writes the value. Only the cell's one writer may call this.
pub(super) fn write<T: Word>(cell: &[AtomicU64], value: &T) {
    let Some((version, words)) = cell.split_first() else { return };
    // An odd version was left by a writer that died; this write completes it.
    let odd = version.load(Ordering::Relaxed) | 1;
    version.store(odd, Ordering::Relaxed);
    fence(Ordering::Release);
    let mut slots = words.iter();
    value.put(&mut |word| {
        if let Some(slot) = slots.next() {
            slot.store(word, Ordering::Relaxed);
        }
    });
    version.store(odd.wrapping_add(1), Ordering::Release);
}

/// Writes the value into a cell that has many writers; nothing happens while another one writes. A writer that
/// dies in it leaves the cell of no use to anybody.
pub(super) fn try_write<T: Word>(cell: &[AtomicU64], value: &T) {
    let Some(version) = cell.first() else { return };
    let even = version.load(Ordering::Relaxed) & !1;
    if version.compare_exchange(even, even | 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
        write(cell, value);
    }
}

/// A consistent copy; `None` if the writer died in the middle and nobody has repaired the cell yet.
pub(super) fn read<T: Word>(cell: &[AtomicU64]) -> Option<T> {
    let (version, words) = cell.split_first()?;
    for attempt in 0..SPINS + YIELDS {
        let before = version.load(Ordering::Acquire);
        if before % 2 == 0 {
            let mut copy = [0; MAX_WORDS];
            let copy = copy.get_mut(..T::WORDS)?;
            copy.iter_mut().zip(words).for_each(|(to, from)| *to = from.load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if version.load(Ordering::Relaxed) == before {
                return Some(T::take(&mut Source::new(copy)));
            }
        }
        if attempt < SPINS { hint::spin_loop() } else { thread::yield_now() }
    }
    None
}

/// Whether a writer is in the middle of a write, or died there.
pub(super) fn is_torn(cell: &[AtomicU64]) -> bool {
    cell.first().is_some_and(|version| version.load(Ordering::Acquire) % 2 == 1)
}

/// Whether anybody ever wrote the cell.
pub(super) fn is_written(cell: &[AtomicU64]) -> bool {
    cell.first().is_some_and(|version| version.load(Ordering::Acquire) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::table::Segment;
    use crate::shm::{SessionRow, Sizes};
    use crate::sys::process::{die_with, fork, own_id, send_signal};
    use crate::sys::signals::Number;
    use nix::sys::wait::waitpid;
    use nix::unistd::Pid;
    use std::time::Duration;

    type Row = SessionRow;

    fn cell() -> Vec<AtomicU64> {
        (0..size::<Row>()).map(|_| AtomicU64::new(0)).collect()
    }

    fn row(n: u64) -> Row {
        let text = n.to_string();
        Row { user: text.as_str().into(), database: text.as_str().into(), connected_at: n, ..Row::default() }
    }

    #[test]
    fn zeroed_memory_reads_as_the_empty_row() {
        assert_eq!(read::<Row>(&cell()), Some(Row::default()));
    }

    #[test]
    fn a_torn_cell_reads_as_none_and_the_next_write_repairs_it() {
        let cell = cell();
        write(&cell, &row(1));
        cell[0].fetch_add(1, Ordering::Relaxed);
        assert!(is_torn(&cell));
        assert_eq!(read::<Row>(&cell), None);
        write(&cell, &row(2));
        assert!(!is_torn(&cell));
        assert_eq!(read(&cell), Some(row(2)));
    }

    #[test]
    fn of_many_writers_one_writes() {
        let cell = cell();
        try_write(&cell, &row(1));
        assert_eq!(read(&cell), Some(row(1)));
        cell[0].fetch_add(1, Ordering::Relaxed);
        try_write(&cell, &row(2));
        cell[0].fetch_sub(1, Ordering::Relaxed);
        assert_eq!(read(&cell), Some(row(1)), "another one was in it");
    }

    #[test]
    fn a_reader_never_sees_half_a_row_while_another_process_writes() {
        let sizes =
            Sizes { workers: 1, sessions_per_worker: 1, pools_per_worker: 1, nodes: 1, ..Sizes::default() };
        let segment = Segment::create(sizes).unwrap();
        for round in 0..20 {
            let parent = own_id();
            let child = fork(|| {
                if !die_with(parent).unwrap_or(false) {
                    return 1;
                }
                for n in 0.. {
                    segment.set_session(0, 0, &row(n));
                }
                0
            })
            .unwrap();
            let deadline = std::time::Instant::now() + Duration::from_millis(10 + round);
            while std::time::Instant::now() < deadline {
                let seen = segment.session(0, 0);
                assert_eq!(seen.user.as_str(), seen.database.as_str());
                if !seen.user.is_empty() {
                    assert_eq!(seen.user.as_str(), seen.connected_at.to_string());
                }
            }
            // Killed between any two instructions: the rest must go on.
            send_signal(child, Number::SIGKILL).unwrap();
            waitpid(Pid::from_raw(child), None).unwrap();
            let after = segment.session(0, 0);
            assert_eq!(after.user.as_str(), after.database.as_str());
            segment.clear_worker(0);
            assert_eq!(segment.session(0, 0), Row::default());
            segment.set_session(0, 0, &row(round));
            assert_eq!(segment.session(0, 0), row(round));
        }
    }
}
