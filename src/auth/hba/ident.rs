//! pool_ident.conf: which names of certificates are which users, in the form of PostgreSQL's pg_ident.conf. Lines of
//! `MAP SYSTEM-NAME USER`; a system name that begins with `/` is a regular expression, whose first group may stand as `\1` in the
//! user's name.
#![forbid(unsafe_code)]

use regex::{Regex, RegexBuilder};

use super::token;

/// The file, beside pool_hba.conf.
pub(super) const FILE: &str = "pool_ident.conf";

/// Most bytes that an expression may take when it is compiled.
const MAX_PATTERN: usize = 1 << 20;

/// The lines of one map.
#[derive(Debug, Clone)]
pub struct Map {
    /// For the log.
    pub name: String,
    lines: Vec<Line>,
}

#[derive(Debug, Clone)]
struct Line {
    system: System,
    user: String,
}

#[derive(Debug, Clone)]
enum System {
    Name(String),
    Pattern(Regex),
}

impl System {
    fn text(&self) -> &str {
        match self {
            System::Name(name) => name,
            System::Pattern(pattern) => pattern.as_str(),
        }
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Map) -> bool {
        let texts = |map: &Map| -> Vec<(bool, String, String)> {
            let text = |line: &Line| {
                let is_name = matches!(line.system, System::Name(_));
                (is_name, line.system.text().to_owned(), line.user.clone())
            };
            map.lines.iter().map(text).collect()
        };
        self.name == other.name && texts(self) == texts(other)
    }
}

impl Eq for Map {}

impl Map {
    /// Reads the lines of this map. All lines must be right, also those of other maps.
    ///
    /// # Errors
    /// A line that is wrong, or no line of this map.
    pub(super) fn read(text: &str, name: &str) -> Result<Map, String> {
        let mut lines = Vec::new();
        for token::Line { number, fields } in token::lines(text) {
            let wrong = |why: String| format!("{FILE}:{number}: {why}");
            let fields = fields.map_err(wrong)?;
            let words: Vec<&str> = fields.iter().flatten().map(|token| token.text.as_str()).collect();
            let [map, system, user] = words[..] else {
                return Err(wrong("a line has a map, a name of the system and a user".to_owned()));
            };
            let system = match system.strip_prefix('/') {
                None => System::Name(system.to_owned()),
                Some(pattern) => {
                    let compiled = RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build();
                    System::Pattern(compiled.map_err(|error| wrong(error.to_string()))?)
                }
            };
            let has_group = matches!(&system, System::Pattern(pattern) if pattern.captures_len() > 1);
            if user.contains("\\1") && !has_group {
                return Err(wrong(format!("\"{user}\" refers to a group that there is not")));
            }
            if map == name {
                lines.push(Line { system, user: user.to_owned() });
            }
        }
        if lines.is_empty() {
            return Err(format!("{FILE} has no map \"{name}\""));
        }
        Ok(Map { name: name.to_owned(), lines })
    }

    /// Whether who is called so by the system may be this user.
    pub fn allows(&self, system_name: &str, user: &str) -> bool {
        self.lines.iter().any(|line| match &line.system {
            System::Name(name) => name == system_name && line.user == user,
            System::Pattern(pattern) => pattern.captures(system_name).is_some_and(|found| {
                let group = found.get(1).map_or("", |group| group.as_str());
                line.user.replacen("\\1", group, 1) == user
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# staff\nstaff Ann ann\nstaff Ann admin\nstaff /^(.*)@example\\.com$ \\1\nother Bob bob\n\
                        staff /^guest guest\nstaff \"two words\" two\n";

    #[test]
    fn names_are_mapped_by_the_lines_of_their_map() {
        let map = Map::read(TEXT, "staff").unwrap();
        for (system, user, allowed) in [
            ("Ann", "ann", true),
            ("Ann", "admin", true),
            ("Ann", "Ann", false),
            ("ann", "ann", false),
            ("Bob", "bob", false),
            ("carl@example.com", "carl", true),
            ("carl@example.com", "ann", false),
            ("carl@example_com", "carl", false),
            ("guest7", "guest", true),
            ("a guest", "guest", false),
            ("two words", "two", true),
            ("@example.com", "", true),
        ] {
            assert_eq!(map.allows(system, user), allowed, "{system} as {user}");
        }
        assert_eq!(map, Map::read(TEXT, "staff").unwrap());
        assert_ne!(map, Map::read(&TEXT.replace("admin", "boss"), "staff").unwrap());
    }

    #[test]
    fn a_line_that_is_wrong_is_told_with_its_number() {
        for (text, name, why) in [
            ("staff Ann\n", "staff", "pool_ident.conf:1: a line has a map, a name of the system and a user"),
            ("a b c d", "a", "pool_ident.conf:1: a line has a map, a name of the system and a user"),
            ("\nother Ann \\1\n", "staff", "pool_ident.conf:2: \"\\1\" refers to a group that there is not"),
            ("s /x \\1\n", "s", "pool_ident.conf:1: \"\\1\" refers to a group that there is not"),
            ("other a b\n", "staff", "pool_ident.conf has no map \"staff\""),
            ("s \"a b\n", "s", "pool_ident.conf:1: quoted name has no end"),
        ] {
            assert_eq!(Map::read(text, name), Err(why.to_owned()), "{text}");
        }
        assert!(Map::read("s /( b\n", "s").unwrap_err().starts_with("pool_ident.conf:1: regex parse error"));
    }
}
