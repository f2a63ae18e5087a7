//! Ours: the very code that the program runs, over words in this process.

use std::sync::atomic::AtomicU64;

use pgbalancer::route::learn::{Algorithm, Candidate, Class, Model, Outcome, Settings, Why};

use super::policy::{Policy, Token};
use crate::simulation::dice::Dice;

pub(super) struct Ours {
    words: Vec<AtomicU64>,
    workers: usize,
    nodes: usize,
    settings: Settings,
    explored: bool,
}

impl Ours {
    pub(super) fn new(workers: usize, nodes: usize, algorithm: Algorithm) -> Ours {
        let words = (0..Model::words_needed(workers, nodes)).map(|_| AtomicU64::new(0)).collect();
        let settings = Settings::new(algorithm, 0.01, 0.1, [0.4, 0.3, 0.3]);
        Ours { words, workers, nodes, settings, explored: false }
    }

    fn model(&self) -> Model<'_> {
        Model::new(&self.words, self.workers, self.nodes).expect("as many words as it asked for")
    }
}

fn class(kind: Option<usize>) -> Class {
    kind.map_or(Class::UNKNOWN, |kind| Class {
        key: (kind as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        size: 0,
    })
}

impl Policy for Ours {
    fn choose(&mut self, candidates: &[Candidate], kind: Option<usize>, now: u64, dice: &mut Dice) -> usize {
        let choice = self.model().choose(&self.settings, candidates, class(kind), now, &mut || dice.next());
        let choice = choice.expect("there is a candidate");
        self.explored = choice.explored;
        choice.node
    }

    fn begin(&mut self, worker: usize, node: usize, kind: usize, now: u64) -> Token {
        let why = if self.explored { Why::Explored } else { Why::Chosen };
        let ticket =
            self.model().begin(&self.settings, worker % self.workers, node, class(Some(kind)), why, now);
        Token { node, begin: now, before: 0, ours: Some(ticket) }
    }

    fn end(&mut self, worker: usize, token: Token, is_ok: bool, now: u64) {
        let outcome = if is_ok { Outcome::Ok } else { Outcome::Error };
        let latency = now.saturating_sub(token.begin);
        if let Some(ticket) = token.ours {
            self.model().end(&self.settings, worker % self.workers, ticket, latency, outcome, now);
        }
    }

    fn back(&mut self, node: usize, now: u64) {
        self.model().node_back(node, now);
    }
}
