//! Where everything lies in the words of the model.
//!
//! Any sequence of words is a model, and all zeros an empty one: a worker may be killed between any two stores. What is
//! written often by many has a line of its own (8 words); what one worker alone writes has a row.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use super::Class;
use crate::error::NodeId;

/// Words of a line of the processor's cache.
pub(super) const LINE: usize = 8;
/// Classes of statements that have a place of their own.
pub(super) const SLOTS: usize = 512;
/// Places of classes, with one for each group of rare ones.
pub(super) const PLACES: usize = SLOTS + Class::SIZES as usize;
/// Lines of a node.
const NODE_LINES: usize = 3;
/// Words of a place before those of the nodes.
const PLACE_HEAD: usize = 3;

static NOTHING: AtomicU64 = AtomicU64::new(0);

/// The learner's knowledge, in words that all workers share.
#[derive(Clone, Copy)]
pub struct Model<'a> {
    words: &'a [AtomicU64],
    pub(super) workers: usize,
    pub(super) nodes: usize,
}

/// In place of a time: the last look was a good surprise.
pub(super) const LOOK_AGAIN: u64 = u64::MAX;

/// What a node runs now: written by every begin and end.
pub(super) struct Running<'a> {
    /// How many, short and long ones; see [`counts`].
    pub(super) counts: &'a AtomicU64,
    /// What the short ones and the long ones are expected to cost, in microseconds.
    pub(super) short_work: &'a AtomicU64,
    pub(super) long_work: &'a AtomicU64,
    /// When a statement last ended, and when the node last began to be busy.
    pub(super) last_end: &'a AtomicU64,
    pub(super) busy_since: &'a AtomicU64,
    /// When somebody last went there only to look, or [`LOOK_AGAIN`].
    pub(super) last_look: &'a AtomicU64,
}

/// What was learned of a node: written by every end.
pub(super) struct Learned<'a> {
    /// Mean of latency in relation to what the class takes on all nodes.
    pub(super) speed: &'a AtomicU64,
    /// Mean of latency in relation to what was expected, over a short time.
    pub(super) mood: &'a AtomicU64,
    /// Mean of errors: 1 for each, 0 for each success.
    pub(super) errors: &'a AtomicU64,
    /// Errors since the last success.
    pub(super) streak: &'a AtomicU64,
    /// How many it runs at once before they wait for each other.
    pub(super) room: &'a AtomicU64,
    /// How many too many had to wait when there was no room.
    pub(super) excess: &'a AtomicU64,
    /// Latency that rises at once and falls slowly.
    pub(super) peak: &'a AtomicU64,
    /// When the node came back; 0: it never went.
    pub(super) back: &'a AtomicU64,
    /// Mean of how many it runs.
    pub(super) crowd: &'a AtomicU64,
    /// Mean latency; for reports.
    pub(super) latency: &'a AtomicU64,
}

/// What one worker has on a node; only that worker writes it.
pub(super) struct Row<'a> {
    pub(super) counts: &'a AtomicU64,
    pub(super) short_work: &'a AtomicU64,
    pub(super) long_work: &'a AtomicU64,
    pub(super) total: &'a AtomicU64,
    pub(super) ok: &'a AtomicU64,
    pub(super) failed: &'a AtomicU64,
    pub(super) chosen: &'a AtomicU64,
    pub(super) explored: &'a AtomicU64,
}

/// A class of statements.
pub(super) struct Place<'a> {
    pub(super) key: &'a AtomicU64,
    /// Mean of what it takes on all nodes, without waiting.
    pub(super) overall: &'a AtomicU64,
    /// The same on each node.
    pub(super) on: &'a [AtomicU64],
}

impl<'a> Model<'a> {
    /// Words that a model of so many workers and nodes takes.
    pub const fn words_needed(workers: usize, nodes: usize) -> usize {
        LINE * (1 + nodes * NODE_LINES + workers * nodes) + PLACES * place_words(nodes)
    }

