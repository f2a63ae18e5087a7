//! Lines, fields and names of pool_hba.conf: blanks between fields, commas between the names of a field,
//! `"quoted names"`, `# comments`, and a backslash at the end of a line that goes on.
#![forbid(unsafe_code)]

use std::iter::Peekable;
use std::str::Chars;

/// A name; quoted ones are never keywords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) quoted: bool,
}

impl Token {
    /// The token is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        !self.quoted && self.text == keyword
    }
}

/// The names of one field.
pub(super) type Field = Vec<Token>;

/// A line that has fields, or why they cannot be told apart.
pub(super) struct Line {
    /// Number of the first line, from 1.
    pub(super) number: u32,
    pub(super) fields: Result<Vec<Field>, String>,
}

/// The lines of a file that are not empty.
pub(super) fn lines(text: &str) -> Vec<Line> {
    let mut found = Vec::new();
    let mut numbered = (1..).zip(text.lines());
    while let Some((number, first)) = numbered.next() {
        let mut whole = first.to_owned();
        while let Some(cut) = whole.strip_suffix('\\').map(str::len) {
            whole.truncate(cut);
            match numbered.next() {
                Some((_, next)) => whole.push_str(next),
                None => break,
            }
        }
        let fields = fields(&whole);
        if fields.as_ref().is_ok_and(Vec::is_empty) {
            continue;
        }
        found.push(Line { number, fields });
    }
    found
}

/// All names of a file that `@` names: there, lines and fields make no difference.
pub(super) fn names(text: &str) -> Result<Field, String> {
    let mut found = Vec::new();
    for line in lines(text) {
        found.extend(line.fields?.into_iter().flatten());
    }
    Ok(found)
}

fn fields(line: &str) -> Result<Vec<Field>, String> {
    let mut rest = line.chars().peekable();
    let mut fields: Vec<Field> = Vec::new();
    // As in PostgreSQL a comma joins the next name to the field only where it follows the name at once.
    let mut joined = false;
    loop {
        while rest.next_if(|c| c.is_whitespace() || *c == ',').is_some() {}
        if matches!(rest.peek(), None | Some('#')) {
            return Ok(fields);
        }
        let token = token(&mut rest)?;
        match fields.last_mut().filter(|_| joined) {
            Some(field) => field.push(token),
            None => fields.push(vec![token]),
        }
        joined = rest.peek() == Some(&',');
    }
}

/// The name at the front: up to a blank, comma or comment outside of quotes.
fn token(rest: &mut Peekable<Chars<'_>>) -> Result<Token, String> {
    let mut found = Token { text: String::new(), quoted: rest.peek() == Some(&'"') };
    let mut inside = false;
    while let Some(c) = rest.next_if(|c| inside || !(c.is_whitespace() || matches!(c, ',' | '#'))) {
        match c {
            '"' if inside && rest.next_if_eq(&'"').is_some() => found.text.push('"'),
            '"' => inside = !inside,
            _ => found.text.push(c),
        }
    }
    match inside {
        true => Err("quoted name has no end".to_owned()),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_names() {
        let cases: [(&str, &[&[&str]]); 7] = [
            ("", &[]),
            ("  # only a comment", &[]),
            ("a b\tc", &[&["a"], &["b"], &["c"]]),
            ("a,b, c ,d", &[&["a", "b", "c"], &["d"]]),
            ("\"a b\",c#d", &[&["a b", "c"]]),
            ("\"a\"\"b\" \"#,\"", &[&["a\"b"], &["#,"]]),
            ("a, # rest", &[&["a"]]),
        ];
        for (line, want) in cases {
            let found = fields(line).unwrap();
            let texts: Vec<Vec<&str>> =
                found.iter().map(|field| field.iter().map(|t| t.text.as_str()).collect()).collect();
            assert_eq!(texts, want, "{line}");
        }
    }

    #[test]
    fn quoted_names_are_no_keywords() {
        let found = fields("all \"all\"").unwrap();
        assert!(found[0][0].is("all") && !found[1][0].is("all"));
    }

    #[test]
    fn a_backslash_joins_lines() {
        let found = lines("a \\\nb\n\nc\\");
        let numbers: Vec<_> =
            found.iter().map(|line| (line.number, line.fields.as_ref().unwrap().len())).collect();
        assert_eq!(numbers, [(1, 2), (4, 1)]);
    }
}
