//! The facts of a text: plain data that outlives the parse tree.
//!
//! Nothing here knows how the facts are found (`classify`, `collect`) or what follows from them (`route`).
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;

use super::fingerprint::{Fingerprint, fingerprint};

/// Everything known about one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Whether `statements` can be relied on.
    pub parse: ParseOutcome,
    /// The statements in order; empty unless `parse` is `Ok`.
    pub statements: Vec<Statement>,
    /// A standby has refused the text, when the catalog was in this state: who keeps the facts keeps that, too.
    pub refused_at: Cell<Option<u64>>,
    fingerprint: Cell<Option<Fingerprint>>,
}

impl Facts {
    /// Facts of a text.
    pub fn new(parse: ParseOutcome, statements: Vec<Statement>) -> Facts {
        Facts { parse, statements, refused_at: Cell::new(None), fingerprint: Cell::new(None) }
    }

    /// Facts of a text that was not understood.
    pub fn unknown(parse: ParseOutcome) -> Facts {
        Facts::new(parse, Vec::new())
    }

    /// The fingerprint of the text that these are the facts of: made once.
    pub fn fingerprint(&self, text: &[u8]) -> Fingerprint {
        let known = self.fingerprint.get().unwrap_or_else(|| fingerprint(text));
        self.fingerprint.set(Some(known));
        known
    }

    /// The one statement of the text, if it holds exactly one.
    pub fn single(&self) -> Option<&Statement> {
        match self.statements.as_slice() {
            [statement] => Some(statement),
            _ => None,
        }
    }
}

/// How the parse ended. Everything but `Ok` and `Empty` must be treated as a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseOutcome {
    /// Parsed.
    Ok,
    /// No statement: nothing, blanks, comments, semicolons.
    Empty,
    /// Not accepted by the grammar; the server will say what is wrong.
    Failed,
    /// Nested deeper, or naming more relations, functions or CTEs, than is followed.
    TooDeep,
    /// Longer than [`super::MAX_TEXT`].
    TooLong,
    /// The client speaks another encoding than UTF-8.
    NotUtf8,
}

/// One statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// What it does; a statement inside another one (PREPARE, EXPLAIN, DECLARE) has its own facts there.
    pub kind: Kind,
    /// Relations read or written, each once; names of CTEs are left out.
    pub relations: Vec<Name>,
    /// Relations written, created, altered or dropped.
    pub written: Vec<Name>,
    /// Functions called anywhere in it, each once.
    pub functions: Vec<Name>,
    /// FOR UPDATE, FOR SHARE and kin, at any depth.
    pub row_locks: bool,
    /// Holds INSERT, UPDATE, DELETE or MERGE at any depth, or SELECT INTO.
    pub modifies: bool,
    /// Temporary relations that it creates.
    pub creates_temp: Vec<Name>,
    /// They end with the transaction (ON COMMIT DROP).
    pub drops_at_commit: bool,
    /// Relations that it drops.
    pub drops: Vec<Name>,
    /// Parameters that it sets with `set_config`.
    pub set_config: Vec<SetConfig>,
    /// What it does to the advisory locks of the session.
    pub advisory: Advisory,
    /// The server process that it cancels or terminates, by its number.
    pub signals: Option<i32>,
    /// The prepared statement that it executes within another command: CREATE TABLE AS EXECUTE.
    pub executes: Option<Box<str>>,
}

/// A call of `set_config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetConfig {
    /// With constants.
    Known {
        name: Box<str>,
        value: Box<str>,
        /// For the transaction only.
        local: bool,
    },
    /// With values that only the server knows.
    Unknown {
        /// For the transaction only, as far as can be told.
        local: bool,
    },
}

/// Calls of functions that take and give back the advisory locks which outlive a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advisory {
    /// Calls that take one (`pg_advisory_lock` and its kin), whether they get it or not.
    pub takes: u32,
    /// Calls that give one back.
    pub gives: u32,
    /// All are given back.
    pub gives_all: bool,
    /// How often a call runs, only the server knows: not once, as in a SELECT of nothing but such calls.
    pub uncounted: bool,
}

impl Statement {
    /// A statement of which only the kind is known.
    pub fn new(kind: Kind) -> Statement {
        Statement {
            kind,
            relations: Vec::new(),
            written: Vec::new(),
            functions: Vec::new(),
            row_locks: false,
            modifies: false,
            creates_temp: Vec::new(),
            drops_at_commit: false,
            drops: Vec::new(),
            set_config: Vec::new(),
            advisory: Advisory::default(),
            signals: None,
            executes: None,
        }
    }
}

