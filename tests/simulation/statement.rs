//! The statements that clients of the simulation send and its servers know: each has one text.

use std::fmt;

/// A row of the ledger: written at most once in a run, by one statement.
pub(super) type Id = u64;

/// Rows of `numbers` and `wide`.
pub(super) const ROWS: u64 = 40;

/// Bytes of a row of `huge`.
pub(super) const HUGE: usize = 40_000;

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Statement {
    Insert(Vec<Id>),
    /// The same with a parameter; only prepared.
    InsertParameter,
    /// A function that writes: it looks like a read.
    Book(Id),
    Point(Id),
    Rows(u64),
    /// Rows of about a kilobyte.
    Wide(u64),
    /// Rows that are passed on before they have come whole.
    Huge(u64),
    Sleep(u64),
    Begin,
    BeginReadOnly,
    BeginRepeatable,
    Commit,
    Rollback,
    Savepoint(String),
    RollbackTo(String),
    Release(String),
    Set {
        name: String,
        value: String,
    },
    SetLocal {
        name: String,
        value: String,
    },
    Show(String),
    Reset(String),
    DiscardAll,
    Prepare {
        name: String,
        inner: Box<Statement>,
    },
    Execute {
        name: String,
        id: Option<Id>,
    },
    Deallocate(String),
    CreateTemp(String),
    InsertTemp(String),
    ReadTemp(String),
    Listen,
    Channels,
    Lock(u64),
    Unlock(u64),
    Declare(String),
    Fetch(String),
    CopyIn,
    CopyOut,
    /// Fails where it runs.
    Fail,
    /// Is not SQL.
    Nonsense,
    Empty,
}

impl Statement {
    /// Whether it only reads, wherever it runs.
    pub(super) fn is_read(&self) -> bool {
        use Statement::{CopyOut, Empty, Huge, Point, Rows, Show, Wide};
        matches!(self, Point(_) | Rows(_) | Wide(_) | Huge(_) | Show(_) | CopyOut | Empty)
    }

    /// Rows of the ledger that it writes by itself.
    pub(super) fn ids(&self) -> &[Id] {
        match self {
            Statement::Insert(ids) => ids,
            Statement::Book(id) | Statement::Execute { id: Some(id), .. } => std::slice::from_ref(id),
            _ => &[],
        }
    }

    /// Whether its connection has afterwards what no other can be given.
    pub(super) fn binds(&self) -> bool {
        use Statement::{CreateTemp, Declare, Listen, Lock};
        matches!(self, CreateTemp(_) | Listen | Lock(_) | Declare(_))
    }

    /// Whether it begins or ends a transaction.
    pub(super) fn controls(&self) -> bool {
        self.begins() || self.ends()
    }

    pub(super) fn begins(&self) -> bool {
        matches!(self, Statement::Begin | Statement::BeginReadOnly | Statement::BeginRepeatable)
    }

    pub(super) fn ends(&self) -> bool {
        matches!(self, Statement::Commit | Statement::Rollback)
    }

    /// Whether rows are its answer.
    pub(super) fn has_rows(&self) -> bool {
        use Statement::{
            Book, Channels, Fail, Fetch, Huge, Lock, Point, ReadTemp, Rows, Show, Sleep, Unlock, Wide,
        };
        matches!(
            self,
            Book(_)
                | Point(_)
                | Rows(_)
                | Wide(_)
                | Huge(_)
                | Sleep(_)
                | Show(_)
                | ReadTemp(_)
                | Channels
                | Fetch(_)
        ) || matches!(self, Lock(_) | Unlock(_) | Fail)
    }

