//! What an operator has done by SQL (`PGPOOL CANCEL`, `PGPOOL PAUSE` …): who may, and waiting for the supervisor's word.
//!
//! The frame that asks stays at the head of the input until the answer is there, as with anything that is waited for.
#![forbid(unsafe_code)]

use super::{Ctx, Errand, Session, Step};
use crate::admin::{self, Actor, AdminError, Command};
use crate::shm::Text;

/// A command of this session that has been passed on.
pub(super) struct Commanded {
    /// Tells it from those of before.
    number: u64,
    /// What came of it.
    result: Option<Result<(), AdminError>>,
}

impl Session {
    /// Has a command done; what must be waited for until then.
    pub(super) fn command(
        &mut self,
        ctx: &mut Ctx<'_>,
        command: &Command,
    ) -> Result<Result<&'static str, AdminError>, Option<Step>> {
        match self.commanded.take() {
            Some(Commanded { result: Some(result), .. }) => return Ok(result.map(|()| command.tag())),
            Some(waits) => self.commanded = Some(waits),
            None => {
                let from = match self.peer.port() {
                    0 => self.host.clone(),
                    port => format!("{}({port})", self.host),
                };
                let actor = Actor { face: "SQL", user: self.key.user.clone(), from };
                if let Err(error) = self.may_command(ctx, command) {
                    admin::audit(&actor, command, &Err(error.clone()));
                    return Ok(Err(error));
                }
                self.last_command += 1;
                let number = self.last_command;
                self.commanded = Some(Commanded { number, result: None });
                ctx.shared.errands.push(Errand::Command {
                    client: self.slot,
                    session: self.number,
                    number,
                    actor,
                    command: command.clone(),
                });
            }
        }
        Err(Some(Step::Stall))
    }

    /// A superuser may do everything, others what they may do to their own sessions on a server, too. Who is a
    /// superuser the servers say, as they do to every client.
    fn may_command(&self, ctx: &Ctx<'_>, command: &Command) -> Result<(), AdminError> {
        let context = self.admin_context(ctx);
        admin::check(command, &context)?;
        if matches!(command, Command::Pause) && self.transaction.is_some() {
            return Err(AdminError::WaitsForItself);
        }
        let is_superuser =
            self.parameters.iter().any(|(name, value)| name == b"is_superuser" && value == b"on");
        let is_own = match command {
            Command::CancelSession { session } | Command::TerminateSession { session } => {
                let user: Text<64> = self.key.user.as_str().into();
                admin::find_session(context.segment, *session).is_some_and(|(_, row)| row.user == user)
            }
            _ => false,
        };
        if is_superuser || is_own { Ok(()) } else { Err(AdminError::NotPermitted) }
    }

    /// What came of a command of this session.
    pub fn on_command_done(&mut self, ctx: &mut Ctx<'_>, number: u64, result: Result<(), AdminError>) {
        if let Some(commanded) = self.commanded.as_mut().filter(|commanded| commanded.number == number) {
            commanded.result = Some(result);
            self.pump(ctx);
        }
    }
}
