//! What a client may believe: a model of the server that only it talks to, moved along by the answers it gets. An
//! answer that this server would not give is a fault, unless a node was lost; what that leaves open is kept open.

use std::collections::{BTreeMap, BTreeSet};

use pgbalancer::wire::backend::TxStatus;

use super::super::dice::Dice;
use super::super::ledger::{Fate, Ledger, Writer};
use super::super::postgres::{Backend, Storage, Surroundings};
use super::super::schedule::Micros;
use super::super::statement::{Id, Statement};
use super::check::{Got, Heard, Rows, Sent};

/// What a client is told when a node was lost, or none can serve it.
pub(super) fn is_loss(code: &str) -> bool {
    code.starts_with("08") || matches!(code, "57P01" | "57P02" | "57P03" | "40001")
}

/// What a client believes.
pub(in crate::simulation) struct Belief {
    pub(in crate::simulation) server: Backend,
    /// Who it is, and when its last message was sent.
    pub(super) reader: Writer,
    pub(super) asked: Micros,
    /// Some standby refuses reads as if they were writes.
    pub(super) refuses_reads: bool,
    storage: Storage,
    /// Commits of the model that the ledger knows of.
    settled: usize,
    /// Rows of the ledger whose fate the open transaction or batch decides.
    open: Vec<Id>,
    /// The transaction was lost with its node: nothing but its end may succeed.
    is_lost: bool,
    /// The end of a transaction was lost: whether one is open, ReadyForQuery says.
    is_unsure: bool,
    failed: bool,
    /// Prepared since the last ReadyForQuery.
    prepared: Vec<String>,
    /// ReadyForQuery said last that no transaction was open.
    was_idle: bool,
    /// Settings of which it is not known whether they took effect.
    doubtful: BTreeSet<String>,
    set_in_transaction: BTreeSet<String>,
    dice: Dice,
    number: u64,
}

/// Why an answer is wrong, or that it is not.
type Verdict = Result<(), String>;

impl Belief {
    pub(super) fn new(reader: Writer, refuses_reads: bool) -> Belief {
        Belief {
            server: Backend::new(),
            reader,
            asked: 0,
            refuses_reads,
            storage: Storage::new(false, false),
            settled: 0,
            open: Vec::new(),
            is_lost: false,
            is_unsure: false,
            failed: false,
            prepared: Vec::new(),
            was_idle: true,
            doubtful: BTreeSet::new(),
            set_in_transaction: BTreeSet::new(),
            dice: Dice::new(0),
            number: 0,
        }
    }

    pub(super) fn status(&self) -> TxStatus {
        self.server.status
    }

    /// A statement was prepared under this name.
    pub(super) fn prepared(&mut self, name: String, statement: Statement) {
        self.server.prepared.insert(name.clone(), statement);
        self.prepared.push(name);
    }

    /// Names that were prepared by what was lost before it was over: nobody knows whether they are there.
    pub(super) fn doubtful_names(&mut self) -> Vec<String> {
        std::mem::take(&mut self.prepared)
    }

    /// Whether an answer to this may be predicted.
    pub(super) fn knows_setting(&self, name: &str) -> bool {
        !self.doubtful.contains(name)
    }

    fn run(&mut self, statement: &Statement, ids: &[Id]) -> Result<(u64, Option<String>, String), String> {
        let (mut executed, mut writes) = (BTreeMap::new(), 0);
        let mut around = Surroundings {
            dice: &mut self.dice,
            last_number: &mut self.number,
            executed: &mut executed,
            writes: &mut writes,
        };
        if *statement == Statement::CopyIn {
            let result = self.server.may_run(statement);
            let result = result.and_then(|()| self.server.write(ids, &self.storage, &mut around));
            return result
                .map(|()| (0, None, format!("COPY {}", ids.len())))
                .map_err(|refusal| refusal.0.into());
        }
        let reply = self.server.run(statement, ids.first().copied(), &mut self.storage, &mut around);
        let reply = reply.map_err(|refusal| refusal.0.to_owned())?;
        let value = reply.rows.first().and_then(|row| row.last()).cloned();
        Ok((reply.rows.len() as u64, value, reply.tag))
    }

