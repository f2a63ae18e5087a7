//! A client: sends what its script says, checks every byte that it gets, and keeps the ledger.

mod belief;
mod check;
mod script;

use pgbalancer::wire::{PROTOCOL_3_0, frontend};

use super::dice::Dice;
use super::ledger::{Ledger, Writer};
use super::scenario::Scenario;
use super::schedule::Micros;
use super::statement::Statement;
use belief::Belief;
use check::{Checker, Got, Heard, Owed};
use script::{CopyData, Script};

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Has no connection.
    Away,
    /// Waits to be let in.
    Entering,
    /// Sends statements.
    In,
}

/// An error that a client was told because of a lost node.
#[derive(Clone, Debug)]
pub(super) struct Complaint {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) is_fatal: bool,
    /// A read by itself, of which nothing had come.
    pub(super) lone_read: bool,
    /// It had, or was making, what cannot be made again.
    pub(super) bound: bool,
    /// Within a transaction that it has begun, or is beginning.
    pub(super) explicit: bool,
    /// A transaction was about to end.
    pub(super) ends: bool,
    /// Data were on their way to the server.
    pub(super) copies: bool,
    pub(super) since: Micros,
}

/// What the world must do or judge after a client has heard something.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) send: Vec<u8>,
    pub(super) complaints: Vec<Complaint>,
    /// Nothing is owed any more: it goes on with its script.
    pub(super) is_free: bool,
    pub(super) trace: Vec<String>,
}

/// A client.
pub(super) struct Client {
    pub(super) number: usize,
    pub(super) stage: Stage,
    pub(super) connection: Option<usize>,
    checker: Checker,
    belief: Belief,
    script: Script,
    copy: Option<CopyData>,
    /// How many steps of its script are left.
    pub(super) steps: u64,
    /// Since when it waits for an answer.
    pub(super) waits_since: Option<Micros>,
    /// Statements answered well.
    pub(super) succeeded: u64,
    /// What was sent and not done when the fatal error came.
    undone: Vec<check::Sent>,
    /// A fatal error has come, or it has said goodbye: the end of the connection is no surprise.
    expects_end: bool,
    pub(super) is_leaving: bool,
    refuses_reads: bool,
    /// It has sent more than one query or batch at once.
    is_pipelined: bool,
    pub(super) asked: Asked,
}

/// What a client has asked for last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    pub(super) at: Micros,
    /// Reads only, outside a transaction.
    pub(super) reads: bool,
    pub(super) writes: bool,
    /// And was told that something is lost.
    pub(super) complained: bool,
}

impl Client {
    pub(super) fn new(number: usize, mut dice: Dice, scenario: &Scenario) -> Client {
        Client {
            number,
            stage: Stage::Away,
            connection: None,
            checker: Checker::new(),
            belief: Belief::new(Writer::default(), false),
            script: Script::new(number, dice.split()),
            copy: None,
            steps: scenario.steps,
            refuses_reads: scenario.refuses_reads(),
            is_pipelined: false,
            asked: Asked::default(),
            waits_since: None,
            succeeded: 0,
            undone: Vec::new(),
            expects_end: false,
            is_leaving: false,
        }
    }

    /// It has connected; returns its first packet.
    pub(super) fn enter(&mut self, connection: usize, now: Micros) -> Vec<u8> {
        self.connection = Some(connection);
        self.stage = Stage::Entering;
        self.checker = Checker::new();
        self.script.begin_anew();
        self.belief = Belief::new(self.script.writer, self.refuses_reads);
        self.belief.asked = now;
        self.asked = Asked { at: now, ..Asked::default() };
        self.copy = None;
        self.waits_since = Some(now);
        self.expects_end = false;
        self.is_leaving = false;
        let mut packet = Vec::new();
        let name = format!("client{}", self.number);
        let options = [("user", "u"), ("database", "d"), ("application_name", name.as_str())];
        frontend::put_startup(&mut packet, PROTOCOL_3_0, &options);
        packet
    }

    /// Whether it has nothing to wait for and may send.
    pub(super) fn is_free(&self) -> bool {
        self.stage == Stage::In && self.checker.owed.is_empty() && !self.expects_end
    }

    /// Whether no transaction of its is open.
    pub(super) fn is_at_rest(&self) -> bool {
        self.belief.status() == pgbalancer::wire::backend::TxStatus::Idle
    }

    /// What it sends next.
    pub(super) fn next(&mut self, now: Micros, ledger: &mut Ledger) -> Vec<u8> {
        self.steps = self.steps.saturating_sub(1);
        let plan = self.script.next(&self.belief, ledger);
        self.begin(plan, now)
    }

    /// Sends this statement by itself.
    pub(super) fn say(&mut self, statement: Statement, now: Micros, ledger: &mut Ledger) -> Vec<u8> {
        let plan = self.script.lone(statement, ledger);
        self.begin(plan, now)
    }

    /// Writes a row.
    pub(super) fn write(&mut self, now: Micros, ledger: &mut Ledger) -> Vec<u8> {
        let id = ledger.draw(self.script.writer);
        self.say(Statement::Insert(vec![id]), now, ledger)
    }

