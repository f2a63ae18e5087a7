//! What the openssl crate has no call for.

use openssl::error::ErrorStack;
use openssl::ssl::SslContextBuilder;

/// Name, HMAC key and cipher key of session tickets, one behind the other (`SSL_CTX_set_tlsext_ticket_keys(3)`).
pub const TICKET_KEYS: usize = 80;

/// `SSL_CTRL_SET_TLSEXT_TICKET_KEYS` of `openssl/ssl.h`.
const SET_TICKET_KEYS: libc::c_int = 59;

/// Diffie-Hellman parameters of OpenSSL's own that fit the strength of the key.
pub fn set_dh_auto(builder: &mut SslContextBuilder) {
    // SAFETY: the builder owns a live context.
    unsafe { openssl_sys::SSL_CTX_set_dh_auto(builder.as_ptr(), 1) };
}

/// The keys that session tickets are made and read with: processes that share them take each other's.
///
/// # Errors
/// What OpenSSL says.
pub fn set_ticket_keys(builder: &mut SslContextBuilder, keys: &[u8; TICKET_KEYS]) -> Result<(), ErrorStack> {
    let mut keys = *keys;
    // SAFETY: the builder owns a live context; OpenSSL reads that many bytes and keeps copies.
    let done = unsafe {
        openssl_sys::SSL_CTX_ctrl(
            builder.as_ptr(),
            SET_TICKET_KEYS,
            TICKET_KEYS as libc::c_long,
            keys.as_mut_ptr().cast(),
        )
    };
    zeroize::Zeroize::zeroize(&mut keys);
    if done == 1 { Ok(()) } else { Err(ErrorStack::get()) }
}