    /// A statement has succeeded.
    pub(super) fn done(&mut self, sent: &Sent, tag: &str, rows: &Rows, ledger: &mut Ledger) -> Verdict {
        let statement = &sent.statement;
        if self.is_lost && matches!(statement, Statement::RollbackTo(_) | Statement::Savepoint(_)) {
            return Err(format!("{statement} succeeded in a transaction that was lost with its node"));
        }
        self.open.extend_from_slice(&sent.ids);
        let (count, value, expected) = match self.run(statement, &sent.ids) {
            Ok(reply) => reply,
            Err(code) => return Err(format!("{statement} succeeded and should fail with {code}")),
        };
        if let Statement::Point(id) = sent.shown {
            ledger.seen(id, rows.count > 0, self.reader, self.asked)?;
        } else if (rows.count, tag) != (count, &expected) && sent.shown != Statement::Empty {
            return Err(format!(
                "{statement} gave {} rows, {tag}; a server: {count}, {expected}",
                rows.count
            ));
        }
        let certain = match &sent.shown {
            Statement::Show(name) => self.knows_setting(name),
            Statement::Unlock(_) | Statement::Fetch(_) | Statement::Channels => true,
            _ => false,
        };
        if certain && rows.value != value {
            return Err(format!("{statement} gave {:?}, a server: {value:?}", rows.value));
        }
        match statement {
            Statement::Prepare { name, .. } => self.prepared.push(name.clone()),
            Statement::Set { name, .. } | Statement::SetLocal { name, .. } | Statement::Reset(name) => {
                self.set_in_transaction.insert(name.clone());
                if self.status() == TxStatus::Idle {
                    self.doubtful.remove(name);
                }
            }
            Statement::DiscardAll => self.doubtful.clear(),
            _ => {}
        }
        if statement.ends() {
            self.settle(ledger)?;
        }
        Ok(())
    }

    /// What was open is decided: what the model has committed is there, the rest is not.
    fn settle(&mut self, ledger: &mut Ledger) -> Verdict {
        let committed: BTreeSet<Id> =
            self.storage.log[self.settled..].iter().flat_map(|record| record.ids.iter().copied()).collect();
        self.settled = self.storage.log.len();
        for id in std::mem::take(&mut self.open) {
            ledger.decide(id, if committed.contains(&id) { Fate::Acknowledged } else { Fate::Refused })?;
        }
        self.set_in_transaction.clear();
        Ok(())
    }

    /// An error has come.
    pub(super) fn failed(
        &mut self,
        code: &str,
        failed: Option<&Statement>,
        undone: &[Sent],
        got: Got,
        ledger: &mut Ledger,
    ) -> Verdict {
        self.failed = true;
        let sent: Vec<Id> = undone.iter().flat_map(|sent| sent.ids.iter().copied()).collect();
        if !is_loss(code) {
            self.expect_error(code, failed, undone)?;
            self.open.extend(sent);
            self.server.fail();
            return Ok(());
        }
        let explicit = self.status() != TxStatus::Idle;
        let ends = undone.iter().any(|sent| sent.statement.ends());
        let never_ran = code == "57P03" && got.done == 0 && !explicit;
        if explicit && !ends {
            self.open.extend(sent);
        } else {
            // Whether it took effect is known to nobody.
            let fate = if never_ran { Fate::Refused } else { Fate::Unknown };
            for id in std::mem::take(&mut self.open).into_iter().chain(sent) {
                ledger.decide(id, fate)?;
            }
            if !never_ran {
                self.doubt(undone);
            }
        }
        // One that has begun since may count as not begun.
        self.is_unsure |= undone.iter().any(|sent| sent.statement.controls()) || explicit && self.was_idle;
        self.is_lost |= explicit;
        self.server.fail();
        Ok(())
    }

