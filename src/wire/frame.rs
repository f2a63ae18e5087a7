//! Where a message ends: the only thing that relaying must know of every message.
//! Called for each frame of each direction, so it reads five bytes and no more.
#![forbid(unsafe_code)]

use thiserror::Error;

/// Longest frame taken from a peer: PostgreSQL itself stops just below 1 GiB.
pub const MAX_FRAME: usize = (1 << 30) + 1024;

/// Bytes of the type and the length.
pub const HEADER: usize = 5;

/// Longest and shortest first packet, as PostgreSQL has them (the length word counts).
const STARTUP_MIN: usize = 8;
const STARTUP_MAX: usize = 10_000;

/// Type and length of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The type byte.
    pub kind: u8,
    /// Length of the whole frame: type byte, length word and body.
    pub length: usize,
}

/// Bytes that cannot begin a frame; the stream is of no further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    #[error("invalid length {length} of message type {:?}", char::from(*.kind))]
    Length { kind: u8, length: u32 },
    #[error("invalid length of startup packet")]
    StartupLength,
}

/// Header of the frame that begins at `bytes`; `None` until five bytes are there.
#[inline]
pub fn header(bytes: &[u8]) -> Result<Option<Header>, FrameError> {
    let Some(&[kind, a, b, c, d]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]);
    let whole = length as usize + 1;
    if length < 4 || whole > MAX_FRAME {
        return Err(FrameError::Length { kind, length });
    }
    Ok(Some(Header { kind, length: whole }))
}

/// Length of the whole first packet of a client (it has no type byte); `None` until four bytes are there.
pub fn startup_length(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(word) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*word) as usize;
    match (STARTUP_MIN..=STARTUP_MAX).contains(&length) {
        true => Ok(Some(length)),
        false => Err(FrameError::StartupLength),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_cases() {
        let length = |length| FrameError::Length { kind: b'Q', length };
        let cases = [
            (&b""[..], Ok(None)),
            (b"Q\0\0\0", Ok(None)),
            (b"Q\0\0\0\x04", Ok(Some(5))),
            (b"Q\0\0\x01\0more", Ok(Some(257))),
            (b"Q\0\0\0\x03", Err(length(3))),
            (b"Q\xff\xff\xff\xff", Err(length(u32::MAX))),
        ];
        for (bytes, want) in cases {
            assert_eq!(header(bytes).map(|h| h.map(|h| h.length)), want, "{bytes:?}");
        }
    }

    #[test]
    fn startup_length_cases() {
        assert_eq!(startup_length(&[0, 0, 0]), Ok(None));
        assert_eq!(startup_length(&[0, 0, 0, 8]), Ok(Some(8)));
        assert_eq!(startup_length(&[0, 0, 0x27, 0x10]), Ok(Some(10_000)));
        assert_eq!(startup_length(&[0, 0, 0x27, 0x11]), Err(FrameError::StartupLength));
        assert_eq!(startup_length(&[0, 0, 0, 7]), Err(FrameError::StartupLength));
        // The first bytes of a TLS ClientHello.
        assert_eq!(startup_length(&[0x16, 3, 1, 2]), Err(FrameError::StartupLength));
    }
}
