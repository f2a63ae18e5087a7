//! What a client asks is answered, refused, or handed to the supervisor.
#![forbid(unsafe_code)]

use std::sync::mpsc::Sender;
use std::time::Instant;

use super::Server;
use crate::admin::{self, AdminError, Command, Context};
use crate::face::pcp::{self, Matter, Next, Refusal, Request};
use crate::log::{Level, Line};
use crate::net::{ConnId, HIGH_WATER, Wire};
use crate::role::recovering::Heard;
use crate::supervisor::Answer;
use crate::sys::{clock, process, random};

/// Who waits for a command.
pub(super) enum Asker {
    /// A client, and what it had asked.
    Client { slot: u32, conn: ConnId, request: Request },
    /// An online recovery that is nearly done.
    Recovery(Sender<Result<(), String>>),
}

impl Server {
    /// Goes on with a client as far as its bytes reach, or until it has to wait.
    pub(super) fn serve(&mut self, slot: u32, id: ConnId, now: Instant) {
        loop {
            if self.net.queued(id) > HIGH_WATER {
                // It reads what it was sent before it is heard again.
                return self.net.pause(id);
            }
            // As `client`, on the part of this structure that holds them.
            let place = self.clients.get_mut(slot as usize).and_then(Option::as_mut);
            let Some(client) = place.filter(|client| client.conn == id && !client.is_busy) else { return };
            let users = match client.talk.user() {
                None => self.users.current(),
                Some(_) => self.users.last(),
            };
            match client.talk.next(users, salt) {
                Next::Wait => return client.waits(now),
                Next::Say(bytes) => self.net.send(id, &bytes),
                Next::Do(request) => self.perform(slot, id, request, now),
                Next::Refuse(refusal) => self.refuse(slot, id, &refusal),
                Next::Bye => {
                    self.net.close_when_sent(id);
                    return self.ends(slot, "goodbye");
                }
            }
        }
    }

    fn perform(&mut self, slot: u32, id: ConnId, request: Request, now: Instant) {
        let context = self.view();
        let mut out = Vec::new();
        let failed = match pcp::matter(&request, &context) {
            Err(error) => error,
            Ok(Matter::Report) => match pcp::report(&request, &context, &mut out) {
                Ok(()) => return self.net.send(id, &out),
                Err(error) => error,
            },
            Ok(Matter::Command(command)) => {
                return self.command(slot, id, request, command, now);
            }
        };
        let refusal = Refusal::of(&request, &failed, process::own_id());
        self.refuse(slot, id, &refusal);
    }

    fn command(&mut self, slot: u32, conn: ConnId, request: Request, command: Command, now: Instant) {
        let checked = admin::check(&command, &self.view());
        let asker = Asker::Client { slot, conn, request };
        let Some(client) = self.client(slot, conn) else { return };
        let actor = client.actor();
        if let Err(error) = checked {
            admin::audit(&actor, &command, &Err(error.clone()));
            return self.finished(asker, Err(error), now);
        }
        let failed = match command {
            Command::Recover { node } => self.recovering.begin(&self.context, node, actor, asker),
            _ => self.commands.send(&self.context.supervisor, actor, command, asker, now),
        };
        match failed {
            Some((asker, error)) => self.finished(asker, Err(error), now),
            None => {
                if let Some(client) = self.client(slot, conn) {
                    client.is_busy = true;
                }
                self.net.pause(conn);
            }
        }
    }

    /// Hears what the thread of a recovery has to say.
    pub(super) fn hear_recovery(&mut self, now: Instant) {
        self.recovering.rest();
        while let Some(heard) = self.recovering.hear(&self.context) {
            match heard {
                Heard::Attach(actor, command, answer) => {
                    let asker = Asker::Recovery(answer);
                    let failed = self.commands.send(&self.context.supervisor, actor, command, asker, now);
                    if let Some((asker, error)) = failed {
                        self.finished(asker, Err(error), now);
                    }
                }
                Heard::Over(asker, result) => self.finished(asker, result, now),
            }
        }
    }

    /// The supervisor has answered the oldest command.
    pub(super) fn answered(&mut self, answer: Answer, now: Instant) {
        if let Some((asker, result)) = self.commands.answered(answer) {
            self.finished(asker, result, now);
        }
    }

    /// A command has come to its end: who asked, if it is still there, is told and heard again.
    pub(super) fn finished(&mut self, asker: Asker, result: Result<(), AdminError>, now: Instant) {
        let (slot, conn, request) = match asker {
            Asker::Client { slot, conn, request } => (slot, conn, request),
            Asker::Recovery(thread) => {
                // It waits for that, and for nothing else.
                let _ = thread.send(result.map_err(|error| error.to_string()));
                return;
            }
        };
        let Some(client) = self.client(slot, conn) else { return };
        let was_busy = std::mem::replace(&mut client.is_busy, false);
        match result {
            Ok(()) => {
                let mut out = Vec::new();
                pcp::done(&request, &mut out);
                self.net.send(conn, &out);
            }
            Err(error) => {
                let refusal = Refusal::of(&request, &error, process::own_id());
                self.refuse(slot, conn, &refusal);
            }
        }
        if self.stopping.is_some() {
            self.net.close_when_sent(conn);
            return self.ends(slot, "the program stops");
        }
        if was_busy {
            self.net.resume(conn);
            self.serve(slot, conn, now);
        }
    }

    /// Says no, here and in the log, and closes if that is all there is to say.
    fn refuse(&mut self, slot: u32, id: ConnId, refusal: &Refusal) {
        let Some(client) = self.client(slot, id) else { return };
        let who = match client.talk.user() {
            Some(_) => client.actor().to_string(),
            None => format!("PCP connection from {}", client.from()),
        };
        let level = if refusal.is_fatal { Level::Fatal } else { Level::Error };
        let mut line = Line::new(level, &*refusal.message);
        if let Some(detail) = &refusal.detail {
            line = line.detail(detail);
        }
        if let Some(hint) = &refusal.hint {
            line = line.hint(hint);
        }
        line.context(who).emit();
        if refusal.is_fatal {
            return self.dismiss(slot, refusal);
        }
        let mut out = Vec::new();
        refusal.put(&mut out);
        self.net.send(id, &out);
    }

    fn view(&self) -> Context<'_> {
        let (segment, config) = (&self.context.segment, &self.context.config);
        Context { segment, config, session: None, now: clock::unix_seconds() }
    }
}

fn salt() -> [u8; 4] {
    let mut salt = [0; 4];
    random::fill(&mut salt);
    salt
}
