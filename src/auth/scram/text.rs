//! The text of SCRAM messages: `a=value` attributes with commas between them.
#![forbid(unsafe_code)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ScramError;

/// A message as text; every SCRAM message is UTF-8 without NUL.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, ScramError> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(ScramError::Malformed("not text")),
    }
}

/// Value of the next attribute of `parts`, which must be the one called `name`.
pub(super) fn attribute<'a>(
    parts: &mut std::str::Split<'a, char>,
    name: char,
    problem: &'static str,
) -> Result<&'a str, ScramError> {
    let part = parts.next().ok_or(ScramError::Malformed(problem))?;
    let value = part.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
    value.ok_or(ScramError::Malformed(problem))
}

/// A nonce: printable, not empty (the comma ended it already).
pub(super) fn nonce(value: &str) -> Result<&str, ScramError> {
    match !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(value),
        false => Err(ScramError::Malformed("unprintable nonce")),
    }
}

pub(super) fn decode(value: &str, problem: &'static str) -> Result<Vec<u8>, ScramError> {
    STANDARD.decode(value).map_err(|_| ScramError::Malformed(problem))
}

/// The 32 bytes of a proof or signature.
pub(super) fn decode_key(value: &str, problem: &'static str) -> Result<[u8; 32], ScramError> {
    decode(value, problem)?.try_into().map_err(|_| ScramError::Malformed(problem))
}

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
