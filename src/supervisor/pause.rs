//! A pause: sessions begin no transaction until they are told to go on.
//!
//! That it is on stands in the segment, so that it outlives every child and whatever becomes of the nodes meanwhile.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::owed::Outcome;
use super::request::Answer;
use super::run::Supervisor;
use super::upgrade::Service;
use crate::cluster::failover::Ticket;
use crate::shm::EventKind;

/// How long whoever asks for a pause waits at most until all transactions have ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether they have.
const GLANCE: Duration = Duration::from_millis(10);

/// The failover manager's tickets count from one.
const FIRST_TICKET: Ticket = 1 << 63;

/// Who waits for a pause to be quiet.
#[derive(Default)]
pub(super) struct Pauses {
    waiting: Vec<(Ticket, Instant)>,
    begun: u64,
}

impl Pauses {
    /// When it is to be looked at again.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| Instant::now() + GLANCE)
    }
}

impl Supervisor {
    pub(super) fn pause(&mut self) -> Outcome {
        let refused = |why: &str| Outcome::Answered(Answer::Refused(why.to_owned()));
        if self.service != Service::Held {
            return refused("another program takes over, or has: ask that one");
        }
        if self.predecessor.is_some() {
            return refused(
                "sessions of the program before the upgrade are still there, which cannot be held",
            );
        }
        self.set_paused(true);
        self.pauses.begun += 1;
        let ticket = FIRST_TICKET + self.pauses.begun;
        self.pauses.waiting.push((ticket, Instant::now() + PATIENCE));
        Outcome::Comes(ticket)
    }

    pub(super) fn resume(&mut self) -> Answer {
        if self.segment.pause().is_none() {
            return Answer::Refused("nothing is paused".to_owned());
        }
        self.set_paused(false);
        self.answer_pauses(
            |_| true,
            &Answer::Refused("resumed before all transactions had ended".to_owned()),
        );
        Answer::Done
    }

    fn set_paused(&mut self, paused: bool) {
        let mut told = self.segment.generation();
        if self.segment.pause().is_some() != paused {
            self.segment.set_paused(paused);
            let kind = if paused { EventKind::Pause } else { EventKind::Resume };
            self.note(kind, "", "an operator wants it so");
        }
        self.tell_of_changes(&mut told);
    }

    /// Once a turn: whether what was under way has ended.
    pub(super) fn tend_pauses(&mut self) {
        if self.pauses.waiting.is_empty() {
            return;
        }
        let Some(number) = self.segment.pause() else { return };
        if self.tree.servers().all(|(worker, _)| self.segment.pause_quiet(worker) == number) {
            return self.answer_pauses(|_| true, &Answer::Done);
        }
        let now = Instant::now();
        self.answer_pauses(|until| until <= now, &Answer::Draining);
    }

    fn answer_pauses(&mut self, which: impl Fn(Instant) -> bool, answer: &Answer) {
        let all = std::mem::take(&mut self.pauses.waiting);
        let (answered, waiting) = all.into_iter().partition(|(_, until)| which(*until));
        self.pauses.waiting = waiting;
        for (ticket, _) in answered {
            self.answer_comes(ticket, answer);
        }
    }
}
