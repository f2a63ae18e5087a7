//! The log file in use: opened, changed when it is due, opened anew when somebody removed it. What it does not take
//! goes to standard error; nothing here fails or waits for long.
#![forbid(unsafe_code)]

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Stderr, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::fallback::Fallback;
use super::rotation::{Cause, Settings, due, truncates};
use crate::log;

/// The log file and what to do without one.
pub(super) struct LogFile {
    settings: Settings,
    open: Option<Open>,
    /// When the open file's time is over.
    until: Option<u64>,
    /// When opening may be tried again after it failed.
    hold: u64,
    fallback: Fallback<Stderr>,
    /// What is wrong, while something is; said once.
    trouble: Option<String>,
    /// The file ends inside a line.
    torn: bool,
}

struct Open {
    file: File,
    path: PathBuf,
    size: u64,
}

impl LogFile {
    pub(super) fn new(settings: Settings, now: u64) -> LogFile {
        let until = settings.next_rotation(now);
        let fallback = Fallback::new(io::stderr());
        LogFile { settings, open: None, until, hold: 0, fallback, trouble: None, torn: false }
    }

    /// When it must be called though nothing is to be written.
    pub(super) fn next_rotation(&self) -> Option<u64> {
        self.until
    }

    pub(super) fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// Writes whole lines, after a change of files if one is due.
    pub(super) fn write(&mut self, lines: &[u8], now: u64) {
        let size = self.open.as_ref().map_or(0, |open| open.size);
        if let Some(cause) = due(&self.settings, self.until, size, now) {
            self.change(Some(cause), now);
        }
        if lines.is_empty() {
            self.try_again(now);
            return;
        }
        self.find(now);
        let written = self.append(lines);
        if let Some(rest) = lines.get(written..).filter(|rest| !rest.is_empty()) {
            self.fallback.write(rest, now);
        }
    }

    /// As a signal asks: the file for now, opened anew, whatever its name is.
    pub(super) fn rotate(&mut self, now: u64) {
        self.change(None, now);
    }

    /// Takes changed parameters; other names mean another file at once.
    pub(super) fn reload(&mut self, settings: Settings, now: u64) {
        let renamed =
            (&settings.directory, &settings.pattern) != (&self.settings.directory, &self.settings.pattern);
        let aged = settings.age != self.settings.age;
        self.settings = settings;
        if aged {
            self.until = self.settings.next_rotation(now);
        }
        if renamed {
            self.change(None, now);
        }
    }

    fn change(&mut self, cause: Option<Cause>, now: u64) {
        // A file that age ends is named after the moment it was due, however late that is noticed.
        let moment = self.until.filter(|_| cause == Some(Cause::Age)).unwrap_or(now);
        if cause == Some(Cause::Age) {
            self.until = self.settings.next_rotation(now);
        }
        let path = self.settings.path(moment);
        let is_same = self.open.as_ref().is_some_and(|open| open.path == path);
        if cause.is_some() && (is_same || now < self.hold) {
            return;
        }
        let truncate = cause.is_some_and(|cause| truncates(&self.settings, cause, is_same));
        self.open(path, truncate, now);
    }

    /// Opens the file when there is none, or when somebody removed it.
    fn find(&mut self, now: u64) {
        match &self.open {
            Some(open) if open.is_removed() => self.open(open.path.clone(), false, now),
            None if now >= self.hold => self.open(self.settings.path(now), false, now),
            _ => {}
        }
    }

    /// A file that cannot be opened leaves the old one in use, if there is one.
    fn open(&mut self, path: PathBuf, truncate: bool, now: u64) {
        match Open::new(path.clone(), &self.settings, truncate) {
            Ok(open) => {
                self.torn = open.is_torn();
                self.open = Some(open);
            }
            Err(error) => {
                self.hold = now + 1;
                self.fail(format!("could not open log file \"{}\": {error}", path.display()));
            }
        }
    }

