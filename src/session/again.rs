//! What the client has sent and not yet got the answer to, kept so that it can be run again, unseen by the client.
//!
//! A unit is what one ReadyForQuery answers: a simple query, or a batch up to its Sync. Its messages are kept until the
//! client has got more of the answer than what announces it; the announcements of a second answer are dropped, since the
//! client has them. Whether a unit may be run again is not decided here: see `repeat` and `refused`.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::rc::Rc;

use super::does::Does;
use crate::error::NodeId;
use crate::sql::Facts;

/// Most bytes of messages that are kept for a second time.
const MAX_KEPT: usize = 64 * 1024;

/// Most bytes that an idle session keeps room for.
const MAX_IDLE: usize = 256;

/// What one ReadyForQuery answers.
#[derive(Debug)]
struct Unit {
    /// Where its messages begin.
    begin: usize,
    /// All its messages are there, and the client has got nothing but announcements.
    kept: bool,
    /// This is the second time.
    is_second: bool,
    /// By the rules of routing it only reads: it went to a standby.
    to_standby: bool,
    does: Does,
}

/// The units that are under way, all on one node, in the order in which they are answered.
#[derive(Default)]
pub(super) struct Again {
    node: Option<NodeId>,
    units: VecDeque<Unit>,
    messages: Vec<u8>,
    /// Answers no longer fit the units: none is run again before all is answered.
    confused: bool,
    /// The unit that is being answered may still be run again.
    watched: bool,
    /// Answers that announce something and were passed on, of that unit.
    announced: usize,
    /// Announcements of the second answer that the client has already.
    surplus: usize,
    /// Of the statement that was sent last.
    pub(super) facts: Option<Rc<Facts>>,
    /// Bytes at the head of the input that are served a second time.
    replayed: usize,
    /// It must be seen first that they only read.
    pub(super) in_doubt: bool,
    /// The standby that has refused the unit: one that does so again is not asked a third time.
    pub(super) refused_by: Option<NodeId>,
}

impl Again {
    /// A unit begins at `node`; `keep`: it may be run again.
    pub(super) fn begin(&mut self, node: NodeId, keep: bool, to_standby: bool) {
        if self.confused {
            return;
        }
        if self.messages.len() > MAX_KEPT / 2 {
            self.compact();
        }
        self.node = Some(node);
        self.watched |= keep && self.units.is_empty();
        let (begin, is_second) = (self.messages.len(), self.replayed > 0);
        self.units.push_back(Unit { begin, kept: keep, is_second, to_standby, does: Does::Nothing });
    }

    /// Gives up the messages of what is answered.
    fn compact(&mut self) {
        let answered = self.units.front().map_or(self.messages.len(), |unit| unit.begin);
        self.messages.drain(..answered);
        self.units.iter_mut().for_each(|unit| unit.begin -= answered);
    }

    /// The unit that is being sent will not be run again.
    pub(super) fn stop(&mut self) {
        if let Some(unit) = self.units.back_mut() {
            unit.kept = false;
            self.messages.truncate(unit.begin);
            self.watched &= self.units.len() > 1;
        }
    }

    /// Bytes of the client go to `node`.
    #[inline]
    pub(super) fn note_sent(&mut self, node: NodeId, bytes: &[u8]) {
        if self.units.back().is_some_and(|unit| unit.kept) && self.node == Some(node) {
            if self.messages.len() + bytes.len() > MAX_KEPT {
                return self.stop();
            }
            self.messages.extend_from_slice(bytes);
        }
    }

    /// A statement of the unit that is being sent begins.
    pub(super) fn note_statement(&mut self, facts: &Rc<Facts>) {
        if let Some(unit) = self.units.back_mut() {
            unit.does = unit.does.and_then(Does::of(facts));
            self.facts = Some(Rc::clone(facts));
        }
    }

    /// A message is about to be passed on; whether the client has it already.
    #[inline]
    pub(super) fn note_answer(&mut self, kind: u8) -> bool {
        if !self.watched && self.surplus == 0 {
            return false;
        }
        let announces = matches!(kind, b'1' | b'2' | b'3' | b'T' | b't' | b'n');
        match kind {
            _ if announces => self.announced += 1,
            b'N' | b'A' | b'S' | b'Z' => {}
            _ => self.note_given(),
        }
        let has_it = announces && self.surplus > 0;
        self.surplus -= usize::from(has_it);
        has_it
    }

    /// The client gets what cannot be taken back.
    pub(super) fn note_given(&mut self) {
        if !std::mem::take(&mut self.watched) {
            return;
        }
        match self.units.len() {
            1 => self.stop(),
            _ => self.units.front_mut().into_iter().for_each(|unit| unit.kept = false),
        }
    }

    /// The client's answer is complete.
    pub(super) fn note_end(&mut self) {
        self.surplus = 0;
        self.refused_by = None;
    }

    /// The first unit is answered; `all`: nothing is under way any more.
    pub(super) fn end(&mut self, all: bool) {
        self.announced = 0;
        self.units.pop_front();
        if all {
            self.clear();
        } else {
            self.watched = self.units.front().is_some_and(|unit| unit.kept);
        }
    }

    fn clear(&mut self) {
        self.node = None;
        self.units.clear();
        self.messages.clear();
        self.messages.shrink_to(MAX_IDLE);
        self.facts = None;
        self.watched = false;
        self.confused = false;
    }

