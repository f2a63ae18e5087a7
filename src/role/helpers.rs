//! Threads for what may take its time: each does one thing and goes; what came of it wakes the loop of the process.
//!
//! Only the processes that check nodes, and that of PCP, have any: a name that does not resolve, a host that drops packets
//! and a command that hangs must not hold up the rest. These processes fork nothing by themselves.
#![forbid(unsafe_code)]

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use crate::sys::pipe;
use crate::sys::process::{self, PANICKED};

/// The deepest that these threads call is TLS.
const STACK: usize = 1 << 20;

/// Helpers whose work gives a `T`. The descriptor is readable when one of them is done.
pub(super) struct Helpers<T> {
    done: (Sender<T>, Receiver<T>),
    wake: (PipeReader, Arc<PipeWriter>),
}

impl<T: Send + 'static> Helpers<T> {
    pub(super) fn new() -> io::Result<Helpers<T>> {
        // A look that comes too early must not wait, and nobody has so much to say that the pipe is full.
        let (reader, writer) = pipe::pipe()?;
        Ok(Helpers { done: mpsc::channel(), wake: (reader.into(), Arc::new(writer.into())) })
    }

    /// Has a thread of this name do the work.
    pub(super) fn start(&self, name: String, work: impl FnOnce() -> T + Send + 'static) -> io::Result<()> {
        let voice = self.voice();
        let whole = move || {
            // Nobody would hear of the end of a thread that panics, and wait for it: so the process ends and another
            // one takes its place.
            let Ok(result) = catch_unwind(AssertUnwindSafe(work)) else { process::exit_now(PANICKED) };
            voice.say(result);
        };
        thread::Builder::new().name(name).stack_size(STACK).spawn(whole).map(|_| ())
    }

    /// For work that has something to say before it is done.
    pub(super) fn voice(&self) -> Voice<T> {
        Voice { sender: self.done.0.clone(), wake: Arc::clone(&self.wake.1) }
    }

    /// What a helper has brought, if one has.
    pub(super) fn finished(&self) -> Option<T> {
        self.done.1.try_recv().ok()
    }

    /// Takes the wake-ups off the descriptor, which must be readable.
    pub(super) fn rest(&mut self) {
        let _ = self.wake.0.read(&mut [0; 256]);
    }
}

/// The way from a helper to its process.
pub(super) struct Voice<T> {
    sender: Sender<T>,
    wake: Arc<PipeWriter>,
}

impl<T> Voice<T> {
    pub(super) fn say(&self, what: T) {
        // The receiver lives as long as the process.
        let _ = self.sender.send(what).is_ok() && (&*self.wake).write_all(&[0]).is_ok();
    }
}

impl<T> AsFd for Helpers<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.0.as_fd()
    }
}
