//! Fences around C libraries.

pub mod openssl;
#[cfg(feature = "pam")]
pub mod pam;
pub mod pg_parse;
