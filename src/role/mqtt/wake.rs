//! How the threads of the client wake the loop of the process.
#![forbid(unsafe_code)]

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::Wake;

use crate::sys::pipe;

/// The end that wakes.
pub(super) struct Waker(PipeWriter);

impl Waker {
    pub(super) fn wake_up(&self) {
        // One that finds the pipe full need not be heard.
        let _ = (&self.0).write(&[0]);
    }
}

impl Wake for Waker {
    fn wake(self: Arc<Self>) {
        self.wake_up();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_up();
    }
}

/// The end that is woken: its descriptor is readable then.
pub(super) struct Sleeper(PipeReader);

/// Both ends.
pub(super) fn pair() -> io::Result<(Sleeper, Arc<Waker>)> {
    let (reader, writer) = pipe::pipe()?;
    Ok((Sleeper(reader.into()), Arc::new(Waker(writer.into()))))
}

impl Sleeper {
    /// Takes what has woken it.
    pub(super) fn rest(&mut self) {
        let _ = self.0.read(&mut [0; 4096]);
    }
}

impl AsFd for Sleeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
