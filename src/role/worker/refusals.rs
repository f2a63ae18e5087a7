//! Clients that have not proved who they are hear of it later (`auth_failure_delay`), so that nobody guesses many passwords in
//! a while. Each has left its place by then: only its socket waits, and others come in meanwhile.
//!
//! Those of one address are told one after another. Pure but for the last part, which sends.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Worker;
use crate::net::{ConnId, Wire};

/// Most that wait at once; the one that would be told next makes room.
const MOST: usize = 256;

/// Most that wait for each other; who comes behind them is told with the last.
const MOST_IN_A_ROW: u32 = 16;

/// What a client will be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) client: ConnId,
    /// `None`: over a Unix socket.
    pub(super) from: Option<IpAddr>,
    pub(super) bytes: Vec<u8>,
}

/// Those that wait, by the moment that they are told.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    waiting: Vec<(Instant, Refusal)>,
}

impl Refusals {
    /// Has one wait for `delay`, behind those of its address. Gives who is told now to make room.
    fn add(&mut self, refusal: Refusal, delay: Duration, now: Instant) -> Option<Refusal> {
        let of_address = self.waiting.iter().filter(|(_, other)| other.from == refusal.from);
        let last = of_address.map(|(due, _)| *due).max().unwrap_or(now).max(now);
        let due = (last + delay).min(now + delay * MOST_IN_A_ROW);
        let makes_room = (self.waiting.len() >= MOST).then(|| self.waiting.remove(0).1);
        let place = self.waiting.partition_point(|(other, _)| *other <= due);
        self.waiting.insert(place, (due, refusal));
        makes_room
    }

    /// Takes those that are due.
    fn due(&mut self, now: Instant) -> Vec<Refusal> {
        let count = self.waiting.partition_point(|(due, _)| *due <= now);
        self.waiting.drain(..count).map(|(_, refusal)| refusal).collect()
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _)| *due)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Worker {
    /// A session has ended with this, which its client shall hear later.
    pub(super) fn refuse_later(&mut self, refusal: Refusal) {
        let delay = Duration::from_millis(self.sessions.shared.config.auth_failure_delay.unsigned_abs());
        let makes_room = self.refusals.add(refusal, delay, Instant::now());
        self.tell_refused(makes_room);
    }

    /// Tells those whose time has come.
    pub(super) fn tell_due(&mut self, now: Instant) {
        let due = self.refusals.due(now);
        self.tell_refused(due);
    }

    /// Tells all: the process will end.
    pub(super) fn tell_all_refused(&mut self) {
        let all = std::mem::take(&mut self.refusals).waiting;
        self.tell_refused(all.into_iter().map(|(_, refusal)| refusal));
    }

    /// Who has gone meanwhile hears nothing.
    fn tell_refused(&mut self, refusals: impl IntoIterator<Item = Refusal>) {
        for refusal in refusals {
            self.net.send(refusal.client, &refusal.bytes);
            self.net.close_when_sent(refusal.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(100);

    fn refusal(number: u32, from: &str) -> Refusal {
        Refusal { client: ConnId::new(number, 0), from: from.parse().ok(), bytes: Vec::new() }
    }

    fn numbers(refusals: &[Refusal]) -> Vec<ConnId> {
        refusals.iter().map(|refusal| refusal.client).collect()
    }

    fn ids(numbers: &[u32]) -> Vec<ConnId> {
        numbers.iter().map(|number| ConnId::new(*number, 0)).collect()
    }

    #[test]
    fn those_of_one_address_are_told_one_after_another() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        for (number, from) in
            [(1, "10.0.0.1"), (2, "10.0.0.1"), (3, "10.0.0.2"), (4, "local"), (5, "10.0.0.1")]
        {
            assert_eq!(refusals.add(refusal(number, from), DELAY, now), None);
        }
        assert_eq!(refusals.next(), Some(now + DELAY));
        assert_eq!(refusals.due(now + DELAY - Duration::from_millis(1)), []);
        assert_eq!(numbers(&refusals.due(now + DELAY)), ids(&[1, 3, 4]));
        assert_eq!(numbers(&refusals.due(now + DELAY * 2)), ids(&[2]));
        // Its own delay begins when it comes.
        refusals.add(refusal(6, "10.0.0.2"), DELAY, now + DELAY * 2);
        assert_eq!(numbers(&refusals.due(now + DELAY * 3)), ids(&[5, 6]));
        assert!(refusals.is_empty() && refusals.next().is_none());
    }

    #[test]
    fn neither_the_wait_nor_the_number_is_without_bound() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        for number in 0..MOST as u32 {
            assert_eq!(refusals.add(refusal(number, "10.0.0.1"), DELAY, now), None);
        }
        let more = refusals.add(refusal(MOST as u32, "10.0.0.1"), DELAY, now).map(|refusal| refusal.client);
        assert_eq!(more, Some(ConnId::new(0, 0)), "the next one makes room");
        assert_eq!(refusals.due(now + DELAY * MOST_IN_A_ROW).len(), MOST);
    }
}
