//! `log_format = json`: a record as one JSON object on one line, DETAIL and HINT in it.
#![forbid(unsafe_code)]

use serde::Serialize;

use super::prefix::Facts;
use crate::sys::clock;

#[derive(Serialize)]
struct Record<'a> {
    /// Local time, as `%m` has it.
    time: String,
    /// The same, in milliseconds since 1970 UTC.
    epoch_ms: u64,
    pid: i32,
    process: &'a str,
    /// Number of the record in its process.
    line: u64,
    severity: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
    /// File and line of the source, with `log_error_verbosity = verbose`.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
}

/// Renders a record; `more` are its further lines by label.
pub(super) fn render(
    facts: &Facts<'_>,
    severity: &str,
    text: &str,
    more: &[(&'static str, String)],
) -> String {
    let labelled = |label| more.iter().find(|(name, _)| *name == label).map(|(_, text)| text.as_str());
    let record = Record {
        time: format!("{}.{:03}", clock::local_text(facts.now.as_secs()), facts.now.subsec_millis()),
        epoch_ms: u64::try_from(facts.now.as_millis()).unwrap_or(u64::MAX),
        pid: facts.pid,
        process: facts.process,
        line: facts.line,
        severity,
        message: text,
        detail: labelled("DETAIL"),
        hint: labelled("HINT"),
        context: labelled("CONTEXT"),
        location: labelled("LOCATION"),
        application: facts.client.map(|client| client.application.as_str()),
        user: facts.client.map(|client| client.user.as_str()),
        database: facts.client.map(|client| client.database.as_str()),
        host: facts.client.map(|client| client.host.as_str()),
    };
    // Strings and numbers cannot fail to become JSON; if they did, the text is better than nothing.
    serde_json::to_string(&record).unwrap_or_else(|_| text.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Client;
    use super::*;

    #[test]
    fn one_line_whatever_the_text_holds() {
        let client = Client { user: "ann\"\n".into(), ..Client::default() };
        let now = Duration::from_millis(1_700_000_000_042);
        let facts = Facts { process: "child", client: Some(&client), pid: 42, line: 7, now };
        let more = [
            ("DETAIL", "line 1\nline 2".to_owned()),
            ("HINT", "none".to_owned()),
            ("LOCATION", "a.rs:7".to_owned()),
        ];
        let line = render(&facts, "ERROR", "it's \"this\"\n\u{1}", &more);
        assert!(!line.contains('\n'), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        for (key, value) in [
            ("message", "it's \"this\"\n\u{1}"),
            ("detail", "line 1\nline 2"),
            ("hint", "none"),
            ("location", "a.rs:7"),
            ("user", "ann\"\n"),
            ("severity", "ERROR"),
            ("process", "child"),
        ] {
            assert_eq!(read[key], value, "{key}");
        }
        assert_eq!(read["epoch_ms"], 1_700_000_000_042_u64);
        assert_eq!((&read["pid"], &read["line"]), (&42.into(), &7.into()));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let facts = Facts { process: "main", client: None, pid: 1, line: 1, now: Duration::ZERO };
        let read: serde_json::Value = serde_json::from_str(&render(&facts, "LOG", "a", &[])).unwrap();
        for key in ["detail", "hint", "context", "location", "user", "database", "host", "application"] {
            assert!(read.get(key).is_none(), "{key}");
        }
    }
}