    /// What the tag of its success begins with.
    pub(super) fn tag(&self) -> &'static str {
        use Statement::*;
        match self {
            Insert(_) | InsertParameter | InsertTemp(_) => "INSERT 0 ",
            Begin | BeginReadOnly | BeginRepeatable => "BEGIN",
            Commit => "COMMIT",
            Rollback | RollbackTo(_) => "ROLLBACK",
            Savepoint(_) => "SAVEPOINT",
            Release(_) => "RELEASE",
            Set { .. } | SetLocal { .. } => "SET",
            Show(_) => "SHOW",
            Reset(_) => "RESET",
            DiscardAll => "DISCARD ALL",
            Prepare { .. } => "PREPARE",
            Deallocate(_) => "DEALLOCATE",
            CreateTemp(_) => "CREATE TABLE",
            Listen => "LISTEN",
            Declare(_) => "DECLARE CURSOR",
            Fetch(_) => "FETCH ",
            CopyIn | CopyOut => "COPY ",
            _ => "SELECT ",
        }
    }

    /// The statement of a text; `None` if it is none of these.
    pub(super) fn parse(text: &str) -> Option<Statement> {
        use Statement::*;
        let words: Vec<&str> =
            text.split([' ', '(', ')', ',', ';']).filter(|word| !word.is_empty()).collect();
        let owned = |word: &str| word.to_owned();
        let found = match words.as_slice() {
            [] => Empty,
            ["INSERT", "INTO", "ledger", "VALUES", "$1"] => InsertParameter,
            ["INSERT", "INTO", "ledger", "VALUES", ids @ ..] => Insert(numbers(ids)?),
            ["INSERT", "INTO", table, "VALUES", ..] => InsertTemp(owned(table)),
            ["SELECT", "book", id] => Book(id.parse().ok()?),
            ["SELECT", "n", "FROM", "ledger", "WHERE", "n", "=", id] => Point(id.parse().ok()?),
            ["SELECT", "n", "FROM", "numbers", "LIMIT", rows] => Rows(rows.parse().ok()?),
            ["SELECT", "n", "FROM", "wide", "LIMIT", rows] => Wide(rows.parse().ok()?),
            ["SELECT", "n", "FROM", "huge", "LIMIT", rows] => Huge(rows.parse().ok()?),
            ["SELECT", "n", "FROM", table] => ReadTemp(owned(table)),
            ["SELECT", "pg_sleep", seconds] => Sleep(seconds.parse().ok()?),
            ["SELECT", "pg_advisory_lock", key] => Lock(key.parse().ok()?),
            ["SELECT", "pg_advisory_unlock", key] => Unlock(key.parse().ok()?),
            ["/*NO", "LOAD", "BALANCE*/", "SELECT", "pg_listening_channels"] => Channels,
            ["SELECT", "1/0"] => Fail,
            ["SELEC", ..] => Nonsense,
            ["BEGIN"] => Begin,
            ["BEGIN", "READ", "ONLY"] => BeginReadOnly,
            ["BEGIN", "ISOLATION", "LEVEL", "REPEATABLE", "READ"] => BeginRepeatable,
            ["COMMIT"] => Commit,
            ["ROLLBACK" | "ABORT"] => Rollback,
            ["SAVEPOINT", name] => Savepoint(owned(name)),
            ["ROLLBACK", "TO", name] => RollbackTo(owned(name)),
            ["RELEASE", name] => Release(owned(name)),
            ["SET", "LOCAL", name, "TO", value] => SetLocal { name: owned(name), value: unquote(value) },
            ["SET", name, "TO", value] => Set { name: owned(name), value: unquote(value) },
            ["SHOW", name] => Show(owned(name)),
            ["RESET", name] => Reset(unquote(name)),
            ["DISCARD", "ALL"] => DiscardAll,
            ["PREPARE", name, ..] => {
                let (_, inner) = text.split_once(" AS ")?;
                Prepare { name: owned(name), inner: Box::new(Statement::parse(inner)?) }
            }
            ["EXECUTE", name] => Execute { name: owned(name), id: None },
            ["EXECUTE", name, id] => Execute { name: owned(name), id: id.parse().ok() },
            ["DEALLOCATE", name] => Deallocate(owned(name)),
            ["CREATE", "TEMP", "TABLE", name, ..] => CreateTemp(owned(name)),
            ["LISTEN", _] => Listen,
            ["DECLARE", name, "CURSOR", "WITH", "HOLD", ..] => Declare(owned(name)),
            ["FETCH", "1", "FROM", name] => Fetch(owned(name)),
            ["COPY", "ledger", "FROM", "STDIN"] => CopyIn,
            ["COPY", "numbers", "TO", "STDOUT"] => CopyOut,
            _ => return None,
        };
        Some(found)
    }
}

