//! A descriptor that a runtime of tokio watches.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches another descriptor of the same file until it has something to read; whose it is reads itself, until nothing
/// is left. Within a runtime only.
pub fn watch(fd: &impl AsFd) -> io::Result<AsyncFd<OwnedFd>> {
    let own = fd.as_fd().try_clone_to_owned()?;
    // SAFETY: an `OwnedFd` is open until it is dropped, which the `AsyncFd` does after it has ended the watch, and its
    // number never changes.
    unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) }.map_err(io::Error::from)
}
