//! `bctl`: one program for all that the REST API offers, for people (blocks, tables) and for scripts (JSON, exit codes).
//!
//! It knows nothing of the server but its API: it may stand on another host, and be of another version.
#![forbid(unsafe_code)]

mod action;
mod api;
mod args;
mod client;
mod columns;
mod confirm;
mod events;
mod failure;
mod files;
mod json;
#[cfg(test)]
mod man;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(not(feature = "mqtt"))]
#[path = "no_mqtt.rs"]
mod mqtt;
mod output;
mod password;
mod private;
mod progress;
mod report;
mod server;
mod settings;
mod table;
mod text;
mod tokens;
mod top;
mod unix;
mod words;

use std::process::ExitCode;

use clap::error::ErrorKind;

use api::Api;
use args::{Ai, Cache, Command, Config, Mqtt, Nodes, Password, Processes, Sessions, Watchdog};
use confirm::Alone;
use failure::{Failure, code};
use output::Output;
use settings::Settings;

/// Reads the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    ExitCode::from(match words::parse(words) {
        Ok((line, joined)) => run(line, joined),
        Err(error) => {
            // On a closed terminal nobody reads it.
            let _ = error.print();
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => code::OK,
                _ => code::USAGE,
            }
        }
    })
}

fn run(line: args::Line, joined: bool) -> u8 {
    let settings = match settings::read(&line.options) {
        Ok(settings) => settings,
        Err(failure) => {
            eprintln!("bctl: {}", failure.text());
            return failure.code();
        }
    };
    let out = Output { format: settings.format, quiet: settings.quiet, color: settings.color };
    let logs_in = matches!(line.command, Command::Login);
    match act(line.command, &settings, out, joined) {
        Ok(true) => code::OK,
        Ok(false) => code::FAILED,
        Err(failure) => {
            out.failed(&failure);
            if matches!(failure, Failure::Refused(401, _)) && !logs_in {
                out.hint("bctl -U NAME login gets a token");
            }
            failure.code()
        }
    }
}

