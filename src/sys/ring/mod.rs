//! io_uring behind safe functions: receive until stopped, send, wait for readiness, cancel.
//!
//! What the kernel reads or writes belongs to the `Ring` from the request to its completion, so no caller can
//! free it too early. A caller's number comes back with each completion. A descriptor named in a request must stay
//! open until the completion, else the request may meet another file. Linux 6.1 is the oldest that has it all.

mod buffers;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use buffers::Buffers;
pub use buffers::SIZE as BUFFER_SIZE;

/// Requests that fit between two calls of the kernel, at least and at most; more are submitted earlier.
const FEWEST_REQUESTS: u32 = 64;
const MOST_REQUESTS: u32 = 1024;

/// Completions that fit, a request; the kernel keeps more in a list of its own.
const COMPLETIONS: u32 = 4;

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Receive,
    Send,
    /// One wait for readiness.
    Ready,
}

/// What a receive brought.
#[derive(Debug)]
pub enum Arrived {
    /// Bytes in a buffer, which goes back with `give_back`.
    Bytes { number: u16, data: Box<[u8]>, length: usize },
    /// The peer will send no more.
    End,
    /// All buffers are full.
    NoBuffer,
    /// Cancelled, or the connection failed.
    Failed(io::Error),
}

/// A completion. `more`: the receive goes on.
#[derive(Debug)]
pub enum Done {
    Received {
        number: u32,
        arrived: Arrived,
        more: bool,
    },
    Sent {
        number: u32,
        data: Vec<u8>,
        result: io::Result<usize>,
    },
    Ready {
        number: u32,
        result: io::Result<()>,
    },
    /// A cancellation came while the request was at work, and has not ended it.
    Missed {
        kind: Kind,
        number: u32,
    },
}

/// One ring, of one thread.
pub struct Ring {
    uring: IoUring,
    buffers: Buffers,
    /// Bytes being sent, by number.
    sends: Vec<Option<Vec<u8>>>,
    /// Requests whose last completion has not come.
    open: usize,
}

impl Ring {
    /// Makes a ring for about so many sockets, if the kernel allows it and can do all that is needed here. Its memory
    /// counts as locked, of which a user may have little (`RLIMIT_MEMLOCK`): 12 KiB for a few sockets, 130 for many.
    pub fn new(sockets: usize) -> io::Result<Ring> {
        let requests = u32::try_from(sockets).unwrap_or(MOST_REQUESTS).clamp(FEWEST_REQUESTS, MOST_REQUESTS);
        // Deferred completion is younger (6.1) than every other thing used here, so making it is the probe.
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_submit_all()
            .setup_cqsize(requests.next_power_of_two() * COMPLETIONS)
            .build(requests)?;
        if !uring.params().is_feature_ext_arg() || !uring.params().is_feature_nodrop() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let buffers = Buffers::new(&uring.submitter())?;
        Ok(Ring { uring, buffers, sends: Vec::new(), open: 0 })
    }

    /// Receives from a socket again and again, until a completion says that it has ended.
    pub fn receive(&mut self, fd: RawFd, number: u32) -> io::Result<()> {
        let entry = opcode::RecvMulti::new(Fd(fd), buffers::GROUP).build();
        self.start(entry, Kind::Receive, number)
    }

    /// Sends `data` from `from` on, all of it. One send a number at a time.
    pub fn send(&mut self, fd: RawFd, number: u32, data: Vec<u8>, from: usize) -> io::Result<()> {
        let at = number as usize;
        if self.sends.len() <= at {
            self.sends.resize_with(at + 1, || None);
        }
        let rest = data.get(from..).unwrap_or_default();
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let entry = opcode::Send::new(Fd(fd), rest.as_ptr(), length).flags(flags).build();
        match self.sends.get_mut(at) {
            Some(place @ None) => *place = Some(data),
            _ => return Err(io::ErrorKind::ResourceBusy.into()),
        }
        self.start(entry, Kind::Send, number).inspect_err(|_| {
            if let Some(place) = self.sends.get_mut(at) {
                *place = None;
            }
        })
    }

    /// Waits once for `POLLIN`, `POLLOUT`. `exclusive`: of all processes that wait so, one is woken.
    pub fn ready(&mut self, fd: RawFd, number: u32, writable: bool, exclusive: bool) -> io::Result<()> {
        let events = if writable { libc::POLLOUT } else { libc::POLLIN } as u32;
        let exclusive = if exclusive { libc::EPOLLEXCLUSIVE as u32 } else { 0 };
        let entry = opcode::PollAdd::new(Fd(fd), events | exclusive).build();
        self.start(entry, Kind::Ready, number)
    }

