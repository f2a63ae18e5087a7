//! What clients want to have done, as commands of the core, and what they are told then.
#![forbid(unsafe_code)]

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::View;
use super::head::Found;
use super::refusal::Refusal;
use super::schema::{Schema, answer, request};
use crate::admin::{self, AdminError, Command, MAX_WEIGHT, RouteQuestion, StopMode, Weight};
use crate::error::NodeId;

answer! {
    /// What came of an action.
    pub struct ActionDone {
        /// What was done, in words.
        pub message: String,
        /// success: it is done; accepted: it goes on.
        pub status: &'static str,
    }

    /// A token.
    pub struct LoginDone {
        /// To be sent as `Authorization: Bearer …`.
        pub token: String,
        /// Seconds that it is good for.
        pub expires_in: u64,
        /// Always `Bearer`.
        pub token_type: &'static str,
        /// What it allows: operator or viewer.
        pub role: &'static str,
    }
}

request! {
    /// Who logs in.
    pub struct LoginBody {
        /// Name of the user.
        pub username: String,
        /// The password.
        pub password: String,
    }

    /// A statement, and whose it is.
    pub(super) struct RouteBody {
        /// The statement, of 64 KiB at most.
        pub sql: String,
        /// Who runs it.
        pub user: Option<String>,
        /// In which database.
        pub database: Option<String>,
        /// With which application_name.
        pub application: Option<String>,
    }

    /// How to detach.
    pub(super) struct DetachBody {
        /// Sessions end what they do there first.
        pub gracefully: Option<bool>,
    }

    /// How to promote.
    pub(super) struct PromoteBody {
        /// The present primary becomes a standby.
        pub switchover: Option<bool>,
        /// Transactions end first.
        pub gracefully: Option<bool>,
    }

    /// A share of the reads.
    pub(super) struct WeightBody {
        /// As `backend_weight`: the node's share among the others.
        pub weight: Share,
    }

    /// How to stop.
    pub(super) struct StopBody {
        /// smart (waits for clients), fast or immediate; smart if not said.
        pub mode: Option<Mode>,
    }
}

/// A number that [`Weight::new`] takes.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Share(f64);

impl Schema for Share {
    fn schema() -> Value {
        json!({"type": "number", "minimum": 0, "maximum": MAX_WEIGHT})
    }
}

/// A word that [`StopMode`] has.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Mode(String);

impl Schema for Mode {
    fn schema() -> Value {
        json!({"type": "string", "enum": ["smart", "fast", "immediate"]})
    }
}

/// The body of a request; none is like `{}`.
///
/// # Errors
/// It is not what it should be.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let body = body.trim_ascii();
    let body = if body.is_empty() { b"{}" } else { body };
    // An array would be taken as the fields in their order.
    if !body.starts_with(b"{") {
        return Err(Refusal::unreadable("the body is not a JSON object"));
    }
    serde_json::from_slice(body)
        .map_err(|error| Refusal::unreadable(format!("the body cannot be read: {error}")))
}

type Wanted = Result<Command, Refusal>;

fn find(view: &View<'_>, found: &Found) -> Result<NodeId, Refusal> {
    Ok(admin::find_node(&view.admin, found.number()?)?.id)
}

pub(super) fn attach(view: &View<'_>, found: &Found, _: &[u8]) -> Wanted {
    Ok(Command::Attach { node: find(view, found)? })
}

pub(super) fn detach(view: &View<'_>, found: &Found, body: &[u8]) -> Wanted {
    let body: DetachBody = read(body)?;
    Ok(Command::Detach { node: find(view, found)?, gracefully: body.gracefully.unwrap_or(false) })
}

pub(super) fn promote(view: &View<'_>, found: &Found, body: &[u8]) -> Wanted {
    let body: PromoteBody = read(body)?;
    Ok(Command::Promote {
        node: find(view, found)?,
        switchover: body.switchover.unwrap_or(false),
        gracefully: body.gracefully.unwrap_or(false),
    })
}

pub(super) fn recover(view: &View<'_>, found: &Found, _: &[u8]) -> Wanted {
    Ok(Command::Recover { node: find(view, found)? })
}

pub(super) fn weight(view: &View<'_>, found: &Found, body: &[u8]) -> Wanted {
    let body: WeightBody = read(body)?;
    Ok(Command::SetWeight { node: find(view, found)?, weight: Weight::new(body.weight.0)? })
}

pub(super) fn cancel(_: &View<'_>, found: &Found, _: &[u8]) -> Wanted {
    Ok(Command::CancelSession { session: found.text().parse()? })
}

pub(super) fn terminate(_: &View<'_>, found: &Found, _: &[u8]) -> Wanted {
    Ok(Command::TerminateSession { session: found.text().parse()? })
}

pub(super) fn pause(_: &View<'_>, _: &Found, _: &[u8]) -> Wanted {
    Ok(Command::Pause)
}

