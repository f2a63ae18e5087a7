//! Salts that do not tell who exists. Each name has one salt for the life of the process tree, whether
//! we know the user or not: a salt that changed between two attempts would give the unknown away.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use super::keys::{Key, hmac};

/// The one thing here that outlives an exchange; it decides nothing but the salts.
static SECRET: OnceLock<Key> = OnceLock::new();

/// Sets the secret that salts are derived from. To be called once before the fork, so that all workers
/// show a client the same salt; a second call changes nothing.
pub fn set_mock_secret(secret: [u8; 32]) {
    let _ = SECRET.set(zeroize::Zeroizing::new(secret));
}

/// Salt of `user`; `random` makes the secret where nobody set it.
pub(crate) fn salt_for(user: &str, random: &mut dyn FnMut(&mut [u8])) -> [u8; 16] {
    let secret = SECRET.get_or_init(|| {
        let mut secret = Key::default();
        random(&mut *secret);
        secret
    });
    let [salt @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *hmac(&**secret, user.as_bytes());
    salt
}
