//! Lines of a configuration file: `name = value`, `include 'file'`, comments. Knows no parameter.
//! As in pgpool-II the `=` may be missing, and what stands between quotes is taken as it stands:
//! a backslash or a doubled quote only keeps the quote from ending.
#![forbid(unsafe_code)]

/// What a line says.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    /// Nothing, or a comment.
    Empty,
    /// A setting; the value is without its quotes.
    Set {
        /// Name of a parameter, as it was written.
        name: &'a str,
        /// Its value.
        value: &'a str,
    },
    /// Another file.
    Include(&'a str),
}

/// Reads one line.
pub(super) fn line(text: &str) -> Result<Line<'_>, String> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return Ok(Line::Empty);
    }
    let (name, rest) = text.split_at(text.find(|c: char| !is_name(c)).unwrap_or(text.len()));
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return Err(format!("the line does not begin with the name of a parameter: \"{}\"", short(text)));
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    let value = value(name, rest)?;
    Ok(if name.eq_ignore_ascii_case("include") { Line::Include(value) } else { Line::Set { name, value } })
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

/// The value at the start of `text`; after it there may only be a comment.
fn value<'a>(name: &str, text: &'a str) -> Result<&'a str, String> {
    let (value, rest) = match text.strip_prefix('\'') {
        Some(inside) => {
            let end = closing_quote(inside).ok_or_else(|| format!("the quote after {name} is not closed"))?;
            (inside.get(..end).unwrap_or_default(), inside.get(end + 1..).unwrap_or_default())
        }
        None if text.is_empty() || text.starts_with('#') => return Err(format!("{name} has no value")),
        None if text.starts_with('"') => return Err(format!("{name}: use single quotes around a value")),
        None => text.split_at(text.find([' ', '\t', '#', '\'']).unwrap_or(text.len())),
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with('#') {
        return Ok(value);
    }
    let text = short(rest);
    Err(format!("unexpected \"{text}\" after the value of {name}; a value with blanks needs single quotes"))
}

/// Where the quote ends.
fn closing_quote(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'\'' if bytes.next_if(|(_, next)| *next == b'\'').is_none() => return Some(at),
            _ => {}
        }
    }
    None
}

/// The start of a text, for a message.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines() {
        let set = |name, value| Ok(Line::Set { name, value });
        for (text, expected) in [
            ("", Ok(Line::Empty)),
            ("  \t# port = 1", Ok(Line::Empty)),
            ("port = 5432", set("port", "5432")),
            ("port 5432 # why", set("port", "5432")),
            ("port=5432#why\r", set("port", "5432")),
            (" Backend_Flag0='A|B'", set("Backend_Flag0", "A|B")),
            ("listen_addresses = ''", set("listen_addresses", "")),
            ("x = 'it''s # \\' fine' # comment", set("x", "it''s # \\' fine")),
            ("listen_addresses = *", set("listen_addresses", "*")),
            ("client_idle_limit_in_recovery = -1", set("client_idle_limit_in_recovery", "-1")),
            ("include 'more.conf'", Ok(Line::Include("more.conf"))),
            ("include = 'more.conf'", Ok(Line::Include("more.conf"))),
        ] {
            assert_eq!(line(text), expected, "{text}");
        }
    }

    #[test]
    fn wrong_lines() {
        for (text, part) in [
            ("= 5", "does not begin with the name"),
            ("9port = 5", "does not begin with the name"),
            ("port", "port has no value"),
            ("port = # 5", "port has no value"),
            ("x = 'abc", "not closed"),
            ("x = 'C:\\'", "not closed"),
            ("x = \"abc\"", "single quotes"),
            ("x = %m: %a", "unexpected \"%a\" after the value of x"),
            ("x = 'a' b", "unexpected \"b\" after the value of x"),
        ] {
            assert!(line(text).is_err_and(|error| error.contains(part)), "{text}: {:?}", line(text));
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(text in "\\PC*") {
            let _ = line(&text);
        }

        #[test]
        fn a_quoted_value_is_taken_as_it_stands(value in "[^'\\\\\\x00-\\x1f]*") {
            let text = format!("x = '{value}' # end");
            prop_assert_eq!(line(&text), Ok(Line::Set { name: "x", value: &value }));
        }
    }
}
