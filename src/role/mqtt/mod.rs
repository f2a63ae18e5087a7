//! The MQTT process: follows the rings of events and publishes them at a broker.
//!
//! A thin shell: which messages an event makes, which wait, and what is logged of a broker that is not there is decided in
//! `face::mqtt`. The client is Eclipse Paho's, which has threads of its own; it is made after the fork and lives in this
//! process only. Nobody waits for this process; it asks shared memory only.
#![forbid(unsafe_code)]

pub mod link;
mod publisher;
mod wake;

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::FAILED;
use crate::say;
use crate::supervisor::ChildContext;
use crate::supervisor::request::Incoming;
use crate::sys::signals::{Signal, Signals};
use crate::sys::{poll, process};
pub use publisher::Publisher;

/// How long the last messages may take when the process has to end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Publishes events until it is told to end or the supervisor is gone.
pub fn run(context: ChildContext) -> ! {
    let code = match live(context) {
        Ok(()) => 0,
        Err(error) => {
            say!(Error, "MQTT process: {error}");
            FAILED
        }
    };
    process::exit_now(code)
}

fn live(mut context: ChildContext) -> io::Result<()> {
    // Before the client has threads: they must not take our signals.
    let signals = Signals::new()?;
    say!(Log, "MQTT process: {} started", process::own_id());
    let mut publisher = Publisher::new(context.segment, context.config.clone())?;
    loop {
        let sleep = publisher.turn(Instant::now());
        let fds = [signals.as_fd(), context.supervisor.as_fd(), publisher.as_fd()];
        poll::readable(fds, Some(sleep))?;
        while let Some(signal) = signals.read() {
            match signal {
                Signal::Terminate | Signal::Interrupt | Signal::Quit => {
                    publisher.end(Instant::now() + LAST_WORDS);
                    return Ok(());
                }
                Signal::Hangup => {
                    context.reload();
                    publisher.reload(context.config.clone());
                }
                _ => (),
            }
        }
        while let Some(incoming) = context.supervisor.recv() {
            if incoming == Incoming::Gone {
                return Ok(());
            }
        }
    }
}
