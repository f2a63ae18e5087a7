//! When the next attempt to connect is made.
#![forbid(unsafe_code)]

use std::time::Duration;

/// The first wait; each one behind it is twice as long.
const FIRST: Duration = Duration::from_millis(100);

/// A connection that has lasted so long was a good one.
pub(super) const GOOD: Duration = Duration::from_secs(5);

/// The waits between attempts.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// An attempt has failed, or a connection that `lasted` so long has ended: the wait before the next attempt.
    pub fn wait(&mut self, lasted: Duration, most: Duration) -> Duration {
        if lasted >= GOOD {
            self.failures = 0;
        }
        let wait = FIRST.saturating_mul(1 << self.failures.min(20)).min(most);
        self.failures = self.failures.saturating_add(1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_until_a_connection_lasts() {
        let (mut backoff, most) = (Backoff::default(), Duration::from_secs(1));
        let mut wait = |lasted| backoff.wait(Duration::from_secs(lasted), most).as_millis();
        assert_eq!([0, 0, 0, 1, 0, 0, 4].map(&mut wait), [100, 200, 400, 800, 1000, 1000, 1000]);
        assert_eq!([5, 0, 60].map(wait), [100, 200, 100]);
    }
}
