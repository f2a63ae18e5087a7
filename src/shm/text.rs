//! Short text of fixed room, for rows.
#![forbid(unsafe_code)]

use std::fmt;

use super::words::{Source, Word};

/// Up to `N` bytes of text; longer text is cut between characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    length: usize,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    /// The text; whatever is not UTF-8 (a torn row) ends it.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or(&self.bytes);
        match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                bytes.get(..error.valid_up_to()).map_or("", |good| std::str::from_utf8(good).unwrap_or(""))
            }
        }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Text { length: 0, bytes: [0; N] }
    }
}

impl<const N: usize> From<&str> for Text<N> {
    fn from(text: &str) -> Self {
        let length = text.floor_char_boundary(N);
        let mut bytes = [0; N];
        for (to, from) in bytes.iter_mut().zip(text.as_bytes().iter().take(length)) {
            *to = *from;
        }
        Text { length, bytes }
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> Word for Text<N> {
    const WORDS: usize = 1 + N.div_ceil(8);

    fn put(&self, out: &mut dyn FnMut(u64)) {
        out(self.length as u64);
        for chunk in self.bytes.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            out(u64::from_le_bytes(word));
        }
    }

    fn take(from: &mut Source<'_>) -> Self {
        let length = usize::try_from(from.next()).unwrap_or(N).min(N);
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(8) {
            let word = from.next().to_le_bytes();
            chunk.iter_mut().zip(word).for_each(|(to, from)| *to = from);
        }
        Text { length, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters() {
        for (text, kept) in [
            ("", ""),
            ("abc", "abc"),
            ("abcdefgh", "abcdefgh"),
            ("abcdefghi", "abcdefgh"),
            ("abcdefgé", "abcdefg"),
        ] {
            assert_eq!(Text::<8>::from(text).as_str(), kept);
        }
    }

    #[test]
    fn foreign_bytes_never_panic() {
        let words = [u64::MAX, 0xff41_4141_4141_4141];
        assert_eq!(Text::<8>::take(&mut Source::new(&words)).as_str(), "AAAAAAA");
        assert_eq!(Text::<8>::take(&mut Source::new(&[])).as_str(), "");
    }
}
