//! A PostgreSQL server as far as a session can tell: which message is answered with what.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use crate::wire::backend::{self, Notice, TxStatus};
use crate::wire::{frame, frontend};

/// A COPY FROM STDIN that waits for data.
struct Copy {
    extended: bool,
    /// Statements of the same string behind it.
    rest: VecDeque<String>,
}

/// One server connection.
pub(super) struct Server {
    standby: bool,
    tx: TxStatus,
    skip: bool,
    copy: Option<Copy>,
    statements: HashMap<String, String>,
    portals: HashMap<String, String>,
    savepoints: HashSet<String>,
    input: Vec<u8>,
    pub(super) output: Vec<u8>,
    /// INSERTs that are not committed.
    written: Vec<String>,
    /// INSERTs that are, on whatever connection.
    committed: Rc<RefCell<Vec<String>>>,
}

/// The server has sent an ErrorResponse.
struct Failed;

impl Server {
    pub(super) fn new(standby: bool) -> Server {
        Server {
            standby,
            tx: TxStatus::Idle,
            skip: false,
            copy: None,
            statements: HashMap::new(),
            portals: HashMap::new(),
            savepoints: HashSet::new(),
            input: Vec::new(),
            output: Vec::new(),
            written: Vec::new(),
            committed: Rc::default(),
        }
    }

    /// One that writes down there what it commits.
    pub(super) fn with_ledger(standby: bool, committed: &Rc<RefCell<Vec<String>>>) -> Server {
        Server { committed: Rc::clone(committed), ..Server::new(standby) }
    }

    /// Whether it waits for COPY data.
    pub(super) fn copies(&self) -> bool {
        self.copy.is_some()
    }

