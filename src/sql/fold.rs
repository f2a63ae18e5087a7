//! Texts that differ only in their numbers have the same facts: the key under which they share them.
//!
//! Only what is plain enough to be cut without PostgreSQL's lexer is folded: one SELECT, INSERT, UPDATE or DELETE
//! without quotes, comments, dollars and backslashes. Anything else keeps its exact text as key.
#![forbid(unsafe_code)]

/// Stands for a number. No text of a client holds this byte: it would end the text.
const NUMBER: u8 = 0;

/// Writes the key of `text` to `key`; false if the text is to be its own key.
pub(super) fn fold(text: &[u8], key: &mut Vec<u8>) -> bool {
    key.clear();
    if !begins_plainly(text) {
        return false;
    }
    let mut before = b' ';
    let mut rest = text;
    while let Some(at) = first_special(rest) {
        let (plain, special) = rest.split_at(at);
        let Some((&byte, behind)) = special.split_first() else { break };
        key.extend_from_slice(plain);
        before = plain.last().copied().unwrap_or(before);
        if byte.is_ascii_digit() {
            let digits = special.iter().take_while(|b| b.is_ascii_digit()).count();
            let (number, behind) = special.split_at(digits);
            if joins(before) || behind.first().is_some_and(|next| joins(*next)) {
                key.extend_from_slice(number);
            } else {
                key.push(NUMBER);
            }
            (before, rest) = (byte, behind);
            continue;
        }
        let opens_comment = matches!((byte, behind.first()), (b'-', Some(b'-')) | (b'/', Some(b'*')));
        let ends = byte == b';' && !behind.iter().all(u8::is_ascii_whitespace);
        if opens_comment || ends || !matches!(byte, b'-' | b'/' | b';') {
            return false;
        }
        key.push(byte);
        (before, rest) = (byte, behind);
    }
    key.extend_from_slice(rest);
    true
}

/// Where the first byte stands that is not plain.
fn first_special(text: &[u8]) -> Option<usize> {
    let (chunks, _) = text.as_chunks::<LANES>();
    let plain = chunks.iter().take_while(|chunk| is_plain(chunk)).count() * LANES;
    let rest = text.get(plain..).unwrap_or_default();
    rest.iter().position(|byte| !PLAIN[usize::from(*byte)]).map(|at| plain + at)
}

const LANES: usize = 16;

/// Whether all bytes are plain. Without a branch, so that the compiler compares them all at once.
fn is_plain(chunk: &[u8; LANES]) -> bool {
    chunk.iter().fold(0, |any, byte| any | u8::from(is_special(*byte))) == 0
}

/// Bytes that stand in a key as they are, whatever is beside them.
static PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte < plain.len() {
        plain[byte] = !is_special(byte as u8);
        byte += 1;
    }
    plain
};

/// Bytes that must be looked at.
const fn is_special(byte: u8) -> bool {
    (byte.wrapping_sub(b'0') < 10)
        | (byte == 0)
        | (byte == b'\'')
        | (byte == b'"')
        | (byte == b'$')
        | (byte == b'\\')
        | (byte == b'-')
        | (byte == b'/')
        | (byte == b';')
}

/// A statement of which nothing but names and structure matters.
fn begins_plainly(text: &[u8]) -> bool {
    let word = text.trim_ascii_start().get(..6).unwrap_or_default();
    [b"SELECT", b"INSERT", b"UPDATE", b"DELETE"].iter().any(|w| word.eq_ignore_ascii_case(*w))
}

/// Whether a digit beside this byte is part of a name or of a longer number.
fn joins(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.') || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{ParseOutcome, facts};
    use super::*;

    fn key(text: &str) -> Option<Vec<u8>> {
        let mut key = Vec::new();
        fold(text.as_bytes(), &mut key).then_some(key)
    }

    #[test]
    fn all_ways_to_look_for_special_bytes_agree() {
        for byte in 0..=u8::MAX {
            assert_eq!(PLAIN[usize::from(byte)], !b"0123456789\0'\"$\\-/;".contains(&byte), "{byte}");
            assert_eq!(is_plain(&[byte; LANES]), PLAIN[usize::from(byte)], "{byte}");
            for at in [0, 5, LANES - 1, LANES, 3 * LANES + 7] {
                let mut text = [b'a'; 4 * LANES];
                text[at] = byte;
                assert_eq!(first_special(&text), (!PLAIN[usize::from(byte)]).then_some(at));
            }
        }
    }

    #[test]
    fn numbers_alone_are_folded() {
        for (a, b) in [
            ("SELECT a FROM t WHERE id = 17", "SELECT a FROM t WHERE id = 4"),
            ("select f(1,-2) limit 10;", "select f(33,-4) limit 9;"),
            ("UPDATE t SET a=a+1 WHERE b IN (1,2)", "UPDATE t SET a=a+22 WHERE b IN (7,9)"),
        ] {
            assert_eq!(key(a), key(b), "{a}");
            assert!(key(a).is_some(), "{a}");
        }
        for (a, b) in [
            ("SELECT a FROM t1", "SELECT a FROM t2"),
            ("SELECT a FROM t_1", "SELECT a FROM t_2"),
            ("SELECT 1.5", "SELECT 1.6"),
            ("SELECT 0x10", "SELECT 0x11"),
            ("SELECT 1e5", "SELECT 1e6"),
            ("SELECT \u{e9}1()", "SELECT \u{e9}2()"),
        ] {
            assert_ne!(key(a), key(b), "{a}");
        }
    }

    #[test]
    fn what_needs_a_lexer_is_its_own_key() {
        for text in [
            "SELECT '1'",
            "SELECT \"1\"",
            "SELECT $1",
            "SELECT $$1$$",
            "SELECT 1 -- 2",
            "SELECT 1 /* 2 */",
            "/*NO LOAD BALANCE*/ SELECT 1",
            "SELECT 1; DELETE FROM t",
            "SELECT E\\1",
            "SET statement_timeout = 5",
            "PREPARE a AS SELECT 1",
            "BEGIN",
            "",
        ] {
            assert_eq!(key(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_same_key_means_the_same_facts(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just(" ".to_owned()), Just(",".to_owned()), Just("f(".to_owned()), Just(")".to_owned()),
                    Just("t".to_owned()), Just(" FROM ".to_owned()), Just(".".to_owned()), Just(" a1 ".to_owned()),
                    Just("-".to_owned()), Just(" LIMIT ".to_owned()), Just(" + ".to_owned()), Just("N".to_owned()),
                    Just(" FOR UPDATE ".to_owned()), Just("e".to_owned()), Just(" N ".to_owned()),
                ], 0..14),
            a in 0_u32..100_000, b in 0_u32..100_000,
        ) {
            let text = |n: u32| format!("SELECT {}", parts.concat().replace('N', &n.to_string()));
            if key(&text(a)).is_some() && key(&text(a)) == key(&text(b)) {
                let (a, b) = (facts(&text(a)), facts(&text(b)));
                if a.parse == ParseOutcome::Ok && b.parse == ParseOutcome::Ok {
                    prop_assert_eq!(a, b);
                }
            }
        }
    }
}
