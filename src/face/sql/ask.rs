//! All that can be asked of us, in two tables, and what a text asks for.
#![forbid(unsafe_code)]

use super::answer::Answer;
use super::words::{is_end, lone_name, name, quoted, word};
use crate::admin::{AdminError, Command, Request, SessionId, Weight};
use crate::error::NodeId;

/// What `SHOW` shows: the name, what it asks for, what it is.
static REPORTS: &[(&str, Request, &str)] = &[
    ("pool_nodes", Request::ShowNodes, "The servers: state, role, share of the reads, delay."),
    ("pool_processes", Request::ShowProcesses, "The worker processes and their clients."),
    ("pool_pools", Request::ShowPools, "The connections to servers."),
    (
        "pool_sessions",
        Request::ShowSessions,
        "The clients, with the ids by which sessions are cancelled and ended (ours).",
    ),
    ("pool_version", Request::ShowVersion, "The version."),
    ("pool_status", Request::ShowStatus, "All parameters, and the state of each server."),
    ("pool_backend_stats", Request::ShowBackendStats, "Statements sent to each server, and errors of it."),
    ("pool_ai", Request::ShowLearned, "What routing has learnt of each server (ours)."),
    ("pool_cache", Request::ShowCache, "The query cache."),
    (
        "pool_traffic",
        Request::ShowTraffic,
        "Statements, errors and time of each user in each database on each server (ours).",
    ),
    (
        "pool_health_check_stats",
        Request::ShowHealthCheckStats,
        "What the health check of each server has counted.",
    ),
];

/// Reads what follows the word of a command.
type Read = fn(&[u8]) -> Option<Asked>;

/// What follows `PGPOOL`: the word, the whole of it, how the rest is read, what it does.
static COMMANDS: &[(&str, &str, Read, &str)] = &[
    ("show", "PGPOOL SHOW name | group | ALL", read_show, "A parameter, a group of them, or all."),
    ("set", "PGPOOL SET name TO value | DEFAULT", set, "Sets a parameter for this session."),
    ("set", "PGPOOL SET CACHE DELETE 'query'", forget_query, "Removes a query from the cache."),
    ("reset", "PGPOOL RESET name | ALL", read_reset, "Takes back what PGPOOL SET has set."),
    (
        "explain",
        "PGPOOL EXPLAIN ROUTE statement",
        read_explain,
        "Where a statement would go, and why (ours).",
    ),
    (
        "cancel",
        "PGPOOL CANCEL 'session'",
        |rest| session(rest, |session| Command::CancelSession { session }),
        "Cancels what a session does: one's own user's, or as superuser any (ours).",
    ),
    (
        "terminate",
        "PGPOOL TERMINATE 'session'",
        |rest| session(rest, |session| Command::TerminateSession { session }),
        "Ends a session: one's own user's, or as superuser any (ours).",
    ),
    (
        "pause",
        "PGPOOL PAUSE",
        |rest| alone(rest, Command::Pause),
        "Has new transactions wait, and ends when those under way have ended; superusers only (ours).",
    ),
    ("resume", "PGPOOL RESUME", |rest| alone(rest, Command::Resume), "Ends a pause; superusers only (ours)."),
    (
        "weight",
        "PGPOOL WEIGHT node weight",
        weight,
        "Gives a server another share of the reads until the next start; superusers only (ours).",
    ),
    (
        "ai",
        "PGPOOL AI RESET",
        forget_learned,
        "Has routing forget what it has learnt; superusers only (ours).",
    ),
];

/// The report that lists them all.
const HELP: (&str, &str) = ("pool_help", "This list (ours).");

/// What a client asks of us and not of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A report.
    Report(Request),
    /// The list of what can be asked for.
    Help,
    /// Something to be done for an operator.
    Command(Command),
    /// Nothing that can be done; the text says why.
    Wrong(String),
    /// `PGPOOL SET` a parameter for this session, to a value or back to that of the configuration.
    Set(String, Option<String>),
    /// `PGPOOL RESET ALL`.
    ResetAll,
    /// `PGPOOL EXPLAIN ROUTE`: where this statement would go.
    ExplainRoute(String),
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
    let is_it = |(word, ..): &&(&str, _, _, _)| second.eq_ignore_ascii_case(word.as_bytes());
    COMMANDS.iter().filter(is_it).find_map(|(_, _, read, _)| read(rest))
}

fn read_show(rest: &[u8]) -> Option<Asked> {
    lone_name(rest).map(|name| Asked::Report(Request::ConfigShow(name)))
}

fn read_reset(rest: &[u8]) -> Option<Asked> {
    lone_name(rest).map(|name| match name.as_str() {
        "all" if !rest.contains(&b'"') => Asked::ResetAll,
        _ => Asked::Set(name, None),
    })
}

fn read_explain(rest: &[u8]) -> Option<Asked> {
    let (route, rest) = word(rest.trim_ascii_start())?;
    let statement = std::str::from_utf8(rest.trim_ascii()).ok()?;
    let is_route = route.eq_ignore_ascii_case(b"route") && !is_end(statement.as_bytes());
    is_route.then(|| Asked::ExplainRoute(statement.to_owned()))
}

/// A session's id between quotes.
fn session(rest: &[u8], command: impl FnOnce(SessionId) -> Command) -> Option<Asked> {
    let (id, rest) = match rest.trim_ascii_start() {
        rest @ [b'\'', ..] => quoted(rest)?,
        _ => return None,
    };
    is_end(rest).then(|| match id.parse() {
        Ok(session) => Asked::Command(command(session)),
        Err(error) => Asked::Wrong(AdminError::to_string(&error)),
    })
}

