//! What an attempt to log in says of a server.
#![forbid(unsafe_code)]

use crate::auth::backend_leg::LoginError;
use crate::cluster::client::ClientError;

/// How an attempt to log in ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Logged in.
    Well,
    /// The server serves, and does not let us in.
    Refused(String),
    /// There is no server, or it serves nobody.
    Failed {
        reason: String,
        /// `health_check_timeout` has passed.
        timed_out: bool,
    },
    /// Logged in, but a test declares the node dead (`health_check_test`).
    Declared,
}

impl Outcome {
    /// Why it is not well; empty if it is.
    pub fn reason(&self) -> &str {
        match self {
            Outcome::Well => "",
            Outcome::Refused(text) => text,
            Outcome::Failed { reason, .. } => reason,
            Outcome::Declared => "backend_down_request declares it down",
        }
    }
}

/// What an attempt that brought no login says of the server.
impl From<ClientError> for Outcome {
    fn from(error: ClientError) -> Outcome {
        let serves = match &error {
            ClientError::Server { code, .. } => refuses_only_us(code),
            ClientError::Login(LoginError::OutOfOrder) => false,
            // It asks for what we do not have.
            ClientError::Login(_) | ClientError::Tls { .. } => true,
            _ => false,
        };
        match serves {
            true => Outcome::Refused(error.to_string()),
            false => Outcome::Failed { reason: error.to_string(), timed_out: error.is_timeout() },
        }
    }
}

/// Whether a server that ends a login with this SQLSTATE serves others all the same: a wrong password or database, no
/// right, no place left. It does not where it starts or shuts down (57), cannot read its files (58, XX), has no memory
/// or disk (53 but for its places), or does not speak as a server does (08).
fn refuses_only_us(code: &str) -> bool {
    const DATABASE_DROPPED: &str = "57P04";
    const TOO_MANY_CONNECTIONS: &str = "53300";
    let is_code = code.len() == 5 && code.bytes().all(|letter| letter.is_ascii_alphanumeric());
    match code.get(..2).filter(|_| is_code) {
        _ if code == DATABASE_DROPPED || code == TOO_MANY_CONNECTIONS => true,
        Some("08" | "53" | "57" | "58" | "XX" | "F0") | None => false,
        Some(_) => true,
    }
}
