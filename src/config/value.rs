//! One value of a parameter: what the text of a file means for a kind of parameter, and how it is
//! written again. Knows no parameter by name and no file; every error is the end of a sentence.
#![forbid(unsafe_code)]

use super::unit::{self, Unit};

/// A value, not yet in the field of its parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// On or off.
    Bool(bool),
    /// In the unit of the parameter.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// Any text.
    Text(String),
    /// Items, without the blanks around them.
    List(Vec<String>),
    /// One of the words of an enumerated parameter, as [`Word::word`] spells it.
    Word(&'static str),
}

/// One value of an enumerated parameter.
#[derive(Debug, PartialEq)]
pub struct Word {
    /// The word that is shown.
    pub word: &'static str,
    /// Words with the same meaning.
    pub others: &'static [&'static str],
}

/// What a parameter takes, and its default.
#[derive(Debug)]
pub enum Kind {
    /// A boolean.
    Bool(bool),
    /// A whole number within a range, in a unit.
    Int {
        /// Without a setting. It may lie outside of the range: then it means "not set".
        default: i64,
        /// Smallest.
        least: i64,
        /// Largest.
        most: i64,
        /// What one is.
        unit: Unit,
    },
    /// A number within a range.
    Float {
        /// Without a setting.
        default: f64,
        /// Smallest.
        least: f64,
        /// Largest.
        most: f64,
    },
    /// A text, and what checks it and brings it into its usual form.
    Text {
        /// Without a setting.
        default: &'static str,
        /// The check.
        check: fn(&str) -> Result<String, String>,
    },
    /// Items between separators; a backslash before the separator makes it part of an item.
    List {
        /// Without a setting, as in a file.
        default: &'static str,
        /// Between the items.
        separator: char,
        /// What checks an item.
        check: fn(&str) -> Result<(), String>,
    },
    /// One of some words.
    Words {
        /// Without a setting.
        default: &'static str,
        /// All of them.
        words: &'static [Word],
    },
}

impl Kind {
    /// The value without a setting.
    pub fn default_value(&self) -> Value {
        match self {
            Kind::Bool(default) => Value::Bool(*default),
            Kind::Int { default, .. } => Value::Int(*default),
            Kind::Float { default, .. } => Value::Float(*default),
            Kind::Text { default, .. } => Value::Text((*default).to_owned()),
            Kind::List { default, separator, .. } => Value::List(split(default, *separator)),
            Kind::Words { default, .. } => Value::Word(default),
        }
    }

    /// What `text` means. An error says what is wrong and what would be right.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        match self {
            Kind::Bool(_) => boolean(text).map(Value::Bool),
            Kind::Int { default, least, most, unit } => {
                let number = unit::parse(text, *unit)?;
                if (*least..=*most).contains(&number) || number == *default {
                    return Ok(Value::Int(number));
                }
                let (least, most) = (unit::show(*least, *unit), unit::show(*most, *unit));
                Err(format!("\"{text}\" is outside of the range {least} to {most}"))
            }
            Kind::Float { least, most, .. } => match text.trim().parse::<f64>() {
                Ok(number) if (*least..=*most).contains(&number) => Ok(Value::Float(number)),
                Ok(_) => Err(format!("\"{text}\" is outside of the range {least} to {most}")),
                Err(_) => Err(format!("\"{text}\" is not a number")),
            },
            Kind::Text { check, .. } => check(text).map(Value::Text),
            Kind::List { separator, check, .. } => {
                let items = split(text, *separator);
                items.iter().try_for_each(|item| check(item))?;
                Ok(Value::List(items))
            }
            Kind::Words { words, .. } => find_word(text, words).map(Value::Word),
        }
    }

    /// As `PGPOOL SHOW` has it: numbers in the largest unit that is exact.
    pub fn show(&self, value: &Value) -> String {
        match (self, value) {
            (Kind::Int { unit, .. }, Value::Int(number)) => unit::show(*number, *unit),
            _ => self.plain(value),
        }
    }

    /// Without unit.
    pub fn plain(&self, value: &Value) -> String {
        match (self, value) {
            (Kind::Int { unit: Unit::Octal, .. }, Value::Int(number)) => unit::show(*number, Unit::Octal),
            (Kind::List { separator, .. }, Value::List(items)) => join(items, *separator),
            (_, Value::Bool(true)) => "on".to_owned(),
            (_, Value::Bool(false)) => "off".to_owned(),
            (_, Value::Int(number)) => number.to_string(),
            (_, Value::Float(number)) => number.to_string(),
            (_, Value::Text(text)) => text.clone(),
            (_, Value::List(items)) => join(items, ','),
            (_, Value::Word(word)) => (*word).to_owned(),
        }
    }

    /// As a configuration file has it.
    pub fn literal(&self, value: &Value) -> String {
        match value {
            Value::Text(_) | Value::List(_) => format!("'{}'", self.plain(value)),
            _ => self.show(value),
        }
    }
}

