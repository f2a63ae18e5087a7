//! What a client sends next: drawn, but such as a driver could send in the state that the client is in.

use std::collections::VecDeque;

use pgbalancer::wire::backend::TxStatus;
use pgbalancer::wire::frontend;

use super::super::dice::Dice;
use super::super::ledger::{Ledger, Writer};
use super::super::statement::{Id, ROWS, Statement};
use super::belief::Belief;
use super::check::{Owed, Sent};

/// COPY data to be sent when the server asks for it.
#[derive(Debug, Default)]
pub(super) struct CopyData {
    pub(super) data: Vec<u8>,
    /// What ends the batch, whether the server has asked or refused.
    pub(super) tail: Vec<u8>,
}

/// What is sent at once.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) bytes: Vec<u8>,
    pub(super) owed: Vec<Owed>,
    pub(super) copy: Option<CopyData>,
    /// The client says goodbye.
    pub(super) leaves: bool,
}

/// What a client does.
pub(super) struct Script {
    pub(super) writer: Writer,
    pub(super) dice: Dice,
    /// Whether it makes things that only one connection has.
    pub(super) binds: bool,
    named: u64,
    savepoints: u64,
    /// Prepared, by Parse or PREPARE, and not known to be lost.
    prepared: Vec<(String, Statement)>,
    temp: Option<String>,
    cursor: Option<String>,
    listens: bool,
    lock: bool,
}

const NAMES: [&str; 2] = ["sim.a", "sim.b"];

impl Script {
    pub(super) fn new(client: usize, mut dice: Dice) -> Script {
        Script {
            writer: Writer { client, session: 0 },
            binds: dice.chance(25),
            dice,
            named: 0,
            savepoints: 0,
            prepared: Vec::new(),
            temp: None,
            cursor: None,
            listens: false,
            lock: false,
        }
    }

    /// The client has a new connection.
    pub(super) fn begin_anew(&mut self) {
        self.writer.session += 1;
        self.prepared.clear();
        (self.temp, self.cursor, self.listens, self.lock) = (None, None, false, false);
    }

    /// A name was prepared.
    pub(super) fn note_prepared(&mut self, name: String, statement: Statement) {
        self.prepared.push((name, statement));
    }

    /// A name is gone, or may be.
    pub(super) fn forget(&mut self, name: &str) {
        self.prepared.retain(|(known, _)| known != name);
    }

    /// Statements under names are gone.
    pub(super) fn forget_all(&mut self) {
        self.prepared.clear();
    }

    /// A statement has succeeded that others build upon.
    pub(super) fn note_done(&mut self, statement: &Statement) {
        match statement {
            Statement::CreateTemp(name) => self.temp = Some(name.clone()),
            Statement::Declare(name) => self.cursor = Some(name.clone()),
            Statement::Listen => self.listens = true,
            Statement::Lock(_) => self.lock = true,
            Statement::Unlock(_) => self.lock = false,
            Statement::Prepare { name, inner } => self.note_prepared(name.clone(), (**inner).clone()),
            Statement::Deallocate(name) => self.forget(name),
            Statement::DiscardAll => self.forget_all(),
            _ => {}
        }
    }

    fn name(&mut self, letter: char) -> String {
        self.named += 1;
        // All of one length, so that their order within a node's table changes nothing.
        format!("{letter}{:02}{:04}", self.writer.client, self.named)
    }

    /// What comes next.
    pub(super) fn next(&mut self, belief: &Belief, ledger: &mut Ledger) -> Plan {
        match belief.status() {
            TxStatus::Idle => self.outside(belief, ledger),
            TxStatus::InTransaction => self.inside(belief, ledger),
            TxStatus::Failed => {
                let statement = match self.dice.below(10) {
                    0 => self.read_rows(belief, ledger),
                    1 => Statement::RollbackTo(self.savepoint()),
                    2 | 3 => Statement::Commit,
                    _ => Statement::Rollback,
                };
                self.lone(statement, ledger)
            }
        }
    }

