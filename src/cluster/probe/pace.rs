//! When the replication check looks next.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// While sessions wait for a primary, or one that was there may be gone.
const QUICK: Duration = Duration::from_millis(200);
/// While that goes on: pgpool-II looks for a primary every second, too.
const PATIENT: Duration = Duration::from_secs(1);
/// How long to hurry.
const HURRY: Duration = Duration::from_secs(60);

/// How fast rounds follow each other.
#[derive(Debug, Default)]
pub struct Pace {
    unsettled_since: Option<Instant>,
}

impl Pace {
    /// Takes what the last round found; see [`super::Findings::unsettled`].
    pub fn note(&mut self, unsettled: bool, now: Instant) {
        self.unsettled_since = unsettled.then(|| self.unsettled_since.unwrap_or(now));
    }

    /// From the beginning of a round to that of the next. `held`: sessions wait for the end of the search.
    pub fn interval(&self, period: Duration, held: bool, now: Instant) -> Duration {
        match self.unsettled_since {
            _ if held => QUICK,
            Some(since) if now.saturating_duration_since(since) < HURRY => QUICK,
            Some(_) => period.min(PATIENT),
            None => period,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_hurry_while_there_is_no_primary() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let period = Duration::from_secs(10);
        let mut pace = Pace::default();
        let cases = [
            (0, false, false, period),
            (1, true, false, QUICK),
            (60, true, false, QUICK),
            (61, true, false, PATIENT),
            (62, true, true, QUICK),
            (63, false, true, QUICK),
            (64, false, false, period),
            (65, true, false, QUICK),
        ];
        for (second, unsettled, held, expected) in cases {
            pace.note(unsettled, after(second));
            assert_eq!(pace.interval(period, held, after(second)), expected, "{second}");
        }
        let short = Duration::from_millis(500);
        assert_eq!(pace.interval(short, false, after(200)), short);
    }
}
