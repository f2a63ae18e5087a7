//! What texts have in common that differ only in literals, parameters, comments, white space and upper case: a hash that
//! is the same in every process and after every restart.
//!
//! One pass over the bytes, without PostgreSQL's grammar: it need not be right about every text, only the same for the
//! same text, cheap, and safe for any bytes. Lists of literals (`IN (1, 2, 3)`) count as one.
#![forbid(unsafe_code)]

use memchr::{memchr, memchr2};

/// Longest part of a text that is looked at.
const MOST: usize = 4096;
/// Stands for a literal or a parameter.
const LITERAL: u8 = b'?';
/// Odd and without pattern: the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// A text without what differs from call to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// Never 0.
    pub key: u64,
    /// Bytes of the text that were normalised, at most 4096.
    pub length: usize,
}

/// The fingerprint of a text as the client sent it.
pub fn fingerprint(text: &[u8]) -> Fingerprint {
    let text = text.get(..MOST).unwrap_or(text);
    let mut out = Normal::default();
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        let follows_word = || text.iter().nth_back(rest.len()).is_some_and(|before| is_word(*before));
        rest = match KIND[usize::from(byte)] {
            Kind::Word => {
                let end = behind.iter().position(|b| !is_word(*b)).map_or(rest.len(), |at| at + 1);
                let (word, behind) = rest.split_at(end);
                // E'…' may hold backslashes.
                match behind.strip_prefix(b"'") {
                    Some(string) if word.eq_ignore_ascii_case(b"e") => {
                        out.literal();
                        after_string(string, true)
                    }
                    Some(string) if word.len() == 1 && matches!(byte | 0x20, b'b' | b'x' | b'n') => {
                        out.literal();
                        after_string(string, false)
                    }
                    _ => {
                        out.word(word);
                        behind
                    }
                }
            }
            Kind::Digit => {
                out.literal();
                after_number(behind)
            }
            Kind::Space => behind,
            Kind::Quote => {
                out.literal();
                after_string(behind, false)
            }
            Kind::Name => {
                let (name, behind) = behind.split_at(memchr(b'"', behind).map_or(behind.len(), |at| at + 1));
                out.exact(byte);
                name.iter().for_each(|b| out.exact(*b));
                behind
            }
            Kind::Dollar => match dollar(behind) {
                Some(behind) => {
                    out.literal();
                    behind
                }
                None => {
                    out.sign(byte);
                    behind
                }
            },
            Kind::Other => match (byte, behind.first()) {
                (b'-', Some(b'-')) => from(behind, memchr2(b'\n', b'\r', behind)),
                (b'/', Some(b'*')) => after_comment(behind.get(1..).unwrap_or_default()),
                (b'.', Some(digit)) if digit.is_ascii_digit() && !follows_word() => {
                    out.literal();
                    after_number(behind)
                }
                (b';', _) if behind.trim_ascii().is_empty() => &[],
                _ => {
                    out.sign(byte);
                    behind
                }
            },
        };
    }
    Fingerprint { key: out.finish(), length: text.len() }
}

#[derive(Clone, Copy)]
enum Kind {
    Word,
    Digit,
    Space,
    Quote,
    Name,
    Dollar,
    Other,
}

static KIND: [Kind; 256] = {
    let mut kinds = [Kind::Other; 256];
    let mut byte = 0;
    while byte < kinds.len() {
        kinds[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => Kind::Word,
            b'0'..=b'9' => Kind::Digit,
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => Kind::Space,
            b'\'' => Kind::Quote,
            b'"' => Kind::Name,
            b'$' => Kind::Dollar,
            _ => Kind::Other,
        };
        byte += 1;
    }
    kinds
};

fn is_word(byte: u8) -> bool {
    matches!(KIND[usize::from(byte)], Kind::Word | Kind::Digit | Kind::Dollar)
}

/// Behind the digits, letters and signs of a number.
fn after_number(mut rest: &[u8]) -> &[u8] {
    let mut before = 0;
    while let Some((&byte, behind)) = rest.split_first() {
        let is_sign = matches!(byte, b'+' | b'-') && matches!(before, b'e' | b'E');
        if !(byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_' || is_sign) {
            break;
        }
        (before, rest) = (byte, behind);
    }
    rest
}

