//! The client's side of the protocol, strictly: every byte must be what a server may say at this point.

use std::collections::VecDeque;

use pgbalancer::wire::backend::{self, TxStatus};
use pgbalancer::wire::frame;

use super::super::statement::{Id, Statement};

/// Longest message that a client gets whole or not at all.
const HELD_BACK: usize = 16 * 1024;

/// A statement that was sent.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Sent {
    pub(in crate::simulation) statement: Statement,
    /// The statement whose answer comes: what a prepared one does.
    pub(in crate::simulation) shown: Statement,
    /// Rows of the ledger that it writes.
    pub(in crate::simulation) ids: Vec<Id>,
}

/// A message that was sent, and so what must be answered.
#[derive(Clone, Debug)]
pub(in crate::simulation) enum Owed {
    Query(VecDeque<Sent>),
    Parse { name: String, statement: Statement },
    Bind,
    DescribeStatement { rows: bool },
    DescribePortal { rows: bool },
    Execute(Sent),
    Close { name: String },
    Sync,
}

impl Owed {
    /// The statements that it runs.
    pub(super) fn sent(&self) -> Vec<&Sent> {
        match self {
            Owed::Query(statements) => statements.iter().collect(),
            Owed::Execute(sent) => vec![sent],
            _ => Vec::new(),
        }
    }
}

/// What a server has said, once it is complete.
#[derive(Clone, Debug)]
pub(in crate::simulation) enum Heard {
    /// Let in.
    Welcome,
    Parsed {
        name: String,
        statement: Statement,
    },
    Closed {
        name: String,
    },
    Done {
        sent: Sent,
        tag: String,
        rows: Rows,
    },
    /// `undone`: what was sent up to the ReadyForQuery that follows, and will not be done; first what failed.
    Failed {
        code: String,
        message: String,
        is_fatal: bool,
        failed: Option<Statement>,
        undone: Vec<Sent>,
        got: Got,
    },
    /// It waits for COPY data.
    CopyIn,
    Ready(TxStatus),
}

/// How much of an answer had come when it failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::simulation) struct Got {
    /// Statements since the last ReadyForQuery, and rows of the one that failed.
    pub(in crate::simulation) done: usize,
    pub(in crate::simulation) rows: u64,
}

/// Rows of one answer.
#[derive(Clone, Debug, Default)]
pub(in crate::simulation) struct Rows {
    pub(in crate::simulation) count: u64,
    /// Last column of the first row.
    pub(in crate::simulation) value: Option<String>,
    /// All rows must come from one execution, in order.
    execution: Option<String>,
}

/// Where the answer to a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Start,
    Rows,
    CopyOut,
    CopyOutDone,
    CopyIn,
}

/// What the client knows of the stream of messages.
pub(in crate::simulation) struct Checker {
    buffer: Vec<u8>,
    is_in: bool,
    authenticated: bool,
    pub(in crate::simulation) owed: VecDeque<Owed>,
    phase: Phase,
    rows: Rows,
    done: usize,
    /// An error came, and only ReadyForQuery may follow.
    failed: bool,
    is_over: bool,
}

impl Checker {
    pub(super) fn new() -> Checker {
        Checker {
            buffer: Vec::new(),
            is_in: false,
            authenticated: false,
            owed: VecDeque::new(),
            phase: Phase::Start,
            rows: Rows::default(),
            done: 0,
            failed: false,
            is_over: false,
        }
    }

    /// Whether a message has come in part, which need not be there whole before it is passed on.
    pub(super) fn is_mid_long_message(&self) -> bool {
        matches!(frame::header(&self.buffer), Ok(Some(header)) if header.length > HELD_BACK)
    }

    /// What has come of a message is of that message alone: rows are long by their letters only.
    pub(super) fn is_torn(&self) -> bool {
        self.is_mid_long_message() && !is_of_one_row(&self.buffer)
    }

