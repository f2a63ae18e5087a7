//! The log: severity filter, line prefix or JSON, stderr and syslog; and what the client on whose behalf we work hears of it.
//!
//! Process-wide settings, replaced as a whole at a reload. A record (text, DETAIL, HINT) leaves in one
//! write, or in chunks that the log collector puts together (`frame`), so lines of many processes do not mix. A log
//! that cannot be written never stops the writer.
#![forbid(unsafe_code)]

mod frame;
mod heard;
mod json;
mod level;
mod prefix;
mod sink;
mod syslog;

use std::cell::RefCell;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use crate::sys::{clock, process};
use prefix::{Facts, Prefix};

pub use frame::Assembler;
pub use heard::{Heard, take_heard};
pub use level::Level;
pub use sink::{Pipe, back_to_stderr, collect, keep, leave_stderr, take_kept};
pub use syslog::Syslog;

/// Where the log goes and how it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What is written; a session may have this for itself.
    pub levels: Levels,
    /// `log_line_prefix`.
    pub prefix: String,
    /// Standard error gets JSON objects; syslog has its own form.
    pub json: bool,
    /// Write to standard error.
    pub stderr: bool,
    /// Write to syslog under this name and facility.
    pub syslog: Option<Syslog>,
}

/// Which records are written and heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// Records below this severity are dropped.
    pub min: Level,
    /// `client_min_messages`: from this severity on a client hears what is logged on its behalf.
    pub client_min: Level,
    /// How much of a record is written.
    pub verbosity: Verbosity,
}

/// `log_error_verbosity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// The message alone.
    Terse,
    /// With DETAIL, HINT and CONTEXT.
    Default,
    /// With the place in the source as well.
    Verbose,
}

/// What holds until the configuration is read: pgpool-II's defaults.
const DEFAULT: Levels =
    Levels { min: Level::Warning, client_min: Level::Notice, verbosity: Verbosity::Default };

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            levels: DEFAULT,
            prefix: "%m: %a pid %p: ".to_owned(),
            json: false,
            stderr: true,
            syslog: None,
        }
    }
}

/// On whose behalf this thread works now: what `%a`, `%u`, `%d` and `%h` show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// `application_name`; empty if the client gave none.
    pub application: String,
    /// User.
    pub user: String,
    /// Database.
    pub database: String,
    /// Address, `[local]` for a Unix socket.
    pub host: String,
    /// Its own in place of the process's (`PGPOOL SET`).
    pub levels: Option<Levels>,
}

struct State {
    settings: Settings,
    prefix: Prefix,
}

static STATE: RwLock<Option<State>> = RwLock::new(None);
/// A bit for each severity that somebody wants: the log, or a client. Of the process, and of the client on whose behalf we
/// work, which may want others.
static OF_PROCESS: AtomicU16 = AtomicU16::new(u16::MAX << Level::Warning as u8);
static WANTED: AtomicU16 = AtomicU16::new(u16::MAX << Level::Warning as u8);
static PROCESS: RwLock<&str> = RwLock::new("main");
static LINES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static CLIENT: RefCell<Option<Rc<Client>>> = const { RefCell::new(None) };
}

/// Puts the settings in force, at the start and after each reload.
pub fn configure(settings: Settings) {
    let mut state = STATE.write().unwrap_or_else(|poisoned| poisoned.into_inner());
    let before = state.as_ref().and_then(|state| state.settings.syslog.as_ref());
    if let Some(wanted) = settings.syslog.as_ref().filter(|wanted| Some(*wanted) != before) {
        syslog::open(wanted);
    }
    let bits = wanted(settings.levels);
    OF_PROCESS.store(bits, Ordering::Relaxed);
    WANTED.store(bits, Ordering::Relaxed);
    *state = Some(State { prefix: Prefix::parse(&settings.prefix), settings });
}

fn wanted(levels: Levels) -> u16 {
    let wanted =
        Level::ALL.iter().filter(|level| **level >= levels.min || level.reaches_client(levels.client_min));
    wanted.fold(0, |bits, level| bits | 1 << *level as u8)
}

/// Names this process (`main`, `child`, `sr_check_worker` …) and starts its line numbers anew; call it after a fork.
pub fn set_process(name: &'static str) {
    *PROCESS.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = name;
    LINES.store(0, Ordering::Relaxed);
}

/// Says on whose behalf this thread logs from now on. Shared, so that switching sessions costs no copy.
pub fn set_client(client: Option<Rc<Client>>) {
    let levels = |client: &Option<Rc<Client>>| client.as_ref().and_then(|client| client.levels);
    let own = levels(&client);
    let before = CLIENT.with(|slot| slot.replace(client));
    if own.is_some() || levels(&before).is_some() {
        let bits = own.map_or_else(|| OF_PROCESS.load(Ordering::Relaxed), wanted);
        WANTED.store(bits, Ordering::Relaxed);
    }
}

/// Whether anybody wants records of this severity.
#[inline]
pub fn enabled(level: Level) -> bool {
    WANTED.load(Ordering::Relaxed) & 1 << level as u8 != 0
}

/// Logs one line; use [`crate::say!`], which does not even format what is filtered out.
#[track_caller]
pub fn emit(level: Level, text: fmt::Arguments<'_>) {
    if enabled(level) {
        Line::new(level, text.to_string()).emit();
    }
}

