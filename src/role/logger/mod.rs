//! The log collector: reads what all processes log through one pipe and writes it to a file that changes with time.
//!
//! Started first and ended last. It heeds no signal to stop, since systemd and a terminal send one to every process:
//! it ends when the supervisor has closed its socket, or is dead, and the pipe is empty.
#![forbid(unsafe_code)]

mod fallback;
mod file;
mod rotation;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::config::Config;
use crate::log::{self, Assembler};
use crate::supervisor::ChildContext;
use crate::supervisor::request::Incoming;
use crate::sys::signals::{Signal, Signals};
use crate::sys::{clock, process};
use file::LogFile;
use rotation::Settings;

/// Read from the pipe at once.
const PIECE: usize = 64 * 1024;

/// Pieces read before they are written: as much is lost at most when the collector is killed, and as much may a file be
/// longer than `log_rotation_size`.
const PIECES_A_TURN: usize = 4;

/// How long it waits for the rest of a line or of a record, and between looks at the file.
const LOOK: Duration = Duration::from_secs(1);

/// Silence after the end of the supervisor that is taken for the end of all its children.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Runs the collector until the supervisor is gone.
pub fn run(mut context: ChildContext) -> ! {
    let code = match context.log_source.take() {
        Some(source) => match Logger::new(context, source.pipe, source.lost) {
            Ok(mut logger) => logger.serve(),
            Err(_) => super::FAILED,
        },
        None => super::FAILED,
    };
    process::exit_now(code)
}

struct Logger {
    context: ChildContext,
    signals: Signals,
    pipe: OwnedFd,
    lost: &'static AtomicU64,
    assembler: Assembler,
    file: LogFile,
    /// Ready to be written.
    out: Vec<u8>,
    /// Nobody writes to the pipe any more.
    closed: bool,
}

impl Logger {
    fn new(context: ChildContext, pipe: OwnedFd, lost: &'static AtomicU64) -> io::Result<Logger> {
        let file = LogFile::new(settings(&context.config), clock::unix_seconds());
        let signals = Signals::new()?;
        let (assembler, out) = (Assembler::default(), Vec::new());
        Ok(Logger { context, signals, pipe, lost, assembler, file, out, closed: false })
    }

    fn serve(&mut self) -> i32 {
        let mut ending = false;
        loop {
            let came = self.read();
            if ending && (self.closed || !came) {
                self.assembler.finish(&mut self.out);
                self.write();
                return 0;
            }
            if !came {
                self.assembler.rest(process::is_alive, &mut self.out);
            }
            self.write();
            if self.closed && !ending {
                // The supervisor holds both ends while it lives, so it is dead.
                return 0;
            }
            ending = ending || self.supervisor_is_gone();
            self.wait(ending);
            self.heed_signals();
        }
    }

    /// Takes what is in the pipe, up to a bound; whether something was.
    fn read(&mut self) -> bool {
        let mut buffer = vec![0; PIECE];
        for turn in 0..PIECES_A_TURN {
            match nix::unistd::read(&self.pipe, &mut buffer) {
                Ok(0) => {
                    self.closed = true;
                    return turn > 0;
                }
                Ok(length) => {
                    self.assembler.feed(buffer.get(..length).unwrap_or_default(), &mut self.out);
                }
                Err(Errno::EINTR) => {}
                Err(_) => return turn > 0,
            }
        }
        true
    }

    /// Writes what is ready, and what this process has to say itself.
    fn write(&mut self) {
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > 0 {
            log::Line::new(log::Level::Warning, format!("{lost} log records were lost"))
                .detail("They came faster than the log collector could write.")
                .emit();
        }
        self.out.extend_from_slice(&log::take_kept());
        self.file.write(&self.out, clock::unix_seconds());
        // Not before it is written: killed in between, it would leave the loss untold.
        self.lost.fetch_sub(lost, Ordering::Relaxed);
        // What went wrong with the file is said by now.
        let more = log::take_kept();
        if !more.is_empty() {
            self.file.write(&more, clock::unix_seconds());
        }
        self.out.clear();
        self.out.shrink_to(PIECE);
    }

    fn supervisor_is_gone(&self) -> bool {
        std::iter::from_fn(|| self.context.supervisor.recv()).any(|incoming| incoming == Incoming::Gone)
    }

    /// Sleeps until something comes or is due.
    fn wait(&self, ending: bool) {
        let rotation = self.file.next_rotation().map(|at| {
            Duration::from_secs(at.saturating_sub(clock::unix_seconds())).max(Duration::from_millis(1))
        });
        let look = (self.assembler.is_waiting() || self.file.is_in_trouble()).then_some(LOOK);
        let end = ending.then_some(LAST_WORDS);
        let timeout = [rotation, look, end].into_iter().flatten().min();
        let timeout =
            timeout.map_or(PollTimeout::NONE, |wait| PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX));
        let (pipe, signals) = (self.pipe.as_fd(), self.signals.as_fd());
        let mut fds = vec![PollFd::new(pipe, PollFlags::POLLIN), PollFd::new(signals, PollFlags::POLLIN)];
        if !ending {
            fds.push(PollFd::new(self.context.supervisor.as_fd(), PollFlags::POLLIN));
        }
        // An error of poll costs a turn, no more.
        let _ = poll(&mut fds, timeout);
    }

    fn heed_signals(&mut self) {
        while let Some(signal) = self.signals.read() {
            match signal {
                Signal::Hangup => {
                    self.context.reload();
                    self.file.reload(settings(&self.context.config), clock::unix_seconds());
                }
                Signal::User1 => self.file.rotate(clock::unix_seconds()),
                Signal::Terminate | Signal::Interrupt | Signal::Quit | Signal::User2 | Signal::Child => {}
            }
        }
    }
}

fn settings(config: &Config) -> Settings {
    let number = |value: i64| u64::try_from(value).unwrap_or(0);
    Settings {
        // A relative name counts from the working directory, which is / for a daemon: as in pgpool-II.
        directory: config.log_directory.clone().into(),
        pattern: config.log_filename.clone(),
        mode: u32::try_from(config.log_file_mode).unwrap_or(0o600) & 0o777,
        age: Duration::from_secs(number(config.log_rotation_age).saturating_mul(60)),
        size: number(config.log_rotation_size).saturating_mul(1024),
        truncate: config.log_truncate_on_rotation,
    }
}
