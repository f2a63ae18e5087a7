//! The ring of events, which readers follow by number, and who recovers a node.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use super::layout::{self, EVENTS};
use super::rows::{EventKind, EventRow, FailoverReason, RecoveryRow};
use super::table::Segment;
use crate::error::NodeId;
use crate::sys::clock;

/// Which process recovers a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryBy {
    /// That of PCP.
    Pcp = 1,
    /// That of the REST API.
    Rest = 2,
}

impl Segment {
    /// Notes what has happened. The supervisor alone may.
    pub fn note_event(&self, kind: EventKind, node: Option<NodeId>, old: &str, new: &str, reason: &str) {
        let number = self.last_event() + 1;
        let row = EventRow {
            number,
            at_millis: u64::try_from(clock::since_epoch().as_millis()).unwrap_or(u64::MAX),
            kind,
            node_plus_1: node.and_then(|node| u32::try_from(node + 1).ok()).unwrap_or(0),
            old: old.into(),
            new: new.into(),
            reason: reason.into(),
        };
        self.write(self.layout.event(number), &row);
        // Behind the row: who sees the number finds the event.
        self.store(Some(layout::LAST_EVENT), number);
    }

    /// Number of the last event; 0: there was none.
    pub fn last_event(&self) -> u64 {
        self.load(Some(layout::LAST_EVENT))
    }

    /// A primary was replaced. The supervisor alone may.
    pub fn count_failover(&self, reason: FailoverReason) {
        self.store(Some(self.layout.failovers(reason)), self.failovers(reason) + 1);
    }

    /// How often a primary was replaced for this reason.
    pub fn failovers(&self, reason: FailoverReason) -> u64 {
        self.load(Some(self.layout.failovers(reason)))
    }

    /// The events behind this number that are still kept, oldest first. A number that was never reached is of another
    /// program, so that all events are new.
    pub fn events_since(&self, number: u64) -> Vec<EventRow> {
        let last = self.last_event();
        let oldest = last.saturating_sub(EVENTS as u64);
        let from = if number > last { oldest } else { number.max(oldest) };
        let rows = (from + 1..=last).map(|number| (number, self.read::<EventRow>(self.layout.event(number))));
        // One that was overwritten meanwhile is gone.
        rows.filter(|(number, row)| row.number == *number).map(|(_, row)| row).collect()
    }

    /// Whether this process may begin to recover a node: nobody else does so now.
    pub fn begin_recovery(&self, by: RecoveryBy) -> bool {
        let word = self.word(Some(layout::RECOVERY));
        word.is_some_and(|word| {
            word.compare_exchange(0, by as u64, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    /// Notes how it goes. Who recovers a node alone may.
    pub fn set_recovery(&self, row: &RecoveryRow) {
        self.write(self.layout.recovered(), row);
    }

    /// The last recovery, and whether it is under way: one whose process has died has not ended, and is not.
    pub fn recovery(&self) -> (RecoveryRow, bool) {
        let is_under_way = self.load(Some(layout::RECOVERY)) != 0;
        let row: RecoveryRow = self.read(self.layout.recovered());
        (row, is_under_way && row.node_plus_1 != 0 && row.ended_at == 0)
    }

    /// The recovery of this process is over, or the process is.
    pub fn end_recovery(&self, by: RecoveryBy) {
        if let Some(word) = self.word(Some(layout::RECOVERY)) {
            // What another one does stays.
            let _ = word.compare_exchange(by as u64, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::Sizes;

    fn segment() -> Segment {
        Segment::create(Sizes { nodes: 1, ..Sizes::default() }).unwrap()
    }

    fn numbers(segment: &Segment, since: u64) -> (Option<u64>, Option<u64>, usize) {
        let rows = segment.events_since(since);
        (rows.first().map(|row| row.number), rows.last().map(|row| row.number), rows.len())
    }

    #[test]
    fn events_are_read_by_number_as_long_as_they_are_kept() {
        let segment = segment();
        assert!(segment.events_since(0).is_empty());
        segment.note_event(EventKind::NodeStatus, Some(3), "up", "down", "it is gone");
        let event = segment.events_since(0)[0];
        assert_eq!((event.number, event.kind, event.node()), (1, EventKind::NodeStatus, Some(3)));
        assert_eq!(
            (event.old.as_str(), event.new.as_str(), event.reason.as_str()),
            ("up", "down", "it is gone")
        );
        assert!(event.at_millis > 1_000_000_000_000);
        for _ in 0..EVENTS {
            segment.note_event(EventKind::Failover, None, "0", "1", "");
        }
        let last = EVENTS as u64 + 1;
        assert_eq!(numbers(&segment, 0), (Some(2), Some(last), EVENTS));
        assert_eq!(numbers(&segment, last - 3), (Some(last - 2), Some(last), 3));
        assert_eq!(numbers(&segment, last), (None, None, 0));
        assert_eq!(numbers(&segment, last + 9).2, EVENTS, "a number of another program");
    }

    #[test]
    fn failovers_are_counted_by_their_reasons() {
        let segment = segment();
        FailoverReason::ALL.iter().for_each(|reason| segment.count_failover(*reason));
        segment.count_failover(FailoverReason::Operator);
        let counted = FailoverReason::ALL.map(|reason| (reason.name(), segment.failovers(reason)));
        let expected = ["session", "shutdown", "health_check", "false_primary", "operator", "roles"];
        assert_eq!(counted, expected.map(|name| (name, 1 + u64::from(name == "operator"))));
    }

    #[test]
    fn one_process_recovers_at_a_time() {
        let segment = segment();
        assert_eq!(segment.recovery(), (RecoveryRow::default(), false));
        assert!(segment.begin_recovery(RecoveryBy::Pcp));
        assert!(!segment.recovery().1, "it is not known of which node yet");
        let row = RecoveryRow {
            node_plus_1: 2,
            begun_at: 7,
            step: "the first stage".into(),
            ..RecoveryRow::default()
        };
        segment.set_recovery(&row);
        assert_eq!(segment.recovery(), (row, true));
        assert!(!segment.begin_recovery(RecoveryBy::Rest) && !segment.begin_recovery(RecoveryBy::Pcp));
        segment.end_recovery(RecoveryBy::Rest);
        assert!(!segment.begin_recovery(RecoveryBy::Rest), "it is the other's");
        segment.end_recovery(RecoveryBy::Pcp);
        assert_eq!(segment.recovery(), (row, false), "its process has died");
        assert!(segment.begin_recovery(RecoveryBy::Rest));
    }
}