/// Logs `crate::say!(Level, "format", args…)`; the arguments are evaluated only if the severity is written.
#[macro_export]
macro_rules! say {
    ($level:ident, $($text:tt)+) => {
        if $crate::log::enabled($crate::log::Level::$level) {
            $crate::log::emit($crate::log::Level::$level, format_args!($($text)+));
        }
    };
}

/// A record with DETAIL, HINT and CONTEXT lines, each with a prefix of its own.
#[derive(Clone, Debug)]
pub struct Line {
    level: Level,
    text: String,
    more: Vec<(&'static str, String)>,
    place: &'static Location<'static>,
}

impl Line {
    /// Starts a record.
    #[track_caller]
    pub fn new(level: Level, text: impl Into<String>) -> Line {
        Line { level, text: text.into(), more: Vec::new(), place: Location::caller() }
    }

    /// Adds a DETAIL line.
    #[must_use]
    pub fn detail(mut self, text: impl Into<String>) -> Line {
        self.more.push(("DETAIL", text.into()));
        self
    }

    /// Adds a HINT line.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Line {
        self.more.push(("HINT", text.into()));
        self
    }

    /// Adds a CONTEXT line: during what it happened.
    #[must_use]
    pub fn context(mut self, text: impl Into<String>) -> Line {
        self.more.push(("CONTEXT", text.into()));
        self
    }

    /// Writes the record, if its severity passes.
    pub fn emit(mut self) {
        if !enabled(self.level) {
            return;
        }
        let state = STATE.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let default;
        let (settings, prefix) = match state.as_ref() {
            Some(state) => (&state.settings, &state.prefix),
            None => {
                let settings = Settings::default();
                default = (Prefix::parse(&settings.prefix), settings);
                (&default.1, &default.0)
            }
        };
        let own = CLIENT.with(|client| client.borrow().as_ref().and_then(|client| client.levels));
        let levels = own.unwrap_or(settings.levels);
        if self.level.reaches_client(levels.client_min) {
            heard::note(&self);
        }
        if self.level < levels.min {
            return;
        }
        match levels.verbosity {
            Verbosity::Terse => self.more.clear(),
            Verbosity::Default => {}
            Verbosity::Verbose => {
                self.more.push(("LOCATION", format!("{}:{}", self.place.file(), self.place.line())));
            }
        }
        if settings.stderr && settings.json {
            write_stderr(&[self.object()]);
        }
        let text = settings.stderr && !settings.json || settings.syslog.is_some();
        let lines = if text { self.lines(prefix) } else { Vec::new() };
        if settings.stderr && !settings.json {
            write_stderr(&lines);
        }
        if settings.syslog.is_some() {
            syslog::write(self.level, &lines.join("\n"));
        }
    }

    /// Message and severity, without what the record says further.
    pub fn first(&self) -> (Level, &str) {
        (self.level, &self.text)
    }

    fn object(&self) -> String {
        with_facts(|facts| json::render(facts, self.level.name(), &self.text, &self.more))
    }

    fn lines(&self, prefix: &Prefix) -> Vec<String> {
        let first = (self.level.name(), self.text.as_str());
        let rest = self.more.iter().map(|(label, text)| (*label, text.as_str()));
        std::iter::once(first)
            .chain(rest)
            .map(|(label, text)| {
                // Further lines of a text are set in, as PostgreSQL does, so that none looks like a record.
                let text = text.replace('\n', "\n\t");
                with_facts(|facts| format!("{}{label}:  {text}", prefix.render(facts)))
            })
            .collect()
    }
}

/// The record as it would be written, without a prefix.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:  {}", self.level.name(), self.text)?;
        self.more.iter().try_for_each(|(label, text)| write!(f, "\n{label}:  {text}"))
    }
}

/// What the next line can say of the moment; it counts as a line.
fn with_facts<T>(render: impl FnOnce(&Facts<'_>) -> T) -> T {
    let process = *PROCESS.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    let client = CLIENT.with(|slot| slot.borrow().clone());
    let line = LINES.fetch_add(1, Ordering::Relaxed) + 1;
    let now = clock::since_epoch();
    render(&Facts { process, client: client.as_deref(), pid: process::own_id(), line, now })
}

fn write_stderr(lines: &[String]) {
    let mut record = lines.join("\n");
    record.push('\n');
    sink::write(record.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_lets_itself_and_what_is_above_it_pass() {
        for (at, min) in Level::ALL.into_iter().enumerate() {
            // A client that wants warnings and INFO, which always reaches it.
            let client = 1 << Level::Info as u8 | 1 << Level::Warning as u8;
            let log = u16::MAX << at & 0xfff;
            let levels = Levels { min, client_min: Level::Warning, ..DEFAULT };
            assert_eq!(wanted(levels), log | client, "{min:?}");
        }
    }

    #[test]
    fn a_record_knows_its_place() {
        let line = Line::new(Level::Log, "a");
        assert_eq!((line.place.file(), line.place.line()), (file!(), line!() - 1));
    }

    #[test]
    fn detail_and_hint_have_prefixes_of_their_own() {
        let line = Line::new(Level::Log, "a\nb").detail("d").hint("h");
        let lines = line.lines(&Prefix::parse("%a: "));
        assert_eq!(lines, ["main: LOG:  a\n\tb", "main: DETAIL:  d", "main: HINT:  h"]);
    }
}
