//! Users that pool_passwd does not know, as the servers know them (`auth_query`): what has been asked and answered, and
//! how to ask. Whoever connects decides what is asked, so all of it is bounded.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::client::{Client, ClientError, Target};
use crate::auth::pool_passwd::Secret;

/// Most questions at once; who comes meanwhile is not known.
const MOST_AT_ONCE: usize = 16;

/// Most answers kept.
const MOST_KEPT: usize = 4096;

/// An answer younger than this is not asked for again because a password did not match it.
const YOUNG: Duration = Duration::from_secs(5);

/// What is known of a user now.
#[derive(Debug, PartialEq, Eq)]
pub enum Known {
    /// The secret, or none: there is no such user, or it has no password.
    Answer(Option<Rc<Secret>>),
    /// Somebody must ask, and say so with [`Users::asks`].
    Ask,
    /// Being asked.
    Wait,
    /// Too many are being asked for.
    Full,
}

/// The answers of one process.
#[derive(Debug, Default)]
pub struct Users {
    known: HashMap<String, (Instant, Option<Rc<Secret>>)>,
    asked: HashSet<String>,
}

impl Users {
    /// What is known of the user, by answers that are younger than `expiry`.
    pub fn find(&self, user: &str, expiry: Duration, now: Instant) -> Known {
        match self.known.get(user) {
            Some((at, secret)) if now.saturating_duration_since(*at) < expiry => {
                Known::Answer(secret.clone())
            }
            _ if self.asked.contains(user) => Known::Wait,
            _ if self.asked.len() >= MOST_AT_ONCE => Known::Full,
            _ => Known::Ask,
        }
    }

    /// The user is being asked for from now on.
    pub fn asks(&mut self, user: &str) {
        self.asked.insert(user.to_owned());
    }

    /// The answer has come. An error is the answer for who waits, and is not kept.
    pub fn answered(&mut self, user: &str, answer: &Result<Option<Rc<Secret>>, String>, now: Instant) {
        self.asked.remove(user);
        if let Ok(secret) = answer {
            if self.known.len() >= MOST_KEPT {
                self.known.clear();
            }
            self.known.insert(user.to_owned(), (now, secret.clone()));
        }
    }

    /// A password did not match: the server may have a new one by now.
    pub fn doubt(&mut self, user: &str, now: Instant) {
        self.known.retain(|of, (at, _)| of != user || now.saturating_duration_since(*at) < YOUNG);
    }

    /// Forgets all answers: the configuration has changed.
    pub fn forget(&mut self) {
        self.known.clear();
    }
}

/// How to ask: a query of the configuration, with `$1` for the user's name.
#[derive(Debug)]
pub struct UserQuery {
    pub target: Target,
    pub secret: Option<Secret>,
    pub query: String,
    /// For the connection and the log-in, and again for the query.
    pub limit: Duration,
}

impl UserQuery {
    /// Asks a server. The error says why there is no answer, for the log.
    pub fn ask(&self, user: &str) -> Result<Option<Secret>, String> {
        let rows = self.rows(user).map_err(|error| error.to_string())?;
        let [row] = rows.as_slice() else {
            return match rows.len() {
                0 => Ok(None),
                count => Err(format!("auth_query has given {count} rows")),
            };
        };
        match row.as_slice() {
            [_, None, ..] | [None] => Ok(None),
            [Some(name), Some(password), ..] if name == user => Ok(Secret::parse(password)),
            [Some(_), Some(_), ..] => Err("auth_query has given another user".to_owned()),
            [Some(password)] => Ok(Secret::parse(password)),
            _ => Err("auth_query has given a row without a name".to_owned()),
        }
    }

    fn rows(&self, user: &str) -> Result<Vec<super::client::Row>, ClientError> {
        let mut client = Client::connect(&self.target, self.secret.as_ref(), self.limit)?;
        let query = self.query.trim().trim_end_matches(';');
        client.rows(&format!("PREPARE pgbalancer_auth_query AS {query}"), self.limit)?;
        client.rows(&format!("EXECUTE pgbalancer_auth_query ({})", quoted(user)), self.limit)
    }
}

/// The text as a literal that means the same whatever `standard_conforming_strings` is; the encoding is UTF-8.
fn quoted(text: &str) -> String {
    let mut out = String::from("E'");
    for letter in text.chars() {
        match letter {
            '\'' | '\\' => out.extend(['\\', letter]),
            letter if letter.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPIRY: Duration = Duration::from_secs(60);

    fn secret(text: &str) -> Option<Rc<Secret>> {
        Secret::parse(text).map(Rc::new)
    }

    #[test]
    fn an_answer_counts_until_it_expires() {
        let (mut users, now) = (Users::default(), Instant::now());
        assert_eq!(users.find("ann", EXPIRY, now), Known::Ask);
        users.asks("ann");
        assert_eq!(users.find("ann", EXPIRY, now), Known::Wait);
        users.answered("ann", &Ok(secret("pw")), now);
        users.answered("bob", &Ok(None), now);
        assert_eq!(users.find("ann", EXPIRY, now), Known::Answer(secret("pw")));
        assert_eq!(users.find("bob", EXPIRY, now), Known::Answer(None));
        assert_eq!(users.find("ann", EXPIRY, now + EXPIRY), Known::Ask);
        users.doubt("ann", now);
        assert_eq!(users.find("ann", EXPIRY, now), Known::Answer(secret("pw")), "it is new");
        users.doubt("ann", now + YOUNG);
        assert_eq!(users.find("ann", EXPIRY, now + YOUNG), Known::Ask);
        assert_eq!(users.find("bob", EXPIRY, now + YOUNG), Known::Answer(None));
        users.answered("cy", &Err("no".to_owned()), now);
        assert_eq!(users.find("cy", EXPIRY, now), Known::Ask);
        users.forget();
        assert_eq!(users.find("bob", EXPIRY, now), Known::Ask);
    }

    #[test]
    fn both_are_bounded() {
        let (mut users, now) = (Users::default(), Instant::now());
        for number in 0..MOST_AT_ONCE {
            users.asks(&number.to_string());
        }
        assert_eq!(users.find("late", EXPIRY, now), Known::Full);
        for number in 0..=MOST_KEPT {
            users.answered(&number.to_string(), &Ok(None), now);
        }
        assert!(users.known.len() <= MOST_KEPT && users.asked.is_empty());
    }

    #[test]
    fn a_name_is_no_sql() {
        for (name, literal) in [
            ("ann", "E'ann'"),
            ("o'b", "E'o\\'b'"),
            ("\\'; DROP--", "E'\\\\\\'; DROP--'"),
            ("a\nb", "E'a\\u000ab'"),
            ("\u{e4}", "E'\u{e4}'"),
        ] {
            assert_eq!(quoted(name), literal);
        }
    }
}
