//! What is logged of a broker that is not there, refuses us or is too slow: every reason once an outage, not for each
//! attempt or message.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::backoff::GOOD;

/// Reasons of one outage that are logged.
const MOST_REASONS: usize = 8;

/// What was logged of the outage.
#[derive(Debug, Default)]
pub struct Outage {
    reasons: Vec<String>,
    /// That the connection is there.
    told_connected: bool,
    /// What was dropped, missed and refused before it was told that something is.
    losses: Option<[u64; 3]>,
}

impl Outage {
    /// An attempt has failed, or a connection that `lasted` so long has ended. Whether the reason is to be logged.
    pub fn begins(&mut self, reason: &str, lasted: Duration) -> bool {
        if lasted >= GOOD {
            self.reasons.clear();
        }
        let is_new = self.reasons.len() < MOST_REASONS && !self.reasons.iter().any(|told| told == reason);
        if is_new {
            self.reasons.push(reason.to_owned());
            self.told_connected = false;
        }
        is_new
    }

    /// There is a connection. Whether that is to be logged.
    pub fn ends(&mut self) -> bool {
        !std::mem::replace(&mut self.told_connected, true)
    }

    /// Messages were lost: how many dropped, missed and refused there are now, since the start. Whether it is to be logged
    /// that it begins.
    pub fn loses(&mut self, before: [u64; 3], now: [u64; 3]) -> bool {
        if before == now || self.losses.is_some() {
            return false;
        }
        self.losses = Some(before);
        true
    }

    /// How many were dropped, missed and refused, if any were and all that waited is with the broker now.
    pub fn recovers(&mut self, is_over: bool, now: [u64; 3]) -> Option<[u64; 3]> {
        let before = self.losses.take_if(|_| is_over)?;
        let mut lost = now;
        lost.iter_mut().zip(before).for_each(|(now, before)| *now = now.saturating_sub(before));
        Some(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(10);

    #[test]
    fn each_reason_is_told_once_an_outage() {
        let mut outage = Outage::default();
        assert!(outage.ends() && !outage.ends());
        assert!(outage.begins("refused", GOOD));
        assert!((0..1000).all(|_| !outage.begins("refused", Duration::ZERO)));
        assert!(outage.begins("wrong password", Duration::ZERO) && !outage.begins("refused", Duration::ZERO));
        assert!(outage.ends());
        // One that breaks again at once is the same outage.
        assert!(!outage.begins("refused", SHORT) && !outage.ends());
        assert!(outage.begins("refused", GOOD) && outage.ends());
        let told = (0..1000).filter(|n| outage.begins(&n.to_string(), Duration::ZERO)).count();
        assert_eq!(told, MOST_REASONS - 1, "however many reasons there are");
    }

    #[test]
    fn losses_are_told_when_they_begin_and_when_they_are_over() {
        let mut outage = Outage::default();
        assert_eq!(outage.recovers(true, [0; 3]), None);
        assert!(!outage.loses([0; 3], [0; 3]) && outage.loses([0; 3], [1, 0, 0]));
        assert!((2..1000).all(|n| !outage.loses([n - 1, 0, 0], [n, 0, 0])));
        assert_eq!(outage.recovers(false, [9, 2, 0]), None);
        assert_eq!(outage.recovers(true, [1000, 2, 0]), Some([1000, 2, 0]));
        assert_eq!(outage.recovers(true, [1000, 2, 0]), None);
    }
}
