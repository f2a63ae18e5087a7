//! Bytes nobody can guess, from the kernel.

/// Fills `bytes`.
///
/// # Panics
/// When the kernel has no random numbers: a key that can be guessed would be worse.
pub fn fill(bytes: &mut [u8]) {
    if let Err(error) = getrandom::fill(bytes) {
        panic!("the system has no random numbers: {error}");
    }
}