    /// The model in these words; `None`: there are too few of them.
    pub fn new(words: &'a [AtomicU64], workers: usize, nodes: usize) -> Option<Model<'a>> {
        let words = words.get(..Model::words_needed(workers, nodes))?;
        Some(Model { words, workers, nodes })
    }

    fn word(&self, at: usize) -> &'a AtomicU64 {
        self.words.get(at).unwrap_or(&NOTHING)
    }

    /// Mean of the logarithm (to base 2) of what statements cost.
    pub(super) fn typical(&self) -> &'a AtomicU64 {
        self.word(0)
    }

    #[inline(always)]
    pub(super) fn running(&self, node: NodeId) -> Option<Running<'a>> {
        let words = self.node_line(node, 0)?;
        let [counts, short_work, long_work, last_end, busy_since, last_look, ..] = words else { return None };
        Some(Running { counts, short_work, long_work, last_end, busy_since, last_look })
    }

    #[inline(always)]
    pub(super) fn learned(&self, node: NodeId) -> Option<Learned<'a>> {
        let [speed, mood, errors, streak, room, excess, peak, back] = self.node_line(node, 1)? else {
            return None;
        };
        let [crowd, latency, ..] = self.node_line(node, 2)? else { return None };
        Some(Learned { speed, mood, errors, streak, room, excess, peak, back, crowd, latency })
    }

    #[inline(always)]
    fn node_line(&self, node: NodeId, line: usize) -> Option<&'a [AtomicU64]> {
        let at = (node < self.nodes).then_some(LINE * (1 + node * NODE_LINES + line))?;
        self.words.get(at..)?.get(..LINE)
    }

    pub(super) fn row(&self, worker: usize, node: NodeId) -> Option<Row<'a>> {
        let is_there = worker < self.workers && node < self.nodes;
        let line = 1 + self.nodes * NODE_LINES + worker * self.nodes + node;
        let at = is_there.then_some(LINE * line)?;
        let words = self.words.get(at..)?.get(..LINE)?;
        let [counts, short_work, long_work, total, ok, failed, chosen, explored] = words else { return None };
        Some(Row { counts, short_work, long_work, total, ok, failed, chosen, explored })
    }

    /// The place of that number, below [`PLACES`].
    pub(super) fn place(&self, number: usize) -> Option<Place<'a>> {
        let begin = LINE * (1 + self.nodes * (NODE_LINES + self.workers));
        let width = place_words(self.nodes);
        let words = self.words.get(begin + number * width..)?.get(..width)?;
        let [key, overall, _spare, on @ ..] = words else { return None };
        Some(Place { key, overall, on: on.get(..self.nodes)? })
    }

    /// Forgets everything but what runs now and what was counted.
    pub fn reset(&self) {
        self.typical().store(0, Ordering::Relaxed);
        for node in 0..self.nodes {
            for line in [1, 2] {
                self.node_line(node, line)
                    .into_iter()
                    .flatten()
                    .for_each(|word| word.store(0, Ordering::Relaxed));
            }
        }
        for place in (0..PLACES).filter_map(|number| self.place(number)) {
            [place.key, place.overall]
                .into_iter()
                .chain(place.on)
                .for_each(|word| word.store(0, Ordering::Relaxed));
        }
    }
}

/// Words of a place, in whole lines.
const fn place_words(nodes: usize) -> usize {
    (PLACE_HEAD + nodes).div_ceil(LINE) * LINE
}

/// One long statement in a word of counts; a short one is 1.
pub(super) const ONE_LONG: u64 = 1 << 32;

/// How many short and how many long ones, in one word, so that they change together.
pub(super) fn counts(word: &AtomicU64) -> (u32, u32) {
    let value = word.load(Ordering::Relaxed);
    let half = |value: u32| if value > u32::MAX / 2 { 0 } else { value };
    (half(value as u32), half((value >> 32) as u32))
}

/// A count that may have gone below zero, where a process died between two stores.
pub(super) fn count(word: &AtomicU64) -> u64 {
    let value = word.load(Ordering::Relaxed);
    if value > u64::MAX / 2 { 0 } else { value }
}

/// Adds to a word that one process alone writes.
pub(super) fn add(word: &AtomicU64, more: u64) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}
