//! Asks the servers for users that pool_passwd does not know (`auth_query`), in a thread for each: the loop never waits.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::Worker;
use crate::auth::pool_passwd::Secret;
use crate::cluster::users::UserQuery;
use crate::net::Waker;
use crate::role::account;
use crate::session::Shared;

/// Time for the connection and the log-in, and again for the query.
const LIMIT: Duration = Duration::from_secs(10);

/// Bytes of a thread's stack: the way to the server may be through TLS.
const STACK: usize = 1 << 20;

type Answer = (String, Result<Option<Secret>, String>);

/// What the threads bring.
pub(super) struct Askers {
    waker: Waker,
    sender: Sender<Answer>,
    receiver: Receiver<Answer>,
}

impl Askers {
    /// Rings `waker` for every answer.
    pub(super) fn new(waker: Waker) -> Askers {
        let (sender, receiver) = channel();
        Askers { waker, sender, receiver }
    }

    fn start(&self, user: String, query: UserQuery) -> Result<(), String> {
        let work = move || {
            // A session waits for an answer, whatever happens.
            let answer = catch_unwind(AssertUnwindSafe(|| query.ask(&user)));
            let answer = answer.unwrap_or_else(|_| Err("the thread that asked has panicked".to_owned()));
            (user, answer)
        };
        let started = self.waker.after("users", STACK, &self.sender, work);
        started.map_err(|error| format!("could not start a thread: {error}"))
    }
}

impl Worker {
    /// A session wants to know of a user.
    pub(super) fn ask_for_user(&mut self, user: String) {
        let started = query(&self.sessions.shared).and_then(|query| self.askers.start(user.clone(), query));
        if let Err(text) = started {
            self.user_answered(&user, Err(text));
        }
    }

    /// Answers have come in.
    pub(super) fn users_are_known(&mut self) {
        while let Ok((user, answer)) = self.askers.receiver.try_recv() {
            self.user_answered(&user, answer);
        }
    }

    fn user_answered(&mut self, user: &str, answer: Result<Option<Secret>, String>) {
        if let Err(text) = &answer {
            crate::say!(Warning, "auth_query for user \"{user}\": {text}");
        }
        let answer = answer.map(|secret| secret.map(Rc::new));
        let shared = &mut self.sessions.shared;
        shared.users.answered(user, &answer, shared.now);
        let secret = answer.unwrap_or_default();
        for slot in self.sessions.find(|session| session.waits_for_user(user)) {
            self.with_session(slot, |session, ctx| session.user_is_known(ctx, secret.clone()));
        }
    }
}

/// The question, for the primary as it is known now.
fn query(shared: &Shared) -> Result<UserQuery, String> {
    let (config, view) = (&shared.config, &shared.view);
    let node = view.primary.or(view.main).ok_or("no server can be asked")?;
    let backends = config.backends();
    let backend = backends.iter().find(|backend| backend.id == node).ok_or("no server can be asked")?;
    Ok(UserQuery {
        target: account::target(backend, config.auth_user.clone(), &config.auth_dbname),
        secret: shared.passwords.get(&config.auth_user).cloned(),
        query: config.auth_query.clone(),
        limit: LIMIT,
    })
}
