//! Packets: where one ends, and how one is made.
#![forbid(unsafe_code)]

use crate::wire::frame::{self, FrameError};
use crate::wire::write;

/// A length word of this or more is refused; pgpool-II's MAX_PCP_PACKET_LENGTH. All requests are far shorter.
pub(super) const TOO_LONG: usize = 260;

/// The text that says that a request succeeded.
pub(super) const COMPLETE: &str = "CommandComplete";

/// What stands at the beginning of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut<'a> {
    /// Not all of a packet yet.
    Part,
    /// A packet and how many bytes it is long.
    Packet { kind: u8, body: &'a [u8], length: usize },
    /// A length word that no packet has; nothing behind it can be understood.
    Length(i32),
}

/// Looks for a packet at the beginning of `input`.
pub(super) fn cut(input: &[u8]) -> Cut<'_> {
    let header = match frame::header(input) {
        Ok(None) => return Cut::Part,
        Ok(Some(header)) => header,
        Err(FrameError::Length { length, .. }) => return Cut::Length(length.cast_signed()),
        Err(FrameError::StartupLength) => return Cut::Length(0),
    };
    // The type byte does not count.
    if header.length > TOO_LONG {
        return Cut::Length(i32::try_from(header.length - 1).unwrap_or(i32::MAX));
    }
    match input.get(5..header.length) {
        Some(body) => Cut::Packet { kind: header.kind, body, length: header.length },
        None => Cut::Part,
    }
}

/// Appends a packet of strings.
pub(super) fn put(out: &mut Vec<u8>, kind: u8, strings: &[&str]) {
    write::frame(out, kind, |out| strings.iter().for_each(|text| write::string(out, text.as_bytes())));
}

/// Appends a packet that says how many are to follow, as text.
pub(super) fn put_count(out: &mut Vec<u8>, kind: u8, count: usize) {
    put(out, kind, &["ArraySize", &count.to_string()]);
}

/// Appends the packet that says that it is done.
pub(super) fn put_complete(out: &mut Vec<u8>, kind: u8) {
    put(out, kind, &[COMPLETE]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_cut_and_lengths_checked() {
        let packet = |kind, body, length| Cut::Packet { kind, body, length };
        let longest = [b"L\0\0\x01\x03".to_vec(), vec![7; 255]].concat();
        for (input, expected) in [
            (&b""[..], Cut::Part),
            (b"L\0\0\0", Cut::Part),
            (b"L\0\0\0\x04", packet(b'L', b"", 5)),
            (b"I\0\0\0\x06-1", packet(b'I', b"-1", 7)),
            (b"I\0\0\0\x061", Cut::Part),
            (b"M\0\0\0\x04R\0\0", packet(b'M', b"", 5)),
            (b"L\0\0\0\x03", Cut::Length(3)),
            (b"L\0\0\0\0", Cut::Length(0)),
            (b"L\xff\xff\xff\xfb", Cut::Length(-5)),
            (b"L\x7f\xff\xff\xff", Cut::Length(i32::MAX)),
            (b"L\0\0\x01\x04", Cut::Length(260)),
            (&longest, packet(b'L', &[7; 255], 260)),
        ] {
            assert_eq!(cut(input), expected, "{input:?}");
        }
    }

    #[test]
    fn packets_as_pgpool_sends_them() {
        let mut out = Vec::new();
        put_count(&mut out, b'i', 2);
        put_complete(&mut out, b'i');
        put(&mut out, b'l', &["a\0forged", ""]);
        assert_eq!(out, b"i\0\0\0\x10ArraySize\x002\0i\0\0\0\x14CommandComplete\0l\0\0\0\x07a\0\0");
    }
}
