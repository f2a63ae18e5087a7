//! Where the password comes from: typed, or from the file .pcppass.
#![forbid(unsafe_code)]

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::sys::terminal;

/// Asks whoever sits there; empty if nobody answers.
pub(super) fn ask() -> String {
    terminal::read_hidden("Password: ").unwrap_or_default()
}

/// The password that the file has for this server and user; empty if there is none.
pub(super) fn from_file(host: &str, port: u16, user: &str) -> String {
    let Some(path) = path() else { return String::new() };
    let Ok(file) = fs::metadata(&path) else { return String::new() };
    let shown = path.display();
    if !file.is_file() {
        eprintln!("WARNING: password file \"{shown}\" is not a plain file");
        return String::new();
    }
    if file.permissions().mode() & 0o077 != 0 {
        eprintln!(
            "WARNING: password file \"{shown}\" has group or world access; permissions should be u=rw (0600) or less"
        );
        return String::new();
    }
    let text = fs::read(&path).unwrap_or_default();
    find(&String::from_utf8_lossy(&text), host, &port.to_string(), user).unwrap_or_default()
}

fn path() -> Option<PathBuf> {
    let named = env::var_os("PCPPASSFILE").filter(|path| !path.is_empty()).map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".pcppass")))
}

/// `host:port:user:password` a line; `*` fits everything, `\` takes the next letter as it is.
fn find(text: &str, host: &str, port: &str, user: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut rest = line;
        for wanted in [host, port, user] {
            let (field, after) = field(rest)?;
            if field != "*" && unescaped(field) != wanted {
                return None;
            }
            rest = after;
        }
        Some(unescaped(field(rest).map_or(rest, |(field, _)| field)))
    })
}

/// The text before the next colon that no `\` stands before, and what is behind it.
fn field(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            ':' if !escaped => return Some((text.get(..at)?, text.get(at + 1..)?)),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        out.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_counts() {
        let text =
            "# note\nhost:9898:ann:one\n*:9898:bob:t\\:w\\\\o\n*:*:*:all\nhost:9898:cy:late\nshort:line\n";
        for (host, port, user, password) in [
            ("host", "9898", "ann", Some("one")),
            ("host", "9899", "ann", Some("all")),
            ("x", "9898", "bob", Some("t:w\\o")),
            ("host", "9898", "cy", Some("all")),
        ] {
            assert_eq!(find(text, host, port, user).as_deref(), password, "{host} {port} {user}");
        }
        assert_eq!(find("a:1:b:c", "x", "1", "b"), None);
        assert_eq!(find("*:*", "x", "1", "b"), None);
        assert_eq!(find("a\\:b:1:u:p", "a:b", "1", "u").as_deref(), Some("p"));
    }
}
