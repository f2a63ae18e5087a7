//! SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding: both halves as state machines, one struct
//! a state, bytes in and bytes out. Nonces and salts are arguments. `client_leg` drives the server's
//! half, `backend_leg` the client's.
#![forbid(unsafe_code)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

mod client;
mod keys;
mod mock;
mod server;
mod text;

pub use client::{ClientExchange, ClientProof};
pub use keys::{SaltedKeys, Verifier};
pub use mock::set_mock_secret;
pub use server::{ServerExchange, ServerProof};

pub(super) use mock::salt_for;

/// Name of the only mechanism spoken here.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// Rounds for verifiers of our own making, as PostgreSQL's default.
pub(super) const ITERATIONS: u32 = 4096;

/// Why an exchange failed; texts are for the log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScramError {
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    #[error("client requires SCRAM channel binding, which is not offered")]
    ChannelBinding,
    #[error("client uses an authorization identity, which is not supported")]
    AuthorizationIdentity,
    #[error("SCRAM nonce does not match")]
    Nonce,
    #[error("SCRAM channel binding check failed")]
    BindingCheck,
    #[error("password does not match")]
    WrongPassword,
    #[error("server asks for {0} SCRAM iterations, more than are accepted")]
    Iterations(u32),
    #[error("server refused the SCRAM exchange: {0}")]
    Refused(String),
    #[error("server's SCRAM signature is wrong: it does not know the password")]
    ServerSignature,
}

/// A nonce of 18 random bytes, as PostgreSQL's own are.
pub fn nonce(random: &mut dyn FnMut(&mut [u8])) -> String {
    let mut bytes = [0; 18];
    random(&mut bytes);
    STANDARD.encode(bytes)
}
