//! How long a worker lives and whom it takes: the limits of clients and time, and its fair share of a burst.
//!
//! Decides by its own row and those of the others in shared memory. Knows nothing of sessions but their number.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::{TICK, Worker};
use crate::config::ProcessManagementMode;
use crate::shm::WorkerRow;
use crate::supervisor::{NO_RESTART, RENEW};

/// How long a worker with more clients than the others leaves new ones to them. After that it takes one
/// whatever the others do: they may be stuck, and no client shall wait for that.
const COURTESY: Duration = Duration::from_millis(20);

/// How often it looks meanwhile whether they have caught up: many clients come in a moment of courtesy.
const GLANCE: Duration = Duration::from_millis(2);

/// A worker leaves new clients to others.
pub(super) struct Courtesy {
    /// When it looks again whether they have fewer.
    look: Instant,
    /// When it ends in any case.
    end: Instant,
}

impl Worker {
    /// The exit code, once the last client of a worker that takes no more has gone, or when an idle one is too old.
    pub(super) fn ended(&self) -> Option<i32> {
        if !self.is_unused() || self.net.is_closing() {
            return None;
        }
        if self.stopping {
            return Some(0);
        }
        if self.leaving {
            return Some(NO_RESTART);
        }
        let served = self.row.client_connections;
        if self.is_spent() {
            crate::say!(Log, "child exiting, {served} connections reached");
            return Some(RENEW);
        }
        if self.old_at().is_some_and(|at| at <= Instant::now()) {
            let seconds = self.sessions.shared.config.child_life_time;
            crate::say!(Debug1, "child life {seconds} seconds expired");
            return Some(RENEW);
        }
        None
    }

    /// Whether it has served as many clients as one process shall.
    fn is_spent(&self) -> bool {
        let most = u64::try_from(self.sessions.shared.config.child_max_connections).unwrap_or(0);
        most > 0 && self.row.client_connections >= most
    }

    /// When it is to be replaced if no client comes. One that has served nobody yet is as good as new.
    fn old_at(&self) -> Option<Instant> {
        let life = seconds(self.sessions.shared.config.child_life_time)?;
        let counts = self.sessions.shared.config.process_management_mode == ProcessManagementMode::Static
            && self.row.client_connections > 0
            && self.is_unused();
        counts.then(|| self.last_seen + life)
    }

    /// When there is something to do though nothing comes.
    pub(super) fn next_event_of_life(&self) -> Option<Duration> {
        let next = [
            self.courtesy.as_ref().map(|courtesy| courtesy.look),
            self.expiry(),
            self.old_at(),
            self.refusals.next(),
        ]
        .into_iter()
        .flatten()
        .min()?;
        // One more, so that the moment has come when the wait ends.
        Some(next.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    /// When the next kept connection is too old. With clients there the tick of every second sees to it.
    fn expiry(&self) -> Option<Instant> {
        let life = seconds(self.sessions.shared.config.connection_life_time).filter(|_| self.is_unused())?;
        let kept = self.sessions.pool.slots().filter(|(_, backend)| backend.session.is_none());
        let oldest = kept.map(|(_, backend)| backend.idle_since).min()?;
        Some((oldest + life).max(self.last_tick + TICK))
    }

    /// Ends the courtesy when its moment has passed, or the others have as many clients.
    pub(super) fn end_courtesy(&mut self) {
        let now = Instant::now();
        let Some(due) = self.courtesy.take_if(|courtesy| courtesy.look <= now) else { return };
        if now < due.end && self.others_have_fewer() {
            self.courtesy = Some(Courtesy { look: now + GLANCE, end: due.end });
        }
    }

    /// Closes kept connections that nobody has used for too long.
    pub(super) fn expire_connections(&mut self, now: Instant) {
        if let Some(life) = seconds(self.sessions.shared.config.connection_life_time) {
            self.sessions.pool.drop_idle(&mut self.net, |backend| backend.idle_since + life <= now);
        }
    }

    /// Whether new clients are welcome now. The others wait in the kernel, or for another worker.
    pub(super) fn has_room(&self) -> bool {
        self.sessions.has_place()
            && !self.stopping
            && !self.leaving
            && !self.is_spent()
            && self.full_until.is_none()
            && self.courtesy.is_none()
    }

    /// A client was taken: the next one is for a worker that has fewer, if one is there to take it.
    pub(super) fn share(&mut self) {
        let now = Instant::now();
        let gives_way = self.sessions.places() > 1 && self.others_have_fewer();
        self.courtesy = gives_way.then(|| Courtesy { look: now + GLANCE, end: now + COURTESY });
    }

    fn others_have_fewer(&self) -> bool {
        let segment = &self.sessions.shared.segment;
        let others = (0..segment.sizes().workers).filter(|other| *other != self.sessions.shared.worker);
        others.map(|other| segment.worker(other)).any(|other| is_better(&other, self.row.sessions))
    }

    /// Whether more clients are there than `reserved_connections` leaves places for, this one included.
    pub(super) fn is_crowded(&self) -> bool {
        let config = &self.sessions.shared.config;
        if config.reserved_connections <= 0 {
            return false;
        }
        let most = config.num_init_children.saturating_mul(config.sessions_per_child);
        let allowed = u64::try_from(most.saturating_sub(config.reserved_connections)).unwrap_or(0);
        let segment = &self.sessions.shared.segment;
        (0..segment.sizes().workers).map(|worker| segment.worker(worker).sessions).sum::<u64>() > allowed
    }
}

/// One that listens and has clearly fewer clients. One more is not enough: two workers that are even would hand
/// each client to and fro.
fn is_better(other: &WorkerRow, own: u64) -> bool {
    other.pid != 0 && other.listens && other.sessions + 1 < own
}

/// A time in seconds where 0 means never.
fn seconds(value: i64) -> Option<Duration> {
    u64::try_from(value).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_gives_way_to_one_that_listens_and_has_clearly_fewer() {
        let row = |listens, sessions| WorkerRow { pid: 1, listens, sessions, ..WorkerRow::default() };
        for (other, own, better) in [
            (row(true, 3), 5, true),
            (row(true, 4), 5, false),
            (row(true, 5), 5, false),
            (row(false, 0), 5, false),
            (WorkerRow { pid: 0, ..row(true, 0) }, 5, false),
            (row(true, 0), 1, false),
        ] {
            assert_eq!(is_better(&other, own), better, "{other:?} {own}");
        }
    }

    #[test]
    fn zero_is_never() {
        assert_eq!([0, -1, 2].map(seconds), [None, None, Some(Duration::from_secs(2))]);
    }
}
