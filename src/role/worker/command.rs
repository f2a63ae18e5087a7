//! Commands: those of this worker's sessions go to the supervisor, and what others have done to its sessions is done here.
#![forbid(unsafe_code)]

use std::time::Instant;

use super::Worker;
use crate::admin::{Actor, AdminError, Command};
use crate::session::{CancelTarget, Ctx, Session};
use crate::supervisor::{Answer, Ticket};

/// The session that has asked for something.
pub(super) struct Commander {
    /// Its slot.
    pub(super) client: u32,
    /// Its number.
    pub(super) session: u64,
    /// The number of what it asked for.
    pub(super) number: u64,
}

impl Worker {
    pub(super) fn command(&mut self, commander: Commander, actor: Actor, command: Command) {
        let now = self.sessions.shared.now;
        let failed = self.commands.send(&self.context.supervisor, actor, command, commander, now);
        if let Some((commander, error)) = failed {
            self.command_done(commander, Err(error));
        }
    }

    /// The supervisor has answered the oldest request.
    pub(super) fn answered(&mut self, answer: Answer) {
        if let Some((commander, result)) = self.commands.answered(answer) {
            self.command_done(commander, result);
        }
    }

    pub(super) fn tick_commands(&mut self, now: Instant) {
        for (commander, error) in self.commands.given_up(now) {
            self.command_done(commander, Err(error));
        }
    }

    fn command_done(&mut self, commander: Commander, result: Result<(), AdminError>) {
        let Commander { client, session, number } = commander;
        self.with_numbered(client, session, |session, ctx| session.on_command_done(ctx, number, result));
    }

    /// Cancels what a session does.
    pub(super) fn cancel_session(&mut self, place: u32, number: u64) {
        self.cancel_all(place, number, Session::cancel);
    }

    /// Ends a session, and what it has running on servers: these would see only much later that nobody waits for it.
    pub(super) fn terminate_session(&mut self, place: u32, number: u64) {
        self.cancel_all(place, number, |session, ctx| session.at_work(ctx));
        self.with_numbered(place, number, |session, ctx| {
            session.shut(ctx, "57P01", "terminating connection due to administrator command");
        });
    }

    /// Cancels what this finds for a session.
    fn cancel_all(
        &mut self,
        place: u32,
        number: u64,
        find: impl FnOnce(&mut Session, &mut Ctx<'_>) -> Vec<CancelTarget>,
    ) {
        let mut targets = Vec::new();
        self.with_numbered(place, number, |session, ctx| targets = find(session, ctx));
        let ticket = self.own_ticket();
        targets.into_iter().for_each(|target| self.send_cancel(target, ticket));
    }

    /// Runs a step of the session with this number, if it is still there.
    fn with_numbered(&mut self, place: u32, number: u64, step: impl FnOnce(&mut Session, &mut Ctx<'_>)) {
        self.with_session(place, |session, ctx| {
            if session.is_numbered(number) {
                step(session, ctx);
            }
        });
    }

    /// A ticket that no client waits for.
    fn own_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket { worker: self.sessions.shared.worker, number: self.last_ticket }
    }
}
