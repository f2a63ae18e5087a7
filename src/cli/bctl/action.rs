//! Commands that change something.
#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use serde_json::{Number, Value, json};

use super::api::{self, Api};
use super::args::Mode;
use super::client::{self, Patience};
use super::confirm::{Alone, confirm, may_be_asked};
use super::failure::Failure;
use super::output::Output;
use super::progress::Progress;
use super::settings::Settings;
use super::text;
use crate::sys::clock;

/// Does what needs no more than a word, and says this.
pub(super) fn simple(api: &mut Api<'_>, out: Output, path: &str, done: &str) -> Result<(), Failure> {
    act(api, out, path, None, done)
}

fn act(api: &mut Api<'_>, out: Output, path: &str, body: Option<&Value>, done: &str) -> Result<(), Failure> {
    let answer = api.post(path, body, Patience::Usual)?;
    out.done(&answer.text, done);
    Ok(())
}

/// As `act`, for what takes as long as it takes.
fn act_slowly(
    api: &mut Api<'_>,
    out: Output,
    path: &str,
    body: Option<&Value>,
    (doing, done): (String, String),
) -> Result<(), Failure> {
    let progress = Progress::start(doing, api.settings.quiet);
    let answer = api.post(path, body, Patience::Endless);
    drop(progress);
    let answer = answer?;
    // 202: it goes on, and the server says what it has begun.
    let message = answer.value.get("message").and_then(Value::as_str).filter(|_| answer.status == 202);
    let said = message.map_or(done.clone(), |message| format!("{done}: {}", text::safe(message)));
    out.done(&answer.text, &said);
    Ok(())
}

pub(super) fn stop(api: &mut Api<'_>, out: Output, mode: Mode) -> Result<(), Failure> {
    let word = match mode {
        Mode::Smart => "smart",
        Mode::Fast => "fast",
        Mode::Immediate => "immediate",
    };
    let server = &api.settings.server;
    confirm(api.settings, &format!("stop pgbalancer at {server} ({word})"), Alone::GoOn)?;
    act(api, out, "/control/stop", Some(&json!({ "mode": word })), &format!("Server stop initiated ({word})"))
}

pub(super) fn attach(api: &mut Api<'_>, out: Output, id: u16) -> Result<(), Failure> {
    act(api, out, &format!("/nodes/{id}/attach"), None, &format!("Node {id} attached"))
}

/// Asks only before it detaches the primary.
pub(super) fn detach(
    api: &mut Api<'_>,
    out: Output,
    id: u16,
    gracefully: bool,
    alone: Alone,
) -> Result<(), Failure> {
    if may_be_asked(api.settings, alone) {
        let node = api.get(&format!("/nodes/{id}"))?;
        let role = node.value.get("role").and_then(Value::as_str).unwrap_or_default();
        if matches!(role, "primary" | "main") {
            confirm(api.settings, &format!("detach node {id}, the {role}"), alone)?;
        }
    }
    let body = gracefully.then(|| json!({ "gracefully": true }));
    let said = (format!("Detaching node {id}"), format!("Node {id} detached"));
    act_slowly(api, out, &format!("/nodes/{id}/detach"), body.as_ref(), said)
}

/// How often it is asked how a recovery goes.
const LOOK: Duration = Duration::from_millis(500);

/// Has a node recovered, and waits until it is.
pub(super) fn recovery(api: &mut Api<'_>, out: Output, id: u16) -> Result<(), Failure> {
    let path = format!("/nodes/{id}/recovery");
    let progress = Progress::start(format!("Recovering node {id}"), api.settings.quiet);
    let mut answer = api.post(&path, None, Patience::Endless)?;
    while answer.status == 202 || word(&answer.value, "state") == "running" {
        if answer.status != 202 {
            progress.goes_on(text::safe(word(&answer.value, "step")));
            thread::sleep(LOOK);
        }
        answer = api.get(&path)?;
    }
    drop(progress);
    match word(&answer.value, "state") {
        "failed" => {
            let reason = text::safe(word(&answer.value, "reason"));
            Err(Failure::Local(format!("node {id} could not be recovered: {reason}")))
        }
        // Another one was begun meanwhile: how this one went is in the log.
        "none" => Err(Failure::Local(format!("how the recovery of node {id} went is not known any more"))),
        _ => {
            out.done(&answer.text, &format!("Node {id} recovered"));
            Ok(())
        }
    }
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn promote(
    api: &mut Api<'_>,
    out: Output,
    id: u16,
    switchover: bool,
    gracefully: bool,
    alone: Alone,
) -> Result<(), Failure> {
    confirm(api.settings, &format!("make node {id} the primary"), alone)?;
    let body =
        (switchover || gracefully).then(|| json!({ "switchover": switchover, "gracefully": gracefully }));
    let said = (format!("Promoting node {id}"), format!("Node {id} promoted"));
    act_slowly(api, out, &format!("/nodes/{id}/promote"), body.as_ref(), said)
}

pub(super) fn weight(api: &mut Api<'_>, out: Output, id: u16, weight: &Number) -> Result<(), Failure> {
    let body = json!({ "weight": weight });
    let done = format!("Node {id} has the weight {weight}");
    act(api, out, &format!("/nodes/{id}/weight"), Some(&body), &done)
}

pub(super) fn cancel(api: &mut Api<'_>, out: Output, id: &str) -> Result<(), Failure> {
    let path = format!("/sessions/{}/cancel", client::part(id));
    act(api, out, &path, None, &format!("Statement of session {} cancelled", text::safe(id)))
}

pub(super) fn terminate(api: &mut Api<'_>, out: Output, id: &str) -> Result<(), Failure> {
    let shown = text::safe(id);
    confirm(api.settings, &format!("end session {shown}"), Alone::Refuse)?;
    let path = format!("/sessions/{}/terminate", client::part(id));
    act(api, out, &path, None, &format!("Session {shown} terminated"))
}

pub(super) fn login(api: &mut Api<'_>, out: Output) -> Result<(), Failure> {
    let answer = api.log_in()?;
    let word = |key: &str| answer.value.get(key).and_then(Value::as_str).map(text::safe);
    let server = &api.settings.server;
    let role = word("role").map(|role| format!(" as {role}")).unwrap_or_default();
    let until = answer
        .value
        .get("expires_in")
        .and_then(Value::as_u64)
        .map(|life| format!(", until {}", clock::local_text(clock::unix_seconds().saturating_add(life))));
    out.done(&answer.text, &format!("Logged in to {server}{role}{}", until.unwrap_or_default()));
    Ok(())
}

/// The server keeps no list of tokens: one is forgotten here, and ends by itself.
pub(super) fn logout(settings: &Settings, out: Output) -> Result<(), Failure> {
    let Some(mut tokens) = api::tokens(settings)? else {
        return Err(Failure::Local("HOME is not set: no tokens are kept".to_owned()));
    };
    let server = settings.server.to_string();
    let message = match tokens.forget(&server, settings.username.as_deref())? {
        true => format!("Logged out of {server}"),
        false => format!("No token of {server} was kept"),
    };
    out.done(&json!({ "message": message, "status": "success" }).to_string(), &message);
    Ok(())
}
