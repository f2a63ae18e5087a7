//! Records of many processes through one pipe: cut into chunks that the kernel keeps whole, put together again.
//!
//! A chunk is a header of 12 bytes and at most `PIPE_BUF - 12` bytes of a record:
//!
//! | bytes | |
//! |---|---|
//! | 4 | NUL `L` `G` NUL: no text holds that |
//! | 2 | length of what follows the header |
//! | 1 | flags: 1 begins a record, 2 ends it |
//! | 1 | zero |
//! | 4 | process that wrote it |
//!
//! Numbers are in the machine's order: both ends are the same program. What stands outside a chunk is text that
//! somebody wrote to standard output or error. A record that its writer gave up (the pipe was full, it died) has no
//! end: it is written as far as it came once its process begins another or is gone.
#![forbid(unsafe_code)]

use crate::sys::pipe::ATOMIC;
use crate::sys::process::ProcessId;

const MAGIC: [u8; 4] = [0, b'L', b'G', 0];
const HEADER: usize = 12;
const FIRST: u8 = 1;
const LAST: u8 = 2;

/// Most bytes of a record in a chunk.
const MOST: usize = ATOMIC - HEADER;

/// Most bytes of raw text that wait for the end of their line.
const MAX_RAW: usize = 64 * 1024;

/// Most bytes of unfinished records, of all processes together.
const MAX_OPEN: usize = 64 << 20;

/// The chunks of a record, each for one write.
pub(super) fn chunks(pid: ProcessId, record: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let count = record.len().div_ceil(MOST);
    record.chunks(MOST).enumerate().map(move |(at, part)| {
        let flags = if at == 0 { FIRST } else { 0 } | if at + 1 == count { LAST } else { 0 };
        let mut chunk = Vec::with_capacity(HEADER + part.len());
        chunk.extend_from_slice(&MAGIC);
        chunk.extend_from_slice(&u16::try_from(part.len()).unwrap_or(0).to_ne_bytes());
        chunk.extend_from_slice(&[flags, 0]);
        chunk.extend_from_slice(&pid.to_ne_bytes());
        chunk.extend_from_slice(part);
        chunk
    })
}

/// Puts records together again from what comes out of the pipe.
#[derive(Default)]
pub struct Assembler {
    /// Read, but not a whole chunk yet.
    input: Vec<u8>,
    /// Raw text whose line has not ended.
    raw: Vec<u8>,
    open: Vec<Open>,
}

/// A record whose end has not come.
struct Open {
    pid: ProcessId,
    record: Vec<u8>,
}

/// What the input begins with.
enum Head {
    Chunk {
        pid: ProcessId,
        flags: u8,
        length: usize,
    },
    /// So many bytes are raw text.
    Raw(usize),
    /// It may be a chunk when more has come.
    Unclear,
}

impl Assembler {
    /// Takes bytes from the pipe; whole records and whole lines of raw text go to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            match head(rest) {
                Head::Chunk { pid, flags, length } => {
                    let part = rest.get(HEADER..HEADER + length).unwrap_or_default();
                    self.take(pid, flags, part, out);
                    at += HEADER + length;
                }
                Head::Raw(length) => {
                    self.take_raw(rest.get(..length).unwrap_or_default(), out);
                    at += length;
                }
                Head::Unclear => break,
            }
        }
        input.drain(..at);
        self.input = input;
    }

    /// Nothing has come for a while: raw text without the end of its line goes out, and the records of processes
    /// that are gone.
    pub fn rest(&mut self, is_alive: impl Fn(ProcessId) -> bool, out: &mut Vec<u8>) {
        line(&std::mem::take(&mut self.raw), out);
        self.open.retain(|open| {
            let lives = is_alive(open.pid);
            if !lives {
                line(&open.record, out);
            }
            lives
        });
    }

    /// Whether something waits that `rest` may let out.
    pub fn is_waiting(&self) -> bool {
        !self.raw.is_empty() || !self.open.is_empty()
    }

    /// Everything ends: what is there goes out.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let input = std::mem::take(&mut self.input);
        self.take_raw(&input, out);
        self.rest(|_| false, out);
    }

    fn take(&mut self, pid: ProcessId, flags: u8, part: &[u8], out: &mut Vec<u8>) {
        let open = self.open.iter().position(|open| open.pid == pid);
        let mut record = open.map(|at| self.open.swap_remove(at).record).unwrap_or_default();
        if flags & FIRST != 0 {
            // Its writer gave the one before up.
            line(&record, out);
            record.clear();
        }
        if flags & LAST != 0 {
            if record.is_empty() {
                line(part, out);
            } else {
                record.extend_from_slice(part);
                line(&record, out);
            }
            return;
        }
        record.extend_from_slice(part);
        self.open.push(Open { pid, record });
        if self.open.iter().map(|open| open.record.len()).sum::<usize>() > MAX_OPEN {
            // Only forged chunks come so far.
            self.open.drain(..).for_each(|open| line(&open.record, out));
        }
    }

    fn take_raw(&mut self, text: &[u8], out: &mut Vec<u8>) {
        self.raw.extend_from_slice(text);
        let whole = self.raw.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let whole = if self.raw.len() - whole > MAX_RAW { self.raw.len() } else { whole };
        line(self.raw.get(..whole).unwrap_or_default(), out);
        self.raw.drain(..whole);
    }
}

/// Appends text and, if it has none, the end of its line: what follows begins a new one.
fn line(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(text);
    if text.last().is_some_and(|byte| *byte != b'\n') {
        out.push(b'\n');
    }
}

