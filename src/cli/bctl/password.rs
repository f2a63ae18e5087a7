//! Forms in which passwords are stored.
#![forbid(unsafe_code)]

use serde_json::json;
use zeroize::Zeroizing;

use super::api::asked_password;
use super::args::Hash;
use super::failure::Failure;
use super::output::{Output, print};
use super::settings::Format;
use crate::auth::md5;

/// Prints the MD5 form of a password, as PostgreSQL and pool_passwd have it.
pub(super) fn hash(out: Output, hash: Hash) -> Result<(), Failure> {
    let Hash { user, secret } = hash;
    let secret = match secret {
        Some(secret) => Zeroizing::new(secret),
        None => asked_password("Password: ")?,
    };
    let hash = md5::stored(&user, &secret);
    match out.format {
        Format::Json => out.json(&json!({ "user": user, "hash": *hash }).to_string()),
        _ => print(&format!("MD5 Hash: {}\n", *hash)),
    }
    Ok(())
}

/// What the original encrypts here it prints the key of beside.
pub(super) fn no_encryption() -> Failure {
    Failure::Local("AES passwords come with pg_enc".to_owned())
}
