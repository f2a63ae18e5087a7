//! pgpool-II's `pg_md5` and `pg_enc`, one program under both names: they write the users of pool_passwd.
//!
//! Options, texts, streams and exit codes are those of version 4.3, as scripts read them. Where that loses a password
//! or writes a line that means another user, ours refuses: compat/quirks.md has the list.
#![forbid(unsafe_code)]

mod entry;
mod getopt;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use zeroize::Zeroizing;

use super::usage;
use crate::auth::md5;
use crate::auth::pool_key::{self, PoolKey};
use crate::config;
use crate::error::exit;
use crate::identity;
use crate::sys::{process, terminal};

/// Bytes that a password, and a name in a file of input, may have.
const LONGEST: usize = 128;

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Md5,
    Enc,
}

/// What a command line wants.
#[derive(Debug, Default)]
struct Options {
    prompts: bool,
    prompts_for_key: bool,
    /// Write pool_passwd.
    updates: bool,
    /// Empty: who runs us.
    user: String,
    key: Zeroizing<String>,
    key_file: Option<PathBuf>,
    config: Option<PathBuf>,
    input: Option<PathBuf>,
    password: Option<Zeroizing<String>>,
}

/// What ends the program early: its last words for standard error, and whether the help follows them.
struct Failure {
    text: String,
    with_help: bool,
}

impl Failure {
    fn new(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), with_help: false }
    }
}

/// Becomes the tool of the name that it was called by.
pub(crate) fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let called = words.next().unwrap_or_default().to_string_lossy().into_owned();
    // Passwords lie there. Where that cannot be had, they are written all the same.
    let _ = process::hide_memory();
    let tool = if called.ends_with("pg_md5") { Tool::Md5 } else { Tool::Enc };
    let code = match run(tool, &called, words.collect()) {
        Ok(()) => exit::OK,
        Err(failure) => {
            eprint!("{}", failure.text);
            if failure.with_help {
                eprint!("{}", tool.help());
            }
            exit::USAGE
        }
    };
    ExitCode::from(code)
}

/// Whoever closed our output has seen enough.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

fn run(tool: Tool, called: &str, words: Vec<OsString>) -> Result<(), Failure> {
    let words: Result<Vec<String>, _> = words.into_iter().map(OsString::into_string).collect();
    let words = words.map_err(|_| Failure::new("Error: arguments must be UTF-8\n"))?;
    let options = match tool.read(called, words) {
        Ok(Some(options)) => options,
        // Asked for, or not understood: pgpool-II's tools make no difference.
        wanted => {
            eprint!("{}", wanted.err().unwrap_or_default());
            print(&tool.help());
            return Ok(());
        }
    };
    match tool {
        Tool::Md5 => run_md5(&options),
        Tool::Enc => run_enc(&options),
    }
}

fn run_md5(options: &Options) -> Result<(), Failure> {
    if let Some(input) = &options.input {
        return each_line(Tool::Md5, options, input, &mut |user, password| md5_of(options, user, password));
    }
    let typed;
    let password = match &options.password {
        _ if options.prompts => {
            typed = ask("password: ")?;
            &typed
        }
        Some(password) => password,
        None => return Err(Failure { text: String::new(), with_help: true }),
    };
    if password.len() > LONGEST {
        let text = "Error: Input exceeds maximum password length!\n\n".to_owned();
        return Err(Failure { text, with_help: true });
    }
    md5_of(options, &options.user, password)
}

fn md5_of(options: &Options, user: &str, password: &str) -> Result<(), Failure> {
    if !options.updates {
        print(&format!("{}\n", *md5::digits(password.as_bytes(), b"")));
        return Ok(());
    }
    let user = named(user)?;
    entry::write(&pool_passwd(options)?, &user, &md5::stored(&user, password))
}

fn run_enc(options: &Options) -> Result<(), Failure> {
    let typed;
    let password = match &options.password {
        _ if options.input.is_some() => "",
        Some(password) if !options.prompts => password,
        _ => {
            typed = ask("db password: ")?;
            &typed
        }
    };
    if password.len() > LONGEST {
        let text = format!(
            "Error: Input exceeds maximum password length given:{} max allowed:{LONGEST}!\n\n",
            password.len()
        );
        return Err(Failure { text, with_help: true });
    }
    let key = key(options)?;
    match &options.input {
        Some(input) => each_line(Tool::Enc, options, input, &mut |user, password| {
            encrypted(options, &key, user, password)
        }),
        None => encrypted(options, &key, &options.user, password),
    }
}

