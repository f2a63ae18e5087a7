//! Where records for standard error go: there, or into the pipe of the log collector.
//!
//! Nothing here waits: a record that the pipe has no room for is dropped and counted, and the collector says how many.
#![forbid(unsafe_code)]

use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::frame::chunks;
use crate::sys::process;

/// The way to the collector.
pub struct Pipe {
    /// Its writing end.
    pub write: OwnedFd,
    /// Records that it had no room for, of all processes.
    pub lost: &'static AtomicU64,
}

enum Sink {
    Stderr,
    /// The start: who started us still listens, and the file shall have it too.
    Both(Pipe),
    Pipe(Pipe),
    /// The collector itself, which writes its own records with the others'.
    Kept(Vec<u8>),
}

static SINK: Mutex<Sink> = Mutex::new(Sink::Stderr);

fn with<T>(act: impl FnOnce(&mut Sink) -> T) -> T {
    act(&mut SINK.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

/// Records go to the collector as well from now on.
pub fn collect(pipe: Pipe) {
    with(|sink| *sink = Sink::Both(pipe));
}

/// Records go to the collector only, if there is one.
pub fn leave_stderr() {
    with(|sink| {
        *sink = match std::mem::replace(sink, Sink::Stderr) {
            Sink::Both(pipe) => Sink::Pipe(pipe),
            other => other,
        }
    });
}

/// Closes the way to the collector.
pub fn back_to_stderr() {
    with(|sink| *sink = Sink::Stderr);
}

/// This process is the collector: its records wait for `take_kept`.
pub fn keep() {
    with(|sink| *sink = Sink::Kept(Vec::new()));
}

/// The records of the collector itself since the last call.
pub fn take_kept() -> Vec<u8> {
    with(|sink| match sink {
        Sink::Kept(records) => std::mem::take(records),
        _ => Vec::new(),
    })
}

/// Writes a record, which ends with the end of a line.
pub(super) fn write(record: &[u8]) {
    // The lock keeps the chunks of two threads apart.
    with(|sink| match sink {
        Sink::Stderr => to_stderr(record),
        Sink::Both(pipe) => {
            to_stderr(record);
            pipe.write(record);
        }
        Sink::Pipe(pipe) => pipe.write(record),
        Sink::Kept(records) => records.extend_from_slice(record),
    });
}

fn to_stderr(record: &[u8]) {
    // A full disk or a closed terminal must not stop the program; there is nobody left to tell.
    let _ = std::io::stderr().write_all(record);
}

impl Pipe {
    fn write(&self, record: &[u8]) {
        for chunk in chunks(process::own_id(), record) {
            if self.write_chunk(&chunk).is_err() {
                self.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }

    fn write_chunk(&self, chunk: &[u8]) -> nix::Result<()> {
        loop {
            match nix::unistd::write(&self.write, chunk) {
                Err(nix::errno::Errno::EINTR) => {}
                // So short a write is whole or refused.
                other => return other.map(|_| ()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::log::Assembler;
    use crate::sys::pipe;

    #[test]
    fn a_full_pipe_drops_counts_and_recovers() {
        let (read, write) = pipe::pipe().unwrap();
        let lost = pipe::shared_counter().unwrap();
        let way = Pipe { write, lost };
        let record = vec![b'x'; 100_000];
        let mut written = 0_u64;
        while lost.load(Ordering::Relaxed) < 3 {
            way.write(&record);
            written += 1;
        }
        let mut bytes = Vec::new();
        let mut file = std::fs::File::from(read);
        let error = file.read_to_end(&mut bytes).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        way.write(b"after\n");
        let _ = file.read_to_end(&mut bytes);
        let mut out = Vec::new();
        Assembler::default().feed(&bytes, &mut out);
        let text = String::from_utf8(out).unwrap();
        let whole = text.lines().filter(|line| line.len() == record.len()).count() as u64;
        assert!(whole > 0 && written > 3);
        assert_eq!(whole + 3, written);
        assert!(text.ends_with("\nafter\n"), "what was cut off does not take the next record in");
    }
}
