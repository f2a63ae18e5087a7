//! Lists of patterns as pgpool-II has them: POSIX extended regular expressions, whole text, any case.
#![forbid(unsafe_code)]

use regex::{RegexSet, RegexSetBuilder};

use crate::config::pattern_regex;

/// Patterns compiled together; one pass over a text tries them all.
#[derive(Clone, Debug, Default)]
pub struct PatternList {
    // None: no patterns, so that nothing is scanned for the usual, empty list.
    set: Option<RegexSet>,
}

/// A pattern that cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[error("invalid pattern \"{pattern}\": {reason}")]
pub struct PatternError {
    pattern: String,
    reason: String,
}

impl PatternList {
    /// Compiles the items of a list; empty items are left out.
    pub fn new<S: AsRef<str>>(items: &[S]) -> Result<PatternList, PatternError> {
        let items: Vec<&str> = items.iter().map(|i| i.as_ref().trim()).filter(|i| !i.is_empty()).collect();
        if items.is_empty() {
            return Ok(PatternList::default());
        }
        for item in &items {
            compile(&[item]).map_err(|error| PatternError {
                pattern: (*item).to_owned(),
                reason: error.to_string().lines().last().unwrap_or_default().trim().to_owned(),
            })?;
        }
        let set = compile(&items)
            .map_err(|error| PatternError { pattern: items.join(","), reason: error.to_string() })?;
        Ok(PatternList { set: Some(set) })
    }

    /// No pattern at all.
    pub fn is_empty(&self) -> bool {
        self.set.is_none()
    }

    /// Whether any pattern matches the whole of `text`.
    pub fn matches(&self, text: &str) -> bool {
        self.set.as_ref().is_some_and(|set| set.is_match(text))
    }
}

fn compile(items: &[&str]) -> Result<RegexSet, regex::Error> {
    RegexSetBuilder::new(items.iter().map(|item| pattern_regex(item)))
        .case_insensitive(true)
        // POSIX: a dot takes a line end too.
        .dot_matches_new_line(true)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_posix_does() {
        let table: &[(&str, &str, bool)] = &[
            ("nextval", "nextval", true),
            ("nextval", "NextVal", true),
            ("nextval", "my_nextval", false),
            ("nextval", "nextval2", false),
            (".*val", "setval", true),
            ("^get_.*$", "get_it", true),
            ("^get_.*", "forget_it", false),
            ("a.b", "a\nb", true),
            ("SELECT .* FROM t", "select 1,\n2 from t", true),
            ("[[:digit:]]+", "123", true),
            ("[^[:digit:]]+", "abc", true),
            (r"[\]+", r"\\", true),
            ("[]a]+", "]a", true),
            ("[[]x", "[x", true),
            ("[a&&b]+", "a&b", true),
            (r"a\.b", "a.b", true),
            (r"a\.b", "axb", false),
            ("(get|list)_.*", "list_all", true),
            ("a{2,3}", "aaa", true),
            ("a|b", "axx", true),
        ];
        for (pattern, text, expected) in table {
            let list = PatternList::new(&[pattern]).unwrap();
            assert_eq!(list.matches(text), *expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn lists_try_every_item_and_name_the_bad_one() {
        let list = PatternList::new(&["a", "", " b "]).unwrap();
        assert!(list.matches("a") && list.matches("b") && !list.matches(""));
        let none = PatternList::new::<&str>(&[]).unwrap();
        assert!(none.is_empty() && !none.matches(""));
        let error = PatternList::new(&["good", "b(ad"]).unwrap_err();
        assert!(error.to_string().starts_with("invalid pattern \"b(ad\": "), "{error}");
    }
}
