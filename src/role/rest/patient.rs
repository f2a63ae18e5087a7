//! A socket that is given up when its reader takes nothing for long.
#![forbid(unsafe_code)]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long a client may take nothing of what waits for it.
const SLOWEST_READER: Duration = Duration::from_secs(30);

pub(super) struct Patient<S> {
    socket: S,
    /// When it is given up; runs while a write waits.
    limit: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl<S> Patient<S> {
    pub(super) fn new(socket: S) -> Patient<S> {
        Patient { socket, limit: Box::pin(sleep(SLOWEST_READER)), is_waiting: false }
    }

    /// Bounds the time that a write waits.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.is_waiting = false;
            return wrote;
        }
        if !std::mem::replace(&mut self.is_waiting, true) {
            self.limit.as_mut().reset(Instant::now() + SLOWEST_READER);
        }
        ready!(self.limit.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.bounded(cx, wrote)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_reads_nothing_is_given_up_and_one_that_reads_is_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
            let mut patient = Patient::new(ours);
            let (mut wrote, mut has_waited) = (0, false);
            // Until the socket is full; only then does the clock run.
            let end = std::future::poll_fn(|cx| {
                loop {
                    match Pin::new(&mut patient).poll_write(cx, &[0; 65536]) {
                        Poll::Ready(Ok(count)) => wrote += count,
                        Poll::Ready(Err(error)) => return Poll::Ready(error.kind()),
                        Poll::Pending if has_waited => return Poll::Pending,
                        Poll::Pending => {
                            assert!(patient.is_waiting && patient.limit.deadline() > Instant::now());
                            patient.limit.as_mut().reset(Instant::now());
                            has_waited = true;
                        }
                    }
                }
            });
            assert_eq!(end.await, io::ErrorKind::TimedOut);
            assert!(wrote > 0);
            drop(theirs);
        });
    }
}