fn encrypted(options: &Options, key: &PoolKey, user: &str, password: &str) -> Result<(), Failure> {
    let text = key.encrypt(password.as_bytes());
    let text = text.map_err(|error| Failure::new(format!("encryption failed: {error}\n")))?;
    if !options.updates {
        print(&format!("\n{text}\npool_passwd string: AES{text}\n"));
        return Ok(());
    }
    entry::write(&pool_passwd(options)?, &named(user)?, &format!("AES{text}"))
}

/// The key of the options: typed, given, or of a file.
fn key(options: &Options) -> Result<PoolKey, Failure> {
    let missing = || Failure::new("encryption key not provided\n");
    if options.prompts_for_key {
        return PoolKey::new(ask("encryption key: ")?.as_bytes()).ok_or_else(missing);
    }
    if let Some(key) = PoolKey::new(options.key.as_bytes()) {
        return Ok(key);
    }
    let path = options.key_file.clone().unwrap_or_else(pool_key::default_path);
    print(&format!("trying to read key from file {}\n", path.display()));
    let (key, warning) = PoolKey::read(&path).map_err(|_| missing())?;
    if let Some(text) = warning {
        eprintln!("WARNING: pid {}: {text}\n", process::own_id());
    }
    Ok(key)
}

/// Does this with every `user:password` of a file.
fn each_line(
    tool: Tool,
    options: &Options,
    path: &Path,
    act: &mut dyn FnMut(&str, &str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let shown = path.display();
    print(&format!("trying to read username:password pairs from file {shown}\n"));
    let content = std::fs::read(path).map(Zeroizing::new).map_err(|error| {
        let why = error
            .raw_os_error()
            .map_or(error.to_string(), |code| nix::errno::Errno::from_raw(code).desc().to_owned());
        Failure::new(format!("failed to open input_file \"{shown}\" ({why})\n\n"))
    })?;
    if options.updates {
        // A configuration that cannot be used is told before anything is written.
        pool_passwd(options)?;
    }
    let content = content.strip_suffix(b"\n").unwrap_or(&content);
    for (number, line) in (1..).zip(content.split(|byte| *byte == b'\n')) {
        match pair(tool, line) {
            Ok((user, password)) => {
                if tool == Tool::Md5 {
                    print(&format!("LINE#{number:02}: USER: <{user}>\n"));
                }
                act(user, password)?;
            }
            Err(text) if tool == Tool::Md5 => print(&format!("LINE#{number:02}: {text}\n")),
            // It passes over empty lines without a word.
            Err(_) if line.is_empty() => {}
            Err(text) => eprintln!("LINE#{number:02}: {text}"),
        }
    }
    Ok(())
}

/// Name and password of a line, or what is said of it.
fn pair(tool: Tool, line: &[u8]) -> Result<(&str, &str), String> {
    let invalid = match tool {
        Tool::Md5 => "Invalid username:password pair",
        Tool::Enc => "invalid username:password pair",
    };
    if line.is_empty() {
        return Err("BLANK LINE".to_owned());
    }
    let (user, password) =
        std::str::from_utf8(line).ok().and_then(|line| line.split_once(':')).ok_or(invalid)?;
    if password.is_empty() {
        return Err(invalid.to_owned());
    }
    for (what, text) in [("username", user), ("password", password)] {
        if text.len() > LONGEST {
            return Err(format!("input exceeds maximum {what} length {LONGEST}"));
        }
    }
    Ok((user, password))
}

/// What is typed at the terminal.
fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new("stdin is not tty\n"));
    }
    let typed = terminal::read_hidden_from_stdin(prompt);
    typed.map(Zeroizing::new).map_err(|error| Failure::new(format!("nothing was read: {error}\n")))
}

/// Whose password it is.
fn named(user: &str) -> Result<String, Failure> {
    match user {
        "" => process::user_name().ok_or_else(|| Failure::new("Error: the user who runs this has no name\n")),
        user => Ok(user.to_owned()),
    }
}

