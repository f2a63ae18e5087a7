//! Every `mqtt_publish_interval` the numbers of the clients and the statements become an event. The replication check, which
//! always is there and has time, does that; it reads shared memory only.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::admin::{Context, sessions, state_text};
use crate::config::Config;
use crate::shm::{EventKind, Note, Segment, SessionStatus};
use crate::sys::clock;

/// What was counted when the last event was made.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    statements: u64,
    micros: u64,
}

/// The clock of the statistics.
#[derive(Default)]
pub(super) struct Statistics {
    last: Option<Look>,
}

impl Statistics {
    /// The event that is due now, if one is.
    pub(super) fn due(&mut self, segment: &Segment, config: &Config, now: Instant) -> Option<Note> {
        let interval = u64::try_from(config.mqtt_publish_interval).ok().filter(|seconds| *seconds > 0)?;
        let is_early = |last: &Look| now.saturating_duration_since(last.at) < Duration::from_secs(interval);
        if self.last.as_ref().is_some_and(is_early) {
            return None;
        }
        let micros = config.backends().iter().map(|backend| segment.traffic_micros(backend.id)).sum();
        let look = Look { at: now, statements: statements(segment, config), micros };
        // The first look has nothing to compare with.
        let before = self.last.replace(look)?;
        let context = Context { segment, config, session: None, now: clock::unix_seconds() };
        let sessions = sessions(&context);
        let idle = state_text(SessionStatus::Idle);
        let count = |value: usize| value as u64;
        let total = count(sessions.len());
        let idle = count(sessions.iter().filter(|session| session.state == idle).count());
        let values = [
            total,
            total - idle,
            idle,
            look.statements.saturating_sub(before.statements),
            look.micros.saturating_sub(before.micros),
            u64::try_from(now.saturating_duration_since(before.at).as_millis()).unwrap_or(u64::MAX),
        ];
        Some(Note { kind: EventKind::Statistics, values, ..Note::default() })
    }
}

/// Statements that were sent to all nodes.
pub(super) fn statements(segment: &Segment, config: &Config) -> u64 {
    let of_node = |id| {
        let totals = segment.node_totals(id);
        totals.select + totals.insert + totals.update + totals.delete + totals.ddl + totals.other
    };
    config.backends().iter().map(|backend| of_node(backend.id)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::{SessionRow, Sizes, WorkerRow};

    #[test]
    fn an_event_every_interval_with_what_was_counted_since_the_last() {
        let sizes = Sizes { workers: 1, sessions_per_worker: 3, nodes: 1, ..Sizes::default() };
        let segment = Segment::create(sizes).unwrap();
        let text = "backend_hostname0 = 'a'\nbackend_port0 = 5432\nmqtt_publish_interval = 10\n";
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgbalancer.conf");
        std::fs::write(&path, text).unwrap();
        let mut config = crate::config::load(&path).ok().unwrap().config;
        segment.set_worker(0, &WorkerRow { pid: 5, ..WorkerRow::default() });
        for (slot, status) in [(0, SessionStatus::Idle), (2, SessionStatus::IdleInTransaction)] {
            segment.set_session(0, slot, &SessionRow { status, user: "a".into(), ..SessionRow::default() });
        }
        let (mut statistics, start) = (Statistics::default(), Instant::now());
        let mut at = |config: &Config, seconds| {
            statistics.due(&segment, config, start + Duration::from_secs(seconds)).map(|note| note.values)
        };
        assert_eq!(at(&config, 0), None, "there is nothing to compare with");
        assert_eq!(at(&config, 9), None);
        assert_eq!(at(&config, 12), Some([2, 1, 1, 0, 0, 12_000]));
        assert_eq!(at(&config, 21), None);
        config.mqtt_publish_interval = 0;
        assert_eq!(at(&config, 100), None);
    }
}
