//! The terminal while `top` has it: the other screen, no cursor, keys as they are typed. All of it ends with the value.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use super::super::failure::Failure;
use super::super::output::print;
use crate::sys::poll::readable;
use crate::sys::signals::{self, Signals};
use crate::sys::terminal;

const OTHER_SCREEN: &str = "\x1b[?1049h\x1b[?25l";
const BACK: &str = "\x1b[?25h\x1b[?1049l";

/// What a terminal is taken for that does not say.
const USUAL_SIZE: (usize, usize) = (24, 80);

/// What the user has typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Nothing: the time has passed.
    None,
    /// That it is enough.
    Quit,
}

pub(super) struct Screen {
    before: Termios,
    signals: Signals,
}

impl Screen {
    pub(super) fn open() -> Result<Screen, Failure> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Err(Failure::Local("top needs a terminal; top --once prints one screen".to_owned()));
        }
        let failed = |error: io::Error| Failure::Local(format!("the terminal cannot be used: {error}"));
        // A signal that ends us must not leave the terminal as it is.
        let signals = signals::block().and_then(|()| Signals::new()).map_err(failed)?;
        let before = tcgetattr(io::stdin()).map_err(|error| failed(error.into()))?;
        let mut raw = before.clone();
        raw.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &raw).map_err(|error| failed(error.into()))?;
        print(OTHER_SCREEN);
        Ok(Screen { before, signals })
    }

    /// Rows and columns.
    pub(super) fn size(&self) -> (usize, usize) {
        terminal::size(io::stdout().as_fd()).unwrap_or(USUAL_SIZE)
    }

    /// Draws these lines over the old ones.
    pub(super) fn draw(&self, text: &str) {
        let lines = text.replace('\n', "\x1b[K\r\n");
        print(&format!("\x1b[H{lines}\x1b[J"));
    }

    /// Waits that long for the user, or for a signal that ends us.
    pub(super) fn wait(&self, time: Duration) -> Result<Key, Failure> {
        let failed = |error: io::Error| Failure::Local(format!("the terminal cannot be read: {error}"));
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let [typed, signal] =
                readable([io::stdin().as_fd(), self.signals.as_fd()], Some(left)).map_err(failed)?;
            if signal && self.signals.read().is_some() {
                return Ok(Key::Quit);
            }
            if typed {
                let mut bytes = [0; 64];
                let count = io::stdin().read(&mut bytes).map_err(failed)?;
                if quits(bytes.get(..count).unwrap_or_default()) {
                    return Ok(Key::Quit);
                }
            }
            if left.is_zero() {
                return Ok(Key::None);
            }
        }
    }
}

/// `q`, Ctrl-C or Ctrl-D, or that there is nobody any more.
fn quits(typed: &[u8]) -> bool {
    typed.is_empty() || typed.iter().any(|byte| matches!(byte, b'q' | b'Q' | 3 | 4))
}

impl Drop for Screen {
    fn drop(&mut self) {
        print(BACK);
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_end_it() {
        for (typed, expected) in [(b"q" as &[u8], true), (b"\x03", true), (b"", true), (b"x\x1b[A", false)] {
            assert_eq!(quits(typed), expected);
        }
    }
}
