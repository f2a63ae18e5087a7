//! Waiting for descriptors, for processes whose loop has a handful of them.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Waits until one of the descriptors can be read or is closed, a signal comes, or `limit` has passed (`None`: none);
/// returns which can be read.
pub fn readable<const N: usize>(fds: [BorrowedFd<'_>; N], limit: Option<Duration>) -> io::Result<[bool; N]> {
    // Rounded up: to wake a fraction of a millisecond early would be to spin.
    let rounded = |limit: Duration| limit.saturating_add(Duration::from_millis(1));
    let timeout = match limit {
        Some(limit) => PollTimeout::try_from(rounded(limit)).unwrap_or(PollTimeout::MAX),
        None => PollTimeout::NONE,
    };
    let mut polled = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    match poll(&mut polled, timeout) {
        Ok(_) => Ok(polled.map(|fd| fd.any().unwrap_or(false))),
        Err(Errno::EINTR) => Ok([false; N]),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::time::Instant;

    #[test]
    fn tells_which_can_be_read_and_waits_no_longer_than_its_limit() {
        let (first, _quiet) = io::pipe().unwrap();
        let (second, mut writer) = io::pipe().unwrap();
        let begun = Instant::now();
        let limit = Duration::from_millis(20);
        assert_eq!(readable([first.as_fd(), second.as_fd()], Some(limit)).unwrap(), [false; 2]);
        assert!(begun.elapsed() >= limit);
        writer.write_all(&[0]).unwrap();
        assert_eq!(readable([first.as_fd(), second.as_fd()], None).unwrap(), [false, true]);
    }
}