fn numbers(words: &[&str]) -> Option<Vec<Id>> {
    words.iter().map(|word| word.parse().ok()).collect()
}

fn unquote(word: &str) -> String {
    word.trim_matches(['\'', '"']).to_owned()
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Statement::*;
        match self {
            Insert(ids) => {
                let rows: Vec<String> = ids.iter().map(|id| format!("({id})")).collect();
                write!(f, "INSERT INTO ledger VALUES {}", rows.join(", "))
            }
            InsertParameter => f.write_str("INSERT INTO ledger VALUES ($1)"),
            Book(id) => write!(f, "SELECT book({id})"),
            Point(id) => write!(f, "SELECT n FROM ledger WHERE n = {id}"),
            Rows(rows) => write!(f, "SELECT n FROM numbers LIMIT {rows}"),
            Wide(rows) => write!(f, "SELECT n FROM wide LIMIT {rows}"),
            Huge(rows) => write!(f, "SELECT n FROM huge LIMIT {rows}"),
            Sleep(seconds) => write!(f, "SELECT pg_sleep({seconds})"),
            Begin => f.write_str("BEGIN"),
            BeginReadOnly => f.write_str("BEGIN READ ONLY"),
            BeginRepeatable => f.write_str("BEGIN ISOLATION LEVEL REPEATABLE READ"),
            Commit => f.write_str("COMMIT"),
            Rollback => f.write_str("ROLLBACK"),
            Savepoint(name) => write!(f, "SAVEPOINT {name}"),
            RollbackTo(name) => write!(f, "ROLLBACK TO {name}"),
            Release(name) => write!(f, "RELEASE {name}"),
            Set { name, value } => write!(f, "SET {name} TO '{value}'"),
            SetLocal { name, value } => write!(f, "SET LOCAL {name} TO '{value}'"),
            Show(name) => write!(f, "SHOW {name}"),
            Reset(name) => write!(f, "RESET {name}"),
            DiscardAll => f.write_str("DISCARD ALL"),
            Prepare { name, inner } if **inner == InsertParameter => {
                write!(f, "PREPARE {name} (int) AS {inner}")
            }
            Prepare { name, inner } => write!(f, "PREPARE {name} AS {inner}"),
            Execute { name, id: Some(id) } => write!(f, "EXECUTE {name} ({id})"),
            Execute { name, id: None } => write!(f, "EXECUTE {name}"),
            Deallocate(name) => write!(f, "DEALLOCATE {name}"),
            CreateTemp(name) => write!(f, "CREATE TEMP TABLE {name} (n int)"),
            InsertTemp(name) => write!(f, "INSERT INTO {name} VALUES (1)"),
            ReadTemp(name) => write!(f, "SELECT n FROM {name}"),
            Listen => f.write_str("LISTEN news"),
            Channels => f.write_str("/*NO LOAD BALANCE*/ SELECT pg_listening_channels()"),
            Lock(key) => write!(f, "SELECT pg_advisory_lock({key})"),
            Unlock(key) => write!(f, "SELECT pg_advisory_unlock({key})"),
            Declare(name) => {
                write!(f, "DECLARE {name} CURSOR WITH HOLD FOR SELECT n FROM numbers LIMIT {ROWS}")
            }
            Fetch(name) => write!(f, "FETCH 1 FROM {name}"),
            CopyIn => f.write_str("COPY ledger FROM STDIN"),
            CopyOut => f.write_str("COPY numbers TO STDOUT"),
            Fail => f.write_str("SELECT 1/0"),
            Nonsense => f.write_str("SELEC 1"),
            Empty => Ok(()),
        }
    }
}
