//! Standard output in the format that was asked for; errors go to standard error.
#![forbid(unsafe_code)]

use std::io::{self, Write};

use super::client::Answer;
use super::failure::Failure;
use super::json;
use super::settings::Format;

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub(super) format: Format,
    pub(super) quiet: bool,
    pub(super) color: bool,
}

impl Output {
    /// Prints a report.
    pub(super) fn report(&self, answer: &Answer, text: impl FnOnce(Format) -> String) {
        match self.format {
            Format::Json => self.json(&answer.text),
            format => print(&self.painted(&text(format))),
        }
    }

    /// Prints that something was done.
    pub(super) fn done(&self, json: &str, text: &str) {
        match self.format {
            Format::Json => self.json(json),
            _ if self.quiet => {}
            _ => print(&format!("{text}\n")),
        }
    }

    /// Prints a text that is JSON.
    pub(super) fn json(&self, text: &str) {
        print(&format!("{}\n", json::pretty(text)));
    }

    /// Prints why something failed.
    pub(super) fn failed(&self, failure: &Failure) {
        if self.format == Format::Json {
            print(&format!("{}\n", failure.json()));
        } else if !self.quiet {
            eprintln!("bctl: {}", super::text::safe(&failure.text()));
        }
    }

    /// Tells people what they can do about it.
    pub(super) fn hint(&self, text: &str) {
        if self.format != Format::Json && !self.quiet {
            eprintln!("bctl: {text}");
        }
    }

    /// States in their colours: in lines `Status: up` and in cells of tables.
    pub(super) fn painted(&self, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let words = [
            (GREEN, ["up", "healthy", "passed"].as_slice()),
            (RED, ["down", "failed", "quarantine"].as_slice()),
            (YELLOW, ["waiting", "degraded", "unused"].as_slice()),
        ];
        let mut out = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            let (content, end) = line.strip_suffix('\n').map_or((line, ""), |content| (content, "\n"));
            let paint = |part: &str| {
                let word = part.trim();
                match words.iter().find(|(_, words)| words.contains(&word)) {
                    Some((color, _)) => part.replace(word, &format!("{color}{word}{PLAIN}")),
                    None => part.to_owned(),
                }
            };
            match content.split_once(": ") {
                Some((title, value)) if !content.starts_with('│') => {
                    out.push_str(&format!("{title}: {}", paint(value)));
                }
                _ => out.push_str(&content.split('│').map(paint).collect::<Vec<_>>().join("│")),
            }
            out.push_str(end);
        }
        out
    }
}

/// Whoever closed our output has seen enough.
pub(super) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_where_they_are_wanted() {
        let mut output = Output { format: Format::Default, quiet: false, color: false };
        let text = "│ 0 │ up │\n  Status: down\n  Host: up: x\n";
        assert_eq!(output.painted(text), text);
        output.color = true;
        let expected = "│ 0 │ \u{1b}[32mup\u{1b}[0m │\n  Status: \u{1b}[31mdown\u{1b}[0m\n  Host: up: x\n";
        assert_eq!(output.painted(text), expected);
    }
}
