//! A server process: the backend's side of the protocol, message by message.

use std::collections::{BTreeMap, VecDeque};

use pgbalancer::wire::backend::{self, Column, Notice, TxStatus};
use pgbalancer::wire::{frame, frontend};

use super::super::dice::Dice;
use super::super::schedule::Micros;
use super::super::statement::{Id, Statement};
use super::storage::Storage;
use super::transaction::{Backend, Refusal, Reply};

/// Bytes that a server collects before it sends them unasked.
const BUFFER: usize = 8192;

/// What all processes share.
pub(in crate::simulation) struct Surroundings<'a> {
    pub(in crate::simulation) dice: &'a mut Dice,
    /// Numbers of executions and commits.
    pub(in crate::simulation) last_number: &'a mut u64,
    /// How often each row was written, wherever.
    pub(in crate::simulation) executed: &'a mut BTreeMap<Id, u32>,
    /// How often any was.
    pub(in crate::simulation) writes: &'a mut u64,
}

impl Surroundings<'_> {
    pub(super) fn number(&mut self) -> u64 {
        *self.last_number += 1;
        *self.last_number
    }

    pub(super) fn executed(&mut self, id: Id) {
        *self.executed.entry(id).or_default() += 1;
        *self.writes += 1;
    }
}

/// A COPY FROM STDIN that waits for data.
struct Copy {
    extended: bool,
    data: Vec<u8>,
    /// Statements of the same string behind it.
    rest: VecDeque<String>,
}

struct Portal {
    statement: Statement,
    parameter: Option<Id>,
    /// Rows of an execution that was suspended.
    left: Option<Reply>,
}

/// One server process.
pub(in crate::simulation) struct Process {
    pid: i32,
    has_begun: bool,
    backend: Backend,
    portals: BTreeMap<String, Portal>,
    copy: Option<Copy>,
    /// An error came: nothing is done up to the Sync.
    skips: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    /// What has left the process and is to be sent.
    pub(in crate::simulation) sent: Vec<u8>,
    /// The client has said goodbye.
    pub(in crate::simulation) has_ended: bool,
    /// It is planned to go on.
    pub(in crate::simulation) is_planned: bool,
}

impl Process {
    pub(super) fn new(pid: i32) -> Process {
        Process {
            pid,
            has_begun: false,
            backend: Backend::new(),
            portals: BTreeMap::new(),
            copy: None,
            skips: false,
            input: Vec::new(),
            output: Vec::new(),
            sent: Vec::new(),
            has_ended: false,
            is_planned: false,
        }
    }