/// Carries a command out. False: it was, but its result is not a good one.
fn act(command: Command, settings: &Settings, out: Output, joined: bool) -> Result<bool, Failure> {
    let api = || Api::new(settings);
    let simple = |path, done| action::simple(&mut api()?, out, path, done);
    match command {
        Command::Status => report::status(&mut api()?, out)?,
        Command::Stop { mode } => action::stop(&mut api()?, out, mode)?,
        Command::Reload => simple("/control/reload", "Configuration reloaded")?,
        Command::Logrotate => simple("/control/logrotate", "Logs rotated")?,
        Command::Pause => simple("/control/pause", "Paused: new transactions wait")?,
        Command::Resume => simple("/control/resume", "Resumed")?,
        Command::Nodes { command: Some(_), id: Some(id) } => return Err(both(&id.to_string())),
        Command::Nodes { command, id } => nodes(command, id, &mut api()?, out, joined)?,
        Command::Processes { command: Some(_), pid: Some(pid) } => return Err(both(&pid.to_string())),
        Command::Processes { command, pid } => match (command, pid) {
            (Some(Processes::Info { pid }), _) | (None, Some(pid)) => report::process(&mut api()?, out, pid)?,
            (Some(Processes::Count), _) => report::count(&mut api()?, out, &columns::PROCESSES)?,
            (Some(Processes::List) | None, _) => report::processes(&mut api()?, out)?,
        },
        Command::Pools => report::list(&mut api()?, out, &columns::POOLS)?,
        Command::Traffic => report::traffic(&mut api()?, out)?,
        Command::Ai { command } => match command {
            Some(Ai::Reset) => simple("/ai-stats/reset", "What routing has learnt is forgotten")?,
            Some(Ai::Stats) | None => report::learned(&mut api()?, out)?,
        },
        Command::Health { .. } => report::health(&mut api()?, out)?,
        Command::Sessions { command } => match command {
            Some(Sessions::Cancel { id }) => action::cancel(&mut api()?, out, &id)?,
            Some(Sessions::Terminate { id }) => action::terminate(&mut api()?, out, &id)?,
            Some(Sessions::List) | None => report::list(&mut api()?, out, &columns::SESSIONS)?,
        },
        Command::Cache { command } => match command {
            Some(Cache::Invalidate) => simple("/cache/invalidate", "Query cache invalidated")?,
            Some(Cache::Stats) | None => report::cache(&mut api()?, out)?,
        },
        Command::Watchdog { command } => match command {
            Some(Watchdog::Status) => report::watchdog(&mut api()?, out, "/watchdog/status")?,
            Some(Watchdog::Start) => simple("/watchdog/start", "Watchdog started successfully")?,
            Some(Watchdog::Stop) => simple("/watchdog/stop", "Watchdog stopped successfully")?,
            Some(Watchdog::Info) | None => report::watchdog(&mut api()?, out, "/watchdog/info")?,
        },
        Command::Events { follow: true, since, readings } => {
            events::follow(&mut api()?, out, since, readings)?;
        }
        Command::Events { follow: false, since, readings } => {
            events::list(&mut api()?, out, since, readings)?;
        }
        Command::Config { command } => match command {
            Config::Show { name } => report::parameters(&mut api()?, out, name.as_deref())?,
            Config::Check { file } => return files::check(out, &file),
            Config::Diff { file } => return files::diff(&mut api()?, out, &file),
        },
        Command::Route { sql, user, database, application } => {
            report::route(&mut api()?, out, &sql, &user, &database, &application)?;
        }
        Command::Top { once } => top::run(&mut api()?, out, once)?,
        Command::Login => action::login(&mut Api::without_token(settings)?, out)?,
        Command::Logout => action::logout(settings, out)?,
        Command::Password { command: Some(_), hash: Some(hash) } => return Err(both(&hash.user)),
        Command::Password { command, hash } => match (command, hash) {
            (Some(Password::Encrypt { .. }), _) => return Err(password::no_encryption()),
            (Some(Password::Hash(hash)), _) | (None, Some(hash)) => password::hash(out, hash)?,
            (None, None) => return Err(Failure::Usage("whose password? See bctl help password".to_owned())),
        },
        Command::Completion { shell } => completion(shell),
        Command::Mqtt { command } => match command {
            Some(Mqtt::Subscribe { topic, at }) => mqtt::subscribe(settings, out, &at, &topic)?,
            Some(Mqtt::Monitor { at }) => mqtt::monitor(settings, out, &at)?,
            Some(Mqtt::Publish { topic, message, retain, at }) => {
                mqtt::publish(settings, out, &at, &topic, &message, retain)?;
            }
            Some(Mqtt::Info) | None => report::mqtt(&mut api()?, out)?,
        },
    }
    Ok(true)
}

fn nodes(
    command: Option<Nodes>,
    id: Option<u16>,
    api: &mut Api<'_>,
    out: Output,
    joined: bool,
) -> Result<(), Failure> {
    // The original has these commands as one word, and never asks.
    let alone = if joined { Alone::GoOn } else { Alone::Refuse };
    match (command, id) {
        (Some(Nodes::Info { id }), _) | (None, Some(id)) => report::node(api, out, id),
        (Some(Nodes::Count), _) => report::count(api, out, &columns::NODES),
        (Some(Nodes::Attach { id }), _) => action::attach(api, out, id),
        (Some(Nodes::Detach { id, gracefully }), _) => action::detach(api, out, id, gracefully, alone),
        (Some(Nodes::Recovery { id }), _) => action::recovery(api, out, id),
        (Some(Nodes::Promote { id, switchover, gracefully }), _) => {
            action::promote(api, out, id, switchover, gracefully, alone)
        }
        (Some(Nodes::Weight { id, weight }), _) => action::weight(api, out, id, &weight),
        (Some(Nodes::List) | None, _) => report::list(api, out, &columns::NODES),
    }
}

/// A command behind something to be shown: which of them is meant is not clear.
fn both(first: &str) -> Failure {
    Failure::Usage(format!("no command can stand behind \"{first}\": write the command first"))
}

fn completion(shell: args::Shell) {
    let shell = match shell {
        args::Shell::Bash => clap_complete::Shell::Bash,
        args::Shell::Zsh => clap_complete::Shell::Zsh,
        args::Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut words::shown(), "bctl", &mut script);
    output::print(&String::from_utf8_lossy(&script));
}