    /// Takes bytes; the answers are in `output`.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while let Ok(Some(header)) = frame::header(&self.input) {
            if self.input.len() < header.length {
                return;
            }
            let frame: Vec<u8> = self.input.drain(..header.length).collect();
            self.message(header.kind, &frame[5..]);
        }
    }

    fn message(&mut self, kind: u8, body: &[u8]) {
        if self.copy.is_some() {
            return self.copy_message(kind);
        }
        if kind == b'S' {
            self.skip = false;
            return self.ready();
        }
        if self.skip || matches!(kind, b'H' | b'd' | b'c' | b'f' | b'X') {
            return;
        }
        match kind {
            b'Q' => {
                self.statements.remove("");
                self.portals.remove("");
                let text = text(frontend::query(body).unwrap());
                self.run_all(text.split(';').map(|one| one.trim().to_string()).collect());
            }
            b'F' => {
                let ok = self.may_run("SELECT");
                if ok.is_ok() {
                    self.output.extend_from_slice(b"V\0\0\0\x08\xff\xff\xff\xff");
                }
                self.ready();
            }
            _ => self.skip = self.extended(kind, body).is_err(),
        }
    }

    fn copy_message(&mut self, kind: u8) {
        if matches!(kind, b'd' | b'H' | b'S') {
            return;
        }
        let Some(copy) = self.copy.take() else { return };
        let done = if kind == b'c' {
            backend::put_command_complete(&mut self.output, "COPY 1");
            true
        } else {
            let _ = self.fail("57014");
            false
        };
        match (copy.extended, done) {
            (true, done) => self.skip = !done,
            (false, true) => self.run_all(copy.rest),
            (false, false) => self.ready(),
        }
    }

    fn extended(&mut self, kind: u8, body: &[u8]) -> Result<(), Failed> {
        match kind {
            b'P' => {
                let parse = frontend::parse(body).unwrap();
                let (name, sql) = (text(parse.name), text(parse.text));
                if name.is_empty() {
                    self.statements.remove("");
                }
                self.may_run(&sql)?;
                if self.statements.contains_key(&name) {
                    return self.fail("42P05");
                }
                self.statements.insert(name, sql);
                backend::put_parse_complete(&mut self.output);
            }
            b'B' => {
                let head = frontend::bind_head(body).unwrap().unwrap();
                let (portal, name) = (text(head.portal), text(head.statement));
                let Some(sql) = self.statements.get(&name).cloned() else { return self.fail("26000") };
                self.may_run(&sql)?;
                if !portal.is_empty() && self.portals.contains_key(&portal) {
                    return self.fail("42P03");
                }
                self.portals.insert(portal, sql);
                backend::put_bind_complete(&mut self.output);
            }
            b'D' => {
                let target = frontend::describe(body).unwrap();
                let (known, code) = match target.kind {
                    b'S' => (self.statements.contains_key(&text(target.name)), "26000"),
                    _ => (self.portals.contains_key(&text(target.name)), "34000"),
                };
                if !known || (target.kind == b'S' && self.tx == TxStatus::Failed) {
                    return self.fail(code);
                }
                if target.kind == b'S' {
                    self.output.extend_from_slice(b"t\0\0\0\x06\0\0");
                }
                backend::put_no_data(&mut self.output);
            }
            b'E' => {
                let portal = text(frontend::execute(body).unwrap().portal);
                let Some(sql) = self.portals.get(&portal).cloned() else { return self.fail("34000") };
                if sql == COPY && !self.standby {
                    self.may_run(&sql)?;
                    self.begin_copy(true, VecDeque::new());
                } else {
                    self.run(&sql, true)?;
                }
            }
            b'C' => {
                let target = frontend::close(body).unwrap();
                match target.kind {
                    b'S' => self.statements.remove(&text(target.name)),
                    _ => self.portals.remove(&text(target.name)),
                };
                backend::put_close_complete(&mut self.output);
            }
            other => panic!("the session sent a message of type {:?}", other as char),
        }
        Ok(())
    }

    fn begin_copy(&mut self, extended: bool, rest: VecDeque<String>) {
        self.output.extend_from_slice(b"G\0\0\0\x07\0\0\0");
        self.copy = Some(Copy { extended, rest });
    }

    /// The statements of a simple query, and ReadyForQuery behind them.
    fn run_all(&mut self, mut rest: VecDeque<String>) {
        while let Some(sql) = rest.pop_front() {
            if sql == COPY && !self.standby && self.tx != TxStatus::Failed {
                return self.begin_copy(false, rest);
            }
            if self.run(&sql, false).is_err() {
                break;
            }
        }
        self.ready();
    }

    fn ready(&mut self) {
        if self.tx == TxStatus::Idle {
            self.portals.clear();
            self.committed.borrow_mut().append(&mut self.written);
        }
        backend::put_ready(&mut self.output, self.tx);
    }

    /// A failed transaction takes only its end.
    fn may_run(&mut self, sql: &str) -> Result<(), Failed> {
        if sql.starts_with("BAD") {
            return self.fail("42601");
        }
        if self.tx == TxStatus::Failed && !(sql.starts_with("COMMIT") || sql.starts_with("ROLLBACK")) {
            return self.fail("25P02");
        }
        Ok(())
    }

    fn fail(&mut self, code: &str) -> Result<(), Failed> {
        let notice = Notice { severity: "ERROR", code, message: "no", detail: None, hint: None };
        backend::put_error(&mut self.output, &notice);
        match self.tx {
            TxStatus::Idle => {
                self.portals.clear();
                self.written.clear();
            }
            _ => self.tx = TxStatus::Failed,
        }
        Err(Failed)
    }

    fn run(&mut self, sql: &str, extended: bool) -> Result<(), Failed> {
        self.may_run(sql)?;
        let words: Vec<&str> = sql.split(' ').collect();
        let tag = match words.as_slice() {
            [""] => {
                backend::put_empty_query(&mut self.output);
                return Ok(());
            }
            ["BEGIN", ..] => {
                if self.tx == TxStatus::Idle {
                    self.tx = TxStatus::InTransaction;
                }
                "BEGIN"
            }
            ["COMMIT"] if self.tx != TxStatus::Failed => {
                self.committed.borrow_mut().append(&mut self.written);
                self.end("COMMIT")
            }
            ["COMMIT"] | ["ROLLBACK"] => self.end("ROLLBACK"),
            ["SAVEPOINT" | "ROLLBACK", ..] if self.tx == TxStatus::Idle => return self.fail("25P01"),
            ["SAVEPOINT", name] => {
                self.savepoints.insert((*name).to_string());
                "SAVEPOINT"
            }
            ["ROLLBACK", "TO", name] if self.savepoints.contains(*name) => {
                self.tx = TxStatus::InTransaction;
                "ROLLBACK"
            }
            ["ROLLBACK", "TO", _] => return self.fail("3B001"),
            ["WITH", "RECURSIVE", "found", ..] => {
                backend::put_data_row(&mut self.output, &[Some(b"|")]);
                "SELECT 1"
            }
            ["SELECT", "1/0"] => return self.fail("22012"),
            ["SELECT", ..] => {
                if !extended {
                    self.output.extend_from_slice(b"T\0\0\0\x06\0\0");
                }
                backend::put_data_row(&mut self.output, &[Some(b"0")]);
                "SELECT 1"
            }
            ["INSERT" | "COPY", ..] if self.standby => return self.fail("25006"),
            ["INSERT", ..] => {
                self.written.push(sql.to_owned());
                "INSERT 0 1"
            }
            ["SET", ..] => "SET",
            ["PREPARE", name, ..] => {
                if self.statements.contains_key(*name) {
                    return self.fail("42P05");
                }
                let inner = sql.split(" AS ").last().unwrap();
                self.statements.insert((*name).to_string(), inner.to_string());
                "PREPARE"
            }
            ["EXECUTE", name] => {
                let Some(sql) = self.statements.get(*name).cloned() else { return self.fail("26000") };
                if !sql.starts_with("SELECT") && !sql.starts_with("INSERT") {
                    return self.fail("54001");
                }
                return self.run(&sql, extended);
            }
            ["DEALLOCATE", name] => {
                if *name != "ALL" && self.statements.remove(*name).is_none() {
                    return self.fail("26000");
                }
                if *name == "ALL" {
                    self.statements.clear();
                }
                "DEALLOCATE"
            }
            _ => panic!("the session sent {sql:?}"),
        };
        backend::put_command_complete(&mut self.output, tag);
        Ok(())
    }

    fn end(&mut self, tag: &'static str) -> &'static str {
        self.tx = TxStatus::Idle;
        self.portals.clear();
        self.savepoints.clear();
        self.written.clear();
        tag
    }
}

/// The COPY that the server knows.
pub(super) const COPY: &str = "COPY t FROM STDIN";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
