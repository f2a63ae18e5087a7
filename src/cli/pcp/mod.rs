//! pgpool-II's `pcp_*` tools, one program under all their names: for hosts that need no package of pgpool-II.
//!
//! Options, texts, streams and exit codes are theirs, as scripts read them: an error that the server reports after the
//! login is printed, and the exit code is 0 all the same. What a server sends decides which columns are shown, so
//! servers of all versions are served right.
#![forbid(unsafe_code)]

mod client;
#[cfg(test)]
mod man;
mod options;
mod password;
mod print;
mod tool;
mod watchdog;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::error::exit;
use crate::identity;
use client::{Answer, Client, Failure};
use options::{Misuse, Options};
use tool::{Act, Tool};

/// Becomes the tool of the name that it was called by.
pub(crate) fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let called = words.next().unwrap_or_default().to_string_lossy().into_owned();
    let name = called.rsplit('/').next().unwrap_or_default();
    let code = match Tool::named(name) {
        Some(tool) => run(tool, &called, words.collect()),
        None => {
            eprintln!("{name} is a invalid PCP utility");
            exit::USAGE
        }
    };
    ExitCode::from(code)
}

fn run(tool: &'static Tool, called: &str, words: Vec<OsString>) -> u8 {
    let words: Vec<String> = words.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    // These two count as the first word only.
    match words.first().map(String::as_str) {
        Some("-?" | "--help") => {
            eprint!("{}", tool.help());
            return exit::OK;
        }
        Some("-V" | "--version") => {
            eprintln!("{} (pgpool-II) {}", tool.name, identity::pool_version());
            return exit::OK;
        }
        _ => {}
    }
    match options::parse(tool, called, words) {
        Ok((options, warnings)) => {
            warnings.iter().for_each(|warning| eprintln!("{warning}"));
            serve(tool, &options)
        }
        Err(Misuse { text, code }) => {
            eprint!("{text}");
            code
        }
    }
}

fn serve(tool: &Tool, options: &Options) -> u8 {
    let asked = if options.never_prompt { String::new() } else { password::ask() };
    let mut client = match Client::connect(options, &asked) {
        Ok(client) => client,
        Err(failure) => {
            eprint!("{}", failure.text());
            return exit::USAGE;
        }
    };
    let mut out = Vec::new();
    let outcome = act(tool, options, &mut client, &mut out);
    // Whoever closed our output has seen enough.
    let _ = io::stdout().write_all(&out);
    let code = match outcome {
        Ok(()) => exit::OK,
        Err(failure) => {
            eprint!("{}", failure.text());
            // What the server says is no failure of the tool.
            if matches!(failure, Failure::Said(_)) { exit::OK } else { exit::USAGE }
        }
    };
    client.say_goodbye();
    code
}

/// Asks, and writes what is to be shown.
fn act(tool: &Tool, options: &Options, client: &mut Client, out: &mut Vec<u8>) -> Result<(), Failure> {
    let answer = client.ask(&tool.request(options))?;
    let text = match tool.act {
        Act::Command => format!("{} -- Command Successful\n", tool.name),
        Act::NodeCount => print::node_count(&answer, options),
        Act::NodeInfo => print::nodes(&answer, options),
        Act::HealthStats => print::health(&answer, options),
        Act::ProcessCount => print::process_count(&answer, options),
        Act::ProcessInfo => print::processes(&answer, options),
        Act::PoolStatus => print::pool_status(&answer, options),
        Act::WatchdogInfo => watchdog::print(&answer, options).ok_or(Failure::NotUnderstood)?,
    };
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// The rows of an answer that begin with this word, without it.
fn rows<'a>(answer: &'a Answer, word: &str) -> Vec<&'a [String]> {
    let rows = answer.iter().filter(|row| row.first().is_some_and(|first| first == word));
    rows.map(|row| row.get(1..).unwrap_or_default()).collect()
}