/// Behind the quote that ends a string; a doubled one does not.
fn after_string(mut rest: &[u8], has_escapes: bool) -> &[u8] {
    loop {
        let special = if has_escapes { memchr2(b'\'', b'\\', rest) } else { memchr(b'\'', rest) };
        rest = match from(rest, special) {
            [b'\'', b'\'', behind @ ..] | [b'\\', _, behind @ ..] => behind,
            [_, behind @ ..] => return behind,
            [] => return &[],
        };
    }
}

/// Behind a comment whose begin is gone already; they nest.
fn after_comment(mut rest: &[u8]) -> &[u8] {
    let mut depth = 1_usize;
    while let Some(at) = memchr2(b'*', b'/', rest) {
        let begin = rest.get(at..).unwrap_or_default();
        let step = match begin {
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            _ => 1,
        };
        rest = begin.get(step..).unwrap_or_default();
        if depth == 0 {
            return rest;
        }
    }
    &[]
}

/// Behind a parameter or a string in dollars, whose first dollar is gone already; `None`: it is only a dollar.
fn dollar(rest: &[u8]) -> Option<&[u8]> {
    if rest.first().is_some_and(u8::is_ascii_digit) {
        let end = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
        return rest.get(end..);
    }
    let end = rest.iter().position(|b| *b == b'$' || !is_word(*b))?;
    let (tag, mut behind) = rest.split_at_checked(end + 1)?;
    tag.ends_with(b"$").then_some(())?;
    while let Some(at) = memchr(b'$', behind) {
        behind = behind.get(at + 1..).unwrap_or_default();
        if let Some(behind) = behind.strip_prefix(tag) {
            return Some(behind);
        }
    }
    Some(&[])
}

/// What begins at that place; nothing if there is none.
fn from(rest: &[u8], at: Option<usize>) -> &[u8] {
    at.and_then(|at| rest.get(at..)).unwrap_or_default()
}

/// The normalised text, as it is hashed.
#[derive(Default)]
struct Normal {
    hash: u64,
    /// Bytes that wait for the hash, the last in the lowest byte.
    part: u64,
    bytes: u32,
    ends_with_word: bool,
    ends_with_literal: bool,
    /// A comma behind a literal, which goes with the next one.
    has_comma: bool,
}

