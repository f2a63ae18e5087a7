//! `client_idle_limit`: a client that says nothing for too long is told so and let go.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::{Ctx, Session, Shared, Stage};
use crate::log;

impl Session {
    /// How long the client has been the one who is waited for, inside a transaction or not; `None` while we owe it
    /// something. Asked once a second.
    pub fn idle_for(&mut self, now: Instant) -> Option<Duration> {
        let waits = matches!(self.stage, Stage::Active)
            && self.is_all_answered()
            && !self.is_held()
            && self.commanded.is_none();
        if !waits {
            self.heard = now;
            return None;
        }
        Some(now.saturating_duration_since(self.heard))
    }

    /// Whether it may not be idle for so long.
    pub fn is_too_idle(&self, shared: &Shared, idle: Duration) -> bool {
        let limit = self.config(shared).client_idle_limit;
        limit > 0 && idle >= Duration::from_secs(limit.unsigned_abs())
    }

    /// Ends a session that was idle too long. In pgpool-II's words, but FATAL where it says ERROR: the connection
    /// is over, and drivers go by that.
    pub fn end_idle(&mut self, ctx: &mut Ctx<'_>) {
        let limit = ctx.shared.config.client_idle_limit;
        let detail =
            format!("child connection forced to terminate due to client_idle_limit:{limit} is reached");
        log::Line::new(log::Level::Error, "unable to read data").detail(detail.as_str()).emit();
        self.fatal_with(ctx, "57000", "unable to read data", Some(&detail), None);
    }
}
