//! `log_line_prefix`: parsed once, rendered for each line.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::Client;
use crate::sys::clock;

/// What a prefix can show.
pub(super) struct Facts<'a> {
    pub(super) process: &'static str,
    pub(super) client: Option<&'a Client>,
    pub(super) pid: i32,
    pub(super) line: u64,
    pub(super) now: Duration,
}

/// A parsed `log_line_prefix`.
pub(super) struct Prefix(Vec<Piece>);

enum Piece {
    Text(String),
    /// Letter and width; negative widths put the blanks behind.
    Field(char, isize),
}

/// Wider fields are somebody's typing error, not a wish.
const MAX_WIDTH: isize = 1000;

const NO_CLIENT: &str = "[No Connection]";
const UNKNOWN: &str = "[unknown]";

impl Prefix {
    /// Unknown letters vanish, as in pgpool-II.
    pub(super) fn parse(text: &str) -> Prefix {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '%' {
                literal.push(c);
                continue;
            }
            let behind = chars.next_if_eq(&'-').is_some();
            let mut width: isize = 0;
            while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                chars.next();
                width = (width * 10 + digit as isize).min(MAX_WIDTH);
            }
            match chars.next() {
                Some('%') => literal.push('%'),
                Some(letter) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Field(letter, if behind { -width } else { width }));
                }
                None => {}
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Prefix(pieces)
    }

    pub(super) fn render(&self, facts: &Facts<'_>) -> String {
        let mut out = String::with_capacity(64);
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Field(letter, width) => {
                    if let Some(value) = facts.field(*letter) {
                        pad(&mut out, &value, *width);
                    }
                }
            }
        }
        out
    }
}

impl Facts<'_> {
    fn field(&self, letter: char) -> Option<String> {
        let seconds = self.now.as_secs();
        Some(match letter {
            'a' => self.client.map_or(self.process.to_owned(), |client| known(&client.application)),
            'P' => self.process.to_owned(),
            'u' => self.client.map_or(NO_CLIENT.to_owned(), |client| known(&client.user)),
            'd' => self.client.map_or(NO_CLIENT.to_owned(), |client| known(&client.database)),
            // PostgreSQL's; pgpool-II has no such letter.
            'h' => self.client.map_or(NO_CLIENT.to_owned(), |client| known(&client.host)),
            'p' => self.pid.to_string(),
            'l' => self.line.to_string(),
            't' => clock::local_text(seconds),
            'm' => format!("{}.{:03}", clock::local_text(seconds), self.now.subsec_millis()),
            _ => return None,
        })
    }
}

fn known(value: &str) -> String {
    if value.is_empty() { UNKNOWN.to_owned() } else { value.replace(['\n', '\r'], " ") }
}

fn pad(out: &mut String, value: &str, width: isize) {
    let blanks = width.unsigned_abs().saturating_sub(value.chars().count());
    if width > 0 {
        out.extend(std::iter::repeat_n(' ', blanks));
    }
    out.push_str(value);
    if width < 0 {
        out.extend(std::iter::repeat_n(' ', blanks));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(prefix: &str, client: Option<&Client>) -> String {
        let now = Duration::from_millis(1_700_000_000_042);
        Prefix::parse(prefix).render(&Facts { process: "child", client, pid: 42, line: 7, now })
    }

    #[test]
    fn escapes() {
        let client = Client { user: "ann".into(), database: "shop".into(), ..Client::default() };
        let cases = [
            ("%a pid %p: ", "child pid 42: ", "[unknown] pid 42: "),
            ("%P", "child", "child"),
            ("%u@%d", "[No Connection]@[No Connection]", "ann@shop"),
            ("|%8p|%-8p|%1p|", "|      42|42      |42|", "|      42|42      |42|"),
            ("%5l%%", "    7%", "    7%"),
            ("%z%", "", ""),
            ("%-6u|", "[No Connection]|", "ann   |"),
            ("é%%é", "é%é", "é%é"),
        ];
        for (prefix, without, with) in cases {
            assert_eq!(show(prefix, None), without, "{prefix}");
            assert_eq!(show(prefix, Some(&client)), with, "{prefix}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(show("%m", None), show("%t", None) + ".042");
    }

    #[test]
    fn a_clients_name_cannot_start_a_new_line() {
        let client = Client { application: "x\n1970 LOG:  fake".into(), ..Client::default() };
        assert_eq!(show("%a", Some(&client)), "x 1970 LOG:  fake");
    }
}
