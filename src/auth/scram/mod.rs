//! SCRAM-SHA-256 (RFC 5802, RFC 7677), over TLS bound to the server's certificate (RFC 5929): both halves as state machines, one struct
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
pub use keys::{ProvedKeys, SaltedKeys, Verifier};
pub use mock::set_mock_secret;
pub use server::{ServerExchange, ServerProof};

pub(super) use mock::salt_for;

/// Name of the mechanism.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// The same, bound to the connection: whoever sits between client and server cannot pass it on.
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The one type of binding that PostgreSQL speaks.
const END_POINT: &str = "p=tls-server-end-point";

/// What a client says of binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// The connection is not secured.
    Impossible,
    /// It is, and the server has not offered to bind.
    NotOffered,
    /// To this hash of the server's certificate.
    EndPoint(Vec<u8>),
}

impl Binding {
    fn flag(&self) -> &'static str {
        match self {
            Self::Impossible => "n",
            Self::NotOffered => "y",
            Self::EndPoint(_) => END_POINT,
        }
    }

    /// What client-final repeats: the header of client-first, and what is bound to.
    fn repeated(&self) -> String {
        let mut bytes = format!("{},,", self.flag()).into_bytes();
        if let Self::EndPoint(hash) = self {
            bytes.extend_from_slice(hash);
        }
        text::encode(&bytes)
    }
}

/// Rounds for verifiers of our own making, as PostgreSQL's default.
pub(super) const ITERATIONS: u32 = 4096;

/// Why an exchange failed; texts are for the log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScramError {
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    #[error("client requires SCRAM channel binding, which is not offered")]
    ChannelBinding,
    #[error(
        "client supports SCRAM channel binding but thinks the server does not; somebody may sit in between"
    )]
    Downgrade,
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
    #[error(
        "the server's SCRAM verifier has another salt or iteration count than that of pool_passwd: give pool_passwd \
         the rolpassword of pg_authid, which all nodes must share, or the password itself (TEXT or AES)"
    )]
    OtherVerifier,
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
