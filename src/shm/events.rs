//! The rings of events, which readers follow by number, how the MQTT process does, and who recovers a node.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use super::layout::{self, EVENTS};
use super::rows::{EVENT_VALUES, EventKind, EventRow, FailoverReason, MqttRow, Note, RecoveryRow, Ring};
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

/// What has happened behind an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// Oldest first.
    pub rows: Vec<EventRow>,
    /// Events that were gone before they were read.
    pub missed: u64,
    /// Number of the last event, to go on from.
    pub last: u64,
}

impl Segment {
    /// Notes what has happened. The supervisor alone may; others ask it to.
    pub fn note_event(&self, kind: EventKind, node: Option<NodeId>, old: &str, new: &str, reason: &str) {
        self.note_figures(kind, node, [old, new, reason], [0; EVENT_VALUES]);
    }

    /// The same with the numbers of the kind; `texts`: how it was, how it is, and why.
    pub fn note_figures(
        &self,
        kind: EventKind,
        node: Option<NodeId>,
        texts: [&str; 3],
        values: [u64; EVENT_VALUES],
    ) {
        let number = self.last_event(kind.ring()) + 1;
        let [old, new, reason] = texts;
        let row = EventRow {
            number,
            at_millis: u64::try_from(clock::since_epoch().as_millis()).unwrap_or(u64::MAX),
            kind,
            node_plus_1: node.and_then(|node| u32::try_from(node + 1).ok()).unwrap_or(0),
            old: old.into(),
            new: new.into(),
            reason: reason.into(),
            values,
        };
        self.write(self.layout.event(kind.ring(), number), &row);
        // Behind the row: who sees the number finds the event.
        self.store(Some(self.layout.last_event(kind.ring())), number);
    }

    /// Notes what a child has told.
    pub fn note(&self, note: &Note) {
        self.note_figures(note.kind, note.node, [&note.old, &note.new, &note.reason], note.values);
    }

    /// Number of the last event of a ring; 0: there was none.
    pub fn last_event(&self, ring: Ring) -> u64 {
        self.load(Some(self.layout.last_event(ring)))
    }

    /// A primary was replaced. The supervisor alone may.
    pub fn count_failover(&self, reason: FailoverReason) {
        self.store(Some(self.layout.failovers(reason)), self.failovers(reason) + 1);
    }

    /// How often a primary was replaced for this reason.
    pub fn failovers(&self, reason: FailoverReason) -> u64 {
        self.load(Some(self.layout.failovers(reason)))
    }

    /// The events of a ring behind this number, as far as they are still kept. A number that was never reached is of
    /// another program, so that all events are new.
    pub fn events_since(&self, ring: Ring, number: u64) -> Happened {
        let last = self.last_event(ring);
        let oldest = last.saturating_sub(EVENTS as u64);
        let since = if number > last { oldest } else { number };
        let numbers = since.max(oldest) + 1..=last;
        let rows = numbers.map(|number| (number, self.read::<EventRow>(self.layout.event(ring, number))));
        // One that was overwritten meanwhile is gone.
        let rows: Vec<_> = rows.filter(|(number, row)| row.number == *number).map(|(_, row)| row).collect();
        Happened { missed: (last - since).saturating_sub(rows.len() as u64), last, rows }
    }

    /// How the MQTT process does.
    pub fn mqtt(&self) -> MqttRow {
        self.read(self.layout.mqtt())
    }

    /// Notes how it does. The MQTT process alone may.
    pub fn set_mqtt(&self, row: &MqttRow) {
        self.write(self.layout.mqtt(), row);
    }

    /// The MQTT process is dead: nobody is connected. For the supervisor. What it was about to write is lost, if it died
    /// in the middle.
    pub fn mend_mqtt(&self) {
        self.set_mqtt(&MqttRow { is_connected: false, connected_at: 0, ..self.mqtt() });
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

    fn numbers(segment: &Segment, since: u64) -> (Option<u64>, Option<u64>, usize, u64) {
        let Happened { rows, missed, .. } = segment.events_since(Ring::Events, since);
        (rows.first().map(|row| row.number), rows.last().map(|row| row.number), rows.len(), missed)
    }

    #[test]
    fn events_are_read_by_number_as_long_as_they_are_kept() {
        let segment = segment();
        assert_eq!(segment.events_since(Ring::Events, 0), Happened::default());
        segment.note_event(EventKind::NodeStatus, Some(3), "up", "down", "it is gone");
        let event = segment.events_since(Ring::Events, 0).rows[0];
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
        assert_eq!(numbers(&segment, 0), (Some(2), Some(last), EVENTS, 1));
        assert_eq!(numbers(&segment, last - 3), (Some(last - 2), Some(last), 3, 0));
        assert_eq!(numbers(&segment, last), (None, None, 0, 0));
        assert_eq!(numbers(&segment, last + 9), (Some(2), Some(last), EVENTS, 0), "of another program");
        assert_eq!(segment.events_since(Ring::Events, 0).last, last);
    }

    #[test]
    fn what_comes_all_the_time_pushes_out_nothing_rare() {
        let segment = segment();
        segment.note_event(EventKind::Failover, None, "0", "1", "");
        let values = [1, 2, 3, 4, 5, 6];
        for _ in 0..2 * EVENTS {
            segment.note(&Note { kind: EventKind::HealthCheck, node: Some(0), values, ..Note::default() });
        }
        assert_eq!(numbers(&segment, 0), (Some(1), Some(1), 1, 0));
        let readings = segment.events_since(Ring::Readings, 0);
        assert_eq!((readings.rows.len(), readings.missed, readings.last), (EVENTS, 1024, 2048));
        assert_eq!((readings.rows[0].values, readings.rows[0].node()), (values, Some(0)));
    }

    /// A kind that is read as another one would be shown as that.
    #[test]
    fn all_kinds_survive_the_segment() {
        let segment = segment();
        for (number, kind) in EventKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            segment.note_event(kind, None, "", "", "");
            assert_eq!(segment.events_since(kind.ring(), 0).rows.last().unwrap().kind, kind);
        }
    }

    #[test]
    fn a_dead_mqtt_process_is_not_connected_and_its_counts_stay() {
        let segment = segment();
        let row =
            MqttRow { is_connected: true, connected_at: 5, published: 7, seen: [3, 4], ..MqttRow::default() };
        segment.set_mqtt(&row);
        segment.mend_mqtt();
        assert_eq!(segment.mqtt(), MqttRow { is_connected: false, connected_at: 0, ..row });
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