    fn outside(&mut self, belief: &Belief, ledger: &mut Ledger) -> Plan {
        match self.dice.below(100) {
            0..=29 => {
                let read = self.read(belief, ledger);
                self.lone(read, ledger)
            }
            30..=43 => {
                let write = self.write(ledger);
                self.lone(write, ledger)
            }
            44..=47 => self.several(ledger),
            48..=59 => {
                let begin = [
                    Statement::Begin,
                    Statement::Begin,
                    Statement::BeginReadOnly,
                    Statement::BeginRepeatable,
                ];
                let begin = self.dice.pick(&begin).clone();
                self.lone(begin, ledger)
            }
            60..=65 => {
                let setting = self.setting();
                self.lone(setting, ledger)
            }
            66..=74 => self.with_names(belief, ledger),
            75..=79 => self.pipeline(belief, ledger),
            80..=83 => self.copy_in(ledger),
            84 => {
                let seconds = self.dice.between(1, 4);
                self.lone(Statement::Sleep(seconds), ledger)
            }
            85..=88 => {
                let wrong = if self.dice.chance(50) { Statement::Fail } else { Statement::Nonsense };
                self.lone(wrong, ledger)
            }
            89..=96 if self.binds => self.bound(ledger),
            97 if !self.binds => self.lone(Statement::DiscardAll, ledger),
            98 => Plan { bytes: b"X\0\0\0\x04".to_vec(), leaves: true, ..Plan::default() },
            _ => {
                let read = self.read(belief, ledger);
                self.lone(read, ledger)
            }
        }
    }

    fn inside(&mut self, belief: &Belief, ledger: &mut Ledger) -> Plan {
        let statement = match self.dice.below(100) {
            0..=26 => self.read_rows(belief, ledger),
            27..=50 => self.write(ledger),
            51..=55 => {
                self.savepoints += 1;
                Statement::Savepoint(self.savepoint())
            }
            56..=58 => Statement::RollbackTo(self.savepoint()),
            59 => Statement::Release(self.savepoint()),
            60..=63 => self.setting(),
            64..=66 => {
                let (name, value) = self.value();
                Statement::SetLocal { name, value }
            }
            67..=69 => Statement::Fail,
            70..=72 => return self.copy_in(ledger),
            73..=76 => {
                let write = self.write(ledger);
                return self.batches(&[vec![write, Statement::Commit]], ledger);
            }
            77..=80 => Statement::Rollback,
            _ => Statement::Commit,
        };
        self.lone(statement, ledger)
    }

    fn savepoint(&mut self) -> String {
        format!("s{}", self.dice.below(self.savepoints.min(3) + 1))
    }

    fn value(&mut self) -> (String, String) {
        let name = self.dice.pick(&NAMES).to_string();
        (name, format!("v{:06}", self.dice.below(1_000_000)))
    }

    fn setting(&mut self) -> Statement {
        let (name, value) = self.value();
        match self.dice.chance(85) {
            true => Statement::Set { name, value },
            false => Statement::Reset(name),
        }
    }

    fn read(&mut self, belief: &Belief, ledger: &Ledger) -> Statement {
        match self.dice.below(40) {
            38.. => Statement::Huge(self.dice.between(1, 12)),
            0..=13 => match ledger.some(&mut self.dice) {
                Some(id) => Statement::Point(id),
                None => Statement::Rows(1),
            },
            14..=25 => Statement::Rows(self.dice.between(0, 9)),
            26..=29 => Statement::Wide(self.dice.between(1, ROWS)),
            30..=35 => {
                let name = *self.dice.pick(&NAMES);
                if belief.knows_setting(name) { Statement::Show(name.to_owned()) } else { Statement::Rows(1) }
            }
            36 => Statement::CopyOut,
            _ => Statement::Empty,
        }
    }

    /// A read that a failed transaction refuses.
    fn read_rows(&mut self, belief: &Belief, ledger: &Ledger) -> Statement {
        match self.read(belief, ledger) {
            Statement::Empty => Statement::Rows(2),
            read => read,
        }
    }

    fn ids(&mut self, count: u64, ledger: &mut Ledger) -> Vec<Id> {
        (0..count).map(|_| ledger.draw(self.writer)).collect()
    }

    fn write(&mut self, ledger: &mut Ledger) -> Statement {
        if self.dice.chance(20) {
            return Statement::Book(ledger.draw(self.writer));
        }
        let count = self.dice.between(1, 2);
        Statement::Insert(self.ids(count, ledger))
    }

    /// One statement, as a simple query or as a batch.
    pub(super) fn lone(&mut self, statement: Statement, ledger: &mut Ledger) -> Plan {
        if self.dice.chance(35) {
            return self.batches(&[vec![statement]], ledger);
        }
        self.string(&[statement])
    }

    /// A simple query of these.
    fn string(&mut self, statements: &[Statement]) -> Plan {
        let text: Vec<String> = statements.iter().map(ToString::to_string).collect();
        let mut bytes = Vec::new();
        frontend::put_query(&mut bytes, text.join("; ").as_bytes());
        let sent: VecDeque<Sent> = statements.iter().map(|statement| self.sent(statement)).collect();
        Plan { bytes, owed: vec![Owed::Query(sent)], ..Plan::default() }
    }

