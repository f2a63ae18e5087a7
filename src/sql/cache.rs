//! Facts of texts seen before, so that a repeated text costs one hash and no parse.
//!
//! One cache a worker. Two texts share facts if they are the same bytes, or differ in plain numbers only (`fold`).
#![forbid(unsafe_code)]

use std::rc::Rc;

use foldhash::fast::RandomState;
use lru::LruCache;

use super::fold::fold;
use super::{Facts, ParseOutcome, facts};

/// Most bytes that texts and their facts may take, about.
const MAX_BYTES: usize = 16 << 20;
/// Longest text worth keeping: a long one is a bulk INSERT that never comes again.
const MAX_KEPT: usize = 64 << 10;

/// Bounded by entries and by bytes; what was not used longest goes first.
pub struct Cache {
    // Clients choose the texts, so the hash has a random seed.
    entries: LruCache<Box<[u8]>, Rc<Facts>, RandomState>,
    capacity: usize,
    bytes: usize,
    /// The key being looked up.
    key: Vec<u8>,
}

impl Cache {
    /// A cache of at most `capacity` texts.
    pub fn new(capacity: usize) -> Cache {
        // The map itself is unbounded, since a bounded one takes its memory in advance.
        let entries = LruCache::unbounded_with_hasher(RandomState::default());
        Cache { entries, capacity: capacity.max(1), bytes: 0, key: Vec::new() }
    }

    /// The facts of `text`, as the client sent it.
    pub fn get(&mut self, text: &[u8]) -> Rc<Facts> {
        let folded = text.len() <= MAX_KEPT && fold(text, &mut self.key);
        let key = if folded { self.key.as_slice() } else { text };
        if let Some(known) = self.entries.get(key) {
            return Rc::clone(known);
        }
        let found = Rc::new(match std::str::from_utf8(text) {
            Ok(text) => facts(text),
            Err(_) => Facts::unknown(ParseOutcome::NotUtf8),
        });
        // A number can be what the grammar refuses, so only an understood text speaks for its likes.
        if folded && found.parse == ParseOutcome::Ok {
            let key = std::mem::take(&mut self.key);
            self.keep(&key, Rc::clone(&found));
            self.key = key;
        } else if text.len() <= MAX_KEPT {
            self.keep(text, Rc::clone(&found));
        }
        found
    }

    fn keep(&mut self, text: &[u8], found: Rc<Facts>) {
        self.bytes += cost(text);
        self.entries.push(text.into(), found);
        while self.entries.len() > self.capacity || self.bytes > MAX_BYTES {
            let Some((old, _)) = self.entries.pop_lru() else { break };
            self.bytes -= cost(&old);
        }
    }
}

/// Bytes of an entry: names in the facts are parts of the text, and come with their own boxes.
fn cost(text: &[u8]) -> usize {
    text.len() * 4 + 512
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_parsed_once() {
        let mut cache = Cache::new(10);
        let first = cache.get(b"SELECT 1");
        assert!(Rc::ptr_eq(&first, &cache.get(b"SELECT 1")));
        assert!(!Rc::ptr_eq(&first, &cache.get(b"SELECT  1")));
        assert!(Rc::ptr_eq(&first, &cache.get(b"SELECT 2")));
    }

    #[test]
    fn bounded_by_entries_and_bytes() {
        let mut cache = Cache::new(3);
        for n in 0..10 {
            cache.get(format!("SELECT a{n}").as_bytes());
        }
        assert_eq!(cache.entries.len(), 3);
        assert_eq!(cache.bytes, cache.entries.iter().map(|(text, _)| cost(text)).sum::<usize>());

        let mut cache = Cache::new(1_000_000);
        for n in 0..200 {
            cache.get(format!("SELECT {n} -- {}", "x".repeat(MAX_KEPT - 100)).as_bytes());
            assert!(cache.bytes <= MAX_BYTES);
        }
        assert!(cache.entries.len() < 200);
        cache.get(format!("SELECT 1 -- {}", "x".repeat(MAX_KEPT)).as_bytes());
        assert!(!cache.entries.contains(format!("SELECT 1 -- {}", "x".repeat(MAX_KEPT)).as_bytes()));
    }

    #[test]
    fn other_encodings_are_not_parsed() {
        assert_eq!(Cache::new(1).get(b"SELECT '\xe9'").parse, ParseOutcome::NotUtf8);
    }
}
