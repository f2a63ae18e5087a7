//! What one server process knows of its session: transaction, settings, prepared statements, what binds a client to it.

use std::collections::{BTreeMap, BTreeSet};

use pgbalancer::wire::backend::TxStatus;

use super::super::statement::{HUGE, Id, ROWS, Statement};
use super::process::Surroundings;
use super::storage::Storage;

/// An error of the server.
#[derive(Debug)]
pub(in crate::simulation) struct Refusal(pub(in crate::simulation) &'static str, pub(super) String);

/// What a statement is answered with.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Reply {
    pub(in crate::simulation) rows: Vec<Vec<String>>,
    pub(in crate::simulation) tag: String,
}

type Settings = BTreeMap<String, String>;

struct Mark {
    name: String,
    ids: usize,
    settings: Settings,
    lasting: Settings,
}

/// The session of a server process.
pub(in crate::simulation) struct Backend {
    pub(in crate::simulation) status: TxStatus,
    read_only: bool,
    /// Rows written and not committed.
    ids: Vec<Id>,
    marks: Vec<Mark>,
    settings: Settings,
    /// What the settings become at COMMIT, and at ROLLBACK.
    lasting: Settings,
    before: Settings,
    pub(in crate::simulation) prepared: BTreeMap<String, Statement>,
    temp: BTreeMap<String, u64>,
    listens: bool,
    locks: BTreeSet<u64>,
    cursors: BTreeMap<String, u64>,
    /// How much of the log must be confirmed before the client is told anything more.
    pub(super) waits_for: Option<usize>,
    /// Time that the statements take which have run.
    pub(super) takes: u64,
}

impl Backend {
    pub(in crate::simulation) fn new() -> Backend {
        Backend {
            status: TxStatus::Idle,
            read_only: false,
            ids: Vec::new(),
            marks: Vec::new(),
            settings: Settings::new(),
            lasting: Settings::new(),
            before: Settings::new(),
            prepared: BTreeMap::new(),
            temp: BTreeMap::new(),
            listens: false,
            locks: BTreeSet::new(),
            cursors: BTreeMap::new(),
            waits_for: None,
            takes: 0,
        }
    }

    /// Commits what has no transaction of its own.
    pub(in crate::simulation) fn end_implicit(
        &mut self,
        storage: &mut Storage,
        around: &mut Surroundings<'_>,
    ) {
        if self.status == TxStatus::Idle {
            self.commit(storage, around);
        }
    }

    /// An error: what has no transaction of its own is undone.
    pub(in crate::simulation) fn fail(&mut self) {
        match self.status {
            TxStatus::Idle => self.roll_back(),
            _ => self.status = TxStatus::Failed,
        }
    }

    /// The transaction is over, and nobody knows how it ended.
    pub(in crate::simulation) fn abandon(&mut self) {
        self.roll_back();
    }

    /// Whether it has what no other connection can be given.
    pub(in crate::simulation) fn is_bound(&self) -> bool {
        !self.temp.is_empty() || self.listens || !self.locks.is_empty() || !self.cursors.is_empty()
    }

    fn commit(&mut self, storage: &mut Storage, around: &mut Surroundings<'_>) {
        let ids = std::mem::take(&mut self.ids);
        if !ids.is_empty() {
            let number = around.number();
            let end = storage.commit(number, ids);
            self.waits_for = Some(end).filter(|end| !storage.is_confirmed(*end));
        }
        self.settings.clone_from(&self.lasting);
        self.end();
    }

    fn roll_back(&mut self) {
        self.ids.clear();
        self.settings.clone_from(&self.before);
        self.lasting.clone_from(&self.before);
        self.end();
    }

    fn end(&mut self) {
        self.status = TxStatus::Idle;
        self.read_only = false;
        self.marks.clear();
        self.before.clone_from(&self.settings);
    }

    /// Whether a statement may run at all now.
    pub(in crate::simulation) fn may_run(&self, statement: &Statement) -> Result<(), Refusal> {
        match statement {
            Statement::Nonsense => Err(Refusal("42601", "syntax error".into())),
            Statement::Commit | Statement::Rollback | Statement::RollbackTo(_) => Ok(()),
            _ if self.status == TxStatus::Failed => {
                Err(Refusal("25P02", "current transaction is aborted".into()))
            }
            _ => Ok(()),
        }
    }