    /// What these would have set may be set or not.
    fn doubt(&mut self, undone: &[Sent]) {
        self.doubtful.append(&mut self.set_in_transaction);
        for sent in undone {
            match &sent.statement {
                Statement::Set { name, .. } | Statement::Reset(name) | Statement::SetLocal { name, .. } => {
                    self.doubtful.insert(name.clone());
                }
                Statement::DiscardAll => self.doubtful.extend(["sim.a".to_owned(), "sim.b".to_owned()]),
                _ => {}
            }
        }
    }

    /// The error must be the one that a server gives.
    fn expect_error(&mut self, code: &str, failed: Option<&Statement>, undone: &[Sent]) -> Verdict {
        let Some(statement) = failed else { return Err(format!("error {code} for nothing that can fail")) };
        if self.is_lost && code == "25P02" {
            return Ok(());
        }
        if code == "25P02"
            && self.status() == TxStatus::Failed
            && matches!(statement, Statement::RollbackTo(_))
        {
            // It has failed, and then been lost.
            self.is_lost = true;
            return Ok(());
        }
        let writes = !statement.is_read() && !statement.controls();
        if code == "25006" && (writes || self.refuses_reads) {
            // The node that was the primary is none.
            return Ok(());
        }
        if *statement == Statement::CopyIn && code == "57014" {
            return Ok(());
        }
        let ids = undone.first().map(|sent| sent.ids.clone()).unwrap_or_default();
        match self.run(statement, &ids) {
            Err(expected) if expected == code => Ok(()),
            Err(expected) => Err(format!("{statement} failed with {code}, at a server with {expected}")),
            Ok(_) => Err(format!("{statement} failed with {code}, and a server runs it")),
        }
    }

    /// ReadyForQuery.
    pub(super) fn ready(&mut self, status: TxStatus, ledger: &mut Ledger) -> Verdict {
        let failed = std::mem::take(&mut self.failed);
        self.prepared.clear();
        if !failed {
            let (mut executed, mut writes) = (BTreeMap::new(), 0);
            let mut around = Surroundings {
                dice: &mut self.dice,
                last_number: &mut self.number,
                executed: &mut executed,
                writes: &mut writes,
            };
            self.server.end_implicit(&mut self.storage, &mut around);
        }
        if std::mem::take(&mut self.is_unsure) && status != TxStatus::InTransaction {
            match status {
                TxStatus::Idle => self.server.abandon(),
                _ => self.server.status = TxStatus::Failed,
            }
        }
        if self.status() != status {
            return Err(format!("the transaction is said to be {status:?}, at a server {:?}", self.status()));
        }
        self.was_idle = status == TxStatus::Idle;
        if self.was_idle {
            self.is_lost = false;
            self.settle(ledger)?;
        }
        Ok(())
    }

    /// The connection is over; `undone`: what was sent and not answered.
    pub(super) fn over(&mut self, undone: &[Sent], ledger: &mut Ledger) -> Verdict {
        let explicit = self.status() != TxStatus::Idle;
        let ends = undone.iter().any(|sent| sent.statement.ends());
        let sent: Vec<Id> = undone.iter().flat_map(|sent| sent.ids.iter().copied()).collect();
        let fate = if explicit && !ends { Fate::Refused } else { Fate::Unknown };
        for id in std::mem::take(&mut self.open) {
            ledger.decide(id, fate)?;
        }
        // What follows the end of the transaction in the stream may have run by itself.
        for id in sent {
            ledger.decide(id, fate)?;
        }
        Ok(())
    }
}

impl Heard {
    /// For the trace.
    pub(super) fn describe(&self) -> String {
        match self {
            Heard::Done { sent, tag, rows } => format!("{} -> {tag} ({} rows)", sent.statement, rows.count),
            Heard::Failed { code, message, failed, .. } => {
                let what = failed.as_ref().map(ToString::to_string).unwrap_or_default();
                format!("{what} -> error {code} {message}")
            }
            other => format!("{other:?}"),
        }
    }
}
