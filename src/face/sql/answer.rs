//! What came of it, as messages of the protocol.
#![forbid(unsafe_code)]

use crate::admin::{AdminError, Reply};
use crate::config::NotSet;
use crate::wire::backend::{self, Column, Notice};

/// Type `text`. pgpool-II sends 0 here, which confuses drivers that decode by type.
const TEXT: u32 = 25;

/// What came of it, for either protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The columns, and rows of as many values.
    Table { columns: Vec<String>, rows: Vec<Vec<String>> },
    /// The command's tag.
    Done(&'static str),
    /// An error.
    Failed { message: String, detail: Option<String> },
}

/// The columns of `PGPOOL EXPLAIN ROUTE`.
pub fn explain_columns() -> Vec<String> {
    [
        "node_id",
        "target",
        "reason",
        "rule",
        "candidates",
        "relations",
        "functions",
        "counts_as_write",
        "scores",
    ]
    .map(str::to_owned)
    .into()
}

impl From<Result<Reply, AdminError>> for Answer {
    fn from(result: Result<Reply, AdminError>) -> Answer {
        match result {
            Ok(Reply::Table { columns, rows }) => Answer::Table { columns, rows },
            Err(error) => Answer::Failed { message: error.to_string(), detail: None },
        }
    }
}

impl From<Result<&'static str, AdminError>> for Answer {
    fn from(result: Result<&'static str, AdminError>) -> Answer {
        match result {
            Ok(tag) => Answer::Done(tag),
            Err(error) => Answer::Failed { message: error.to_string(), detail: None },
        }
    }
}

impl From<Result<&'static str, NotSet>> for Answer {
    fn from(result: Result<&'static str, NotSet>) -> Answer {
        match result {
            Ok(tag) => Answer::Done(tag),
            Err(error) => {
                let message = error.to_string();
                let detail = match error {
                    NotSet::Invalid { why, .. } => Some(why),
                    _ => None,
                };
                Answer::Failed { message, detail }
            }
        }
    }
}

/// Appends the messages that answer a simple query; the session adds ReadyForQuery.
pub fn encode(answer: &Answer, out: &mut Vec<u8>) {
    match answer {
        Answer::Table { columns, rows } => {
            put_columns(columns, &[], out);
            rows.iter().for_each(|row| put_row(row, out));
            backend::put_command_complete(out, &format!("SELECT {}", rows.len()));
        }
        Answer::Done(tag) => backend::put_command_complete(out, tag),
        Answer::Failed { message, detail } => put_error(message, detail.as_deref(), out),
    }
}

/// Appends a RowDescription; `formats` as Bind gives them: none, one for all, or one for each.
pub fn put_columns(columns: &[String], formats: &[i16], out: &mut Vec<u8>) {
    let format = |at: usize| match formats {
        [all] => *all,
        each => each.get(at).copied().unwrap_or(0),
    };
    let column = |(at, name)| Column { name, type_oid: TEXT, type_len: -1, format: format(at) };
    let columns: Vec<Column<'_>> = columns.iter().map(String::as_str).enumerate().map(column).collect();
    backend::put_row_description(out, &columns);
}

/// Appends a row: the binary form of a text is the text.
pub fn put_row(row: &[String], out: &mut Vec<u8>) {
    let values: Vec<Option<&[u8]>> = row.iter().map(|value| Some(value.as_bytes())).collect();
    backend::put_data_row(out, &values);
}

/// Appends an error as pgpool-II's own are: always of class "internal error".
fn put_error(message: &str, detail: Option<&str>, out: &mut Vec<u8>) {
    let notice = Notice { severity: "ERROR", code: "XX000", message, detail, hint: None };
    backend::put_error(out, &notice);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame;

    fn kinds(mut bytes: &[u8]) -> Vec<u8> {
        let mut found = Vec::new();
        while let Ok(Some(header)) = frame::header(bytes) {
            found.push(header.kind);
            bytes = bytes.get(header.length..).unwrap_or_default();
        }
        found
    }

    #[test]
    fn answers_as_messages() {
        let columns = vec!["a".to_owned(), "b".to_owned()];
        let row = vec!["1".to_owned(), String::new()];
        let mut out = Vec::new();
        encode(&Ok(Reply::Table { columns, rows: vec![row.clone(), row] }).into(), &mut out);
        assert_eq!(kinds(&out), b"TDDC");
        assert!(out.ends_with(b"SELECT 2\0"));
        out.clear();
        encode(&Err::<Reply, _>(AdminError::UnknownParameter("nosuch".to_owned())).into(), &mut out);
        assert_eq!(kinds(&out), b"E");
        assert!(out.windows(36).any(|text| text == b"config variable \"nosuch\" not found\0\0"));
    }
}
