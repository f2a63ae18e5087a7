//! Statements a second, of late.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::Instant;

/// Looks that are kept, one a second.
const LOOKS: usize = 11;

#[derive(Default)]
pub(super) struct Meter {
    looks: VecDeque<(Instant, u64)>,
}

impl Meter {
    /// Takes note of how many statements there were until now.
    pub(super) fn note(&mut self, total: u64, now: Instant) {
        if self.looks.len() >= LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back((now, total));
    }

    /// Statements a second since the oldest look.
    pub(super) fn rate(&self) -> f64 {
        let (Some((from, before)), Some((to, after))) = (self.looks.front(), self.looks.back()) else {
            return 0.0;
        };
        let seconds = to.saturating_duration_since(*from).as_secs_f64();
        if seconds > 0.0 { after.saturating_sub(*before) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_ten_seconds() {
        let (start, mut meter) = (Instant::now(), Meter::default());
        assert_eq!(meter.rate(), 0.0);
        for second in 0..30 {
            let total = if second < 10 { second * 100 } else { 1000 + (second - 10) * 5 };
            meter.note(total, start + Duration::from_secs(second));
        }
        assert_eq!(meter.rate(), 5.0);
    }
}
