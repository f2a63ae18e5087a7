//! A secret typed at the terminal, which does not show it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Asks with these words and reads a line. Without a terminal it is read from standard input, and the words go to
/// standard error.
///
/// # Errors
/// Nothing can be read.
pub fn read_hidden(prompt: &str) -> io::Result<String> {
    match File::options().read(true).write(true).open("/dev/tty") {
        Ok(mut tty) => {
            let hidden = Hidden::new(tty.as_raw_fd());
            tty.write_all(prompt.as_bytes())?;
            let line = line(BufReader::new(tty.try_clone()?));
            drop(hidden);
            tty.write_all(b"\n")?;
            line
        }
        Err(_) => {
            eprint!("{prompt}");
            let line = line(io::stdin().lock());
            eprintln!();
            line
        }
    }
}

/// As `read_hidden`, from standard input, which should be a terminal; the words go to standard output.
///
/// # Errors
/// Nothing can be read, or nothing was typed before the end.
pub fn read_hidden_from_stdin(prompt: &str) -> io::Result<String> {
    let mut out = io::stdout();
    // Before the prompt: it drops what was typed already.
    let hidden = Hidden::new(io::stdin().as_raw_fd());
    out.write_all(prompt.as_bytes())?;
    out.flush()?;
    let mut typed = String::new();
    let count = io::stdin().lock().read_line(&mut typed);
    drop(hidden);
    out.write_all(b"\n")?;
    if count? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    typed.truncate(typed.trim_end_matches(['\n', '\r']).len());
    Ok(typed)
}

/// Rows and columns of a terminal; None: it is none, or does not say.
pub fn size(fd: BorrowedFd<'_>) -> Option<(usize, usize)> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: the pointer is valid for the call, and all-zero bytes are a valid `winsize`.
    let size = unsafe {
        let told = libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, size.as_mut_ptr());
        (told == 0).then(|| size.assume_init())?
    };
    (size.ws_row > 0 && size.ws_col > 0).then(|| (size.ws_row.into(), size.ws_col.into()))
}

fn line(mut from: impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden {
    fd: RawFd,
    before: Option<libc::termios>,
}

impl Hidden {
    fn new(fd: RawFd) -> Hidden {
        let mut before = MaybeUninit::<libc::termios>::zeroed();
        // SAFETY: the pointer is valid for the call, and all-zero bytes are a valid `termios`; what the call leaves is
        // used only if it succeeded.
        let before = unsafe { (libc::tcgetattr(fd, before.as_mut_ptr()) == 0).then(|| before.assume_init()) };
        if let Some(mut silent) = before {
            silent.c_lflag &= !libc::ECHO;
            // SAFETY: the pointer is valid for the call, and the structure came from tcgetattr.
            unsafe { libc::tcsetattr(fd, libc::TCSAFLUSH, &raw const silent) };
        }
        Hidden { fd, before }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // SAFETY: as above. The terminal is still open: whoever made this drops it first.
            unsafe { libc::tcsetattr(self.fd, libc::TCSAFLUSH, &raw const *before) };
        }
    }
}
