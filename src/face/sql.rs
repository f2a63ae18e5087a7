//! The management core over SQL: recognises `SHOW pool_…` and `PGPOOL …`, encodes what it answers.
//!
//! Anything else that begins so (`SHOW pool_foo`, `SHOW pool_nodes x`) is left to PostgreSQL, which
//! answers with its own error. Called by the session for every simple query, so the way out is short.
#![forbid(unsafe_code)]

use crate::admin::{AdminError, Reply, Request};
use crate::config::NotSet;
use crate::wire::backend::{self, Column, Notice};

/// Type `text`. pgpool-II sends 0 here, which confuses drivers that decode by type.
const TEXT: u32 = 25;

/// Reports that pgpool-II has and we do not.
const MISSING: &[&str] = &["pool_cache", "pool_health_check_stats"];

/// What a client asks of us and not of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A report.
    Report(Request),
    /// A report that we do not have; the text says so.
    Missing(String),
    /// `PGPOOL SET` a parameter for this session, to a value or back to that of the configuration.
    Set(String, Option<String>),
    /// `PGPOOL RESET ALL`.
    ResetAll,
    /// `PGPOOL EXPLAIN ROUTE`: where this statement would go.
    ExplainRoute(String),
}

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
    ["node_id", "target", "reason", "rule", "candidates", "relations", "functions", "counts_as_write"]
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

/// What the text of a simple query asks of us; `None` if nothing.
#[inline]
pub fn recognise(text: &[u8]) -> Option<Asked> {
    match text.trim_ascii_start() {
        // SELECT is what nearly all of them begin with.
        text @ ([b's' | b'S', b'h' | b'H', ..] | [b'p' | b'P', b'g' | b'G', ..]) => read(text),
        _ => None,
    }
}

fn read(text: &[u8]) -> Option<Asked> {
    let (first, rest) = word(text)?;
    if first.eq_ignore_ascii_case(b"show") {
        return report(&lone_name(rest)?);
    }
    let (second, rest) = word(rest.trim_ascii_start()).filter(|_| first.eq_ignore_ascii_case(b"pgpool"))?;
    match second.to_ascii_lowercase().as_slice() {
        b"show" => lone_name(rest).map(|name| Asked::Report(Request::ConfigShow(name))),
        b"reset" => lone_name(rest).map(|name| match name.as_str() {
            "all" if !rest.contains(&b'"') => Asked::ResetAll,
            _ => Asked::Set(name, None),
        }),
        b"set" => set(rest),
        b"explain" => {
            let (route, rest) = word(rest.trim_ascii_start())?;
            let statement = std::str::from_utf8(rest.trim_ascii()).ok()?;
            let is_route = route.eq_ignore_ascii_case(b"route") && !is_end(statement.as_bytes());
            is_route.then(|| Asked::ExplainRoute(statement.to_owned()))
        }
        _ => None,
    }
}

/// `name TO value`, `name = value`, with DEFAULT for the value of the configuration.
fn set(text: &[u8]) -> Option<Asked> {
    let (name, rest) = name(text)?;
    let rest = rest.trim_ascii_start();
    let rest = match rest.strip_prefix(b"=") {
        Some(rest) => rest,
        None => word(rest).filter(|(to, _)| to.eq_ignore_ascii_case(b"to"))?.1,
    };
    let rest = rest.trim_ascii_start();
    let (value, rest) = match rest {
        [b'\'' | b'"', ..] => quoted(rest)?,
        _ => {
            let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(byte);
            let end = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
            let (value, rest) = rest.split_at_checked(end).filter(|(value, _)| !value.is_empty())?;
            if value.eq_ignore_ascii_case(b"default") {
                return is_end(rest).then_some(Asked::Set(name, None));
            }
            (String::from_utf8(value.to_ascii_lowercase()).ok()?, rest)
        }
    };
    is_end(rest).then_some(Asked::Set(name, Some(value)))
}

fn report(name: &str) -> Option<Asked> {
    Some(Asked::Report(match name {
        "pool_nodes" => Request::ShowNodes,
        "pool_processes" => Request::ShowProcesses,
        "pool_pools" => Request::ShowPools,
        "pool_version" => Request::ShowVersion,
        "pool_status" => Request::ShowStatus,
        "pool_backend_stats" => Request::ShowBackendStats,
        name if MISSING.contains(&name) => {
            return Some(Asked::Missing(format!("SHOW {name} is not supported yet")));
        }
        _ => return None,
    }))
}

/// A run of the letters an SQL name may have, and what follows.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let end = text.iter().position(|byte| !is_letter(byte)).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(word, _)| !word.is_empty())
}

