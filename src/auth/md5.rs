//! PostgreSQL's MD5 passwords: how they are stored, and how a client answers a salt.
//! Broken as a hash; kept because old servers and pool_passwd files have it.
#![forbid(unsafe_code)]

use ::md5::{Digest, Md5};
use zeroize::Zeroizing;

/// Length of a stored password: `md5` and 32 hexadecimal digits.
const STORED_LENGTH: usize = 35;

/// The stored form of a password, which the user's name salts: `md5` and 32 digits.
pub fn stored(user: &str, password: &str) -> Zeroizing<String> {
    hashed(password.as_bytes(), user.as_bytes())
}

/// The answer to `salt` of one who knows the password.
pub fn response(user: &str, password: &str, salt: [u8; 4]) -> String {
    response_from_stored(&stored(user, password), salt)
}

/// The answer to `salt` of one who knows the stored form, which is as good as the password.
pub fn response_from_stored(stored: &str, salt: [u8; 4]) -> String {
    let digits = stored.strip_prefix("md5").unwrap_or(stored);
    std::mem::take(&mut *hashed(digits.as_bytes(), &salt))
}

/// The text has the shape of a stored MD5 password; as in PostgreSQL, capitals are no digits of one.
pub fn is_stored(text: &str) -> bool {
    text.len() == STORED_LENGTH
        && text.strip_prefix("md5").is_some_and(|digits| are_digits(digits.as_bytes()))
}

/// Digits as MD5 is written with, small ones only.
pub(super) fn are_digits(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn hashed(text: &[u8], salt: &[u8]) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(STORED_LENGTH));
    out.push_str("md5");
    out.push_str(&digits(text, salt));
    out
}

/// The 32 digits of `text` with `salt` behind it.
pub fn digits(text: &[u8], salt: &[u8]) -> Zeroizing<String> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = Zeroizing::new(String::with_capacity(STORED_LENGTH));
    for byte in Md5::new().chain_update(text).chain_update(salt).finalize() {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = "md59d792a3a8853c2411afb9163d088c036";
    const RESPONSE: &str = "md59009ce60b9ca97f1e752376843d1309e";

    #[test]
    fn known_values() {
        // As `md5sum` counts them: of "secretann", and of that with the salt.
        assert_eq!(*stored("ann", "secret"), STORED);
        assert_eq!(response("ann", "secret", [1, 2, 3, 4]), RESPONSE);
        assert_eq!(response_from_stored(STORED, [1, 2, 3, 4]), RESPONSE);
    }

    #[test]
    fn shape() {
        assert!(is_stored(STORED));
        assert!(!is_stored("md5"));
        assert!(!is_stored(&STORED[1..]));
        assert!(!is_stored(&STORED.replace('m', "x")));
        assert!(!is_stored(&format!("md5{}", STORED[3..].to_uppercase())));
        assert!(!is_stored("md5zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"));
    }
}
