//! Commands of operators on their way to the supervisor, which answers one after the other, in order.
//!
//! Knows of each only whom its end is to be told to. Nobody waits for ever: what is not answered in time is given up
//! for whoever asked, though it may still be done.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use crate::admin::{self, Actor, AdminError, Command};
use crate::cluster::failover;
use crate::config::Config;
use crate::supervisor::{Answer, Request, ToSupervisor};

/// How long the supervisor may take to answer, beside the time that it waits for transactions.
const PATIENCE: Duration = Duration::from_secs(30);

/// Commands without an answer, oldest first. `T` is who asked, as the caller knows it.
pub(super) struct Commands<T> {
    /// `None`: a request of another kind, whose answer nobody needs.
    waiting: VecDeque<Option<Waiting<T>>>,
    /// How long what is planned waits for transactions to end.
    drain: Duration,
}

struct Waiting<T> {
    actor: Actor,
    command: Command,
    patience: Duration,
    given_up: Instant,
    /// Empty when that one was told that there is no answer.
    asker: Option<T>,
}

impl<T> Commands<T> {
    pub(super) fn new(config: &Config) -> Commands<T> {
        let mut commands = Commands { waiting: VecDeque::new(), drain: Duration::ZERO };
        commands.reload(config);
        commands
    }

    /// The configuration has been read again.
    pub(super) fn reload(&mut self, config: &Config) {
        self.drain = failover::Rules::configured(config).drain_timeout;
    }

    /// Asks for a command. If that fails, `asker` is told right here.
    pub(super) fn send(
        &mut self,
        supervisor: &ToSupervisor,
        actor: Actor,
        command: Command,
        asker: T,
        now: Instant,
    ) -> Option<(T, AdminError)> {
        let Some(request) = request(&command) else {
            return Some((asker, AdminError::Refused("the main process does no such thing".to_owned())));
        };
        if let Err(error) = supervisor.send(&request) {
            let error = AdminError::Unanswered(refusal(&error));
            admin::audit(&actor, &command, &Err(error.clone()));
            return Some((asker, error));
        }
        let patience = match command {
            Command::Detach { gracefully: true, .. } | Command::Promote { .. } => PATIENCE + self.drain,
            _ => PATIENCE,
        };
        let given_up = now + patience;
        self.waiting.push_back(Some(Waiting { actor, command, patience, given_up, asker: Some(asker) }));
        None
    }

    /// Something else was asked of the supervisor, which is answered in its turn.
    pub(super) fn note_other(&mut self) {
        self.waiting.push_back(None);
    }

    /// Takes an answer of the supervisor; returns who asked, unless that one was told already, and what came of it.
    pub(super) fn answered(&mut self, answer: Answer) -> Option<(T, Result<(), AdminError>)> {
        let waiting = self.waiting.pop_front()??;
        let result = match answer {
            Answer::Done => Ok(()),
            Answer::Refused(why) => Err(AdminError::Refused(why)),
            Answer::Draining => Err(AdminError::Draining),
        };
        admin::audit(&waiting.actor, &waiting.command, &result);
        waiting.asker.map(|asker| (asker, result))
    }

    /// Whether somebody waits for an answer.
    pub(super) fn any_waits(&self) -> bool {
        self.waiting.iter().flatten().any(|waiting| waiting.asker.is_some())
    }

    /// Who has waited long enough.
    pub(super) fn given_up(&mut self, now: Instant) -> Vec<(T, AdminError)> {
        let late = self.waiting.iter_mut().flatten().filter(|waiting| waiting.given_up <= now);
        let late = late.filter_map(|waiting| {
            let asker = waiting.asker.take()?;
            let seconds = waiting.patience.as_secs();
            let error = AdminError::Unanswered(format!(
                "there is no answer after {seconds} seconds, it may still be done"
            ));
            admin::audit(&waiting.actor, &waiting.command, &Err(error.clone()));
            Some((asker, error))
        });
        late.collect()
    }
}

fn refusal(error: &io::Error) -> String {
    format!("the main process does not take requests: {error}")
}

/// What the supervisor is asked for; `None` for what it does not do.
fn request(command: &Command) -> Option<Request> {
    Some(match *command {
        Command::Attach { node } => Request::Nodes(failover::Request::Attach { node }),
        Command::Detach { node, gracefully } => {
            Request::Nodes(failover::Request::Detach { node, gracefully })
        }
        Command::Promote { node, switchover, gracefully } => {
            Request::Nodes(failover::Request::Promote { node, switchover, gracefully })
        }
        Command::Reload => Request::Reload,
        Command::RotateLog => Request::RotateLog,
        Command::Stop(mode) => Request::Stop(mode),
        Command::CancelSession { session } => Request::CancelSession(session),
        Command::TerminateSession { session } => Request::TerminateSession(session),
        Command::Pause => Request::Pause,
        Command::Resume => Request::Resume,
        Command::SetWeight { node, weight } => Request::SetWeight { node, weight },
        Command::ForgetLearned => Request::ForgetLearned,
        Command::Recover { .. } | Command::InvalidateCache => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::socket_pair;

    const DETACH: Command = Command::Detach { node: 1, gracefully: false };

    fn actor() -> Actor {
        Actor { face: "PCP", user: "ann".to_owned(), from: "[local]".to_owned() }
    }

    #[test]
    fn answers_go_to_who_asked_in_order() {
        let (supervisor, _other_end) = socket_pair();
        let (mut commands, now) = (Commands::new(&Config::default()), Instant::now());
        for asker in ["one", "two"] {
            assert_eq!(commands.send(&supervisor, actor(), DETACH, asker, now), None);
        }
        assert_eq!(commands.answered(Answer::Done), Some(("one", Ok(()))));
        let refused = AdminError::Refused("no".to_owned());
        assert_eq!(commands.answered(Answer::Refused("no".to_owned())), Some(("two", Err(refused))));
        assert_eq!(commands.answered(Answer::Done), None);
        commands.note_other();
        commands.send(&supervisor, actor(), Command::Pause, "three", now);
        assert_eq!(commands.answered(Answer::Done), None, "it is the other request's");
        assert_eq!(commands.answered(Answer::Draining), Some(("three", Err(AdminError::Draining))));
    }

    #[test]
    fn one_who_is_not_answered_is_told_once_and_the_order_stays() {
        let (supervisor, _other_end) = socket_pair();
        let (mut commands, now) = (Commands::new(&Config::default()), Instant::now());
        commands.send(&supervisor, actor(), DETACH, "one", now);
        let gracefully = Command::Detach { node: 1, gracefully: true };
        commands.send(&supervisor, actor(), gracefully, "two", now);
        assert!(commands.given_up(now + PATIENCE - Duration::from_secs(1)).is_empty());
        let late = commands.given_up(now + PATIENCE);
        assert!(matches!(late.as_slice(), [("one", AdminError::Unanswered(_))]), "{late:?}");
        assert!(commands.given_up(now + PATIENCE).is_empty() && commands.any_waits());
        assert_eq!(commands.answered(Answer::Done), None);
        assert_eq!(commands.answered(Answer::Done), Some(("two", Ok(()))));
        assert!(!commands.any_waits());
    }

    #[test]
    fn a_supervisor_that_is_gone_is_an_error() {
        let (supervisor, other_end) = socket_pair();
        drop(other_end);
        let failed = Commands::new(&Config::default()).send(&supervisor, actor(), DETACH, 7, Instant::now());
        assert!(matches!(failed, Some((7, AdminError::Unanswered(_)))), "{failed:?}");
    }
}
