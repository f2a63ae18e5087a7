//! Messages that wait for the broker: so many and no more.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::message::Message;
use crate::shm::Ring;

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What is published.
    pub message: Message,
    /// The event that it is of: its ring and number; `None`: of none.
    pub event: Option<(Ring, u64)>,
    /// No other message of the event comes behind it.
    pub is_last: bool,
}

impl Entry {
    fn is_reading(&self) -> bool {
        matches!(self.event, Some((Ring::Readings, _)))
    }
}

/// Where messages wait, in the order in which they were made.
#[derive(Debug)]
pub struct Queue {
    most: usize,
    entries: VecDeque<Entry>,
    /// How many of them are of readings.
    readings: usize,
    dropped: u64,
}

impl Queue {
    /// For `most` messages.
    pub fn new(most: usize) -> Queue {
        Queue { most, entries: VecDeque::new(), readings: 0, dropped: 0 }
    }

    /// Another number; what is too much goes.
    pub fn resize(&mut self, most: usize) {
        self.most = most;
        self.shrink();
    }

    /// Takes a message. If there are too many, the oldest one goes, and readings go before what is rare.
    pub fn push(&mut self, entry: Entry) {
        self.readings += usize::from(entry.is_reading());
        self.entries.push_back(entry);
        self.shrink();
    }

    /// Takes a message that is to go before the others.
    pub fn push_first(&mut self, entry: Entry) {
        self.readings += usize::from(entry.is_reading());
        self.entries.push_front(entry);
        self.shrink();
    }

    /// Takes back what was on its way, in its order. It goes first again.
    pub fn put_back(&mut self, entries: impl DoubleEndedIterator<Item = Entry>) {
        for entry in entries.rev() {
            self.readings += usize::from(entry.is_reading());
            self.entries.push_front(entry);
        }
        self.shrink();
    }

    /// The next message.
    pub fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.readings -= usize::from(entry.is_reading());
        Some(entry)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many had to go, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn shrink(&mut self) {
        while self.entries.len() > self.most {
            let oldest = match self.readings {
                0 => 0,
                _ => self.entries.iter().position(Entry::is_reading).unwrap_or(0),
            };
            if self.entries.remove(oldest).is_some_and(|entry| entry.is_reading()) {
                self.readings -= 1;
            }
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(ring: Ring, number: u64) -> Entry {
        let message = Message { topic: "t".to_owned(), payload: Vec::new(), retained: false };
        Entry { message, event: Some((ring, number)), is_last: true }
    }

    fn numbers(queue: &mut Queue) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop()).filter_map(|entry| entry.event).map(|(_, number)| number).collect()
    }

    #[test]
    fn the_oldest_goes_and_is_counted() {
        let mut queue = Queue::new(3);
        (1..=5).for_each(|number| queue.push(entry(Ring::Events, number)));
        assert_eq!((queue.len(), queue.dropped()), (3, 2));
        assert_eq!(numbers(&mut queue), [3, 4, 5]);
        assert!(queue.is_empty());
    }

    #[test]
    fn readings_go_before_what_is_rare() {
        let mut queue = Queue::new(3);
        queue.push(entry(Ring::Events, 1));
        (2..=9).for_each(|number| queue.push(entry(Ring::Readings, number)));
        queue.push(entry(Ring::Events, 10));
        assert_eq!(queue.dropped(), 7);
        assert_eq!(numbers(&mut queue), [1, 9, 10]);
        (1..=3).for_each(|number| queue.push(entry(Ring::Events, number)));
        queue.push(entry(Ring::Readings, 4));
        assert_eq!(numbers(&mut queue), [1, 2, 3], "a reading finds no room among what is rare");
    }

    #[test]
    fn what_comes_back_goes_first_in_its_order() {
        let mut queue = Queue::new(9);
        (1..=4).for_each(|number| queue.push(entry(Ring::Events, number)));
        let flight: Vec<Entry> = (0..3).filter_map(|_| queue.pop()).collect();
        queue.put_back(flight.into_iter());
        queue.push_first(entry(Ring::Events, 0));
        queue.resize(4);
        assert_eq!((numbers(&mut queue), queue.dropped()), (vec![1, 2, 3, 4], 1));
    }
}
