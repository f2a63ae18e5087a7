//! The answers that a child is owed. It tells them apart by their order alone, so one that comes later holds back those
//! to later requests.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::request::Answer;
use crate::cluster::failover::Ticket;

/// What there is to be said to a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// This.
    Answered(Answer),
    /// What comes under this ticket.
    Comes(Ticket),
}

/// Answers of one child that cannot be sent yet, in the order of its requests; the first is one that is to come, or one
/// that the child has no room for.
#[derive(Debug, Default)]
pub(super) struct Owed {
    waiting: VecDeque<Outcome>,
}

impl Owed {
    /// What there is to be said to its next request. Returns what can be sent now.
    pub(super) fn add(&mut self, outcome: Outcome) -> Vec<Answer> {
        self.waiting.push_back(outcome);
        self.ready()
    }

    /// An answer has come. Returns what can be sent now.
    pub(super) fn comes(&mut self, ticket: Ticket, answer: &Answer) -> Vec<Answer> {
        for waiting in &mut self.waiting {
            if *waiting == Outcome::Comes(ticket) {
                *waiting = Outcome::Answered(answer.clone());
            }
        }
        self.ready()
    }

    /// The child does not take these now, which were to be sent: they come first the next time.
    pub(super) fn put_back(&mut self, answers: Vec<Answer>) {
        answers.into_iter().rev().for_each(|answer| self.waiting.push_front(Outcome::Answered(answer)));
    }

    /// Whether something was put back.
    pub(super) fn is_stuck(&self) -> bool {
        matches!(self.waiting.front(), Some(Outcome::Answered(_)))
    }

    /// What can be sent now.
    pub(super) fn ready(&mut self) -> Vec<Answer> {
        let next = || match self.waiting.pop_front()? {
            Outcome::Answered(answer) => Some(answer),
            comes => {
                self.waiting.push_front(comes);
                None
            }
        };
        std::iter::from_fn(next).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(why: &str) -> Answer {
        Answer::Refused(why.to_owned())
    }

    #[test]
    fn answers_keep_the_order_of_the_requests() {
        let mut owed = Owed::default();
        assert_eq!(owed.add(Outcome::Answered(Answer::Done)), [Answer::Done]);
        assert!(owed.add(Outcome::Comes(7)).is_empty());
        assert!(owed.add(Outcome::Answered(refused("a"))).is_empty());
        assert!(owed.add(Outcome::Comes(8)).is_empty());
        assert!(owed.comes(9, &Answer::Done).is_empty(), "it is another child's");
        assert!(owed.comes(8, &refused("b")).is_empty());
        assert_eq!(owed.comes(7, &Answer::Done), [Answer::Done, refused("a"), refused("b")]);
        assert!(owed.waiting.is_empty());
    }

    #[test]
    fn what_a_child_does_not_take_comes_first_the_next_time() {
        let mut owed = Owed::default();
        assert!(owed.add(Outcome::Comes(7)).is_empty() && !owed.is_stuck());
        let both = [owed.add(Outcome::Answered(refused("a"))), owed.comes(7, &Answer::Done)].concat();
        assert_eq!(both, [Answer::Done, refused("a")]);
        owed.put_back(both);
        assert!(owed.is_stuck());
        assert_eq!(owed.add(Outcome::Answered(refused("b"))), [Answer::Done, refused("a"), refused("b")]);
        assert!(!owed.is_stuck());
    }
}