    fn sent(&self, statement: &Statement) -> Sent {
        let ids = statement.ids().to_vec();
        let known =
            |name: &str| self.prepared.iter().find(|(known, _)| known == name).map(|(_, inner)| inner);
        let shown = match statement {
            Statement::Execute { name, .. } => match known(name) {
                Some(Statement::InsertParameter) | None => Statement::Insert(ids.clone()),
                Some(inner) => inner.clone(),
            },
            other => other.clone(),
        };
        Sent { statement: statement.clone(), shown, ids }
    }

    /// Several statements in one string.
    fn several(&mut self, ledger: &mut Ledger) -> Plan {
        let mut insert = |script: &mut Script| Statement::Insert(script.ids(1, ledger));
        let (first, second) = (insert(self), insert(self));
        let strings = [
            vec![first.clone(), second.clone()],
            vec![Statement::Rows(3), Statement::Rows(2)],
            vec![Statement::Begin, first.clone(), Statement::Commit],
            vec![first.clone(), Statement::Fail],
            vec![first.clone(), Statement::Rows(1)],
            vec![Statement::Begin, Statement::Rows(1)],
        ];
        let chosen = self.dice.pick(&strings).clone();
        self.string(&chosen)
    }

    /// Batches of the extended protocol, one behind the other without waiting.
    fn batches(&mut self, batches: &[Vec<Statement>], ledger: &mut Ledger) -> Plan {
        let mut plan = Plan::default();
        for batch in batches {
            for statement in batch {
                self.put_statement(&mut plan, statement, ledger);
            }
            frontend::put_sync(&mut plan.bytes);
            plan.owed.push(Owed::Sync);
        }
        plan
    }

    fn put_statement(&mut self, plan: &mut Plan, statement: &Statement, ledger: &mut Ledger) {
        let parameter = match statement {
            Statement::InsertParameter => Some(ledger.draw(self.writer)),
            _ => None,
        };
        frontend::put_parse(&mut plan.bytes, b"", statement.to_string().as_bytes(), &[]);
        plan.owed.push(Owed::Parse { name: String::new(), statement: statement.clone() });
        self.put_execution(plan, "", statement, parameter);
    }

    fn put_execution(&mut self, plan: &mut Plan, name: &str, statement: &Statement, parameter: Option<Id>) {
        let plain = !matches!(statement, Statement::Execute { .. } | Statement::CopyOut | Statement::CopyIn);
        let mut sent = self.sent(statement);
        if let Some(id) = parameter {
            sent.ids.push(id);
        }
        if plain && !name.is_empty() && self.dice.chance(20) {
            frontend::put_describe(&mut plan.bytes, b'S', name.as_bytes());
            plan.owed.push(Owed::DescribeStatement { rows: statement.has_rows() });
        }
        put_bind(&mut plan.bytes, name, parameter);
        plan.owed.push(Owed::Bind);
        if plain && self.dice.chance(50) {
            frontend::put_describe(&mut plan.bytes, b'P', b"");
            plan.owed.push(Owed::DescribePortal { rows: statement.has_rows() });
        }
        frontend::put_execute(&mut plan.bytes, b"");
        plan.owed.push(Owed::Execute(sent));
    }

    /// Two to four batches at once.
    fn pipeline(&mut self, belief: &Belief, ledger: &mut Ledger) -> Plan {
        let count = self.dice.between(2, 4);
        let mut batches = Vec::new();
        for _ in 0..count {
            let length = self.dice.between(1, 2);
            let mut batch = Vec::new();
            for _ in 0..length {
                batch.push(match self.dice.below(10) {
                    0..=3 => self.read(belief, ledger),
                    4..=7 => self.write(ledger),
                    8 => Statement::InsertParameter,
                    _ => Statement::Fail,
                });
            }
            batches.push(batch);
        }
        self.batches(&batches, ledger)
    }

