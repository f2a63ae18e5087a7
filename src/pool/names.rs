//! What stands under the names that clients choose for statements and portals.
//!
//! Most clients use the empty name and no other, once a statement: it has a place of its own, without hashing.
#![forbid(unsafe_code)]

use std::collections::HashMap;

/// A map by name.
#[derive(Debug)]
pub struct Names<V> {
    unnamed: Option<V>,
    named: HashMap<Box<[u8]>, V, foldhash::fast::RandomState>,
}

impl<V> Default for Names<V> {
    fn default() -> Self {
        Names { unnamed: None, named: HashMap::default() }
    }
}

impl<V> Names<V> {
    /// What the name stands for.
    pub fn get(&self, name: &[u8]) -> Option<&V> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.named.get(name) }
    }

    /// What the name stands for, to change it.
    pub fn get_mut(&mut self, name: &[u8]) -> Option<&mut V> {
        if name.is_empty() { self.unnamed.as_mut() } else { self.named.get_mut(name) }
    }

    /// Whether it stands for anything.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// From now on the name stands for this.
    pub fn insert(&mut self, name: &[u8], value: V) {
        if name.is_empty() {
            self.unnamed = Some(value);
        } else if let Some(place) = self.named.get_mut(name) {
            *place = value;
        } else {
            self.named.insert(name.into(), value);
        }
    }

    /// The name stands for nothing any more.
    pub fn remove(&mut self, name: &[u8]) -> Option<V> {
        if name.is_empty() { self.unnamed.take() } else { self.named.remove(name) }
    }

    /// Forgets all that `keep` does not want.
    pub fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        self.unnamed.take_if(|value| !keep(value));
        self.named.retain(|_, value| keep(value));
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.unnamed = None;
        self.named.clear();
    }

    /// All names but the empty one.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.named.keys().map(|name| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_name_is_a_name_like_any_other() {
        let mut names = Names::<i32>::default();
        for name in [b"".as_slice(), b"a"] {
            assert_eq!(names.get(name), None);
            names.insert(name, 1);
            names.insert(name, 0);
            *names.get_mut(name).unwrap() += 2;
            assert_eq!((names.get(name), names.contains(name)), (Some(&2), true));
        }
        assert_eq!(names.names().collect::<Vec<_>>(), [b"a"]);
        names.retain(|value| *value != 2);
        assert!(!names.contains(b"") && !names.contains(b"a"));
        for name in [b"".as_slice(), b"a"] {
            names.insert(name, 3);
            assert_eq!((names.remove(name), names.remove(name)), (Some(3), None));
            names.insert(name, 4);
        }
        names.clear();
        assert!(!names.contains(b"") && !names.contains(b"a"));
    }
}