/// The file that the configuration names.
fn pool_passwd(options: &Options) -> Result<PathBuf, Failure> {
    let path = options.config.clone().unwrap_or_else(usage::default_config_of_tools);
    let unusable =
        |text: String| Failure::new(format!("{text}\nUnable to get configuration. Exiting...\n\n"));
    if !path.exists() {
        let (pid, shown) = (process::own_id(), path.display());
        return Err(unusable(format!("WARNING: pid {pid}: could not open configuration file: \"{shown}\"")));
    }
    let loaded =
        config::load(&path).map_err(|rejected| unusable(rejected.lines().collect::<Vec<_>>().join("\n")))?;
    let name = match loaded.config.pool_passwd.as_str() {
        // Not used, but to be written all the same.
        "" => "pool_passwd",
        name => name,
    };
    Ok(path.parent().unwrap_or(Path::new("")).join(name))
}

impl Tool {
    fn read(self, called: &str, words: Vec<String>) -> Result<Option<Options>, String> {
        let mut found = Options::default();
        let mut words = getopt::parse(called, self.letters(), words)?;
        for (letter, value) in words.options.drain(..) {
            match letter {
                'p' => found.prompts = true,
                'P' => found.prompts_for_key = true,
                'm' => found.updates = true,
                'u' => found.user = value,
                'K' => found.key = value.into(),
                'k' => found.key_file = Some(value.into()),
                'f' => found.config = Some(value.into()),
                'i' => found.input = Some(value.into()),
                _ => return Ok(None),
            }
        }
        found.password = words.others.into_iter().next().map(Zeroizing::new);
        Ok(Some(found))
    }

    /// Long name, letter, and whether a value follows.
    fn letters(self) -> &'static [(&'static str, char, bool)] {
        match self {
            Tool::Md5 => &[
                ("help", 'h', false),
                ("prompt", 'p', false),
                ("md5auth", 'm', false),
                ("username", 'u', true),
                ("config-file", 'f', true),
                ("input-file", 'i', true),
            ],
            Tool::Enc => &[
                ("help", 'h', false),
                ("prompt", 'p', false),
                ("prompt-for-key", 'P', false),
                ("update-pass", 'm', false),
                ("username", 'u', true),
                ("enc-key", 'K', true),
                ("key-file", 'k', true),
                ("config-file", 'f', true),
                ("input-file", 'i', true),
            ],
        }
    }

    fn help(self) -> String {
        match self {
            Tool::Md5 => MD5_HELP.to_owned(),
            Tool::Enc => {
                let home = process::home().unwrap_or_default().join(".pgpoolkey");
                let version = identity::pool_version();
                format!("pgpool-II version {version},\n{ENC_HELP}")
                    .replace("KEY_PATH", &home.to_string_lossy())
            }
        }
    }
}

const MD5_HELP: &str = "Usage:

  pg_md5 [OPTIONS]
  pg_md5 <PASSWORD>

  --prompt, -p         Prompt password using standard input.
  --md5auth, -m        Produce md5 authentication password.
  --username, -u USER  When producing a md5 authentication password,
                       create the pool_passwd entry for USER.
  --config-file, -f CONFIG-FILE  Specify pgpool.conf.
  --input-file, -i INPUT-FILE  Specify file containing username and password pairs.
  --help, -h           This help menu.

Warning: At most 128 characters are allowed for input.
Warning: Plain password argument is deprecated for security concerns
         and kept for compatibility. Please prefer using password
         prompt or input file method.
";

const ENC_HELP: &str = "  password encryption utility for Pgpool

Usage:
  pg_enc [OPTIONS] <PASSWORD>
  -k, --key-file=KEY_FILE
                       Set the path to the encryption key file.
                       Default: KEY_PATH
                       Can be overridden by the PGPOOLKEYFILE environment variable.
  -K, --enc-key=ENCRYPTION_KEY
                       Encryption key to be used for encrypting database passwords.
  -f, --config-file=CONFIG_FILE
                       Specifies the pgpool.conf file.
  -i, --input-file=INPUT-FILE
                       Specify file containing username and password pairs.
  -p, --prompt         Prompt for database password using standard input.
  -P, --prompt-for-key Prompt for encryption key using standard input.
  -m, --update-pass    Create encrypted password entry in the pool_passwd file.
  -u, --username       The username for the pool_password entry.
  -h, --help           Print this help.

";
