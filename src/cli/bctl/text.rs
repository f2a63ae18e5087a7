//! Values as people read them. What comes from a server cannot reach the terminal as a command to it.
#![forbid(unsafe_code)]

use serde_json::Value;

use crate::sys::clock;

/// What a number or a text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Shown as it is.
    Plain,
    /// Seconds since 1970; 0 is never.
    Time,
    /// A length of time.
    Seconds,
}

/// A value that a report shows: its title, where it is found (`a.b`: b within a), what it means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) title: &'static str,
    pub(super) key: &'static str,
    pub(super) kind: Kind,
}

/// A field that is shown as it is.
pub(super) const fn plain(title: &'static str, key: &'static str) -> Field {
    Field { title, key, kind: Kind::Plain }
}

/// A field of another kind.
pub(super) const fn field(title: &'static str, key: &'static str, kind: Kind) -> Field {
    Field { title, key, kind }
}

impl Field {
    /// Its text in this object; None: a server of this version does not tell.
    pub(super) fn of(&self, object: &Value) -> Option<String> {
        let value = self.key.split('.').try_fold(object, |value, key| value.get(key))?;
        Some(shown(value, self.kind))
    }
}

/// The text of a value.
pub(super) fn shown(value: &Value, kind: Kind) -> String {
    match (kind, value) {
        (Kind::Time, Value::Number(number)) => match number.as_f64() {
            // Fractions of a second and what lies before 1970 do not matter here.
            Some(seconds) if seconds >= 1.0 => clock::local_text(seconds as u64),
            _ => "never".to_owned(),
        },
        (Kind::Seconds, Value::Number(_)) => format!("{} seconds", scalar(value)),
        _ => scalar(value),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        // 1.0 is 1, and what measuring makes of a third is cut.
        Value::Number(number) if number.is_f64() => {
            let text = format!("{:.3}", number.as_f64().unwrap_or_default());
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        Value::Number(number) => number.to_string(),
        Value::String(text) => safe(text),
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => values.iter().map(scalar).collect::<Vec<_>>().join(", "),
        Value::Object(_) => safe(&value.to_string()),
    }
}

/// A text of one line, with control characters written out.
pub(super) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values() {
        for (value, kind, expected) in [
            (json!(1.0), Kind::Plain, "1"),
            (json!(0.25), Kind::Plain, "0.25"),
            (json!(10), Kind::Plain, "10"),
            (json!(1e3), Kind::Plain, "1000"),
            (json!(null), Kind::Time, "-"),
            (json!(0), Kind::Time, "never"),
            (json!(true), Kind::Plain, "yes"),
            (json!([0, 2]), Kind::Plain, "0, 2"),
            (json!([]), Kind::Plain, "-"),
            (json!(7), Kind::Seconds, "7 seconds"),
            (json!("a\u{1b}[31m\nb"), Kind::Plain, "a\\u{1b}[31m\\nb"),
        ] {
            assert_eq!(shown(&value, kind), expected);
        }
        assert!(shown(&json!(1_700_000_000), Kind::Time).starts_with("2023-11-1"));
    }

    #[test]
    fn fields_within_fields() {
        let object = json!({ "a": { "b": 1 }, "c": 2 });
        assert_eq!(plain("B", "a.b").of(&object).as_deref(), Some("1"));
        assert_eq!(plain("C", "c").of(&object).as_deref(), Some("2"));
        assert_eq!(plain("D", "a.d").of(&object), None);
    }
}
