//! Something to read once in a while: a clock that the kernel runs, so that no wait needs a time limit of its own.
//!
//! To arm and disarm a timer for each wait costs a busy process more than one timer that goes on.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// A timer that is off at first. Make it after the fork.
pub struct Ticker {
    fd: TimerFd,
    period: Duration,
    on: bool,
}

impl Ticker {
    /// A timer that, once on, is readable every `period`.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub fn new(period: Duration) -> io::Result<Ticker> {
        let fd = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        Ok(Ticker { fd, period, on: false })
    }

    /// Lets it run, or stops it; no system call when nothing changes.
    ///
    /// # Errors
    /// What the kernel says; it is as it was then.
    pub fn run(&mut self, on: bool) -> io::Result<()> {
        if on != self.on {
            match on {
                true => self.fd.set(Expiration::Interval(self.period.into()), TimerSetTimeFlags::empty())?,
                false => self.fd.unset()?,
            }
            self.on = on;
        }
        Ok(())
    }

    /// Takes the ticks that have come.
    pub fn rest(&self) {
        // Nothing there is no fault: it may have been stopped meanwhile.
        let _ = nix::unistd::read(&self.fd, &mut [0; 8]);
    }
}

impl AsFd for Ticker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Ticker {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, poll};

    #[test]
    fn it_ticks_while_it_is_on() {
        let mut ticker = Ticker::new(Duration::from_millis(5)).unwrap();
        let ticks = |ticker: &Ticker, millis: u16| {
            poll(&mut [PollFd::new(ticker.as_fd(), PollFlags::POLLIN)], millis).unwrap() == 1
        };
        assert!(!ticks(&ticker, 20));
        ticker.run(true).unwrap();
        for _ in 0..2 {
            assert!(ticks(&ticker, 5000));
            ticker.rest();
        }
        ticker.run(false).unwrap();
        ticker.rest();
        assert!(!ticks(&ticker, 20));
    }
}
