//! The server's half: what we do when a client logs in.
//! A user we do not know goes the same way as one we know, in the same messages and the same time.
#![forbid(unsafe_code)]

use std::hint::black_box;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::keys::{Verifier, hmac, sha256, xor};
use super::{ITERATIONS, ScramError, text};

/// What the client's proof is compared with.
enum Source {
    Password {
        password: Zeroizing<String>,
        salt: Vec<u8>,
    },
    Verifier(Verifier),
    /// Nothing: the exchange fails at its end whatever the client sends.
    Mock {
        salt: Vec<u8>,
    },
}

impl Source {
    fn salt(&self) -> (&[u8], u32) {
        match self {
            Self::Password { salt, .. } | Self::Mock { salt } => (salt, ITERATIONS),
            Self::Verifier(verifier) => (&verifier.salt, verifier.iterations),
        }
    }

    /// Compares the proof; the verifier where it is right. Each refusal costs one derivation of a key, so
    /// that its time does not tell why.
    fn check(self, proof: &[u8; 32], message: &[u8]) -> Option<Verifier> {
        match self {
            Self::Password { password, salt } => {
                Some(Verifier::derive(&password, &salt, ITERATIONS)).filter(|v| proves(v, proof, message))
            }
            Self::Mock { salt } => {
                let verifier = Verifier::derive("mock", &salt, ITERATIONS);
                black_box(proves(&verifier, proof, message));
                None
            }
            Self::Verifier(verifier) if proves(&verifier, proof, message) => Some(verifier),
            Self::Verifier(verifier) => {
                black_box(Verifier::derive("mock", &verifier.salt, ITERATIONS));
                None
            }
        }
    }
}

fn proves(verifier: &Verifier, proof: &[u8; 32], message: &[u8]) -> bool {
    let client_key = xor(proof, &hmac(&*verifier.stored_key, message));
    sha256(&*client_key).ct_eq(&*verifier.stored_key).into()
}

/// An exchange that waits for the client's first message.
pub struct ServerExchange {
    source: Source,
    nonce: String,
}

impl ServerExchange {
    /// For a user whose password we have; `salt` should be the same each time for the same user.
    pub fn from_password(password: &str, salt: &[u8], nonce: String) -> Self {
        Self { source: Source::Password { password: password.to_owned().into(), salt: salt.to_vec() }, nonce }
    }

    /// For a user whose verifier we have.
    pub fn from_verifier(verifier: Verifier, nonce: String) -> Self {
        Self { source: Source::Verifier(verifier), nonce }
    }

    /// For a user we do not know, or who has no usable secret: will be refused.
    pub fn mock(salt: &[u8], nonce: String) -> Self {
        Self { source: Source::Mock { salt: salt.to_vec() }, nonce }
    }

    /// Takes client-first; gives the state that waits for the proof, and server-first.
    pub fn client_first(self, message: &[u8]) -> Result<(ServerProof, Vec<u8>), ScramError> {
        let message = text::utf8(message)?;
        let (binding, rest) = message.split_once(',').ok_or(ScramError::Malformed("no GS2 header"))?;
        let (identity, bare) = rest.split_once(',').ok_or(ScramError::Malformed("no GS2 header"))?;
        match binding {
            // `y`: the client could bind but believes that we cannot, which is so.
            "n" | "y" => (),
            _ if binding.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(ScramError::Malformed("unknown channel binding flag")),
        }
        if !identity.is_empty() {
            return Err(ScramError::AuthorizationIdentity);
        }
        let mut parts = bare.split(',');
        // The user is the one of the start-up message; PostgreSQL's clients send anything here.
        text::attribute(&mut parts, 'n', "no user name in client-first")?;
        let theirs = text::nonce(text::attribute(&mut parts, 'r', "no nonce in client-first")?)?;
        let nonce = format!("{theirs}{}", self.nonce);
        let (salt, iterations) = self.source.salt();
        let server_first = format!("r={nonce},s={},i={iterations}", text::encode(salt));
        let answer = server_first.clone().into_bytes();
        let proof = ServerProof {
            binding: text::encode(format!("{binding},,").as_bytes()),
            messages: format!("{bare},{server_first}"),
            source: self.source,
            nonce,
        };
        Ok((proof, answer))
    }
}

/// An exchange that waits for the client's proof.
pub struct ServerProof {
    source: Source,
    nonce: String,
    /// What the client must say of channel binding: its own GS2 header.
    binding: String,
    /// client-first-bare and server-first: the beginning of what is signed.
    messages: String,
}

impl ServerProof {
    /// Takes client-final; gives server-final if the client knows the password.
    pub fn client_final(self, message: &[u8]) -> Result<Vec<u8>, ScramError> {
        let message = text::utf8(message)?;
        let (unproved, proof) = message.rsplit_once(",p=").ok_or(ScramError::Malformed("no proof"))?;
        let proof = text::decode_key(proof, "odd proof in client-final")?;
        let mut parts = unproved.split(',');
        if text::attribute(&mut parts, 'c', "no channel binding in client-final")? != self.binding {
            return Err(ScramError::BindingCheck);
        }
        if text::attribute(&mut parts, 'r', "no nonce in client-final")? != self.nonce {
            return Err(ScramError::Nonce);
        }
        let signed = format!("{},{unproved}", self.messages);
        let verifier = self.source.check(&proof, signed.as_bytes()).ok_or(ScramError::WrongPassword)?;
        let signature = hmac(&*verifier.server_key, signed.as_bytes());
        Ok(format!("v={}", text::encode(&*signature)).into_bytes())
    }
}
