//! What a PostgreSQL server says it was asked to do. The servers log every statement (see scripts/cluster).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

pub(crate) struct NodeLog {
    path: PathBuf,
}

/// A place in a log: what comes after it is what a test has caused.
#[derive(Clone, Copy)]
pub(crate) struct Mark(u64);

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The text behind `statement: ` or `execute NAME: `, or the whole message of other lines.
    pub(crate) text: String,
    pub(crate) is_statement: bool,
}

impl NodeLog {
    pub(crate) fn new(path: PathBuf) -> NodeLog {
        NodeLog { path }
    }

    /// All that the server, and what it has started, has written.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.path).unwrap()).into_owned()
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark(std::fs::metadata(&self.path).unwrap().len())
    }

    /// Everything logged for sessions of this database.
    pub(crate) fn entries(&self, since: Mark, database: &str) -> Vec<Entry> {
        let mut file = File::open(&self.path).unwrap();
        file.seek(SeekFrom::Start(since.0)).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let mut entries: Vec<(String, Entry)> = Vec::new();
        for line in text.lines() {
            // Lines that a statement goes on with begin with a tab.
            match (line.strip_prefix('\t'), entries.last_mut()) {
                (Some(more), Some((_, entry))) => {
                    entry.text.push('\n');
                    entry.text.push_str(more);
                }
                _ => entries.extend(parse(line)),
            }
        }
        entries.retain(|(of, _)| of == database);
        entries.into_iter().map(|(_, entry)| entry).collect()
    }

    /// The statements that sessions of this database ran, in order.
    pub(crate) fn statements(&self, since: Mark, database: &str) -> Vec<String> {
        let entries = self.entries(since, database).into_iter();
        entries.filter(|entry| entry.is_statement).map(|entry| entry.text).collect()
    }
}

/// `TIME|PID|USER|DATABASE|APPLICATION|LEVEL:  MESSAGE`
fn parse(line: &str) -> Option<(String, Entry)> {
    let mut fields = line.splitn(6, '|');
    let (_time, _pid, _user) = (fields.next()?, fields.next()?, fields.next()?);
    let (database, _application) = (fields.next()?, fields.next()?);
    let (level, message) = fields.next()?.split_once(":  ")?;
    let statement = (level == "LOG").then(|| statement(message)).flatten();
    let entry = Entry { text: statement.unwrap_or(message).to_owned(), is_statement: statement.is_some() };
    Some((database.to_owned(), entry))
}

fn statement(message: &str) -> Option<&str> {
    if let Some(text) = message.strip_prefix("statement: ") {
        return Some(text);
    }
    message.strip_prefix("execute ")?.split_once(": ").map(|(_, text)| text)
}

#[test]
fn reads_simple_and_extended_statements_and_their_other_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let text = "2026-01-01 00:00:00.000 UTC|7|bob|db|psql|LOG:  statement: SELECT 1,\n\t2\n\
        2026-01-01 00:00:00.000 UTC|7|bob|db|psql|LOG:  execute <unnamed>: SELECT $1\n\
        2026-01-01 00:00:00.000 UTC|7|bob|db|psql|DETAIL:  parameters: $1 = 'a'\n\
        2026-01-01 00:00:00.000 UTC|8|bob|other|psql|LOG:  statement: SELECT 3\n";
    std::fs::write(&path, text).unwrap();
    let log = NodeLog::new(path);
    assert_eq!(log.statements(Mark(0), "db"), ["SELECT 1,\n2", "SELECT $1"]);
    assert_eq!(log.entries(Mark(0), "db").len(), 3);
}
