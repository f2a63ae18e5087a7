//! What another thread rings to wake the loop.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;

use nix::sys::eventfd::{EfdFlags, EventFd};

/// A bell; all clones ring the same.
#[derive(Clone, Debug)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    /// Makes one that nobody listens to yet.
    ///
    /// # Errors
    /// When descriptors have run out.
    pub fn new() -> io::Result<Waker> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Waker(Arc::new(EventFd::from_value_and_flags(0, flags)?)))
    }

    /// Rings; it cannot fail but for a counter that is full, and then it rings already.
    pub fn wake(&self) {
        let _ = self.0.write(1);
    }

    /// Silences it until it is rung again.
    pub(super) fn rest(&self) {
        let _ = self.0.read();
    }

    /// Has a thread of this name, with a stack of so many bytes, do the work; what it brings is sent, and this rung.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn after<T: Send + 'static>(
        &self,
        name: &str,
        stack: usize,
        sender: &Sender<T>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<()> {
        let (sender, waker) = (sender.clone(), self.clone());
        let whole = move || {
            // The receiver is gone only when the process ends.
            let _ = sender.send(work());
            waker.wake();
        };
        thread::Builder::new().name(name.into()).stack_size(stack).spawn(whole).map(drop)
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