    /// What is under way will be answered in another way than units are.
    pub(super) fn confuse(&mut self) {
        self.clear();
        self.confused = true;
    }

    /// Whether one unit is under way at `node`, of which the client has got nothing but announcements.
    pub(super) fn is_alone_and_kept(&self, node: NodeId) -> bool {
        self.node == Some(node) && self.units.len() == 1 && self.watched
    }

    /// Whether that unit is run for the second time.
    pub(super) fn is_second(&self) -> bool {
        self.units.front().is_some_and(|unit| unit.is_second)
    }

    /// What each of the `count` units under way does, if there are so many.
    pub(super) fn all_do(&self, count: usize) -> Vec<Does> {
        let units = self.units.iter().filter(|_| self.units.len() == count);
        units.map(|unit| unit.does).collect()
    }

    /// The first of `count` units from which on all may be run again: those that do no more than `most`, and not for
    /// the third time.
    pub(super) fn first_to_repeat(&self, count: usize, most: Does) -> Option<usize> {
        if self.units.len() != count {
            return None;
        }
        let may = |unit: &&Unit| unit.kept && !unit.is_second && unit.does <= most;
        let repeatable = self.units.iter().rev().take_while(may).count();
        (repeatable > 0).then(|| count - repeatable)
    }

    /// Gives the messages from a unit on, to be served again, and forgets all units.
    pub(super) fn take(&mut self, first: Option<usize>) -> Vec<u8> {
        let mut messages = Vec::new();
        let mut again = self.units.iter().skip(first.unwrap_or(usize::MAX));
        self.in_doubt |= again.any(|unit| !unit.to_standby && unit.does != Does::Nothing);
        let surplus = if first == Some(0) { self.announced } else { 0 };
        if let Some(unit) = first.and_then(|first| self.units.get(first)) {
            messages = self.messages.split_off(unit.begin);
        }
        self.clear();
        self.announced = 0;
        self.surplus = surplus;
        self.replayed += messages.len();
        messages
    }

    /// Whether what stands at the head of the input is served for the second time.
    #[inline]
    pub(super) fn is_replaying(&self) -> bool {
        self.replayed > 0
    }

    /// So many bytes of the input are used up.
    #[inline]
    pub(super) fn note_used(&mut self, bytes: usize) {
        self.replayed = self.replayed.saturating_sub(bytes);
        self.in_doubt &= self.replayed > 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::facts;

    fn unit(again: &mut Again, text: &str) {
        again.begin(1, true, true);
        again.note_statement(&Rc::new(facts(text)));
        again.note_sent(1, text.as_bytes());
    }

    #[test]
    fn the_units_behind_the_last_that_may_not_be_run_again_are() {
        let mut again = Again::default();
        for text in ["SELECT 1", "INSERT INTO t VALUES (1)", "SELECT 2", "SELECT 3"] {
            unit(&mut again, text);
        }
        assert_eq!(again.first_to_repeat(4, Does::Reads), Some(2));
        assert_eq!(again.first_to_repeat(4, Does::Writes), Some(0));
        assert_eq!(again.first_to_repeat(3, Does::Reads), None, "the answers do not fit");
        assert_eq!(again.take(Some(2)), b"SELECT 2SELECT 3");
        assert!(again.is_replaying());
        unit(&mut again, "SELECT 2");
        assert_eq!(again.first_to_repeat(1, Does::Reads), None, "not a third time");
        again.note_used(16);
        assert!(!again.is_replaying());
    }

    #[test]
    fn what_the_client_has_is_not_run_again_and_what_is_behind_it_is() {
        let mut again = Again::default();
        unit(&mut again, "SELECT 1");
        unit(&mut again, "SELECT 2");
        for kind in [b'1', b'2', b'T'] {
            assert!(!again.note_answer(kind));
        }
        assert_eq!(again.first_to_repeat(2, Does::Reads), Some(0));
        assert!(!again.note_answer(b'D'));
        assert_eq!(again.first_to_repeat(2, Does::Reads), Some(1));
        again.end(false);
        again.note_answer(b'T');
        assert_eq!(again.first_to_repeat(1, Does::Reads), Some(0));
        assert_eq!(again.take(Some(0)), b"SELECT 2");
        // It was announced once, and the second answer does the same.
        again.begin(0, true, false);
        assert_eq!([b'T', b'T'].map(|kind| again.note_answer(kind)), [true, false]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut again = Again::default();
        again.begin(1, true, true);
        again.note_sent(1, &[0; MAX_KEPT]);
        assert_eq!(again.first_to_repeat(1, Does::Nothing), Some(0));
        again.note_sent(1, b"x");
        assert_eq!((again.first_to_repeat(1, Does::Nothing), again.messages.len()), (None, 0));
        // Units that are answered make room for those that follow without a pause.
        again.end(true);
        unit(&mut again, "SELECT 1");
        for _ in 0..4 * MAX_KEPT {
            unit(&mut again, "SELECT 1");
            again.end(false);
        }
        assert_eq!(again.first_to_repeat(1, Does::Reads), Some(0));
        again.end(true);
        assert!(again.messages.capacity() <= MAX_IDLE);
    }
}
