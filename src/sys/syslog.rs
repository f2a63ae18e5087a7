//! syslog: datagrams to the local daemon, as libc sends them (local time, name, process).
//!
//! Not through syslog(3): that waits while the daemon does not read, and a log must not stop who writes it.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::{clock, process};

/// Where the daemon listens.
#[cfg(not(target_os = "macos"))]
pub const SOCKET: &str = "/dev/log";
/// Where the daemon listens.
#[cfg(target_os = "macos")]
pub const SOCKET: &str = "/var/run/syslog";

/// How urgent a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    Critical = 2,
    Error = 3,
    Warning = 4,
    Notice = 5,
    Info = 6,
    Debug = 7,
}

/// Number of LOCAL0; the others follow.
const LOCAL0: u8 = 16;

/// A name and facility at the daemon.
pub struct Syslog {
    path: PathBuf,
    ident: String,
    facility: u8,
    socket: Option<UnixDatagram>,
}

impl Syslog {
    /// `local`: the N of LOCALN, 0 to 7.
    pub fn new(path: &Path, ident: &str, local: u8) -> Syslog {
        let socket = connect(path).ok();
        let ident = ident.replace(char::is_control, " ");
        Syslog { path: path.to_owned(), ident, facility: LOCAL0 + local.min(7), socket }
    }

    /// Hands one line over. `WouldBlock`: the daemon does not keep up.
    pub fn write(&mut self, priority: Priority, line: &str) -> io::Result<()> {
        let code = self.facility << 3 | priority as u8;
        let time = clock::local_format("%b %e %H:%M:%S", clock::unix_seconds());
        let (ident, pid) = (&self.ident, process::own_id());
        let packet = format!("<{code}>{time} {ident}[{pid}]: {line}");
        if let Some(socket) = &self.socket {
            match socket.send(packet.as_bytes()) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {}
                other => return other.map(|_| ()),
            }
        }
        // The daemon was not there, or it is another one now.
        self.socket = None;
        let socket = connect(&self.path)?;
        let sent = socket.send(packet.as_bytes());
        self.socket = Some(socket);
        sent.map(|_| ())
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(daemon: &UnixDatagram) -> String {
        let mut buffer = [0; 2048];
        let length = daemon.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_line_has_code_local_time_name_and_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let mut log = Syslog::new(&path, "pool\n2", 3);
        log.write(Priority::Warning, "hello").unwrap();
        let text = heard(&daemon);
        let (code, rest) = text.split_at(5);
        assert_eq!(code, format!("<{}>", (16 + 3) * 8 + 4));
        let (time, rest) = rest.split_at(15);
        let now = clock::local_text(clock::unix_seconds());
        assert_eq!(time.split(' ').next_back().unwrap()[..5], now[11..16], "{text}");
        assert_eq!(rest, format!(" pool 2[{}]: hello", process::own_id()));
    }

    #[test]
    fn a_daemon_that_is_slow_gone_or_new_makes_nobody_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = Syslog::new(&path, "x", 0);
        assert_eq!(log.write(Priority::Info, "nobody").unwrap_err().kind(), io::ErrorKind::NotFound);
        let daemon = UnixDatagram::bind(&path).unwrap();
        let error = (0..100_000).find_map(|_| log.write(Priority::Info, "more").err()).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(daemon);
        assert!(log.write(Priority::Info, "gone").is_err());
        std::fs::remove_file(&path).unwrap();
        let daemon = UnixDatagram::bind(&path).unwrap();
        log.write(Priority::Info, "back").unwrap();
        assert!(heard(&daemon).ends_with(": back"));
    }
}
