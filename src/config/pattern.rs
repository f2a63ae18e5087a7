//! The regular expressions of lists like `write_function_list`: POSIX extended ones, matched against the
//! whole text without regard to case, as pgpool-II does.
#![forbid(unsafe_code)]

use regex::RegexBuilder;

/// An item of a list, written for the `regex` crate.
pub fn regex(pattern: &str) -> String {
    translate(&anchored(&without_idle_repetitions(pattern)))
}

/// For the table of parameters.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    let regex = RegexBuilder::new(&regex(pattern)).case_insensitive(true).build();
    regex.map(drop).map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("\"{pattern}\" is not a valid regular expression: {reason}")
    })
}

/// Drops a `*` that has nothing to repeat, as in `count(*)`: the C library passes over it, too.
fn without_idle_repetitions(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let (mut idle, mut escaped) = (true, false);
    for c in pattern.chars() {
        if idle && c == '*' {
            continue;
        }
        idle = !escaped && matches!(c, '(' | '|' | '^');
        escaped = !escaped && c == '\\';
        out.push(c);
    }
    out
}

/// pgpool-II adds the anchors to the text of the pattern: `a|b` becomes `^a|b$`, and so it does here.
fn anchored(item: &str) -> String {
    let front = if item.starts_with('^') { "" } else { "^" };
    let back = if item.ends_with('$') { "" } else { "$" };
    format!("{front}{item}{back}")
}

/// Writes a POSIX expression for the `regex` crate: within brackets a backslash is a plain character, and
/// `[`, `&`, `-`, `~` have no second meaning.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        out.push(c);
        match c {
            '\\' => out.extend(rest.next()),
            '[' => bracket(&mut rest, &mut out),
            _ => {}
        }
    }
    out
}

/// Copies what stands between `[` and its `]`.
fn bracket(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    out.extend(rest.next_if_eq(&'^'));
    let mut first = true;
    while let Some(c) = rest.next() {
        match c {
            // A `]` in the first place is a member.
            ']' if first => out.push_str("\\]"),
            ']' => {
                out.push(']');
                return;
            }
            // [:alpha:] and kin.
            '[' if rest.peek() == Some(&':') => class(rest, out),
            '\\' | '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
        first = false;
    }
}

/// Copies a class such as `[:alpha:]`, whose `[` was read.
fn class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    out.push('[');
    for c in rest.by_ref() {
        out.push(c);
        if c == ']' {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_written_anew_or_refused() {
        for (pattern, written) in [
            ("nextval", "^nextval$"),
            ("^get_.*", "^get_.*$"),
            ("select count(*) from t", "^select count() from t$"),
            ("*x", "^x$"),
            ("[[:alpha:]&]+", "^[[:alpha:]\\&]+$"),
        ] {
            assert_eq!(regex(pattern), written);
            assert_eq!(check(pattern), Ok(()));
        }
        assert!(
            check("a(").is_err_and(|text| text.starts_with("\"a(\" is not a valid regular expression: "))
        );
    }
}