/// Any unambiguous beginning of true, false, yes, no, on, off; 1 and 0.
fn boolean(text: &str) -> Result<bool, String> {
    const WORDS: [(&str, bool, usize); 8] = [
        ("true", true, 1),
        ("false", false, 1),
        ("yes", true, 1),
        ("no", false, 1),
        ("on", true, 2),
        ("off", false, 2),
        ("1", true, 1),
        ("0", false, 1),
    ];
    let lower = text.trim().to_ascii_lowercase();
    let found = WORDS.iter().find(|(word, _, least)| lower.len() >= *least && word.starts_with(&lower));
    found.map(|(_, value, _)| *value).ok_or_else(|| format!("\"{text}\" is not a boolean: use on or off"))
}

fn find_word(text: &str, words: &'static [Word]) -> Result<&'static str, String> {
    let text = text.trim();
    let same = |word: &str| word.eq_ignore_ascii_case(text);
    let found = words.iter().find(|word| same(word.word) || word.others.iter().any(|other| same(other)));
    found.map(|word| word.word).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|word| word.word).collect();
        format!("\"{text}\" is not one of {}", known.join(", "))
    })
}

/// The items of a list. Empty ones are dropped.
fn split(text: &str, separator: char) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == separator {
            items.push(String::new());
            continue;
        }
        let Some(item) = items.last_mut() else { break };
        if c == '\\' {
            match chars.next_if_eq(&separator) {
                Some(_) => item.push(separator),
                // Of a pair of backslashes the second one must not shield a separator.
                None => item.extend(std::iter::once('\\').chain(chars.next_if_eq(&'\\'))),
            }
        } else {
            item.push(c);
        }
    }
    items.iter().map(|item| item.trim()).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// The reverse of [`split`].
fn join(items: &[String], separator: char) -> String {
    let shield = |item: &String| item.replace(separator, &format!("\\{separator}"));
    items.iter().map(shield).collect::<Vec<_>>().join(&separator.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::words::CheckTempTable;
    use proptest::prelude::*;

    #[test]
    fn booleans() {
        for text in ["on", "ON", "t", "tru", "true", "y", "Yes", "1"] {
            assert_eq!(boolean(text), Ok(true), "{text}");
        }
        for text in ["off", "of", "f", "FALSE", "n", "no", "0"] {
            assert_eq!(boolean(text), Ok(false), "{text}");
        }
        for text in ["", "o", "ai", "2", "truely", "enable", "01"] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }

    #[test]
    fn words_ignore_case_and_know_older_words() {
        let kind = Kind::Words { default: "catalog", words: CheckTempTable::WORDS };
        assert_eq!(kind.parse("ON"), Ok(Value::Word("catalog")));
        assert_eq!(kind.parse("off"), Ok(Value::Word("none")));
        assert_eq!(kind.parse("Trace"), Ok(Value::Word("trace")));
        assert_eq!(kind.parse("perhaps"), Err("\"perhaps\" is not one of catalog, trace, none".to_owned()));
    }

    #[test]
    fn numbers_have_a_range_and_a_default_that_may_lie_outside() {
        let kind = Kind::Int { default: 0, least: 1024, most: 65535, unit: Unit::None };
        assert_eq!(kind.parse("0"), Ok(Value::Int(0)));
        assert_eq!(kind.parse("5432"), Ok(Value::Int(5432)));
        assert_eq!(kind.parse("80"), Err("\"80\" is outside of the range 1024 to 65535".to_owned()));
        let kind = Kind::Float { default: 0.5, least: 0.0, most: 1.0 };
        assert_eq!(kind.parse("0.25"), Ok(Value::Float(0.25)));
        assert!(kind.parse("NaN").is_err() && kind.parse("inf").is_err() && kind.parse("x").is_err());
    }

    #[test]
    fn lists() {
        for (text, items) in [
            ("a, b ,c", vec!["a", "b", "c"]),
            ("", vec![]),
            (" , ,", vec![]),
            ("a\\,b, x{1\\,3}", vec!["a,b", "x{1,3}"]),
            ("\\d+,\\\\,b", vec!["\\d+", "\\\\", "b"]),
        ] {
            assert_eq!(split(text, ','), items, "{text}");
        }
        assert_eq!(join(&split("ABORT; DISCARD ALL", ';'), ';'), "ABORT;DISCARD ALL");
    }

    proptest! {
        #[test]
        fn a_list_survives_being_written(items in proptest::collection::vec("[a-z.*+(){},]{1,8}", 0..5)) {
            prop_assert_eq!(split(&join(&items, ','), ','), items);
        }

        #[test]
        fn a_fraction_survives_being_written(number in 0.0..100_000_000.0_f64) {
            let kind = Kind::Float { default: 0.0, least: 0.0, most: 100_000_000.0 };
            prop_assert_eq!(kind.parse(&kind.show(&Value::Float(number))), Ok(Value::Float(number)));
        }
    }
}