    fn begin(&mut self, plan: script::Plan, now: Micros) -> Vec<u8> {
        let sent: Vec<&check::Sent> = plan.owed.iter().flat_map(Owed::sent).collect();
        self.asked = Asked {
            at: now,
            reads: self.is_at_rest() && !sent.is_empty() && sent.iter().all(|sent| sent.shown.is_read()),
            writes: sent.iter().any(|sent| !sent.ids.is_empty()),
            complained: false,
        };
        self.checker.owed.extend(plan.owed);
        self.copy = plan.copy;
        self.is_leaving = plan.leaves;
        let ends = |owed: &&Owed| matches!(owed, Owed::Sync | Owed::Query(_));
        self.is_pipelined = self.checker.owed.iter().filter(ends).count() > 1;
        self.expects_end |= plan.leaves;
        self.waits_since = Some(now);
        self.belief.asked = now;
        plan.bytes
    }

    /// Bytes of the program. The error is what no server would have said.
    pub(super) fn take(&mut self, bytes: &[u8], now: Micros, ledger: &mut Ledger) -> Result<Effects, String> {
        let mut effects = Effects::default();
        for heard in self.checker.take(bytes)? {
            effects.trace.push(heard.describe());
            self.hear(heard, &mut effects, ledger)?;
        }
        effects.is_free = self.is_free();
        if effects.is_free {
            self.waits_since = None;
        } else if !bytes.is_empty() {
            self.waits_since = Some(now);
        }
        Ok(effects)
    }

    fn hear(&mut self, heard: Heard, effects: &mut Effects, ledger: &mut Ledger) -> Result<(), String> {
        match heard {
            Heard::Welcome => self.stage = Stage::In,
            Heard::Parsed { name, statement } => {
                self.belief.prepared(name.clone(), statement.clone());
                if !name.is_empty() {
                    self.script.note_prepared(name, statement);
                }
            }
            Heard::Closed { name } => {
                self.belief.server.prepared.remove(&name);
                self.script.forget(&name);
            }
            Heard::CopyIn => {
                if let Some(copy) = self.copy.take() {
                    effects.send.extend(copy.data);
                    effects.send.extend(copy.tail);
                }
            }
            Heard::Done { sent, tag, rows } => {
                self.belief.done(&sent, &tag, &rows, ledger)?;
                self.script.note_done(&sent.statement);
                self.succeeded += 1;
            }
            Heard::Failed { code, message, is_fatal, failed, undone, got } => {
                if belief::is_loss(&code) {
                    for name in self.belief.doubtful_names() {
                        self.script.forget(&name);
                    }
                }
                // Whether these names are there is not known.
                for sent in &undone {
                    if let Statement::Deallocate(name) = &sent.statement {
                        self.script.forget(name);
                    }
                    if sent.statement == Statement::DiscardAll {
                        self.script.forget_all();
                    }
                }
                self.complain(&code, message, is_fatal, &undone, got, effects);
                if is_fatal {
                    self.expects_end = true;
                    self.undone = undone;
                    return Ok(());
                }
                if let Some(copy) = self.copy.take() {
                    effects.send.extend(copy.tail);
                }
                self.belief.failed(&code, failed.as_ref(), &undone, got, ledger)?;
            }
            Heard::Ready(status) => self.belief.ready(status, ledger)?,
        }
        Ok(())
    }

    fn complain(
        &mut self,
        code: &str,
        message: String,
        is_fatal: bool,
        undone: &[check::Sent],
        got: Got,
        effects: &mut Effects,
    ) {
        if !(is_fatal || code.starts_with("08") || code.starts_with("57P0")) {
            return;
        }
        self.asked.complained = true;
        let reads = matches!(undone, [sent] if sent.shown.is_read());
        let outside = self.belief.status() == pgbalancer::wire::backend::TxStatus::Idle;
        effects.complaints.push(Complaint {
            code: code.to_owned(),
            message,
            is_fatal,
            lone_read: reads && outside && got == Got::default() && !self.is_pipelined,
            bound: self.belief.server.is_bound() || undone.iter().any(|sent| sent.statement.binds()),
            explicit: !outside || undone.iter().any(|sent| sent.statement.controls()),
            ends: undone.iter().any(|sent| sent.statement.ends()),
            copies: undone.iter().any(|sent| sent.statement == Statement::CopyIn),
            since: self.belief.asked,
        });
    }

    /// The connection has closed. Whether that was to be expected, or why not.
    pub(super) fn closed(&mut self, ledger: &mut Ledger) -> Result<(), String> {
        let (_, mut undone) = self.checker.skip(true);
        undone.append(&mut self.undone);
        let is_cut = self.checker.is_mid_long_message();
        if self.checker.is_torn() {
            return Err("something stands within a row that was cut".to_owned());
        }
        self.stage = Stage::Away;
        self.connection = None;
        self.waits_since = None;
        self.belief.over(&undone, ledger)?;
        if self.expects_end || is_cut {
            return Ok(());
        }
        Err("the connection closed without a word".to_owned())
    }

    /// Whether a message has come in part that is too long to be held back.
    pub(super) fn is_mid_message(&self) -> bool {
        self.checker.is_mid_long_message()
    }

    /// What it is connected to is gone.
    pub(super) fn expect_end(&mut self) {
        self.expects_end = true;
    }

    /// The client itself goes, without a word.
    pub(super) fn vanish(&mut self, ledger: &mut Ledger) -> Result<(), String> {
        self.expects_end = true;
        self.closed(ledger)
    }

    /// What it waits for.
    pub(super) fn owed(&self) -> String {
        let words: Vec<String> =
            self.checker.owed.iter().take(3).map(|owed: &Owed| format!("{owed:?}")).collect();
        words.join(", ")
    }
}