    /// Statements under a name.
    fn with_names(&mut self, belief: &Belief, ledger: &mut Ledger) -> Plan {
        let known = !self.prepared.is_empty() && self.dice.chance(75);
        if !known {
            let name = self.name('p');
            let inner = match self.dice.below(3) {
                0 => Statement::InsertParameter,
                _ => self.read_to_prepare(belief, ledger),
            };
            if self.dice.chance(40) {
                return self.lone(Statement::Prepare { name, inner: Box::new(inner) }, ledger);
            }
            let mut plan = Plan::default();
            frontend::put_parse(&mut plan.bytes, name.as_bytes(), inner.to_string().as_bytes(), &[]);
            plan.owed.push(Owed::Parse { name, statement: inner });
            frontend::put_sync(&mut plan.bytes);
            plan.owed.push(Owed::Sync);
            return plan;
        }
        let (name, inner) = self.dice.pick(&self.prepared).clone();
        let id = (inner == Statement::InsertParameter).then(|| ledger.draw(self.writer));
        match self.dice.below(10) {
            0..=3 => self.lone(Statement::Execute { name, id }, ledger),
            4 => self.lone(Statement::Deallocate(name), ledger),
            5 => {
                let mut plan = Plan::default();
                frontend::put_close(&mut plan.bytes, b'S', name.as_bytes());
                plan.owed.push(Owed::Close { name });
                frontend::put_sync(&mut plan.bytes);
                plan.owed.push(Owed::Sync);
                plan
            }
            _ => {
                let mut plan = Plan::default();
                self.put_execution(&mut plan, &name, &inner, id);
                frontend::put_sync(&mut plan.bytes);
                plan.owed.push(Owed::Sync);
                plan
            }
        }
    }

    fn read_to_prepare(&mut self, belief: &Belief, ledger: &Ledger) -> Statement {
        match self.read(belief, ledger) {
            Statement::CopyOut | Statement::Empty | Statement::Show(_) => Statement::Rows(4),
            read => read,
        }
    }

    /// COPY FROM STDIN: the data is sent when the server asks for it.
    fn copy_in(&mut self, ledger: &mut Ledger) -> Plan {
        let count = self.dice.between(1, 3);
        let ids = self.ids(count, ledger);
        let mut copy = CopyData::default();
        for id in &ids {
            let line = format!("{id}\n");
            let (left, right) = line.split_at(self.dice.below(line.len() as u64 + 1) as usize);
            for part in [left, right] {
                copy.data.push(b'd');
                copy.data.extend_from_slice(&(part.len() as u32 + 4).to_be_bytes());
                copy.data.extend_from_slice(part.as_bytes());
            }
        }
        match self.dice.chance(85) {
            true => copy.data.extend_from_slice(b"c\0\0\0\x04"),
            false => frontend::put_copy_fail(&mut copy.data, "no"),
        }
        let sent = Sent { statement: Statement::CopyIn, shown: Statement::CopyIn, ids };
        let mut plan = Plan::default();
        if self.dice.chance(50) {
            frontend::put_query(&mut plan.bytes, Statement::CopyIn.to_string().as_bytes());
            plan.owed.push(Owed::Query([sent].into()));
        } else {
            frontend::put_parse(&mut plan.bytes, b"", Statement::CopyIn.to_string().as_bytes(), &[]);
            put_bind(&mut plan.bytes, "", None);
            frontend::put_execute(&mut plan.bytes, b"");
            // Without a Sync an error would wait in the server.
            frontend::put_flush(&mut plan.bytes);
            frontend::put_sync(&mut copy.tail);
            plan.owed = vec![
                Owed::Parse { name: String::new(), statement: Statement::CopyIn },
                Owed::Bind,
                Owed::Execute(sent),
                Owed::Sync,
            ];
        }
        plan.copy = Some(copy);
        plan
    }

    /// What only one connection has: made, or used.
    fn bound(&mut self, ledger: &mut Ledger) -> Plan {
        let statement = match self.dice.below(4) {
            0 => match self.temp.clone() {
                Some(name) if self.dice.chance(50) => Statement::InsertTemp(name),
                Some(name) => Statement::ReadTemp(name),
                None => Statement::CreateTemp(self.name('t')),
            },
            1 if self.listens => Statement::Channels,
            1 => Statement::Listen,
            2 if self.lock => Statement::Unlock(self.writer.client as u64),
            2 => Statement::Lock(self.writer.client as u64),
            _ => match self.cursor.clone() {
                Some(name) => Statement::Fetch(name),
                None => Statement::Declare(self.name('c')),
            },
        };
        self.lone(statement, ledger)
    }
}

fn put_bind(out: &mut Vec<u8>, statement: &str, parameter: Option<Id>) {
    let Some(id) = parameter else { return frontend::put_bind(out, b"", statement.as_bytes()) };
    let value = id.to_string();
    let mut body = b"\0".to_vec();
    body.extend_from_slice(statement.as_bytes());
    body.extend_from_slice(b"\0\0\0\0\x01");
    body.extend_from_slice(&(value.len() as u32).to_be_bytes());
    body.extend_from_slice(value.as_bytes());
    body.extend_from_slice(b"\0\0");
    out.push(b'B');
    out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(&body);
}
