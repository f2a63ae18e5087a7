//! The management core over SQL: recognises `SHOW pool_…` and `PGPOOL SHOW …`, encodes what it answers.
//!
//! Anything else that begins so (`SHOW pool_foo`, `SHOW pool_nodes x`) is left to PostgreSQL, which
//! answers with its own error. Called by the session for every simple query, so the way out is short.
#![forbid(unsafe_code)]

use crate::admin::{AdminError, Reply, Request};
use crate::wire::backend::{self, Column, Notice};

/// Type `text`. pgpool-II sends 0 here, which confuses drivers that decode by type.
const TEXT: u32 = 25;

/// Reports that pgpool-II has and we do not.
const MISSING: &[&str] = &["pool_cache", "pool_health_check_stats"];

/// The request in the text of a simple query; `None` if there is none, an error text if we cannot serve it.
#[inline]
pub fn recognise(text: &[u8]) -> Option<Result<Request, String>> {
    match text.trim_ascii_start() {
        text @ [b's' | b'S' | b'p' | b'P', ..] => read(text),
        _ => None,
    }
}

fn read(text: &[u8]) -> Option<Result<Request, String>> {
    let (first, rest) = word(text)?;
    if first.eq_ignore_ascii_case(b"show") {
        report(lone_name(rest)?)
    } else if first.eq_ignore_ascii_case(b"pgpool") {
        let (second, rest) = word(rest.trim_ascii_start())?;
        let name = lone_name(rest).filter(|_| second.eq_ignore_ascii_case(b"show"))?;
        Some(Ok(Request::ConfigShow(name)))
    } else {
        None
    }
}

fn report(name: String) -> Option<Result<Request, String>> {
    Some(Ok(match name.as_str() {
        "pool_nodes" => Request::ShowNodes,
        "pool_processes" => Request::ShowProcesses,
        "pool_pools" => Request::ShowPools,
        "pool_version" => Request::ShowVersion,
        "pool_status" => Request::ShowStatus,
        "pool_backend_stats" => Request::ShowBackendStats,
        name if MISSING.contains(&name) => return Some(Err(format!("SHOW {name} is not supported yet"))),
        _ => return None,
    }))
}

/// A run of the letters an SQL name may have, and what follows.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let end = text.iter().position(|byte| !is_letter(byte)).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(word, _)| !word.is_empty())
}

/// A name with nothing after it but blanks and semicolons; as in SQL, quoted it keeps its case.
fn lone_name(text: &[u8]) -> Option<String> {
    let text = text.trim_ascii();
    let (name, rest) = match text.strip_prefix(b"\"") {
        Some(quoted) => {
            let end = quoted.iter().position(|byte| *byte == b'"').filter(|end| *end > 0)?;
            (quoted.get(..end)?.to_vec(), quoted.get(end + 1..)?)
        }
        None => word(text).map(|(name, rest)| (name.to_ascii_lowercase(), rest))?,
    };
    let ends = rest.iter().all(|byte| byte.is_ascii_whitespace() || *byte == b';');
    String::from_utf8(name).ok().filter(|_| ends)
}

/// Appends the messages that answer a request; the session adds ReadyForQuery.
pub fn encode(reply: &Result<Reply, AdminError>, out: &mut Vec<u8>) {
    match reply {
        Ok(Reply::Table { columns, rows }) => put_table(columns, rows, out),
        Err(error) => put_error(&error.to_string(), out),
    }
}

/// Appends an error as pgpool-II's own are: always of class "internal error".
pub fn put_error(message: &str, out: &mut Vec<u8>) {
    let notice = Notice { severity: "ERROR", code: "XX000", message, detail: None, hint: None };
    backend::put_error(out, &notice);
}

fn put_table(columns: &[String], rows: &[Vec<String>], out: &mut Vec<u8>) {
    let columns: Vec<Column<'_>> =
        columns.iter().map(|name| Column { name, type_oid: TEXT, type_len: -1 }).collect();
    backend::put_row_description(out, &columns);
    for row in rows {
        let values: Vec<Option<&[u8]>> = row.iter().map(|value| Some(value.as_bytes())).collect();
        backend::put_data_row(out, &values);
    }
    backend::put_command_complete(out, &format!("SELECT {}", rows.len()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame;

    #[test]
    fn what_is_recognised() {
        let show = |name: &str| Some(Ok(Request::ConfigShow(name.to_owned())));
        let cases: &[(&str, Option<Result<Request, String>>)] = &[
            ("show pool_nodes", Some(Ok(Request::ShowNodes))),
            ("SHOW POOL_NODES;", Some(Ok(Request::ShowNodes))),
            (" \n show\t pool_version ; ; ", Some(Ok(Request::ShowVersion))),
            ("show pool_processes", Some(Ok(Request::ShowProcesses))),
            ("show pool_pools", Some(Ok(Request::ShowPools))),
            ("Show Pool_Status", Some(Ok(Request::ShowStatus))),
            ("show pool_backend_stats", Some(Ok(Request::ShowBackendStats))),
            ("pgpool show port", show("port")),
            ("PGPOOL  SHOW  Backend ;", show("backend")),
            ("pgpool show \"port\"", show("port")),
            ("pgpool show backend_hostname0", show("backend_hostname0")),
            ("pgpool show\nall", show("all")),
            ("show pool_cache", Some(Err("SHOW pool_cache is not supported yet".to_owned()))),
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
            "pgpool set port to 1",
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
        encode(&Ok(Reply::Table { columns, rows: vec![row.clone(), row] }), &mut out);
        assert_eq!(kinds(&out), b"TDDC");
        assert!(out.ends_with(b"SELECT 2\0"));
        out.clear();
        encode(&Err(AdminError::UnknownParameter("nosuch".to_owned())), &mut out);
        assert_eq!(kinds(&out), b"E");
        assert!(out.windows(36).any(|text| text == b"config variable \"nosuch\" not found\0\0"));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_safe(text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
            let _ = recognise(&text);
            let _ = recognise(&[b"pgpool show ".as_slice(), &text].concat());
        }
    }
}
