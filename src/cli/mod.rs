//! The program's command line: starts the supervisor, or speaks to a running one.
#![forbid(unsafe_code)]

mod arguments;
pub(crate) mod bctl;
mod control;
pub(crate) mod encode;
#[cfg(test)]
mod man;
pub(crate) mod pcp;
mod usage;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::error::exit;
use crate::identity;
use crate::supervisor::{self, Launch, Program};
use crate::sys::notify::Notifier;
use crate::sys::title;
use arguments::{Action, Arguments};

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    identity::adopt(&name.to_string_lossy());
    let words: Vec<_> = words.collect();
    title::prepare(&format!("{}: ", identity::program()));
    let code = match arguments::parse(words) {
        Ok(arguments) => act(arguments, &name),
        Err(error) => {
            eprintln!("{}: {error}", identity::program());
            eprint!("{}", usage::text());
            exit::USAGE
        }
    };
    ExitCode::from(code)
}

fn act(arguments: Arguments, name: &OsStr) -> u8 {
    match arguments.action {
        Action::Help => {
            eprint!("{}", usage::text());
            exit::OK
        }
        Action::Version => {
            eprintln!("{}", usage::version());
            exit::OK
        }
        Action::Migrate => control::migrate(&config_path(&arguments)),
        Action::Test => control::test(&config_path(&arguments)),
        Action::Stop(mode) => control::stop(&config_path(&arguments), mode),
        Action::Reload => control::reload(&config_path(&arguments)),
        Action::Upgrade => control::upgrade(&config_path(&arguments)),
        Action::Start => {
            let launch = Launch {
                config_path: config_path(&arguments),
                hba_path: arguments.hba_path.as_ref().map(absolute),
                pcp_path: arguments.pcp_path.as_ref().map(absolute),
                key_path: arguments.key_path.as_ref().map(absolute),
                foreground: arguments.foreground,
                debug: arguments.debug,
                discard_status: arguments.discard_status,
                program: Program::new(name),
                notifier: Notifier::take(),
            };
            supervisor::start(&launch, crate::role::TABLE)
        }
    }
}

fn config_path(arguments: &Arguments) -> PathBuf {
    arguments.config_path.as_ref().map(absolute).unwrap_or_else(usage::default_config)
}

/// A daemon leaves the directory that a relative name counts from.
fn absolute(path: &PathBuf) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.clone())
}
