//! What options, the environment and the configuration file say together: the first of them that says something counts.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::args::Options;
use super::failure::Failure;
use super::private;
use super::server::Server;

const HOST: &str = "localhost";
const PORT: u16 = 8080;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Blocks and lines.
    Default,
    /// Tables.
    Table,
    /// The server's JSON.
    Json,
}

/// How this command is to be carried out.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) server: Server,
    pub(super) tls: Option<Tls>,
    pub(super) username: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) ask_password: bool,
    pub(super) token: Option<String>,
    pub(super) format: Format,
    pub(super) verbose: bool,
    pub(super) quiet: bool,
    pub(super) color: bool,
    pub(super) yes: bool,
    pub(super) home: Option<PathBuf>,
}

/// HTTPS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tls {
    /// A file of authorities; none are those that this host trusts.
    pub(super) cacert: Option<PathBuf>,
}

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    host: Option<String>,
    port: Option<u16>,
    tls: Option<bool>,
    cacert: Option<PathBuf>,
    username: Option<String>,
    password_file: Option<PathBuf>,
    format: Option<String>,
    token: Option<String>,
}

/// Reads the environment and the file.
pub(super) fn read(options: &Options) -> Result<Settings, Failure> {
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let home = env("HOME").map(PathBuf::from);
    let file = match &home {
        Some(home) => file(&home.join(".config/bctl/config.toml"))?,
        None => File::default(),
    };
    let terminal = io::stdout().is_terminal() && env("TERM").is_none_or(|term| term != "dumb");
    let mut settings = settle(options, &env, file, home).map_err(Failure::Usage)?;
    settings.color = terminal && !options.no_color && env("NO_COLOR").is_none();
    Ok(settings)
}

/// A file that is not there says nothing; one with a token is for its owner alone.
fn file(path: &Path) -> Result<File, Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(File::default());
        }
        Err(error) => return Err(Failure::Usage(format!("cannot read {}: {error}", path.display()))),
    };
    let file: File = toml::from_str(&text)
        .map_err(|error| Failure::Usage(format!("{}: {}", path.display(), error.to_string().trim_end())))?;
    if file.token.is_some() {
        private::check(path)?;
    }
    Ok(file)
}

fn settle(
    options: &Options,
    env: &dyn Fn(&str) -> Option<String>,
    file: File,
    home: Option<PathBuf>,
) -> Result<Settings, String> {
    let pick = |option: &Option<String>, name: &str, file: Option<String>| {
        option.clone().or_else(|| env(name)).or(file)
    };
    let port = match (options.port, env("BCTL_PORT")) {
        (Some(port), _) => port,
        (None, Some(text)) => port(&text)?,
        (None, None) => file.port.unwrap_or(PORT),
    };
    if port == 0 {
        return Err("port 0 is none: it must be from 1 to 65535".to_owned());
    }
    let host = pick(&options.host, "BCTL_HOST", file.host).unwrap_or_else(|| HOST.to_owned());
    let password_file =
        options.password_file.clone().or_else(|| env("BCTL_PASSWORD_FILE").map(PathBuf::from));
    let format = match (options.table, options.json) {
        (true, true) => return Err("--table and --json exclude each other".to_owned()),
        (true, false) => Format::Table,
        (false, true) => Format::Json,
        (false, false) => {
            env("BCTL_FORMAT").or(file.format).map_or(Ok(Format::Default), |word| format(&word))?
        }
    };
    let server = Server::new(&host, port)?;
    let tls = match (options.tls, env("BCTL_TLS")) {
        (true, _) => Some(true),
        (false, Some(word)) => Some(switch(&word)?),
        (false, None) => file.tls,
    };
    let cacert = options.cacert.clone().or_else(|| env("BCTL_CACERT").map(PathBuf::from)).or(file.cacert);
    // Who names an authority wants it asked; at a socket of this host there is nothing to secure.
    let secured = tls.unwrap_or(cacert.is_some()) && matches!(server, Server::Tcp(..));
    Ok(Settings {
        tls: secured.then_some(Tls { cacert }),
        server,
        username: pick(&options.username, "BCTL_USERNAME", file.username),
        password_file: password_file.or(file.password_file),
        ask_password: options.password,
        token: env("BCTL_TOKEN").or(file.token),
        format,
        verbose: options.verbose,
        quiet: options.quiet,
        color: false,
        yes: options.yes,
        home,
    })
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("BCTL_PORT is \"{text}\": it must be a number from 1 to 65535"))
}