fn forget_query(rest: &[u8]) -> Option<Asked> {
    let (cache, rest) = word(rest.trim_ascii_start())?;
    let (delete, rest) = word(rest.trim_ascii_start())?;
    let is_it = cache.eq_ignore_ascii_case(b"cache") && delete.eq_ignore_ascii_case(b"delete");
    let (_, rest) = Some(rest.trim_ascii_start()).filter(|rest| rest.starts_with(b"'")).and_then(quoted)?;
    (is_it && is_end(rest)).then(|| Asked::Wrong(AdminError::NoCache.to_string()))
}

fn alone(rest: &[u8], command: Command) -> Option<Asked> {
    is_end(rest).then_some(Asked::Command(command))
}

fn forget_learned(rest: &[u8]) -> Option<Asked> {
    let (reset, rest) = word(rest.trim_ascii_start())?;
    if reset.eq_ignore_ascii_case(b"reset") { alone(rest, Command::ForgetLearned) } else { None }
}

/// The number of a node, and a weight.
fn weight(rest: &[u8]) -> Option<Asked> {
    let rest =
        std::str::from_utf8(rest).ok()?.trim_end_matches(|c: char| c == ';' || c.is_ascii_whitespace());
    let mut words = rest.split_ascii_whitespace();
    let (node, weight, None) = (words.next()?, words.next()?, words.next()) else { return None };
    let node: NodeId = node.parse().ok()?;
    let weight = weight.parse().map_err(|_| AdminError::NotAWeight(weight.to_owned())).and_then(Weight::new);
    Some(match weight {
        Ok(weight) => Asked::Command(Command::SetWeight { node, weight }),
        Err(error) => Asked::Wrong(error.to_string()),
    })
}

/// The columns of `SHOW pool_help`.
pub fn help_columns() -> Vec<String> {
    ["command", "description"].map(str::to_owned).into()
}

/// All that can be asked for.
pub fn help() -> Answer {
    let reports = REPORTS.iter().map(|(name, _, about)| (*name, *about)).chain([HELP]);
    let reports = reports.map(|(name, about)| (format!("SHOW {}", name.to_ascii_uppercase()), about));
    let commands = COMMANDS.iter().map(|(_, whole, _, about)| ((*whole).to_owned(), *about));
    let rows = reports.chain(commands).map(|(command, about)| vec![command, about.to_owned()]).collect();
    Answer::Table { columns: help_columns(), rows }
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
    match name {
        name if name == HELP.0 => Some(Asked::Help),
        name => {
            let (_, request, _) = REPORTS.iter().find(|(known, ..)| *known == name)?;
            Some(Asked::Report(request.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId { pid: 1, place: 2, number: 3 };

    /// Each line of the help begins with what is recognised, when the names in it stand for something.
    #[test]
    fn all_that_the_help_lists_is_recognised() {
        let Answer::Table { rows, columns } = help() else { panic!("no table") };
        assert!(rows.len() == REPORTS.len() + 1 + COMMANDS.len() && columns == help_columns());
        for row in rows {
            let text = row[0].replace("'session'", "'1-2-3'").replace("statement", "SELECT 1");
            let text = text.replace("node weight", "1 2").replace("name", "port");
            let text = text.split(" | ").next().unwrap();
            assert!(recognise(text.as_bytes()).is_some(), "{text}");
            assert!(!row[1].is_empty());
        }
    }

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
            ("show pool_sessions", report(Request::ShowSessions)),
            ("show pool_help;", Some(Asked::Help)),
            ("PGPOOL PAUSE ;", Some(Asked::Command(Command::Pause))),
            ("pgpool resume", Some(Asked::Command(Command::Resume))),
            ("pgpool pause now", None),
            ("PGPOOL TERMINATE '1-2-3';", Some(Asked::Command(Command::TerminateSession { session: ID }))),
            ("pgpool cancel '1-2-3'", Some(Asked::Command(Command::CancelSession { session: ID }))),
            ("pgpool cancel 1-2-3", None),
            ("pgpool cancel '1-2-3' x", None),
            ("pgpool cancel '1'", Some(Asked::Wrong(AdminError::NotASessionId("1".to_owned()).to_string()))),
            (
                "pgpool weight 1 2.5;",
                Some(Asked::Command(Command::SetWeight { node: 1, weight: Weight::new(2.5).unwrap() })),
            ),
            ("pgpool weight 1 x", Some(Asked::Wrong(AdminError::NotAWeight("x".to_owned()).to_string()))),
            ("pgpool weight 1", None),
            ("pgpool weight -1 1", None),
            ("show pool_cache", report(Request::ShowCache)),
            ("pgpool set cache delete 'select 1';", Some(Asked::Wrong("there is no query cache".to_owned()))),
            ("pgpool set cache delete", None),
            ("pgpool set cache to 1", set("cache", Some("1"))),
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

    proptest::proptest! {
        #[test]
        fn any_bytes_are_safe(text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
            let _ = recognise(&text);
            for command in [b"pgpool show ".as_slice(), b"pgpool set a ", b"pgpool set a to ", b"pgpool reset ", b"pgpool weight ", b"pgpool cancel '"] {
                let _ = recognise(&[command, &text].concat());
            }
        }
    }
}
