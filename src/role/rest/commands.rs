//! Commands of clients on their way to the supervisor.
#![forbid(unsafe_code)]

use std::sync::mpsc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::Server;
use crate::admin::{self, Actor, AdminError, Command};
use crate::face::rest::Refusal;
use crate::role::recovering::Heard;

/// Who waits for a command.
pub(super) enum Asker {
    /// A client.
    Client(oneshot::Sender<Result<(), AdminError>>),
    /// An online recovery that is nearly done.
    Recovery(mpsc::Sender<Result<(), String>>),
}

impl Asker {
    /// Tells it what came of the command; one that is gone hears nothing.
    pub(super) fn hears(self, result: Result<(), AdminError>) {
        match self {
            Asker::Client(client) => drop(client.send(result)),
            Asker::Recovery(thread) => drop(thread.send(result.map_err(|error| error.to_string()))),
        }
    }
}

impl Server {
    /// Has a command carried out and waits for its end. Whether it has ended: a recovery is only begun, and a pause is in
    /// force before all is quiet.
    pub(super) async fn perform(&self, command: Command, actor: Actor) -> Result<bool, Refusal> {
        self.check(&command, &actor)?;
        if let Command::Recover { node } = command {
            let failed = self.recovering.borrow_mut().begin(&self.context.borrow(), node, actor, ());
            return failed.map_or(Ok(false), |((), error)| Err(error.into()));
        }
        let (sender, receiver) = oneshot::channel();
        self.send(command, actor, Asker::Client(sender));
        let ended = || AdminError::Unanswered("the process ends; the command may still be done".to_owned());
        match receiver.await.unwrap_or_else(|_| Err(ended())) {
            Ok(()) => Ok(true),
            Err(AdminError::Draining) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn check(&self, command: &Command, actor: &Actor) -> Result<(), Refusal> {
        let context = self.context.borrow();
        admin::check(command, &super::serve::core(&context)).map_err(|error| {
            admin::audit(actor, command, &Err(error.clone()));
            error.into()
        })
    }

    fn send(&self, command: Command, actor: Actor, asker: Asker) {
        let context = self.context.borrow();
        let mut commands = self.commands.borrow_mut();
        let failed = commands.send(&context.supervisor, actor, command, asker, Instant::now());
        if let Some((asker, error)) = failed {
            asker.hears(Err(error));
        }
    }

    /// Hears what the thread of a recovery has to say.
    pub(super) fn hear_recovery(&self) {
        self.recovering.borrow_mut().rest();
        loop {
            let heard = self.recovering.borrow_mut().hear(&self.context.borrow());
            match heard {
                None => return,
                Some(Heard::Attach(actor, command, answer)) => {
                    self.send(command, actor, Asker::Recovery(answer));
                }
                // Who asked for it was answered when it began; the log has the rest.
                Some(Heard::Over((), _)) => {}
            }
        }
    }
}
