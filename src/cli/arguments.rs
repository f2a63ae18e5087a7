//! What stands on the command line, as pgpool-II takes it, and `-t`, `--upgrade` and `--migrate` of ours.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};

use crate::supervisor::StopMode;

/// A command line that was understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) action: Action,
    /// `-f`.
    pub(super) config_path: Option<PathBuf>,
    /// `-a`.
    pub(super) hba_path: Option<PathBuf>,
    /// `-F`.
    pub(super) pcp_path: Option<PathBuf>,
    /// `-k`.
    pub(super) key_path: Option<PathBuf>,
    /// `-n`.
    pub(super) foreground: bool,
    /// `-d`.
    pub(super) debug: bool,
    /// `-D`.
    pub(super) discard_status: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Start,
    Stop(StopMode),
    Reload,
    Test,
    Upgrade,
    Migrate,
    Help,
    Version,
}

/// One that was not.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArgumentError {
    #[error("{0}")]
    Option(#[from] lexopt::Error),
    #[error("unknown command \"{0}\"")]
    Command(String),
    #[error("\"{0}\" is no shutdown mode: say smart, fast or immediate")]
    Mode(String),
}

/// Reads the words behind the program's name.
pub(super) fn parse(words: Vec<OsString>) -> Result<Arguments, ArgumentError> {
    let mut found = Arguments {
        action: Action::Start,
        config_path: None,
        hba_path: None,
        pcp_path: None,
        key_path: None,
        foreground: false,
        debug: false,
        discard_status: false,
    };
    let mut mode = StopMode::Smart;
    let mut command: Option<String> = None;
    let mut parser = Parser::from_args(words);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('a') | Arg::Long("hba-file") => found.hba_path = Some(parser.value()?.into()),
            Arg::Short('f') | Arg::Long("config-file") => found.config_path = Some(parser.value()?.into()),
            Arg::Short('F') | Arg::Long("pcp-file") => found.pcp_path = Some(parser.value()?.into()),
            Arg::Short('k') | Arg::Long("key-file") => found.key_path = Some(parser.value()?.into()),
            Arg::Short('n') | Arg::Long("dont-detach") => found.foreground = true,
            Arg::Short('d') | Arg::Long("debug") => found.debug = true,
            Arg::Short('D') | Arg::Long("discard-status") => found.discard_status = true,
            // There is no query cache yet, and assertions are always on.
            Arg::Short('C') | Arg::Long("clear-oidmaps") => {}
            Arg::Short('x') | Arg::Long("debug-assertions") => {}
            Arg::Short('m') | Arg::Long("mode") => {
                let word = parser.value()?.string()?;
                mode = StopMode::parse(&word).ok_or(ArgumentError::Mode(word))?;
            }
            Arg::Short('t') | Arg::Long("test-config") => found.action = Action::Test,
            Arg::Long("upgrade") => found.action = Action::Upgrade,
            Arg::Long("migrate") => {
                found.action = Action::Migrate;
                found.config_path = Some(parser.value()?.into());
            }
            Arg::Short('h') | Arg::Long("help") => return Ok(Arguments { action: Action::Help, ..found }),
            Arg::Short('v') | Arg::Long("version") => {
                return Ok(Arguments { action: Action::Version, ..found });
            }
            Arg::Value(word) if command.is_none() => command = Some(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    match command.as_deref() {
        None => {}
        Some("stop") => found.action = Action::Stop(mode),
        Some("reload") => found.action = Action::Reload,
        Some(word) => return Err(ArgumentError::Command(word.to_owned())),
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, String> {
        parse(line.split_whitespace().map(OsString::from).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn actions() {
        for (line, action) in [
            ("", Action::Start),
            ("-n -D -d -C -x -F pcp.conf -k key", Action::Start),
            ("-nDd", Action::Start),
            ("stop", Action::Stop(StopMode::Smart)),
            ("-m f stop", Action::Stop(StopMode::Fast)),
            ("-mf stop", Action::Stop(StopMode::Fast)),
            ("stop -m fast", Action::Stop(StopMode::Fast)),
            ("--mode=immediate stop", Action::Stop(StopMode::Immediate)),
            ("reload", Action::Reload),
            ("-t", Action::Test),
            ("--test-config -f x", Action::Test),
            ("--upgrade", Action::Upgrade),
            ("--migrate pgpool.conf", Action::Migrate),
            ("-h", Action::Help),
            ("--help", Action::Help),
            ("-v", Action::Version),
            ("--version bogus", Action::Version),
        ] {
            assert_eq!(read(line).unwrap().action, action, "{line}");
        }
    }

    #[test]
    fn files_and_flags() {
        for line in [
            "-f a.conf -a hba -F p -k key -n -d -D",
            "-fa.conf -ahba -nDd -Fp -kkey",
            "--config-file=a.conf --hba-file hba --pcp-file=p -dn --key-file=key --discard-status",
        ] {
            let found = read(line).unwrap();
            assert_eq!(found.config_path.as_deref(), Some("a.conf".as_ref()), "{line}");
            assert_eq!(found.hba_path.as_deref(), Some("hba".as_ref()), "{line}");
            assert_eq!(found.pcp_path.as_deref(), Some("p".as_ref()), "{line}");
            assert_eq!(found.key_path.as_deref(), Some("key".as_ref()), "{line}");
            assert!(found.foreground && found.debug && found.discard_status, "{line}");
        }
    }

    #[test]
    fn mistakes() {
        for line in ["start", "-Q", "--bogus", "-f", "-m later stop", "stop reload", "-n=5", "--debug=yes"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
