//! A line at the terminal that says that something is still under way.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_secs(1);

/// Until it is dropped.
pub(super) struct Progress {
    /// Nothing is sent: its end ends the thread.
    end: Option<Sender<()>>,
    /// What is done at the moment.
    step: Arc<Mutex<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Says this every second with the time that has passed, if standard error is a terminal and somebody wants to know.
    pub(super) fn start(what: String, quiet: bool) -> Progress {
        let step = Arc::new(Mutex::new(String::new()));
        if quiet || !io::stderr().is_terminal() {
            return Progress { end: None, step, thread: None };
        }
        let now = Arc::clone(&step);
        let (end, ended) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let begun = Instant::now();
            let mut shown = false;
            while ended.recv_timeout(STEP) == Err(RecvTimeoutError::Timeout) {
                let step = now.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let colon = if step.is_empty() { "" } else { ": " };
                say(&format!("\r{what} ({} s){colon}{step}\x1b[K", begun.elapsed().as_secs()));
                shown = true;
            }
            if shown {
                say("\r\x1b[K");
            }
        });
        Progress { end: Some(end), step, thread: Some(thread) }
    }

    /// What is done from now on.
    pub(super) fn goes_on(&self, step: String) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }
}

fn say(text: &str) {
    let mut out = io::stderr().lock();
    // Progress on a closed terminal is nobody's loss.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked has nothing more to say.
            let _ = thread.join();
        }
    }
}
