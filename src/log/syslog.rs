//! Records for syslog: cut into lines that a daemon takes, numbered so that they can be put together again.
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Mutex;

use super::Level;
use crate::sys::syslog::{self, Priority};

/// Longest piece, in bytes: daemons may cut what is longer than 1024 with its header.
const MOST: usize = 900;

/// The name and the facility (N of LOCALn) that syslog files us under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// Tag of each line.
    pub ident: String,
    /// 0 to 7.
    pub local_facility: u8,
}

struct Way {
    to: syslog::Syslog,
    /// Number of the record in this process.
    record: u64,
    lost: u64,
}

static WAY: Mutex<Option<Way>> = Mutex::new(None);

/// Opens the log under this name.
pub(super) fn open(wanted: &Syslog) {
    let to = syslog::Syslog::new(Path::new(syslog::SOCKET), &wanted.ident, wanted.local_facility);
    let mut way = WAY.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let record = way.as_ref().map_or(0, |way| way.record);
    *way = Some(Way { to, record, lost: 0 });
}

/// Hands a record over; one that the daemon does not take at once is dropped and counted.
pub(super) fn write(level: Level, record: &str) {
    let mut way = WAY.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let Some(way) = way.as_mut() else { return };
    if way.lost > 0 {
        let text = format!("WARNING:  {} log records were lost", way.lost);
        if way.write(Priority::Notice, &text) {
            way.lost = 0;
        }
    }
    if !way.write(priority(level), record) {
        way.lost += 1;
    }
}

impl Way {
    fn write(&mut self, priority: Priority, record: &str) -> bool {
        self.record += 1;
        pieces(self.record, record).iter().all(|piece| self.to.write(priority, piece).is_ok())
    }
}

/// As PostgreSQL and pgpool-II map them.
fn priority(level: Level) -> Priority {
    match level {
        Level::Log | Level::Info => Priority::Info,
        Level::Notice | Level::Warning => Priority::Notice,
        Level::Error => Priority::Warning,
        Level::Fatal => Priority::Error,
        Level::Panic => Priority::Critical,
        _ => Priority::Debug,
    }
}

/// `[RECORD] TEXT`, or `[RECORD-PIECE] TEXT` for each piece of one that is long or has several lines. A long line is
/// cut at a blank, if it has one.
fn pieces(record: u64, text: &str) -> Vec<String> {
    let text = text.replace('\0', " ");
    if text.len() <= MOST && !text.contains('\n') {
        return vec![format!("[{record}] {text}")];
    }
    let mut pieces = Vec::new();
    for mut line in text.split('\n').filter(|line| !line.is_empty()) {
        while !line.is_empty() {
            let (piece, rest) = line.split_at(cut(line));
            pieces.push(format!("[{record}-{}] {piece}", pieces.len() + 1));
            line = rest;
        }
    }
    pieces
}

/// Where a line ends that is too long.
fn cut(line: &str) -> usize {
    if line.len() <= MOST {
        return line.len();
    }
    let end = line.floor_char_boundary(MOST);
    let head = line.get(..end).unwrap_or(line);
    head.rfind(char::is_whitespace).filter(|at| *at > 0).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_line_has_one_number() {
        assert_eq!(pieces(7, "a b"), ["[7] a b"]);
        assert_eq!(pieces(7, &"x".repeat(MOST)), [format!("[7] {}", "x".repeat(MOST))]);
    }

    #[test]
    fn lines_and_long_lines_are_cut_and_numbered() {
        assert_eq!(pieces(8, "a\n\n\tb\n"), ["[8-1] a", "[8-2] \tb"]);
        let words = "word ".repeat(400);
        let cut = pieces(9, &words);
        assert_eq!(cut.len(), 3);
        let again: String = cut.iter().map(|piece| piece.split_once("] ").unwrap().1).collect();
        assert_eq!(again, words, "nothing is lost");
        assert!(cut[0].starts_with("[9-1] word") && cut[0].ends_with("word"));
        let solid = pieces(1, &"é".repeat(MOST));
        assert!(solid.iter().all(|piece| piece.len() <= MOST + 6), "cut between characters");
        assert_eq!(solid.iter().map(|piece| piece.matches('é').count()).sum::<usize>(), MOST);
    }
}