    /// Takes bytes. The error says what no server would send.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Heard>, String> {
        self.buffer.extend_from_slice(bytes);
        let mut heard = Vec::new();
        loop {
            let header = match frame::header(&self.buffer) {
                Ok(Some(header)) if self.buffer.len() >= header.length => header,
                Ok(_) => return Ok(heard),
                Err(e) => return Err(format!("no message: {e}")),
            };
            let frame: Vec<u8> = self.buffer.drain(..header.length).collect();
            if self.is_over {
                return Err(format!("{:?} behind a FATAL error", header.kind as char));
            }
            let found = self.message(header.kind, &frame[5..]);
            let found = found.map_err(|text| format!("{text}: message {:?}", header.kind as char))?;
            heard.extend(found);
        }
    }

    fn message(&mut self, kind: u8, body: &[u8]) -> Result<Option<Heard>, String> {
        match kind {
            b'N' | b'A' => return Ok(None),
            b'S' => return backend::parameter_status(body).map(|_| None).map_err(|e| e.to_string()),
            b'E' => return self.error(body),
            _ => {}
        }
        if !self.is_in {
            return self.welcome(kind, body);
        }
        if kind == b'Z' {
            return self.ready(body);
        }
        if self.failed {
            return Err("something behind an error".into());
        }
        let found = match self.owed.front_mut() {
            None => return Err("something that was not asked for".into()),
            Some(Owed::Parse { .. }) if kind == b'1' => {
                let Some(Owed::Parse { name, statement }) = self.owed.pop_front() else { return Ok(None) };
                Some(Heard::Parsed { name, statement })
            }
            Some(Owed::Bind) if kind == b'2' => {
                self.owed.pop_front();
                None
            }
            Some(Owed::Close { .. }) if kind == b'3' => {
                let Some(Owed::Close { name }) = self.owed.pop_front() else { return Ok(None) };
                Some(Heard::Closed { name })
            }
            Some(Owed::DescribeStatement { rows }) if kind == b't' => {
                let rows = *rows;
                self.owed[0] = Owed::DescribePortal { rows };
                None
            }
            Some(Owed::DescribePortal { rows }) if kind == if *rows { b'T' } else { b'n' } => {
                self.owed.pop_front();
                None
            }
            Some(Owed::Execute(sent)) => {
                let shown = sent.shown.clone();
                if self.phase == Phase::Start && shown.has_rows() {
                    self.phase = Phase::Rows;
                }
                return self.answer(kind, body, &shown);
            }
            Some(Owed::Query(statements)) => {
                let Some(sent) = statements.front() else {
                    return Err("more answers than statements".into());
                };
                let shown = sent.shown.clone();
                return self.answer(kind, body, &shown);
            }
            Some(owed) => return Err(format!("not an answer to {owed:?}")),
        };
        Ok(found)
    }

    fn welcome(&mut self, kind: u8, body: &[u8]) -> Result<Option<Heard>, String> {
        match kind {
            b'R' if !self.authenticated => self.authenticated = true,
            b'K' if self.authenticated => {}
            b'Z' if self.authenticated && body == b"I" => {
                self.is_in = true;
                return Ok(Some(Heard::Welcome));
            }
            _ => return Err("not at the start".into()),
        }
        Ok(None)
    }

    /// A part of the answer to `shown`.
    fn answer(&mut self, kind: u8, body: &[u8], shown: &Statement) -> Result<Option<Heard>, String> {
        let copies_out = *shown == Statement::CopyOut;
        match (self.phase, kind) {
            (Phase::Start, b'T') if shown.has_rows() => self.phase = Phase::Rows,
            (Phase::Rows, b'D') => self.row(&row(body)?)?,
            (Phase::Rows, b'C') => return self.done(body),
            (Phase::Start, b'H') if copies_out => self.phase = Phase::CopyOut,
            (Phase::CopyOut, b'd') => {
                let line = String::from_utf8_lossy(body);
                let line = line.strip_suffix('\n').ok_or("a line without an end")?;
                self.row(&line.split('\t').map(str::to_owned).collect::<Vec<_>>())?;
            }
            (Phase::CopyOut, b'c') => self.phase = Phase::CopyOutDone,
            (Phase::CopyOutDone, b'C') => return self.done(body),
            (Phase::Start, b'G') if *shown == Statement::CopyIn => {
                self.phase = Phase::CopyIn;
                return Ok(Some(Heard::CopyIn));
            }
            (Phase::CopyIn, b'C') => return self.done(body),
            (Phase::Start, b'I') if *shown == Statement::Empty => return self.finish(String::new()),
            (Phase::Start, b'C')
                if !shown.has_rows()
                    && !copies_out
                    && !matches!(shown, Statement::CopyIn | Statement::Empty) =>
            {
                return self.done(body);
            }
            (phase, _) => return Err(format!("not now ({phase:?} of {shown:?})")),
        }
        Ok(None)
    }

    fn row(&mut self, row: &[String]) -> Result<(), String> {
        let [execution, at, value] = row else { return Err(format!("a row of {} columns", row.len())) };
        if self.rows.execution.get_or_insert_with(|| execution.clone()) != execution {
            return Err("rows of two executions in one answer".into());
        }
        if *at != self.rows.count.to_string() {
            return Err(format!("row {at} in the place of row {}", self.rows.count));
        }
        if value.len() > HELD_BACK && !is_of_one_row(value.as_bytes()) {
            return Err("something else within a row".into());
        }
        if self.rows.count == 0 {
            self.rows.value = Some(value.clone());
        }
        self.rows.count += 1;
        Ok(())
    }

    fn done(&mut self, body: &[u8]) -> Result<Option<Heard>, String> {
        let tag = backend::command_tag(body).map_err(|e| e.to_string())?;
        let tag = String::from_utf8_lossy(tag).into_owned();
        self.finish(tag)
    }

    fn finish(&mut self, tag: String) -> Result<Option<Heard>, String> {
        self.phase = Phase::Start;
        self.done += 1;
        let rows = std::mem::take(&mut self.rows);
        let sent = match self.owed.front_mut() {
            Some(Owed::Query(statements)) => statements.pop_front(),
            _ => match self.owed.pop_front() {
                Some(Owed::Execute(sent)) => Some(sent),
                _ => None,
            },
        };
        let sent = sent.ok_or("the end of nothing")?;
        Ok(Some(Heard::Done { sent, tag, rows }))
    }

    fn error(&mut self, body: &[u8]) -> Result<Option<Heard>, String> {
        let fields = backend::error(body).map_err(|e| e.to_string())?;
        let is_fatal = fields.is_fatal();
        self.is_over = is_fatal;
        if !is_fatal && (self.failed || self.owed.is_empty()) {
            return Err(format!("an error that nothing was asked for: {fields}"));
        }
        self.failed = true;
        let code = String::from_utf8_lossy(fields.code).into_owned();
        let message = String::from_utf8_lossy(fields.message).into_owned();
        let got = Got { done: self.done, rows: self.rows.count };
        let (failed, undone) = self.skip(is_fatal);
        Ok(Some(Heard::Failed { code, message, is_fatal, failed, undone, got }))
    }

    /// Leaves out what stands before the next ReadyForQuery; all there is where none will come. The statement that
    /// failed, if it was one, and those that were to run.
    pub(super) fn skip(&mut self, all: bool) -> (Option<Statement>, Vec<Sent>) {
        self.phase = Phase::Start;
        self.rows = Rows::default();
        let mut undone = Vec::new();
        let failed = match self.owed.front() {
            Some(Owed::Query(statements)) => statements.front().map(|sent| sent.statement.clone()),
            Some(Owed::Parse { statement, .. }) => Some(statement.clone()),
            Some(Owed::Execute(sent)) => Some(sent.statement.clone()),
            _ => None,
        };
        while let Some(owed) = self.owed.front_mut() {
            match owed {
                Owed::Query(statements) => {
                    undone.extend(statements.drain(..));
                    if !all {
                        break;
                    }
                }
                Owed::Execute(sent) => undone.push(sent.clone()),
                Owed::Sync if !all => break,
                _ => {}
            }
            self.owed.pop_front();
        }
        (failed, undone)
    }

    fn ready(&mut self, body: &[u8]) -> Result<Option<Heard>, String> {
        let status = backend::ready(body).map_err(|e| e.to_string())?;
        match self.owed.pop_front() {
            Some(Owed::Sync) => {}
            Some(Owed::Query(rest)) if rest.is_empty() => {}
            other => return Err(format!("ReadyForQuery before the answer to {other:?}")),
        }
        self.failed = false;
        self.done = 0;
        Ok(Some(Heard::Ready(status)))
    }
}

/// Whether these, which may be the begin of a message, end with nothing but the letters of a long row.
fn is_of_one_row(bytes: &[u8]) -> bool {
    /// What may stand before the letters: lengths, and the columns before the last.
    const HEAD: usize = 100;
    bytes.iter().skip(HEAD).all(|byte| *byte == b'x')
}

fn row(body: &[u8]) -> Result<Vec<String>, String> {
    let values = backend::data_row(body).map_err(|e| e.to_string())?;
    Ok(values
        .into_iter()
        .map(|value| String::from_utf8_lossy(value.unwrap_or_default()).into_owned())
        .collect())
}