pub(super) fn resume(_: &View<'_>, _: &Found, _: &[u8]) -> Wanted {
    Ok(Command::Resume)
}

pub(super) fn reload(_: &View<'_>, _: &Found, _: &[u8]) -> Wanted {
    Ok(Command::Reload)
}

pub(super) fn rotate_log(_: &View<'_>, _: &Found, _: &[u8]) -> Wanted {
    Ok(Command::RotateLog)
}

pub(super) fn stop(_: &View<'_>, _: &Found, body: &[u8]) -> Wanted {
    let body: StopBody = read(body)?;
    let Some(Mode(word)) = body.mode else { return Ok(Command::Stop(StopMode::Smart)) };
    let modes = [StopMode::Smart, StopMode::Fast, StopMode::Immediate];
    let mode = modes.into_iter().find(|mode| mode.name() == word);
    let wrong =
        || Refusal::unreadable(format!("mode is \"{}\"; smart, fast or immediate", word.escape_debug()));
    mode.map(Command::Stop).ok_or_else(wrong)
}

pub(super) fn forget_learned(_: &View<'_>, _: &Found, _: &[u8]) -> Wanted {
    Ok(Command::ForgetLearned)
}

pub(super) fn invalidate_cache(_: &View<'_>, _: &Found, _: &[u8]) -> Wanted {
    Ok(Command::InvalidateCache)
}

pub(super) fn watchdog(_: &View<'_>, _: &Found, _: &[u8]) -> Wanted {
    Err(AdminError::NoWatchdog.into())
}

/// Longest statement whose way is told.
const LONGEST_STATEMENT: usize = 64 * 1024;

pub(super) fn route(view: &View<'_>, body: &[u8], draw: f64) -> Result<admin::RouteReport, Refusal> {
    let body: RouteBody = read(body)?;
    if body.sql.len() > LONGEST_STATEMENT {
        return Err(Refusal::new(413, format!("sql is longer than {LONGEST_STATEMENT} bytes")));
    }
    let question = RouteQuestion {
        sql: &body.sql,
        user: body.user.as_deref().unwrap_or_default(),
        database: body.database.as_deref().unwrap_or_default(),
        application: body.application.as_deref().unwrap_or_default(),
    };
    Ok(admin::route(&view.admin, &question, draw))
}

/// The command has been carried out.
pub fn done(command: &Command) -> ActionDone {
    let message = match command {
        Command::Attach { .. } => "Node attached successfully".to_owned(),
        Command::Detach { .. } => "Node detached successfully".to_owned(),
        Command::Promote { .. } => "Node promoted to primary".to_owned(),
        Command::Recover { .. } => "Node recovered".to_owned(),
        Command::Reload => "Configuration reloaded successfully".to_owned(),
        Command::RotateLog => "Log files rotated successfully".to_owned(),
        Command::InvalidateCache => "Query cache invalidated successfully".to_owned(),
        Command::Stop(mode) => format!("Server stop initiated ({})", mode.name()),
        Command::CancelSession { session } => format!("Statement of session {session} cancelled"),
        Command::TerminateSession { session } => format!("Session {session} terminated"),
        Command::Pause => "New transactions wait until you resume".to_owned(),
        Command::Resume => "Transactions begin again".to_owned(),
        Command::SetWeight { weight, .. } => format!("Node weight set to {}", weight.value()),
        Command::ForgetLearned => "What routing has learnt is forgotten".to_owned(),
    };
    ActionDone { message, status: "success" }
}

/// The command goes on after the answer.
pub fn accepted(command: &Command) -> ActionDone {
    let message = match command {
        Command::Pause => AdminError::Draining.to_string(),
        _ => "Node recovery initiated".to_owned(),
    };
    ActionDone { message, status: "accepted" }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bodies_are_objects_with_known_fields() {
        for (body, gracefully) in [
            ("", Ok(None)),
            (" \r\n", Ok(None)),
            ("{}", Ok(None)),
            (" {\"gracefully\": true} ", Ok(Some(true))),
            ("{\"gracefully\": null}", Ok(None)),
            ("{\"gracefully\": 1}", Err(400)),
            ("{\"more\": 1}", Err(400)),
            ("[true]", Err(400)),
            ("null", Err(400)),
            ("{", Err(400)),
        ] {
            let read = read::<DetachBody>(body.as_bytes());
            assert_eq!(
                read.map(|body| body.gracefully).map_err(|refusal| refusal.status),
                gracefully,
                "{body}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(body: Vec<u8>, text in "\\{\"(mode|sql|gracefully)\":.{0,20}\\}?") {
            for body in [body.as_slice(), text.as_bytes()] {
                let _ = (read::<StopBody>(body), read::<LoginBody>(body), read::<PromoteBody>(body));
            }
        }
    }
}