impl Statement {
    /// The name of the prepared statement that it needs on its node.
    pub fn prepared_name(&self) -> Option<&str> {
        match &self.kind {
            Kind::Execute(name) | Kind::Prepare { name, .. } | Kind::Deallocate(Some(name)) => Some(name),
            Kind::Explain { inner, .. } => inner.prepared_name(),
            _ => self.executes.as_deref(),
        }
    }
}

/// Name of a relation or function as written, folded to lower case by the grammar unless quoted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The schema, if one was written.
    pub schema: Option<Box<str>>,
    /// The last part.
    pub name: Box<str>,
}

impl Name {
    /// A name with or without a schema.
    pub fn new(schema: Option<&str>, name: &str) -> Name {
        Name { schema: schema.map(Box::from), name: Box::from(name) }
    }

    /// Whether the schema written is that of temporary relations.
    pub fn in_temp_schema(&self) -> bool {
        self.schema.as_deref().is_some_and(|s| s == "pg_temp" || s.starts_with("pg_temp_"))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// What kind of statement it is, with what a session must know of it.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each variant is the SQL command of that name")]
pub enum Kind {
    /// SELECT, TABLE, VALUES, WITH … SELECT.
    Select,
    Insert,
    Update,
    Delete,
    Merge,
    Truncate,
    CopyFrom,
    CopyTo {
        /// TO STDOUT; otherwise to a file or program of the server.
        to_client: bool,
    },
    Begin(BeginOptions),
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint(Box<str>),
    Release(Box<str>),
    RollbackTo(Box<str>),
    PrepareTransaction,
    CommitPrepared,
    RollbackPrepared,
    /// SET of one parameter; the name in lower case ("role", "session_authorization", "timezone" …).
    Set {
        name: Box<str>,
        local: bool,
        /// None: TO DEFAULT.
        value: Option<Box<str>>,
    },
    Reset {
        name: Box<str>,
    },
    ResetAll,
    SetTransaction {
        /// SET SESSION CHARACTERISTICS: for all later transactions.
        session: bool,
        options: BeginOptions,
    },
    SetConstraints,
    Show(Box<str>),
    DiscardAll,
    /// DISCARD PLANS, SEQUENCES or TEMP.
    Discard,
    Prepare {
        name: Box<str>,
        inner: Box<Statement>,
    },
    Execute(Box<str>),
    /// None: ALL.
    Deallocate(Option<Box<str>>),
    Declare {
        name: Box<str>,
        hold: bool,
        inner: Box<Statement>,
    },
    /// FETCH and MOVE.
    Fetch(Box<str>),
    /// None: ALL.
    CloseCursor(Option<Box<str>>),
    Listen(Box<str>),
    /// None: all channels.
    Unlisten(Option<Box<str>>),
    Notify,
    Lock {
        /// ROW EXCLUSIVE or stronger: a standby refuses it.
        mode_conflicts_with_writes: bool,
    },
    Explain {
        analyze: bool,
        inner: Box<Statement>,
    },
    Call,
    Do,
    Ddl,
    /// VACUUM and ANALYZE.
    Vacuum,
    Checkpoint,
    Other,
}

/// What BEGIN, START TRANSACTION or SET TRANSACTION asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BeginOptions {
    /// READ ONLY or READ WRITE, if written.
    pub read_only: Option<bool>,
    /// ISOLATION LEVEL, if written.
    pub isolation: Option<Isolation>,
    /// DEFERRABLE or NOT DEFERRABLE, if written.
    pub deferrable: Option<bool>,
}

/// Transaction isolation levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of SQL")]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl Isolation {
    /// The name of the level, as SET and SHOW write it.
    pub fn name(self) -> &'static str {
        match self {
            Isolation::ReadUncommitted => "read uncommitted",
            Isolation::ReadCommitted => "read committed",
            Isolation::RepeatableRead => "repeatable read",
            Isolation::Serializable => "serializable",
        }
    }

    /// The level of that name, as SET and SHOW write it.
    pub fn parse(text: &str) -> Option<Isolation> {
        use Isolation::{ReadCommitted, ReadUncommitted, RepeatableRead, Serializable};
        let all = [ReadUncommitted, ReadCommitted, RepeatableRead, Serializable];
        all.into_iter().find(|level| level.name().eq_ignore_ascii_case(text))
    }
}

/// Whether PostgreSQL reads `text` as the boolean false.
pub fn is_false(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let begins = |word: &str, least: usize| text.len() >= least && word.starts_with(&text);
    text == "0" || begins("false", 1) || begins("no", 1) || begins("off", 2)
}
