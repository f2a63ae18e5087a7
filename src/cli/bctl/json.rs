//! JSON for people: the server's own text on lines of its own, with its order and its numbers as they came.
#![forbid(unsafe_code)]

use std::fmt::Write;

/// Lays out a text that is known to be JSON. Control characters in strings are escaped: a terminal obeys them.
pub(super) fn pretty(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => string(&mut chars, &mut out),
            '{' | '[' => {
                out.push(c);
                while chars.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                if let Some(end) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// The rest of a string whose first quote was just read.
fn string(chars: &mut impl Iterator<Item = char>, out: &mut String) {
    out.push('"');
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                out.push(c);
                out.extend(chars.next());
            }
            '"' => break,
            c if c.is_control() => {
                // A string cannot fail to be written to.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn order_and_numbers_stay() {
        let text = r#"{"z":1.50,"a":[1,{"k":"v, {\"x\": [}"},[],{}],"e":"","n":null}"#;
        let expected = "{\n  \"z\": 1.50,\n  \"a\": [\n    1,\n    {\n      \"k\": \"v, {\\\"x\\\": [}\"\n    },\n    [],\n    {}\n  ],\n  \"e\": \"\",\n  \"n\": null\n}";
        assert_eq!(pretty(text), expected);
        assert_eq!(pretty(expected), expected);
    }

    #[test]
    fn control_characters_are_escaped_and_mean_the_same() {
        let text = "{\"a\":\"x\u{9b}31m\u{7f}\"}";
        let shown = pretty(text);
        assert!(!shown.contains(['\u{9b}', '\u{7f}']), "{shown:?}");
        let (before, after): (Value, Value) =
            (serde_json::from_str(text).unwrap(), serde_json::from_str(&shown).unwrap());
        assert_eq!(before, after);
    }
}