impl Normal {
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.part = self.part << 8 | u64::from(byte);
        self.bytes = self.bytes.wrapping_add(1);
        if self.bytes.is_multiple_of(8) {
            self.mix();
        }
    }

    #[inline]
    fn mix(&mut self) {
        let product = u128::from(self.hash ^ self.part) * u128::from(MULTIPLIER);
        self.hash = (product as u64) ^ ((product >> 64) as u64) ^ self.part.rotate_left(23);
        self.part = 0;
    }

    fn flush_comma(&mut self) {
        if std::mem::take(&mut self.has_comma) {
            self.byte(b',');
        }
        self.ends_with_literal = false;
    }

    fn word(&mut self, word: &[u8]) {
        self.flush_comma();
        if self.ends_with_word {
            self.byte(b' ');
        }
        word.iter().for_each(|byte| self.byte(byte.to_ascii_lowercase()));
        self.ends_with_word = true;
    }

    fn literal(&mut self) {
        if std::mem::take(&mut self.has_comma) {
            self.ends_with_literal = true;
            return;
        }
        if self.ends_with_word {
            self.byte(b' ');
        }
        self.byte(LITERAL);
        (self.ends_with_literal, self.ends_with_word) = (true, true);
    }

    fn sign(&mut self, byte: u8) {
        if byte == b',' && self.ends_with_literal {
            self.flush_comma();
            (self.has_comma, self.ends_with_word) = (true, false);
            return;
        }
        self.exact(byte);
    }

    fn exact(&mut self, byte: u8) {
        self.flush_comma();
        self.byte(byte);
        self.ends_with_word = false;
    }

    fn finish(mut self) -> u64 {
        self.flush_comma();
        self.part ^= u64::from(self.bytes) << 56;
        self.mix();
        self.mix();
        self.hash.max(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> u64 {
        fingerprint(text.as_bytes()).key
    }

    #[test]
    fn literals_parameters_comments_and_case_do_not_count() {
        for (a, b) in [
            ("SELECT a FROM t WHERE id = 17", "select  a\nfrom T where ID=4"),
            ("SELECT a FROM t WHERE id = 17", "SELECT a FROM t WHERE id = $1"),
            ("SELECT a FROM t WHERE id = 17", "SELECT a FROM t WHERE id = 'it''s'"),
            ("SELECT 'a'", "SELECT E'b\\'c'"),
            ("SELECT 'a'", "SELECT $tag$b $ $tg$ c$tag$"),
            ("SELECT 'a'", "SELECT $$b'c$$"),
            ("SELECT 1.5e-7, x", "SELECT .5, x"),
            ("SELECT 0x1F", "SELECT 1_000"),
            ("SELECT 1", "SELECT 2;  "),
            ("SELECT 1", "/* a /* b */ c */ SELECT 1 -- d"),
            ("SELECT -- a\n x", "SELECT x"),
            ("SELECT a FROM t WHERE id IN (1, 2, 3)", "SELECT a FROM t WHERE id IN ($1,$2)"),
            ("SELECT a FROM t WHERE id IN (1)", "SELECT a FROM t WHERE id IN (1,2,3,4,5,6,7,8,9)"),
            ("INSERT INTO t VALUES (1, 'a')", "INSERT INTO t VALUES (2, 'b')"),
            ("SELECT N'a', B'1'", "SELECT 'b', X'2'"),
        ] {
            assert_eq!(key(a), key(b), "{a} | {b}");
        }
    }

    #[test]
    fn names_and_structure_count() {
        let texts = [
            "SELECT a FROM t1",
            "SELECT a FROM t2",
            "SELECT a FROM \"t1\"",
            "SELECT a FROM \"T1\"",
            "SELECT a FROM t1, t2",
            "SELECT a, 1 FROM t1",
            "SELECT 1, a FROM t1",
            "SELECT 1, a, 2 FROM t1",
            "SELECT aFROM t1",
            "SELECT a FROM t1 WHERE a < 1",
            "SELECT a FROM t1 WHERE a > 1",
            "SELECT a FROM t1 WHERE a - 1 > 1",
            "SELECT a FROM t1 WHERE a -> 1 > 1",
            "SELECT a FROM t1 LIMIT 1",
            "SELECT a FROM t1; SELECT 1",
            "SELECT a$1 FROM t1",
            "SELECT a$2 FROM t1",
            "SELECT \u{e9} FROM t1",
            "",
            "1",
            "(1)",
            "(1),",
        ];
        for (at, a) in texts.iter().enumerate() {
            for b in texts.get(at + 1..).unwrap_or_default() {
                assert_ne!(key(a), key(b), "{a} | {b}");
            }
        }
    }

    #[test]
    fn what_does_not_end_is_no_trouble() {
        for text in ["'", "E'\\", "\"a", "$a$ $a", "/* /*", "--", "$", "e'", "1e", "1e+", "/*/", "'a''"] {
            assert_ne!(key(text), 0, "{text}");
        }
    }

    #[test]
    fn a_long_text_costs_no_more_than_its_begin() {
        let long = |tail: &str| fingerprint(format!("SELECT {}{tail}", "a + ".repeat(2000)).as_bytes());
        assert_eq!(long("b"), long("c"));
        assert_eq!(long("b").length, MOST);
    }

    #[test]
    fn it_stays_the_same_over_restarts() {
        assert_eq!(key("SELECT abalance FROM pgbench_accounts WHERE aid = 4711;"), PINNED);
    }

    const PINNED: u64 = 5_671_656_885_321_663_117;

    proptest! {
        #[test]
        fn any_bytes_have_one(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_ne!(fingerprint(&bytes).key, 0);
        }

        #[test]
        fn any_number_is_like_any_other(a in any::<u32>(), b in any::<u32>()) {
            prop_assert_eq!(key(&format!("SELECT x{a} + {a}")), key(&format!("SELECT x{a}+ {b} ")));
        }
    }
}