fn head(input: &[u8]) -> Head {
    let Some(nul) = input.iter().position(|byte| *byte == 0) else {
        return if input.is_empty() { Head::Unclear } else { Head::Raw(input.len()) };
    };
    if nul > 0 {
        return Head::Raw(nul);
    }
    let Some((header, rest)) = input.split_first_chunk::<HEADER>() else {
        let known = input.len().min(MAGIC.len());
        return if input.get(..known) == MAGIC.get(..known) { Head::Unclear } else { Head::Raw(1) };
    };
    let [a, b, c, d, low, high, flags, zero, pid @ ..] = *header;
    let length = usize::from(u16::from_ne_bytes([low, high]));
    let pid = ProcessId::from_ne_bytes(pid);
    let sound = [a, b, c, d] == MAGIC
        && (1..=MOST).contains(&length)
        && flags <= FIRST | LAST
        && zero == 0
        && pid > 0;
    match sound {
        false => Head::Raw(1),
        true if rest.len() < length => Head::Unclear,
        true => Head::Chunk { pid, flags, length },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fed(pieces: &[&[u8]]) -> (Assembler, String) {
        let (mut assembler, mut out) = (Assembler::default(), Vec::new());
        pieces.iter().for_each(|piece| assembler.feed(piece, &mut out));
        (assembler, String::from_utf8(out).unwrap())
    }

    fn cut(pid: ProcessId, record: &str) -> Vec<Vec<u8>> {
        chunks(pid, record.as_bytes()).collect()
    }

    #[test]
    fn chunks_of_two_processes_and_raw_text_come_apart() {
        let (long, other) = ("a".repeat(2 * MOST + 5) + "\n", "b".repeat(MOST + 1) + "\n");
        let (a, b) = (cut(1, &long), cut(2, &other));
        assert_eq!((a.len(), b.len()), (3, 2));
        assert!(a.iter().all(|chunk| chunk.len() <= ATOMIC));
        let (assembler, out) = fed(&[&a[0], b"raw ", &b[0], b"text\n", &a[1], &b[1], &a[2]]);
        assert_eq!(out, format!("raw text\n{other}{long}"));
        assert!(!assembler.is_waiting());
    }

    #[test]
    fn a_record_that_its_writer_gave_up_goes_out_as_far_as_it_came() {
        let a = cut(1, &"a".repeat(3 * MOST));
        let (mut assembler, out) = fed(&[&a[0], &a[1], &cut(1, "next\n")[0]]);
        assert_eq!(out, format!("{}\nnext\n", "a".repeat(2 * MOST)));
        let mut out = Vec::new();
        assembler.feed(&a[0], &mut out);
        assembler.rest(|_| true, &mut out);
        assert!(out.is_empty() && assembler.is_waiting(), "its process lives");
        assembler.rest(|_| false, &mut out);
        assert_eq!(out.len(), MOST + 1);
        assert!(!assembler.is_waiting());
    }

    #[test]
    fn raw_text_without_an_end_waits_a_while_and_never_takes_a_record_in() {
        let (mut assembler, out) = fed(&[b"Password: ", &cut(7, "record\n")[0]]);
        assert_eq!(out, "record\n");
        let mut out = Vec::new();
        assembler.rest(|_| true, &mut out);
        assert_eq!(out, b"Password: \n");
        let (_, out) = fed(&[&[b'x'; MAX_RAW + 1]]);
        assert_eq!(out.len(), MAX_RAW + 2, "and not for ever");
    }

    #[test]
    fn what_only_looks_like_a_chunk_is_raw_text() {
        let mut forged = cut(1, "x\n").remove(0);
        for (at, byte) in [(4, 0), (5, 0xff), (6, 4), (7, 1), (1, b'x'), (11, 0xff)] {
            let mut bad = forged.clone();
            bad[at] = byte;
            if at == 4 {
                bad[5] = byte;
            }
            let (mut assembler, mut out) = (Assembler::default(), Vec::new());
            assembler.feed(&bad, &mut out);
            assembler.finish(&mut out);
            assert_eq!(out, bad, "{at}");
        }
        forged.truncate(HEADER + 1);
        let (mut assembler, out) = fed(&[&forged]);
        assert_eq!(out, "");
        let mut out = Vec::new();
        assembler.finish(&mut out);
        assert_eq!(out, [&forged[..], b"\n"].concat());
    }

    #[test]
    fn forged_records_without_an_end_are_bounded() {
        let (mut assembler, mut out) = (Assembler::default(), Vec::new());
        for pid in 1..=(MAX_OPEN / MOST + 2) {
            let part = cut(i32::try_from(pid).unwrap(), &"x".repeat(MOST + 1)).remove(0);
            assembler.feed(&part, &mut out);
        }
        assert!(!out.is_empty());
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_gives_the_same_lines(
            records in prop::collection::vec(("[a-z]{1,9000}", 1..4_i32), 1..4),
            step in 100..5000_usize,
        ) {
            let mut stream = Vec::new();
            let mut expected = String::new();
            for (record, pid) in &records {
                let record = format!("{record}\n");
                chunks(*pid, record.as_bytes()).for_each(|chunk| stream.extend(chunk));
                expected.push_str(&record);
            }
            let pieces: Vec<&[u8]> = stream.chunks(step).collect();
            prop_assert_eq!(fed(&pieces).1, expected);
        }

        #[test]
        fn nothing_is_lost_of_any_bytes(bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(b'L'), Just(b'G'), any::<u8>()], 0..300)) {
            let (mut assembler, mut out) = (Assembler::default(), Vec::new());
            assembler.feed(&bytes, &mut out);
            assembler.finish(&mut out);
            prop_assert!(out.len() + HEADER >= bytes.len());
        }
    }
}
