//! Why a command failed: what is printed, and the exit code that scripts test.
#![forbid(unsafe_code)]

use serde_json::{Value, json};

use super::json;

/// Exit codes of `bctl`.
pub(super) mod code {
    /// Done.
    pub(crate) const OK: u8 = 0;
    /// It failed.
    pub(crate) const FAILED: u8 = 1;
    /// The server cannot be reached, or the connection broke.
    pub(crate) const CONNECTION: u8 = 2;
    /// No token, or one that does not allow it.
    pub(crate) const DENIED: u8 = 3;
    /// Wrong options, or wrong settings in their place.
    pub(crate) const USAGE: u8 = 4;
}

/// A failure.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server says no: status, and its JSON.
    Refused(u16, String),
    /// There is no connection, or it broke.
    Connection(String),
    /// Something here.
    Local(String),
    /// Wrong options or settings.
    Usage(String),
}

impl Failure {
    pub(super) fn code(&self) -> u8 {
        match self {
            Failure::Refused(401 | 403, _) => code::DENIED,
            Failure::Refused(..) | Failure::Local(_) => code::FAILED,
            Failure::Connection(_) => code::CONNECTION,
            Failure::Usage(_) => code::USAGE,
        }
    }

    /// What people read.
    pub(super) fn text(&self) -> String {
        match self {
            Failure::Refused(status, body) => refusal(*status, body),
            Failure::Connection(text) | Failure::Local(text) | Failure::Usage(text) => text.clone(),
        }
    }

    /// The same for programs: the server's own words, or an object of the same shape.
    pub(super) fn json(&self) -> String {
        let title = match self {
            Failure::Refused(_, body) => return json::pretty(body),
            Failure::Connection(_) => "Cannot connect",
            Failure::Local(_) => "Failed",
            Failure::Usage(_) => "Wrong usage",
        };
        json::pretty(&json!({ "error": title, "message": self.text() }).to_string())
    }
}

fn refusal(status: u16, body: &str) -> String {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    let word = |key: &str| value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (word("error"), word("message")) {
        (Some(error), Some(message)) => format!("{error}: {message}"),
        (Some(text), None) | (None, Some(text)) => text.to_owned(),
        (None, None) => format!("the server answers with status {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_words() {
        let refused =
            Failure::Refused(404, r#"{"error":"Not found","message":"no node 9","status":404}"#.to_owned());
        assert_eq!((refused.code(), refused.text().as_str()), (1, "Not found: no node 9"));
        assert_eq!(Failure::Refused(401, "{}".to_owned()).code(), 3);
        assert_eq!(Failure::Refused(403, "{}".to_owned()).code(), 3);
        assert_eq!(Failure::Refused(503, "{}".to_owned()).text(), "the server answers with status 503");
        let connection = Failure::Connection("no".to_owned());
        assert_eq!(connection.code(), 2);
        let value: Value = serde_json::from_str(&connection.json()).unwrap();
        assert_eq!(value["message"], "no");
    }
}