    fn may_write(&self, storage: &Storage) -> Result<(), Refusal> {
        match storage.is_standby || self.read_only {
            true => Err(Refusal("25006", "cannot execute this in a read-only transaction".into())),
            false => Ok(()),
        }
    }

    fn may_read(&self, storage: &Storage) -> Result<(), Refusal> {
        match storage.is_standby && storage.lies.refuses_reads {
            true => Err(Refusal("25006", "cannot execute this during recovery".into())),
            false => Ok(()),
        }
    }

    /// Writes rows of the ledger.
    pub(in crate::simulation) fn write(
        &mut self,
        ids: &[Id],
        storage: &Storage,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Refusal> {
        self.may_write(storage)?;
        for id in ids {
            around.executed(*id);
        }
        self.ids.extend_from_slice(ids);
        Ok(())
    }

    /// Runs a statement; `parameter`: the value of `$1`.
    pub(in crate::simulation) fn run(
        &mut self,
        statement: &Statement,
        parameter: Option<Id>,
        storage: &mut Storage,
        around: &mut Surroundings<'_>,
    ) -> Result<Reply, Refusal> {
        use Statement::*;
        self.may_run(statement)?;
        if statement.is_read() {
            self.may_read(storage)?;
        }
        let number = around.number();
        let row = |at: u64, value: &str| vec![number.to_string(), at.to_string(), value.to_owned()];
        let mut rows = Vec::new();
        let mut tag = None;
        match statement {
            Insert(ids) => {
                self.write(ids, storage, around)?;
                tag = Some(format!("INSERT 0 {}", ids.len()));
            }
            InsertParameter => {
                self.write(&[parameter.unwrap_or_default()], storage, around)?;
                tag = Some("INSERT 0 1".into());
            }
            Book(id) => {
                self.write(&[*id], storage, around)?;
                rows.push(row(0, "booked"));
            }
            Point(id) => {
                if storage.has(*id) || self.ids.contains(id) {
                    rows.push(row(0, &id.to_string()));
                }
            }
            Rows(count) => rows.extend((0..*count).map(|at| row(at, "."))),
            Wide(count) | Huge(count) => {
                let length = if matches!(statement, Wide(_)) { 900 } else { HUGE };
                let wide = "x".repeat(length);
                rows.extend((0..*count).map(|at| row(at, &wide)));
            }
            CopyOut => rows.extend((0..ROWS).map(|at| row(at, "."))),
            Sleep(seconds) => {
                self.takes += seconds * 1_000_000;
                rows.push(row(0, ""));
            }
            Begin | BeginReadOnly | BeginRepeatable => {
                if self.status == TxStatus::Idle {
                    self.status = TxStatus::InTransaction;
                    self.read_only = *statement == BeginReadOnly;
                }
            }
            Commit if self.status == TxStatus::Failed => {
                self.roll_back();
                tag = Some("ROLLBACK".into());
            }
            Commit => self.commit(storage, around),
            Rollback => self.roll_back(),
            Savepoint(name) => {
                self.in_transaction()?;
                let (settings, lasting) = (self.settings.clone(), self.lasting.clone());
                self.marks.push(Mark { name: name.clone(), ids: self.ids.len(), settings, lasting });
            }
            RollbackTo(name) => {
                let at = self.mark(name)?;
                self.marks.truncate(at + 1);
                let mark = &self.marks[at];
                self.ids.truncate(mark.ids);
                self.settings.clone_from(&mark.settings);
                self.lasting.clone_from(&mark.lasting);
                self.status = TxStatus::InTransaction;
            }
            Release(name) => {
                let at = self.mark(name)?;
                self.marks.truncate(at);
            }
            Set { name, value } => {
                self.settings.insert(name.clone(), value.clone());
                self.lasting.insert(name.clone(), value.clone());
            }
            SetLocal { name, value } => {
                if self.status != TxStatus::Idle {
                    self.settings.insert(name.clone(), value.clone());
                }
            }
            Show(name) => {
                let value = self.settings.get(name).map(String::as_str).unwrap_or_default();
                rows.push(row(0, value));
                tag = Some("SHOW".into());
            }
            Reset(name) if name == "ALL" => {
                self.settings.clear();
                self.lasting.clear();
            }
            Reset(name) => {
                self.settings.remove(name);
                self.lasting.remove(name);
            }
            DiscardAll if self.status != TxStatus::Idle => {
                return Err(Refusal("25001", "DISCARD ALL cannot run inside a transaction block".into()));
            }
            DiscardAll => *self = Backend { takes: self.takes, ..Backend::new() },
            Prepare { name, inner } => {
                if self.prepared.contains_key(name) {
                    return Err(Refusal("42P05", format!("prepared statement {name} already exists")));
                }
                self.prepared.insert(name.clone(), (**inner).clone());
            }
            Execute { name, id } => {
                let Some(inner) = self.prepared.get(name).cloned() else {
                    return Err(Refusal("26000", format!("prepared statement {name} does not exist")));
                };
                return self.run(&inner, *id, storage, around);
            }
            Deallocate(name) => {
                if self.prepared.remove(name).is_none() {
                    return Err(Refusal("26000", format!("prepared statement {name} does not exist")));
                }
            }
            CreateTemp(name) => {
                self.may_write(storage)?;
                self.temp.insert(name.clone(), 0);
            }
            InsertTemp(name) => {
                *self.temp_table(name)? += 1;
                tag = Some("INSERT 0 1".into());
            }
            ReadTemp(name) => {
                let count = *self.temp_table(name)?;
                rows.extend((0..count).map(|at| row(at, "1")));
            }
            Listen => {
                self.may_write(storage)?;
                self.listens = true;
            }
            Channels => rows.extend(self.listens.then(|| row(0, "news"))),
            Lock(key) => {
                self.locks.insert(*key);
                rows.push(row(0, ""));
            }
            Unlock(key) => {
                let held = self.locks.remove(key);
                rows.push(row(0, if held { "t" } else { "f" }));
            }
            Declare(name) => {
                self.cursors.insert(name.clone(), 0);
            }
            Fetch(name) => {
                let Some(at) = self.cursors.get_mut(name) else {
                    return Err(Refusal("34000", format!("cursor {name} does not exist")));
                };
                *at += 1;
                rows.push(row(0, &at.to_string()));
                tag = Some("FETCH 1".into());
            }
            Fail => return Err(Refusal("22012", "division by zero".into())),
            CopyIn | Nonsense | Empty => {}
        }
        let tag = tag.unwrap_or_else(|| match statement.tag() {
            "SELECT " => format!("SELECT {}", rows.len()),
            "COPY " => format!("COPY {}", rows.len()),
            tag => tag.to_owned(),
        });
        Ok(Reply { rows, tag })
    }

    fn in_transaction(&self) -> Result<(), Refusal> {
        match self.status {
            TxStatus::Idle => Err(Refusal("25P01", "there is no transaction in progress".into())),
            _ => Ok(()),
        }
    }

    fn mark(&self, name: &str) -> Result<usize, Refusal> {
        self.in_transaction()?;
        let found = self.marks.iter().rposition(|mark| mark.name == name);
        found.ok_or_else(|| Refusal("3B001", format!("savepoint {name} does not exist")))
    }

    fn temp_table(&mut self, name: &str) -> Result<&mut u64, Refusal> {
        self.temp.get_mut(name).ok_or_else(|| Refusal("42P01", format!("relation {name} does not exist")))
    }

    /// Answers a question of the program itself: the value of its one row.
    pub(super) fn question(&mut self, text: &str, storage: &Storage) -> Option<String> {
        if text.contains("pg_my_temp_schema()") && text.starts_with("WITH RECURSIVE found") {
            let hex = |name: &String| name.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
            return Some(self.temp.keys().map(hex).collect::<Vec<_>>().join(" "));
        }
        if text.starts_with("WITH RECURSIVE found") {
            return Some("|".into());
        }
        if text.starts_with("SELECT CASE WHEN EXISTS") {
            let kind = if text.contains("'book'") { "2" } else { "1" };
            let is_harmless = text.contains("'pg_listening_channels'");
            return Some(if is_harmless { "0" } else { kind }.into());
        }
        if text.contains("wal_insert_lsn") || text.contains("wal_replay_lsn") {
            let position = storage.position();
            return Some(format!("{:X}/{:X}", position >> 32, position & 0xffff_ffff));
        }
        if text == "SELECT pg_catalog.pg_is_in_recovery()" {
            return Some(if storage.is_standby && !storage.lies.is_primary { "t" } else { "f" }.into());
        }
        let call = text.strip_prefix("SELECT pg_catalog.set_config(E'")?;
        let mut parts = call.split('\'');
        let (name, value) = (parts.next()?, parts.nth(1)?);
        self.settings.insert(name.to_owned(), value.to_owned());
        self.lasting.insert(name.to_owned(), value.to_owned());
        Some(value.to_owned())
    }
}