/// Between quotes, and what follows. A doubled quote is one.
fn quoted(text: &[u8]) -> Option<(String, &[u8])> {
    let (quote, mut rest) = text.split_first()?;
    let mut found = Vec::new();
    loop {
        let end = rest.iter().position(|byte| byte == quote)?;
        let (part, after) = rest.split_at_checked(end)?;
        found.extend_from_slice(part);
        match after {
            [_, second, ..] if second == quote => {
                found.push(*quote);
                rest = after.get(2..)?;
            }
            _ => return Some((String::from_utf8(found).ok()?, after.get(1..)?)),
        }
    }
}

/// A name and what follows; as in SQL, quoted it keeps its case.
fn name(text: &[u8]) -> Option<(String, &[u8])> {
    let text = text.trim_ascii_start();
    match text {
        [b'"', ..] => quoted(text).filter(|(name, _)| !name.is_empty()),
        _ => {
            let (name, rest) = word(text)?;
            Some((String::from_utf8(name.to_ascii_lowercase()).ok()?, rest))
        }
    }
}

/// A name with nothing after it.
fn lone_name(text: &[u8]) -> Option<String> {
    name(text).filter(|(_, rest)| is_end(rest)).map(|(name, _)| name)
}

/// Whether there is nothing but blanks and semicolons.
fn is_end(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_whitespace() || *byte == b';')
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

    #[test]
    fn what_is_recognised() {
        let report = |request| Some(Asked::Report(request));
        let show = |name: &str| report(Request::ConfigShow(name.to_owned()));
        let set =
            |name: &str, value: Option<&str>| Some(Asked::Set(name.to_owned(), value.map(str::to_owned)));
        let cases: &[(&str, Option<Asked>)] = &[
            ("show pool_nodes", report(Request::ShowNodes)),
            ("SHOW POOL_NODES;", report(Request::ShowNodes)),
            (" \n show\t pool_version ; ; ", report(Request::ShowVersion)),
            ("show pool_processes", report(Request::ShowProcesses)),
            ("show pool_pools", report(Request::ShowPools)),
            ("Show Pool_Status", report(Request::ShowStatus)),
            ("show pool_backend_stats", report(Request::ShowBackendStats)),
            ("pgpool show port", show("port")),
            ("PGPOOL  SHOW  Backend ;", show("backend")),
            ("pgpool show \"port\"", show("port")),
            ("pgpool show backend_hostname0", show("backend_hostname0")),
            ("pgpool show\nall", show("all")),
            ("show pool_cache", Some(Asked::Missing("SHOW pool_cache is not supported yet".to_owned()))),
            ("PGPOOL SET Log_Statement TO On;", set("log_statement", Some("on"))),
            ("pgpool set log_statement='it''s'", set("log_statement", Some("it's"))),
            ("pgpool set \"Port\" = \"5\" ;", set("Port", Some("5"))),
            ("pgpool set client_idle_limit = -5", set("client_idle_limit", Some("-5"))),
            ("pgpool set client_idle_limit\nto\ndefault", set("client_idle_limit", None)),
            ("pgpool set log_statement = ''", set("log_statement", Some(""))),
            ("pgpool reset port", set("port", None)),
            ("pgpool reset All;", Some(Asked::ResetAll)),
            ("pgpool reset \"all\"", set("all", None)),
            ("pgpool reset all_of", set("all_of", None)),
            ("pgpool explain route select 1;", Some(Asked::ExplainRoute("select 1;".to_owned()))),
            ("PGPOOL Explain\nROUTE (TABLE t)", Some(Asked::ExplainRoute("(TABLE t)".to_owned()))),
        ];
        for (text, expected) in cases {
            assert_eq!(recognise(text.as_bytes()), *expected, "{text}");
        }
        let others = [
            "",
            " ",
            "s",
            "show",
            "select 1",
            "show pool_foo",
            "show pool_nodes foo",
            "show pool_nodes; select 1",
            "showpool_nodes",
            "show all",
            "pgpool",
            "pgpool show",
            "pgpool show ;",
            "pgpool show 'port'",
            "pgpool show \"port",
            "pgpool show \"\"",
            "pgpool foo port",
            "pgpool set port",
            "pgpool set port on",
            "pgpool set port to",
            "pgpool set port to 5 min",
            "pgpool set port to on, off",
            "pgpool set port to 'x",
            "pgpool set port to default x",
            "pgpool set session port to 1",
            "pgpool set cache delete 'x'",
            "pgpool reset",
            "pgpool explain select 1",
            "pgpool explain route ;",
            "pgpool explain route",
            "pgpool reset all x",
            "select 1; show pool_version",
        ];
        for text in others {
            assert_eq!(recognise(text.as_bytes()), None, "{text}");
        }
        assert_eq!(recognise(b"show \"\xff\""), None);
    }

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

    proptest::proptest! {
        #[test]
        fn any_bytes_are_safe(text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
            let _ = recognise(&text);
            for command in [b"pgpool show ".as_slice(), b"pgpool set a ", b"pgpool set a to ", b"pgpool reset "] {
                let _ = recognise(&[command, &text].concat());
            }
        }
    }
}