fn switch(word: &str) -> Result<bool, String> {
    match word {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err(format!("BCTL_TLS is \"{word}\": it must be on or off")),
    }
}

fn format(word: &str) -> Result<Format, String> {
    match word {
        "default" => Ok(Format::Default),
        "table" => Ok(Format::Table),
        "json" => Ok(Format::Json),
        _ => Err(format!("format is \"{word}\": it must be default, table or json")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(options: &Options, env: &[(&str, &str)], file: &str) -> Result<Settings, String> {
        let env =
            |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        settle(options, &env, toml::from_str(file).unwrap(), None)
    }

    const FILE: &str =
        "host = 'f'\nport = 1\nusername = 'fu'\npassword_file = '/f'\nformat = 'json'\ntoken = 'ft'\n";
    const ENV: [(&str, &str); 6] = [
        ("BCTL_HOST", "e"),
        ("BCTL_PORT", "2"),
        ("BCTL_USERNAME", "eu"),
        ("BCTL_PASSWORD_FILE", "/e"),
        ("BCTL_FORMAT", "table"),
        ("BCTL_TOKEN", "et"),
    ];

    fn facts(settings: &Settings) -> (String, Option<&str>, Option<&Path>, Format, Option<&str>) {
        (
            settings.server.to_string(),
            settings.username.as_deref(),
            settings.password_file.as_deref(),
            settings.format,
            settings.token.as_deref(),
        )
    }

    #[test]
    fn options_come_before_the_environment_and_that_before_the_file() {
        let none = Options::default();
        let settings = settled(&none, &[], "").unwrap();
        assert_eq!(facts(&settings), ("localhost:8080".to_owned(), None, None, Format::Default, None));
        let settings = settled(&none, &[], FILE).unwrap();
        let expected = ("f:1".to_owned(), Some("fu"), Some(Path::new("/f")), Format::Json, Some("ft"));
        assert_eq!(facts(&settings), expected);
        let settings = settled(&none, &ENV, FILE).unwrap();
        let expected = ("e:2".to_owned(), Some("eu"), Some(Path::new("/e")), Format::Table, Some("et"));
        assert_eq!(facts(&settings), expected);
        let all = Options {
            host: Some("o".to_owned()),
            port: Some(3),
            username: Some("ou".to_owned()),
            password_file: Some("/o".into()),
            json: true,
            ..Options::default()
        };
        let settings = settled(&all, &ENV, FILE).unwrap();
        let expected = ("o:3".to_owned(), Some("ou"), Some(Path::new("/o")), Format::Json, Some("et"));
        assert_eq!(facts(&settings), expected);
    }

    #[test]
    fn https_is_spoken_where_it_is_asked_for_or_an_authority_is_named() {
        let with = |tls: bool, host: Option<&str>| Options {
            tls,
            host: host.map(str::to_owned),
            ..Options::default()
        };
        let cacert = |path: &str| Some(Tls { cacert: Some(path.into()) });
        let off = with(false, None);
        assert_eq!(settled(&off, &[], "").unwrap().tls, None);
        assert_eq!(settled(&with(true, None), &[], "").unwrap().tls, Some(Tls { cacert: None }));
        assert_eq!(settled(&off, &[("BCTL_CACERT", "/e")], "cacert = '/f'").unwrap().tls, cacert("/e"));
        assert_eq!(settled(&off, &[], "cacert = '/f'").unwrap().tls, cacert("/f"));
        assert_eq!(settled(&off, &[("BCTL_TLS", "off")], "tls = true\ncacert = '/f'").unwrap().tls, None);
        assert_eq!(settled(&with(true, Some("unix:/s")), &[], "").unwrap().tls, None);
    }

    #[test]
    fn wrong_settings_are_named() {
        let none = Options::default();
        for (env, says) in [
            (("BCTL_PORT", "x"), "BCTL_PORT"),
            (("BCTL_PORT", "0"), "port 0"),
            (("BCTL_FORMAT", "xml"), "xml"),
            (("BCTL_TLS", "perhaps"), "perhaps"),
            (("BCTL_HOST", "a b"), "a b"),
        ] {
            assert!(settled(&none, &[env], "").unwrap_err().contains(says), "{env:?}");
        }
        let both = Options { table: true, json: true, ..Options::default() };
        assert!(settled(&both, &[], "").is_err());
        assert!(toml::from_str::<File>("hots = 'x'").is_err());
    }
}