    /// Bytes have arrived.
    pub(in crate::simulation) fn take(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Whether it waits until standbys have its commit.
    pub(in crate::simulation) fn is_blocked(&self, storage: &Storage) -> bool {
        self.backend.waits_for.is_some_and(|end| !storage.is_confirmed(end))
    }

    /// The server ends it.
    pub(in crate::simulation) fn terminate(&mut self, code: &str, message: &str) {
        if self.backend.waits_for.is_some() {
            // What the standbys do not have is not told.
            self.output.clear();
        }
        let notice = Notice { severity: "FATAL", code, message, detail: None, hint: None };
        backend::put_error(&mut self.output, &notice);
        self.sent.append(&mut self.output);
        self.has_ended = true;
    }

    /// Goes on with the next message; returns how long that takes, or `None` when it must wait.
    pub(in crate::simulation) fn work(
        &mut self,
        storage: &mut Storage,
        around: &mut Surroundings<'_>,
    ) -> Option<Micros> {
        if self.is_blocked(storage) || self.has_ended {
            return None;
        }
        if self.backend.waits_for.take().is_some() {
            self.sent.append(&mut self.output);
        }
        let frame = self.next_frame()?;
        if !self.has_begun {
            self.begin(&frame);
            return Some(around.dice.between(100, 2000));
        }
        self.message(frame[0], &frame[5..], storage, around);
        if self.output.len() > BUFFER {
            self.flush();
        }
        Some(around.dice.between(10, 800) + std::mem::take(&mut self.backend.takes))
    }

    fn next_frame(&mut self) -> Option<Vec<u8>> {
        let length = match self.has_begun {
            true => frame::header(&self.input).expect("the program sends frames")?.length,
            false => frame::startup_length(&self.input).expect("the program sends a start-up packet")?,
        };
        (self.input.len() >= length).then(|| self.input.drain(..length).collect())
    }

    fn begin(&mut self, packet: &[u8]) {
        if packet[4..8] == 80_877_102_u32.to_be_bytes() {
            // A cancel request: the server closes when it has passed it on.
            self.has_ended = true;
            return;
        }
        self.has_begun = true;
        let out = &mut self.output;
        backend::put_auth_ok(out);
        backend::put_parameter_status(out, b"server_version", b"15.0");
        backend::put_key_data(out, self.pid, b"key!");
        self.ready();
    }

    fn flush(&mut self) {
        if self.backend.waits_for.is_none() {
            self.sent.append(&mut self.output);
        }
    }

    fn ready(&mut self) {
        if self.backend.status == TxStatus::Idle {
            self.portals.clear();
        }
        backend::put_ready(&mut self.output, self.backend.status);
        self.flush();
    }

    fn message(&mut self, kind: u8, body: &[u8], storage: &mut Storage, around: &mut Surroundings<'_>) {
        if self.copy.is_some() {
            return self.copy_message(kind, body, storage, around);
        }
        match kind {
            b'X' => self.has_ended = true,
            b'S' => {
                self.skips = false;
                self.backend.end_implicit(storage, around);
                self.ready();
            }
            _ if self.skips => {}
            b'H' => self.flush(),
            b'd' | b'c' | b'f' => {}
            b'Q' => {
                self.backend.prepared.remove("");
                self.portals.remove("");
                let text = text(frontend::query(body).expect("Query"));
                let statements = text.split(';').map(|one| one.trim().to_owned());
                // A text that ends with a semicolon has nothing behind it.
                let mut statements: VecDeque<String> = statements.collect();
                while statements.len() > 1 && statements.back().is_some_and(String::is_empty) {
                    statements.pop_back();
                }
                self.run_all(statements, storage, around);
            }
            _ => {
                if let Err(refusal) = self.extended(kind, body, storage, around) {
                    self.refuse(&refusal);
                    self.skips = true;
                }
            }
        }
    }

    fn refuse(&mut self, Refusal(code, message): &Refusal) {
        let notice = Notice { severity: "ERROR", code, message, detail: None, hint: None };
        backend::put_error(&mut self.output, &notice);
        self.backend.fail();
        if self.backend.status == TxStatus::Idle {
            self.portals.clear();
        }
        // A server sends an error at once.
        self.flush();
    }

    /// The statements of a simple query, and ReadyForQuery behind them.
    fn run_all(&mut self, mut rest: VecDeque<String>, storage: &mut Storage, around: &mut Surroundings<'_>) {
        while let Some(sql) = rest.pop_front() {
            if let Some(value) = self.backend.question(&sql, storage) {
                put_rows(&mut self.output, &Reply { rows: vec![vec![value]], tag: "SELECT 1".into() }, true);
                continue;
            }
            let statement = known(&sql);
            if statement == Statement::CopyIn
                && !storage.is_standby
                && self.backend.may_run(&statement).is_ok()
            {
                return self.begin_copy(false, rest);
            }
            if statement == Statement::CopyIn && storage.is_standby {
                self.refuse(&Refusal("25006", "cannot execute COPY FROM in a read-only transaction".into()));
                break;
            }
            match self.backend.run(&statement, None, storage, around) {
                Ok(reply) => {
                    let shown = self.shown(&statement);
                    if rest.is_empty() {
                        self.backend.end_implicit(storage, around);
                    }
                    put_reply(&mut self.output, &shown, &reply, true);
                }
                Err(refusal) => {
                    self.refuse(&refusal);
                    break;
                }
            }
        }
        self.backend.end_implicit(storage, around);
        self.ready();
    }

    /// The statement whose answer the client sees.
    fn shown(&self, statement: &Statement) -> Statement {
        match statement {
            Statement::Execute { name, .. } => {
                self.backend.prepared.get(name).cloned().unwrap_or(Statement::Empty)
            }
            other => other.clone(),
        }
    }

    fn begin_copy(&mut self, extended: bool, rest: VecDeque<String>) {
        self.output.extend_from_slice(b"G\0\0\0\x07\0\0\0");
        self.copy = Some(Copy { extended, data: Vec::new(), rest });
        self.flush();
    }

    fn copy_message(&mut self, kind: u8, body: &[u8], storage: &mut Storage, around: &mut Surroundings<'_>) {
        match kind {
            b'd' => {
                let copy = self.copy.as_mut();
                copy.into_iter().for_each(|copy| copy.data.extend_from_slice(body));
                return;
            }
            b'H' | b'S' => return,
            b'X' => {
                self.has_ended = true;
                return;
            }
            _ => {}
        }
        let Some(copy) = self.copy.take() else { return };
        let ids: Vec<Id> =
            String::from_utf8_lossy(&copy.data).lines().filter_map(|line| line.parse().ok()).collect();
        let result = match kind {
            b'c' => self.backend.write(&ids, storage, around),
            _ => Err(Refusal("57014", "COPY from stdin failed".into())),
        };
        match (&result, copy.extended) {
            (Ok(()), true) => backend::put_command_complete(&mut self.output, &format!("COPY {}", ids.len())),
            (Ok(()), false) => {
                if copy.rest.is_empty() {
                    self.backend.end_implicit(storage, around);
                }
                backend::put_command_complete(&mut self.output, &format!("COPY {}", ids.len()));
                self.run_all(copy.rest, storage, around);
            }
            (Err(refusal), extended) => {
                self.refuse(refusal);
                self.skips = extended;
                if !extended {
                    self.ready();
                }
            }
        }
    }

    fn extended(
        &mut self,
        kind: u8,
        body: &[u8],
        storage: &mut Storage,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Refusal> {
        match kind {
            b'P' => {
                let parse = frontend::parse(body).expect("Parse");
                let (name, statement) = (text(parse.name), known(&text(parse.text)));
                if name.is_empty() {
                    self.backend.prepared.remove("");
                }
                self.backend.may_run(&statement)?;
                if self.backend.prepared.contains_key(&name) {
                    return Err(Refusal("42P05", format!("prepared statement {name} already exists")));
                }
                self.backend.prepared.insert(name, statement);
                backend::put_parse_complete(&mut self.output);
            }
            b'B' => {
                let head = frontend::bind_head(body).expect("Bind").expect("Bind");
                let (portal, name) = (text(head.portal), text(head.statement));
                let statement = self.prepared(&name)?;
                self.backend.may_run(&statement)?;
                let parameter = parameter(&body[portal.len() + name.len() + 2..]);
                self.portals.insert(portal, Portal { statement, parameter, left: None });
                backend::put_bind_complete(&mut self.output);
            }
            b'D' => self.describe(body)?,
            b'E' => {
                let execute = frontend::execute(body).expect("Execute");
                self.execute(&text(execute.portal), execute.max_rows, storage, around)?;
            }
            b'C' => {
                let target = frontend::close(body).expect("Close");
                match target.kind {
                    b'S' => drop(self.backend.prepared.remove(&text(target.name))),
                    _ => drop(self.portals.remove(&text(target.name))),
                }
                backend::put_close_complete(&mut self.output);
            }
            other => panic!("the program sent a message of type {:?}", other as char),
        }
        Ok(())
    }

    fn prepared(&self, name: &str) -> Result<Statement, Refusal> {
        let missing = || Refusal("26000", format!("prepared statement \"{name}\" does not exist"));
        self.backend.prepared.get(name).cloned().ok_or_else(missing)
    }

    fn describe(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let target = frontend::describe(body).expect("Describe");
        let name = text(target.name);
        let statement = match target.kind {
            b'S' => self.prepared(&name)?,
            _ => match self.portals.get(&name) {
                Some(portal) => portal.statement.clone(),
                None => return Err(Refusal("34000", format!("portal \"{name}\" does not exist"))),
            },
        };
        if target.kind == b'S' {
            self.backend.may_run(&statement)?;
            backend::put_parameter_description(&mut self.output);
        }
        let rows = match &statement {
            Statement::Execute { name, .. } => self.prepared(name).is_ok_and(|inner| inner.has_rows()),
            other => other.has_rows(),
        };
        match rows {
            true => put_description(&mut self.output, 3),
            false => backend::put_no_data(&mut self.output),
        }
        Ok(())
    }

    fn execute(
        &mut self,
        name: &str,
        most: i32,
        storage: &mut Storage,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Refusal> {
        let Some(mut portal) = self.portals.remove(name) else {
            return Err(Refusal("34000", format!("portal \"{name}\" does not exist")));
        };
        if portal.statement == Statement::CopyIn {
            self.backend.may_run(&portal.statement)?;
            if storage.is_standby {
                return Err(Refusal("25006", "cannot execute COPY FROM in a read-only transaction".into()));
            }
            self.begin_copy(true, VecDeque::new());
            return Ok(());
        }
        let mut reply = match portal.left.take() {
            Some(left) => left,
            None => self.backend.run(&portal.statement, portal.parameter, storage, around)?,
        };
        let shown = self.shown(&portal.statement);
        let room = usize::try_from(most).unwrap_or_default();
        if room > 0 && reply.rows.len() > room {
            let rest = reply.rows.split_off(room);
            for row in &reply.rows {
                put_row(&mut self.output, row);
            }
            backend::put_portal_suspended(&mut self.output);
            let tag = format!("SELECT {}", rest.len());
            portal.left = Some(Reply { rows: rest, tag });
        } else {
            put_reply(&mut self.output, &shown, &reply, false);
        }
        self.portals.insert(name.to_owned(), portal);
        Ok(())
    }
}

/// The statement of a text: the program sends none that the model does not know.
fn known(sql: &str) -> Statement {
    Statement::parse(sql).unwrap_or_else(|| panic!("the program sent {sql:?}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The one parameter of a Bind, from behind its names.
fn parameter(rest: &[u8]) -> Option<Id> {
    let formats = usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?));
    let value = rest.get(2 + 2 * formats + 2 + 4..)?;
    let end = value.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&value[..end]).ok()?.parse().ok()
}

fn put_reply(out: &mut Vec<u8>, statement: &Statement, reply: &Reply, describes: bool) {
    if *statement == Statement::Empty {
        return backend::put_empty_query(out);
    }
    if *statement == Statement::CopyOut {
        out.extend_from_slice(b"H\0\0\0\x07\0\0\0");
        for row in &reply.rows {
            let line = row.join("\t") + "\n";
            out.push(b'd');
            out.extend_from_slice(&(line.len() as u32 + 4).to_be_bytes());
            out.extend_from_slice(line.as_bytes());
        }
        out.extend_from_slice(b"c\0\0\0\x04");
        return backend::put_command_complete(out, &reply.tag);
    }
    if statement.has_rows() {
        return put_rows(out, reply, describes);
    }
    backend::put_command_complete(out, &reply.tag);
}

fn put_rows(out: &mut Vec<u8>, reply: &Reply, describes: bool) {
    if describes {
        put_description(out, reply.rows.first().map_or(3, Vec::len));
    }
    for row in &reply.rows {
        put_row(out, row);
    }
    backend::put_command_complete(out, &reply.tag);
}

fn put_row(out: &mut Vec<u8>, row: &[String]) {
    let values: Vec<Option<&[u8]>> = row.iter().map(|value| Some(value.as_bytes())).collect();
    backend::put_data_row(out, &values);
}

fn put_description(out: &mut Vec<u8>, columns: usize) {
    let column = Column { name: "n", type_oid: 25, type_len: -1, format: 0 };
    backend::put_row_description(out, &vec![column; columns]);
}
