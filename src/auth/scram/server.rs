//! The server's half: what we do when a client logs in.
//! A user we do not know goes the same way as one we know, in the same messages and the same time.
#![forbid(unsafe_code)]

use std::hint::black_box;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::keys::{Key, ProvedKeys, Verifier, hmac, sha256, xor};
use super::{Binding, END_POINT, ITERATIONS, ScramError, text};

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

    /// Compares the proof; where it is right, ServerKey, and what the proof has shown if a verifier was all we had. Each
    /// refusal costs one derivation of a key, so that its time does not tell why.
    fn check(self, proof: &[u8; 32], message: &[u8]) -> Option<(Key, Option<ProvedKeys>)> {
        match self {
            Self::Password { password, salt } => {
                let verifier = Verifier::derive(&password, &salt, ITERATIONS);
                proved(&verifier, proof, message)?;
                Some((verifier.server_key, None))
            }
            Self::Mock { salt } => {
                let verifier = Verifier::derive("mock", &salt, ITERATIONS);
                black_box(proved(&verifier, proof, message));
                None
            }
            Self::Verifier(verifier) => match proved(&verifier, proof, message) {
                Some(client_key) => {
                    let keys = ProvedKeys::new(&verifier, client_key);
                    Some((verifier.server_key, Some(keys)))
                }
                None => {
                    black_box(Verifier::derive("mock", &verifier.salt, verifier.iterations));
                    None
                }
            },
        }
    }
}

/// ClientKey, if the proof is that of one who knows the password.
fn proved(verifier: &Verifier, proof: &[u8; 32], message: &[u8]) -> Option<Key> {
    let client_key = xor(proof, &hmac(&*verifier.stored_key, message));
    bool::from(sha256(&*client_key).ct_eq(&*verifier.stored_key)).then_some(client_key)
}

/// An exchange that waits for the client's first message.
pub struct ServerExchange {
    source: Source,
    nonce: String,
    /// The hash of our certificate, where the connection has one.
    end_point: Option<Vec<u8>>,
}

impl ServerExchange {
    /// For a user whose password we have; `salt` should be the same each time for the same user.
    pub fn from_password(password: &str, salt: &[u8], nonce: String) -> Self {
        Self::new(Source::Password { password: password.to_owned().into(), salt: salt.to_vec() }, nonce)
    }

    /// For a user whose verifier we have.
    pub fn from_verifier(verifier: Verifier, nonce: String) -> Self {
        Self::new(Source::Verifier(verifier), nonce)
    }

    /// For a user we do not know, or who has no usable secret: will be refused.
    pub fn mock(salt: &[u8], nonce: String) -> Self {
        Self::new(Source::Mock { salt: salt.to_vec() }, nonce)
    }

    fn new(source: Source, nonce: String) -> Self {
        Self { source, nonce, end_point: None }
    }

    /// The connection is secured by the certificate of this hash, so that the exchange can be bound to it.
    pub fn over(mut self, end_point: Option<Vec<u8>>) -> Self {
        self.end_point = end_point;
        self
    }

    /// Whether `MECHANISM_PLUS` is to be offered.
    pub fn can_bind(&self) -> bool {
        self.end_point.is_some()
    }

    /// Takes client-first; gives the state that waits for the proof, and server-first. `is_plus`: the client has chosen
    /// `MECHANISM_PLUS`.
    pub fn client_first(self, is_plus: bool, message: &[u8]) -> Result<(ServerProof, Vec<u8>), ScramError> {
        let message = text::utf8(message)?;
        let (binding, rest) = message.split_once(',').ok_or(ScramError::Malformed("no GS2 header"))?;
        let (identity, bare) = rest.split_once(',').ok_or(ScramError::Malformed("no GS2 header"))?;
        let binding = match (binding, is_plus, self.end_point) {
            (END_POINT, true, Some(hash)) => Binding::EndPoint(hash),
            ("n", false, _) => Binding::Impossible,
            // The client could bind and believes that we cannot, which is so.
            ("y", false, None) => Binding::NotOffered,
            ("y", false, Some(_)) => return Err(ScramError::Downgrade),
            ("n" | "y", true, _) => {
                return Err(ScramError::Malformed("a mechanism that binds, without binding"));
            }
            (flag, ..) if flag.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(ScramError::Malformed("unknown channel binding flag")),
        };
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
            binding: binding.repeated(),
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
    /// What the client must say of channel binding: its own GS2 header, and what it binds to.
    binding: String,
    /// client-first-bare and server-first: the beginning of what is signed.
    messages: String,
}

impl ServerProof {
    /// Takes client-final; gives server-final if the client knows the password, and of one who has proved a verifier
    /// what that has shown.
    pub fn client_final(self, message: &[u8]) -> Result<(Vec<u8>, Option<ProvedKeys>), ScramError> {
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
        let (server_key, keys) =
            self.source.check(&proof, signed.as_bytes()).ok_or(ScramError::WrongPassword)?;
        let signature = hmac(&*server_key, signed.as_bytes());
        Ok((format!("v={}", text::encode(&*signature)).into_bytes(), keys))
    }
}
