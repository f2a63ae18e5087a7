//! Whether the standby of a switchover has all that sessions wrote before they were quiet.
#![forbid(unsafe_code)]

use crate::shm::{PgRole, Probe};

/// From the moment on when the sessions were quiet.
#[derive(Debug, Clone)]
pub struct CatchUp {
    quiet_at: u64,
    /// What the primary had written at some moment after that.
    written: Option<u64>,
}

impl CatchUp {
    /// `quiet_at`: microseconds of CLOCK_MONOTONIC.
    pub fn since(quiet_at: u64) -> CatchUp {
        CatchUp { quiet_at, written: None }
    }

    /// Bytes that the standby has not replayed, as far as the looks at both since that moment tell.
    pub fn bytes_behind(&mut self, primary: &Probe, standby: &Probe) -> Option<u64> {
        let position = |probe: &Probe, role| {
            (probe.asked_at > self.quiet_at && probe.pg_role == role).then_some(probe.replay_lsn)
        };
        if self.written.is_none() {
            self.written = position(primary, PgRole::Primary).filter(|written| *written > 0);
        }
        Some(self.written?.saturating_sub(position(standby, PgRole::Standby)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_looks_since_then_count_and_what_is_written_later_does_not() {
        let look =
            |pg_role, asked_at, replay_lsn| Probe { pg_role, asked_at, replay_lsn, ..Probe::default() };
        let primary = |asked_at, lsn| look(PgRole::Primary, asked_at, lsn);
        let standby = |asked_at, lsn| look(PgRole::Standby, asked_at, lsn);
        let mut catch_up = CatchUp::since(1000);
        assert_eq!(catch_up.bytes_behind(&primary(1000, 70), &standby(1001, 70)), None);
        assert_eq!(catch_up.bytes_behind(&primary(1001, 0), &standby(1001, 70)), None);
        assert_eq!(catch_up.bytes_behind(&look(PgRole::Unknown, 1001, 90), &standby(1001, 70)), None);
        assert_eq!(catch_up.bytes_behind(&primary(1001, 90), &standby(1000, 90)), None);
        assert_eq!(catch_up.bytes_behind(&primary(1002, 95), &standby(1002, 80)), Some(10));
        assert_eq!(catch_up.bytes_behind(&primary(1003, 99), &standby(1003, 93)), Some(0));
        assert_eq!(catch_up.bytes_behind(&primary(1003, 99), &primary(1003, 99)), None);
    }
}
