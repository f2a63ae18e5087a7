//! Every row that clients write, and what they were told of it. At the end the primary must agree.

use std::collections::BTreeMap;

use super::dice::Dice;
use super::schedule::Micros;
use super::statement::Id;

/// What a client knows of a row that it has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Not answered yet.
    Sent,
    /// It is committed.
    Acknowledged,
    /// It is not there and never will be.
    Refused,
    /// A node was lost before it said which.
    Unknown,
}

struct Entry {
    writer: Writer,
    fate: Fate,
    /// When that was learned.
    at: Micros,
}

/// A session of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Writer {
    pub(super) client: usize,
    /// How often the client had connected.
    pub(super) session: u64,
}

/// The acknowledged rows that a read must find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum MustSee {
    #[default]
    Nothing,
    /// Those of its own session.
    Own,
    All,
}

/// All rows.
#[derive(Default)]
pub(super) struct Ledger {
    must_see: MustSee,
    pub(super) now: Micros,
    /// Since when there is the primary that there is; while there is none, a read need not find anything.
    pub(super) primary_since: Option<Micros>,
    rows: BTreeMap<Id, Entry>,
    last: Id,
}

impl Ledger {
    pub(super) fn new(must_see: MustSee) -> Ledger {
        Ledger { must_see, ..Ledger::default() }
    }

    /// A new row of this session.
    pub(super) fn draw(&mut self, writer: Writer) -> Id {
        self.last += 1;
        self.rows.insert(self.last, Entry { writer, fate: Fate::Sent, at: self.now });
        self.last
    }

    /// A client has learned what became of a row.
    pub(super) fn decide(&mut self, id: Id, fate: Fate) -> Result<(), String> {
        let Some(entry) = self.rows.get_mut(&id) else { return Err(format!("row {id} was never sent")) };
        if entry.fate != Fate::Sent && entry.fate != fate {
            return Err(format!("row {id} is {fate:?} and was {:?} before", entry.fate));
        }
        if entry.fate != fate {
            (entry.fate, entry.at) = (fate, self.now);
        }
        Ok(())
    }

    /// A read that was sent at `asked` has found a row, or has not.
    pub(super) fn seen(&self, id: Id, there: bool, reader: Writer, asked: Micros) -> Result<(), String> {
        let Some(entry) = self.rows.get(&id) else { return Ok(()) };
        let must = match self.must_see {
            MustSee::Nothing => false,
            MustSee::Own => entry.writer == reader,
            MustSee::All => true,
        };
        let is_certain = self.primary_since.is_some_and(|since| since < asked);
        match entry.fate {
            Fate::Refused if there => Err(format!("a read found row {id}, which was refused")),
            Fate::Acknowledged if !there && must && entry.at < asked && is_certain => {
                Err(format!("a read did not find row {id}, which was acknowledged before"))
            }
            _ => Ok(()),
        }
    }

    /// Any row, the last ones rather than others.
    pub(super) fn some(&self, dice: &mut Dice) -> Option<Id> {
        let back = dice.below(8) * dice.below(4);
        Some(self.last.saturating_sub(back)).filter(|id| *id > 0)
    }

    /// Compares with what the primary has: how often each row stands there.
    pub(super) fn audit(&self, found: &BTreeMap<Id, u32>, may_lose: bool) -> Result<(), String> {
        for (id, entry) in &self.rows {
            let count = found.get(id).copied().unwrap_or_default();
            match (entry.fate, count) {
                (_, 2..) => return Err(format!("row {id} stands there {count} times ({:?})", entry.fate)),
                (Fate::Acknowledged, 0) if !may_lose => {
                    return Err(format!(
                        "row {id} of client {} was acknowledged and is lost",
                        entry.writer.client
                    ));
                }
                (Fate::Refused, 1) => return Err(format!("row {id} was refused and is there")),
                _ => {}
            }
        }
        Ok(())
    }
}
