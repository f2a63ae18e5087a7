//! The keys of SCRAM: what is derived from a password, what a server stores, what a client remembers.
#![forbid(unsafe_code)]

use std::fmt;
use std::num::NonZeroUsize;

use hmac::{Hmac, KeyInit, Mac};
use lru::LruCache;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::text::{decode, decode_key};

pub(super) type Key = Zeroizing<[u8; 32]>;

/// Most entries of a [`SaltedKeys`]; each user has one a backend.
const CACHED_KEYS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

pub(super) fn hmac(key: &[u8], text: &[u8]) -> Key {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    Zeroizing::new(mac.chain_update(text).finalize().into_bytes().into())
}

pub(super) fn sha256(text: &[u8]) -> Key {
    Zeroizing::new(Sha256::digest(text).into())
}

pub(super) fn xor(a: &[u8; 32], b: &[u8; 32]) -> Key {
    let mut out = Zeroizing::new(*a);
    out.iter_mut().zip(b).for_each(|(byte, other)| *byte ^= other);
    out
}

/// The password through SASLprep. PostgreSQL uses the password as it is where SASLprep refuses it, or
/// leaves nothing of it, and so must we.
fn prepared(password: &str) -> Zeroizing<String> {
    match stringprep::saslprep(password) {
        Ok(text) if !text.is_empty() => Zeroizing::new(text.into_owned()),
        _ => Zeroizing::new(password.to_owned()),
    }
}

/// SaltedPassword: half a millisecond of work at 4096 rounds.
fn salted(password: &str, salt: &[u8], iterations: u32) -> Key {
    let password = prepared(password);
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, iterations, &mut *key);
    key
}

/// What a client derives from its password for one salt.
pub(super) struct ClientKeys {
    pub(super) client_key: Key,
    pub(super) server_key: Key,
}

impl ClientKeys {
    fn new(salted: &Key) -> Self {
        Self { client_key: hmac(&**salted, b"Client Key"), server_key: hmac(&**salted, b"Server Key") }
    }
}

/// What a server stores of a password, as `pg_authid` has it. It proves nothing to a server, but with
/// ServerKey one could pose as the server, so it is wiped and hidden too.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: Key,
    pub(super) server_key: Key,
}

impl Verifier {
    /// Reads `SCRAM-SHA-256$ROUNDS:SALT$STOREDKEY:SERVERKEY`.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let iterations = iterations.parse().ok().filter(|count| *count > 0)?;
        Some(Self {
            iterations,
            salt: decode(salt, "salt").ok()?,
            stored_key: Zeroizing::new(decode_key(stored_key, "key").ok()?),
            server_key: Zeroizing::new(decode_key(server_key, "key").ok()?),
        })
    }

    /// How many rounds a check takes.
    pub(in crate::auth) fn rounds(&self) -> u32 {
        self.iterations
    }

    /// Whether it is that of this password. Takes as long as a login.
    pub(in crate::auth) fn is_of(&self, password: &str) -> bool {
        let derived = Verifier::derive(password, &self.salt, self.iterations);
        derived.stored_key.ct_eq(&*self.stored_key).into()
    }

    /// Makes the verifier of a password.
    pub(in crate::auth) fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let ClientKeys { client_key, server_key } = ClientKeys::new(&salted(password, salt, iterations));
        Self { iterations, salt: salt.to_vec(), stored_key: sha256(&*client_key), server_key }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

/// What a client's proof has shown of the password behind a verifier: enough to log in, as that user, to any server that
/// has the same verifier. No more than the client itself has let us see.
#[derive(Clone)]
pub struct ProvedKeys {
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
    pub(super) client_key: Key,
    pub(super) server_key: Key,
}

impl ProvedKeys {
    pub(super) fn new(verifier: &Verifier, client_key: Key) -> Self {
        Self {
            salt: verifier.salt.clone(),
            iterations: verifier.iterations,
            client_key,
            server_key: verifier.server_key.clone(),
        }
    }
}

impl PartialEq for ProvedKeys {
    fn eq(&self, other: &Self) -> bool {
        self.salt == other.salt
            && self.iterations == other.iterations
            && bool::from(
                self.client_key.ct_eq(&*other.client_key) & self.server_key.ct_eq(&*other.server_key),
            )
    }
}

impl Eq for ProvedKeys {}

impl fmt::Debug for ProvedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProvedKeys")
    }
}

/// SaltedPasswords that were computed before. A session logs in to several backends and many sessions to
/// the same ones; deriving the key each time would cost more than the rest of a connect.
pub struct SaltedKeys {
    entries: LruCache<(String, Vec<u8>, u32), Entry>,
}

struct Entry {
    /// Which password it was, so that a changed pool_passwd is not answered with the old key.
    password: Key,
    salted: Key,
}

impl SaltedKeys {
    /// An empty cache.
    pub fn new() -> Self {
        // Grown as needed: a reserved table would cost every worker its full size.
        let mut entries = LruCache::unbounded();
        entries.resize(CACHED_KEYS);
        Self { entries }
    }

    pub(super) fn get(&mut self, user: &str, password: &str, salt: &[u8], iterations: u32) -> ClientKeys {
        let name = (user.to_owned(), salt.to_vec(), iterations);
        let tag = sha256(password.as_bytes());
        match self.entries.get(&name) {
            Some(entry) if bool::from(entry.password.ct_eq(&*tag)) => ClientKeys::new(&entry.salted),
            _ => {
                let salted = salted(password, salt, iterations);
                let keys = ClientKeys::new(&salted);
                self.entries.put(name, Entry { password: tag, salted });
                keys
            }
        }
    }
}

impl Default for SaltedKeys {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SaltedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaltedKeys").field("entries", &self.entries.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saslprep_and_its_fallback() {
        let cases = [
            ("plain", "plain"),
            ("I\u{AD}X", "IX"),
            ("\u{AA}", "a"),
            ("\u{2168}", "IX"),
            ("a\u{A0}b", "a b"),
            // Refused by SASLprep, or nothing left of it: as it is.
            ("bell\u{7}", "bell\u{7}"),
            ("\u{627}1", "\u{627}1"),
            ("\u{AD}", "\u{AD}"),
        ];
        for (password, want) in cases {
            assert_eq!(*prepared(password), want, "{password:?}");
        }
    }

    #[test]
    fn verifier_text() {
        let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                    WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        let read = Verifier::parse(text).unwrap();
        let salt = decode("W22ZaJ0SNY7soEsUEjb6gQ==", "").unwrap();
        assert!(read == Verifier::derive("pencil", &salt, 4096), "the verifier of RFC 7677's password");
        assert_eq!(format!("{read:?}"), "Verifier");
        for odd in [&text[1..], &text[..60], "SCRAM-SHA-256$0:AA==$AA==:AA==", "SCRAM-SHA-256$", ""] {
            assert!(Verifier::parse(odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn a_changed_password_is_not_answered_from_the_cache() {
        let mut keys = SaltedKeys::new();
        let first = keys.get("ann", "one", b"salt", 2);
        assert_eq!(keys.get("ann", "one", b"salt", 2).client_key, first.client_key);
        assert_ne!(keys.get("ann", "two", b"salt", 2).client_key, first.client_key);
        assert_eq!(keys.entries.len(), 1);
    }
}