    /// How many bytes the file took.
    fn append(&mut self, lines: &[u8]) -> usize {
        let Some(open) = &mut self.open else { return 0 };
        let torn = if self.torn { open.write(b"\n") } else { Ok(()) };
        let (written, result) = match torn.map_err(|(error, _)| (error, 0)).and_then(|()| open.write(lines)) {
            Ok(()) => (lines.len(), Ok(())),
            Err((error, written)) => (written, Err(error)),
        };
        if let Some(last) = written.checked_sub(1) {
            self.torn = lines.get(last) != Some(&b'\n');
        }
        match result {
            Ok(()) => self.recover(),
            Err(error) => {
                let text = format!("could not write to log file \"{}\": {error}", open.path.display());
                self.fail(text);
            }
        }
        written
    }

    /// With nothing to write: finds out whether the file takes lines again by telling it what it has missed.
    fn try_again(&mut self, now: u64) {
        if self.trouble.is_none() {
            return;
        }
        self.find(now);
        let Some(open) = &mut self.open else { return };
        say_missed(self.fallback.missed());
        match open.write(&log::take_kept()) {
            Ok(()) => {
                self.fallback.recovered();
                self.trouble = None;
            }
            Err((_, written)) => self.torn |= written > 0,
        }
    }

    fn recover(&mut self) {
        if self.trouble.take().is_some() {
            say_missed(self.fallback.recovered());
        }
    }

    fn fail(&mut self, text: String) {
        if self.trouble.as_ref() != Some(&text) {
            log::Line::new(log::Level::Log, text.as_str())
                .hint("Until it can be, the log goes to standard error, cut to a few lines a second.")
                .emit();
            self.trouble = Some(text);
        }
    }
}

fn say_missed(lines: u64) {
    if lines > 0 {
        crate::say!(Warning, "{lines} log lines were lost: they did not reach the log file");
    }
}

impl Open {
    fn new(path: PathBuf, settings: &Settings, truncate: bool) -> io::Result<Open> {
        let directory = path.parent().unwrap_or(Path::new("."));
        if !directory.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let mut options = OpenOptions::new();
        // Read as well, to see how it ends.
        options.append(true).read(true).mode(settings.mode);
        let file = match options.clone().create_new(true).open(&path) {
            Ok(file) => {
                // The umask shall not take away what log_file_mode gives.
                file.set_permissions(Permissions::from_mode(settings.mode))?;
                file
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.create(true).open(&path)?,
            Err(error) => return Err(error),
        };
        if truncate {
            file.set_len(0)?;
        }
        let meta = file.metadata()?;
        Ok(Open { file, path, size: meta.len() })
    }

    /// Whether somebody who was killed has left half a line.
    fn is_torn(&self) -> bool {
        let mut last = [0];
        let found = self.size.checked_sub(1).map(|at| self.file.read_at(&mut last, at));
        matches!(found, Some(Ok(1))) && last != *b"\n"
    }

    fn is_removed(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| meta.nlink() == 0)
    }

