//! Where log lines go that no file takes: standard error, a bounded number of them, and the others are counted.
#![forbid(unsafe_code)]

use std::io::Write;

/// Lines a second: enough to see what is wrong, too few to fill a journal.
const LINES_A_SECOND: u64 = 50;

/// Standard error with a rate limit.
pub(super) struct Fallback<W> {
    to: W,
    second: u64,
    written: u64,
    /// Lines since `recovered` that the file did not take.
    missed: u64,
}

impl<W: Write> Fallback<W> {
    pub(super) fn new(to: W) -> Fallback<W> {
        Fallback { to, second: 0, written: 0, missed: 0 }
    }

    /// Takes lines that could not be written to the file.
    pub(super) fn write(&mut self, lines: &[u8], now: u64) {
        if self.second != now {
            (self.second, self.written) = (now, 0);
        }
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.missed += 1;
            if self.written < LINES_A_SECOND {
                self.written += 1;
                // Nobody is left to tell.
                let _ = self.to.write_all(line);
            }
        }
    }

    /// How many lines the file has missed.
    pub(super) fn missed(&self) -> u64 {
        self.missed
    }

    /// The file takes lines again: how many it has missed.
    pub(super) fn recovered(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_a_second_and_all_are_counted() {
        let mut fallback = Fallback::new(Vec::new());
        let lines = b"a line\n".repeat(LINES_A_SECOND as usize);
        for now in [7, 7, 7, 8] {
            fallback.write(&lines, now);
        }
        assert_eq!(fallback.to.len(), lines.len() * 2);
        assert_eq!(fallback.recovered(), LINES_A_SECOND * 4);
        assert_eq!(fallback.recovered(), 0);
    }
}