    /// Cancels a request; its completion comes all the same, or `Missed` if it was not waiting just then.
    pub fn cancel(&mut self, kind: Kind, number: u32) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(token(kind, number)).build();
        self.push(entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(CANCEL | token(kind, number)))
    }

    /// Hands the requests over and waits for a completion, at most `timeout`.
    pub fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.buffers.replace_lost();
        let result = match timeout {
            None => self.uring.submit_and_wait(1),
            Some(timeout) => {
                let timeout = Timespec::from(timeout);
                self.uring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout))
            }
        };
        match result.map_err(|e| (e.raw_os_error(), e)) {
            Ok(_) | Err((Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN), _)) => Ok(()),
            Err((_, e)) => Err(e),
        }
    }

    /// The next completion that is here already.
    pub fn completion(&mut self) -> Option<Done> {
        loop {
            let entry = self.uring.completion().next()?;
            if let Some(done) = self.done(&entry) {
                return Some(done);
            }
        }
    }

    /// Returns a buffer that came with bytes.
    pub fn give_back(&mut self, number: u16, data: Box<[u8]>) {
        self.buffers.give_back(number, data);
    }

    /// There were too few buffers.
    pub fn add_buffers(&mut self) {
        self.buffers.grow();
    }

    fn done(&mut self, entry: &cqueue::Entry) -> Option<Done> {
        let (result, number, more) = (entry.result(), entry.user_data() as u32, cqueue::more(entry.flags()));
        let kind = kind(entry.user_data())?;
        if entry.user_data() & CANCEL != 0 {
            return (result < 0).then_some(Done::Missed { kind, number });
        }
        if !more {
            self.open = self.open.saturating_sub(1);
        }
        let outcome = u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
        Some(match kind {
            Kind::Ready => Done::Ready { number, result: outcome.map(|_| ()) },
            Kind::Send => {
                let data = self.sends.get_mut(number as usize).and_then(Option::take).unwrap_or_default();
                Done::Sent { number, data, result: outcome.map(|length| length as usize) }
            }
            Kind::Receive => {
                let buffer = cqueue::buffer_select(entry.flags());
                let taken = buffer.and_then(|buffer| Some((buffer, self.buffers.take(buffer)?)));
                let arrived = match (outcome, taken) {
                    (Ok(length @ 1..), Some((number, data))) => {
                        Arrived::Bytes { number, data, length: length as usize }
                    }
                    (Ok(_), None) => Arrived::End,
                    (outcome, taken) => {
                        if let Some((number, data)) = taken {
                            self.buffers.give_back(number, data);
                        }
                        match outcome {
                            Ok(_) => Arrived::End,
                            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => Arrived::NoBuffer,
                            Err(e) => Arrived::Failed(e),
                        }
                    }
                };
                Done::Received { number, arrived, more }
            }
        })
    }

    fn start(&mut self, entry: squeue::Entry, kind: Kind, number: u32) -> io::Result<()> {
        self.push(entry.user_data(token(kind, number)))?;
        self.open += 1;
        Ok(())
    }

    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        // SAFETY: all that an entry of this module points at is in `sends` or `buffers`, which keep it until the
        // completion has come (`done`, `drop`).
        while unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.uring.submit()?;
        }
        Ok(())
    }
}

impl Drop for Ring {
    /// The kernel must have let go of the memory before it is freed; if it does not, the memory is left to it.
    fn drop(&mut self) {
        let _ = self.uring.submit();
        let limit = Timespec::new().sec(1);
        let _ = self.uring.submitter().register_sync_cancel(Some(limit), CancelBuilder::any());
        for _ in 0..64 {
            while self.completion().is_some() {}
            if self.open == 0 {
                self.buffers.release(&self.uring.submitter());
                return;
            }
            let _ = self.enter(Some(Duration::from_millis(20)));
        }
        std::mem::forget(std::mem::take(&mut self.sends));
    }
}

/// Marks the token of a cancellation.
const CANCEL: u64 = 1 << 63;

fn token(kind: Kind, number: u32) -> u64 {
    let kind = match kind {
        Kind::Receive => 1,
        Kind::Send => 2,
        Kind::Ready => 3,
    };
    kind << 32 | u64::from(number)
}

fn kind(token: u64) -> Option<Kind> {
    match (token & !CANCEL) >> 32 {
        1 => Some(Kind::Receive),
        2 => Some(Kind::Send),
        3 => Some(Kind::Ready),
        _ => None,
    }
}