    /// How many bytes were written before the error comes with it.
    fn write(&mut self, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return Err((io::ErrorKind::WriteZero.into(), written)),
                Ok(length) => {
                    written += length;
                    self.size += length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((error, written)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::rotation::tests::settings;
    use super::*;
    use crate::sys::clock;

    /// A minute in local time, on an hour.
    fn hour() -> u64 {
        let now: u64 = 1_700_000_000;
        now - now.checked_add_signed(clock::local_offset(now)).unwrap() % 3600
    }

    fn in_dir(age: u64, size: u64) -> (tempfile::TempDir, Settings) {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { directory: dir.path().join("a/b"), ..settings(age, size) };
        (dir, settings)
    }

    fn read(settings: &Settings, now: u64) -> String {
        std::fs::read_to_string(settings.path(now)).unwrap_or_default()
    }

    #[test]
    fn a_file_for_each_minute_and_a_cycle_begins_anew() {
        let (_dir, settings) = in_dir(60, 0);
        let settings = Settings { pattern: "%M".into(), ..settings };
        let start = hour();
        std::fs::create_dir_all(&settings.directory).unwrap();
        for minute in [0, 1] {
            std::fs::write(settings.path(start + minute * 60), "before\n").unwrap();
        }
        let mut file = LogFile::new(settings.clone(), start + 5);
        file.write(b"one\n", start + 5);
        assert_eq!(file.next_rotation(), Some(start + 60));
        file.write(b"", start + 60);
        file.write(b"two\n", start + 61);
        assert_eq!(read(&settings, start), "before\none\n", "the first file is never cut");
        assert_eq!(read(&settings, start + 60), "two\n", "one that time opens is");
        // Noticed late: named after the moment it was due, and the time after that one counts from now.
        file.write(b"late\n", start + 200);
        assert_eq!(read(&settings, start + 120), "late\n");
        assert_eq!(file.next_rotation(), Some(start + 240));
    }

    #[test]
    fn a_long_file_ends_but_a_name_that_stays_is_no_reason_to_cut_it() {
        let (_dir, settings) = in_dir(0, 8);
        let start = hour();
        let mut file = LogFile::new(settings.clone(), start);
        for (text, now) in [("12345678\n", 0), ("same\n", 1), ("next\n", 60)] {
            file.write(text.as_bytes(), start + now);
        }
        assert_eq!(read(&settings, start), "12345678\nsame\n");
        assert_eq!(read(&settings, start + 60), "next\n");
    }

    #[test]
    fn a_file_that_was_removed_with_its_directory_comes_again() {
        let (_dir, settings) = in_dir(0, 0);
        let start = hour();
        let mut file = LogFile::new(settings.clone(), start);
        file.write(b"gone\n", start);
        std::fs::remove_dir_all(&settings.directory).unwrap();
        file.write(b"here\n", start);
        assert_eq!(read(&settings, start), "here\n");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&settings.directory), 0o700);
        assert_eq!(mode(&settings.path(start)), 0o600);
    }

    #[test]
    fn a_signal_opens_the_file_again_and_a_reload_another() {
        let (dir, settings) = in_dir(0, 0);
        let start = hour();
        let mut file = LogFile::new(settings.clone(), start);
        file.write(b"old\n", start);
        let moved = dir.path().join("moved");
        std::fs::rename(settings.path(start), &moved).unwrap();
        file.write(b"still there\n", start);
        file.rotate(start);
        file.write(b"new\n", start);
        assert_eq!(std::fs::read_to_string(moved).unwrap(), "old\nstill there\n");
        assert_eq!(read(&settings, start), "new\n");
        let other =
            Settings { pattern: "other".into(), mode: 0o644, age: Duration::from_secs(60), ..settings };
        file.reload(other.clone(), start);
        file.write(b"else\n", start);
        assert_eq!(read(&other, start), "else\n");
        assert_eq!(file.next_rotation(), Some(start + 60));
    }

    #[test]
    fn what_the_file_does_not_take_is_counted_and_a_torn_line_ends() {
        let (_dir, settings) = in_dir(0, 0);
        let start = hour();
        let full = Settings { directory: "/dev".into(), pattern: "full".into(), ..settings.clone() };
        let mut file = LogFile::new(full, start);
        file.write(b"a\nb\n", start);
        assert!(file.is_in_trouble());
        std::fs::create_dir_all(&settings.directory).unwrap();
        std::fs::write(settings.path(start), "half a li").unwrap();
        file.reload(settings.clone(), start);
        file.write(b"c\n", start);
        assert!(!file.is_in_trouble());
        assert_eq!(read(&settings, start), "half a li\nc\n");
        assert_eq!(file.fallback.recovered(), 0, "it was said");
    }

    #[test]
    fn one_that_cannot_be_opened_is_tried_again_a_second_later() {
        let (dir, settings) = in_dir(0, 0);
        let start = hour();
        std::fs::write(dir.path().join("a"), "in the way").unwrap();
        let mut file = LogFile::new(settings.clone(), start);
        file.write(b"lost\n", start);
        std::fs::remove_file(dir.path().join("a")).unwrap();
        file.write(b"lost\n", start);
        assert!(file.is_in_trouble());
        file.write(b"kept\n", start + 1);
        assert_eq!(read(&settings, start + 1), "kept\n");
    }
}
