//! The PostgreSQL protocol, versions 3.0 and 3.2, without I/O: bytes in, borrowed parts out.
//! Parsers take a message's body (no type byte, no length word) and never panic; builders append a
//! whole frame to a buffer. Nothing here knows about sockets, sessions or configuration.
#![forbid(unsafe_code)]

use thiserror::Error;

pub mod backend;
pub mod frame;
pub mod frontend;
mod read;
pub mod startup;
pub(crate) mod write;

/// Protocol version 3.0, which every client and server speaks.
pub const PROTOCOL_3_0: u32 = 0x0003_0000;
/// Protocol version 3.2: as 3.0, with cancel keys of up to 256 bytes.
pub const PROTOCOL_3_2: u32 = 0x0003_0002;
/// Code in the place of the version: the client wants TLS.
pub const SSL_REQUEST: u32 = 80_877_103;
/// Code in the place of the version: the client wants GSSAPI encryption.
pub const GSSENC_REQUEST: u32 = 80_877_104;
/// Code in the place of the version: cancel the statement of another session.
pub const CANCEL_REQUEST: u32 = 80_877_102;

/// Why the body of a message cannot be understood; `message` is its name in the protocol's manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParseError {
    #[error("malformed {message} message: insufficient data left")]
    Short { message: &'static str },
    #[error("malformed {message} message: a string has no end")]
    Unterminated { message: &'static str },
    #[error("malformed {message} message: data after its end")]
    Trailing { message: &'static str },
    #[error("malformed {message} message: {problem}")]
    Invalid { message: &'static str, problem: &'static str },
}

impl ParseError {
    /// Name of the message that is malformed.
    pub fn message(&self) -> &'static str {
        match self {
            Self::Short { message }
            | Self::Unterminated { message }
            | Self::Trailing { message }
            | Self::Invalid { message, .. } => message,
        }
    }
}
