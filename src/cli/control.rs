//! Commands to a running supervisor, by way of its pid file; and the check of a configuration.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::config::{self, Config, log_settings};
use crate::error::exit;
use crate::identity;
use crate::log::{Level, Line, Settings};
use crate::supervisor::{PidFile, StopMode, UPGRADE_PATIENCE};
use crate::sys::process::{ProcessId, is_alive, send_signal};
use crate::sys::signals::Signal;

/// How often the signal to stop is sent again.
const INSIST: Duration = Duration::from_secs(5);

/// How often we look, and how often a dot says so.
const LOOK: Duration = Duration::from_millis(100);
const DOT: Duration = Duration::from_secs(1);

/// Prints every note and error of a configuration.
pub(super) fn test(path: &Path) -> u8 {
    match config::load(path) {
        Ok(loaded) => {
            loaded.notes.iter().for_each(|note| eprintln!("{note}"));
            eprintln!("configuration file {} is valid", path.display());
            exit::OK
        }
        Err(rejected) => {
            rejected.lines().for_each(|line| eprintln!("{line}"));
            eprintln!("configuration file {} contains errors", path.display());
            exit::FATAL
        }
    }
}

/// Prints a configuration file in today's names.
pub(super) fn migrate(path: &Path) -> u8 {
    let migrated = match config::migrate(path) {
        Ok(migrated) => migrated,
        Err(rejected) => {
            rejected.lines().for_each(|line| eprintln!("{line}"));
            eprintln!("nothing was written: configuration file {} cannot be used", path.display());
            return if File::open(path).is_ok() { exit::FATAL } else { exit::USAGE };
        }
    };
    migrated.notes.iter().for_each(|note| eprintln!("{note}"));
    let mut out = std::io::stdout();
    match out.write_all(&migrated.text).and_then(|()| out.flush()) {
        Ok(()) => exit::OK,
        Err(error) => {
            eprintln!("could not write the new file: {error}");
            exit::USAGE
        }
    }
}

/// Has the running one read its files again.
pub(super) fn reload(path: &Path) -> u8 {
    let Ok(config) = load(path) else { return exit::FATAL };
    let file = PidFile::new(&config.pid_file_name, path);
    match tell(&file, Signal::Hangup, "could not reload configuration file pid") {
        Some(_) => exit::OK,
        None => exit::USAGE,
    }
}

/// Has the running one replaced by a new one, and waits until that serves clients.
pub(super) fn upgrade(path: &Path) -> u8 {
    let Ok(config) = load(path) else { return exit::FATAL };
    let file = PidFile::new(&config.pid_file_name, path);
    let Some(old) = tell(&file, Signal::User2, "could not tell process with pid") else { return exit::FATAL };
    let end = Instant::now() + UPGRADE_PATIENCE;
    let mut goes_on = true;
    while goes_on {
        // Asked before the file is read: an old one without sessions ends as soon as it has been replaced.
        goes_on = Instant::now() < end && is_alive(old);
        match file.read() {
            Some(new) if new != old && is_alive(new) => {
                crate::say!(Log, "process {new} has taken over from {old}");
                return exit::OK;
            }
            _ => sleep(LOOK),
        }
    }
    crate::say!(Fatal, "no new process has taken over from {old}: its log says why");
    exit::FATAL
}

/// Stops the running one and waits until it is gone.
pub(super) fn stop(path: &Path, mode: StopMode) -> u8 {
    let Ok(config) = load(path) else { return exit::FATAL };
    let file = PidFile::new(&config.pid_file_name, path);
    let Some(pid) = tell(&file, mode.signal(), "could not stop process with pid") else { return exit::FATAL };
    say_asked(pid);
    wait_for_end(pid, mode);
    file.remove();
    exit::OK
}

/// Sends the signal to the process in the pid file, which it returns. None: that is not possible, which is said in these words.
fn tell(file: &PidFile, signal: Signal, failure: &str) -> Option<ProcessId> {
    let Some(pid) = file.read() else {
        crate::say!(Fatal, "could not read pid file");
        return None;
    };
    match send_signal(pid, signal.number()) {
        Ok(()) => Some(pid),
        Err(error) => {
            Line::new(Level::Fatal, format!("{failure}: {pid}")).detail(error.to_string()).emit();
            None
        }
    }
}

fn say_asked(pid: ProcessId) {
    crate::say!(Log, "stop request sent to {} (pid: {pid}). waiting for termination...", identity::program());
}

fn wait_for_end(pid: ProcessId, mode: StopMode) {
    let (mut asked, mut dotted) = (Instant::now(), Instant::now());
    dot(".");
    while is_alive(pid) {
        sleep(LOOK);
        if asked.elapsed() >= INSIST {
            // Gone in between is what we want.
            let _ = send_signal(pid, mode.signal().number());
            say_asked(pid);
            asked = Instant::now();
        }
        if dotted.elapsed() >= DOT {
            dot(".");
            dotted = Instant::now();
        }
    }
    dot("done.\n");
}

fn dot(text: &str) {
    let mut out = std::io::stderr();
    // Progress on a closed terminal is nobody's loss.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn load(path: &Path) -> Result<Config, ()> {
    match config::load(path) {
        Ok(loaded) => {
            // Who types a command reads the answer here, also if the server logs elsewhere.
            crate::log::configure(Settings {
                json: false,
                stderr: true,
                syslog: None,
                ..log_settings(&loaded.config, false)
            });
            // What its lines say was said at the start.
            let missing = loaded.notes.iter().filter(|note| note.place.is_none());
            missing.for_each(|note| crate::say!(Warning, "{note}"));
            Ok(loaded.config)
        }
        Err(rejected) => {
            rejected.lines().for_each(|line| crate::say!(Fatal, "{line}"));
            Err(())
        }
    }
}
