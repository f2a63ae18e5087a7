//! What a service manager wants to hear: sd_notify(3), one datagram to the socket that `NOTIFY_SOCKET` names.
//!
//! Errors: there is nobody at the socket, or no room in it. A manager that does not listen never makes us wait.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use super::clock;
use super::process::ProcessId;
use super::takeover::take_variable;

/// Name of the variable.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

/// The way to the service manager; without one, nothing is said.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    socket: Option<OsString>,
}

impl Notifier {
    /// Takes the name of the socket out of the environment; children must not speak for us. Before there are threads.
    pub fn take() -> Notifier {
        Notifier { socket: take_variable(VARIABLE) }
    }

    /// The name of the socket, for a program that takes our place.
    pub fn socket(&self) -> Option<&OsStr> {
        self.socket.as_deref()
    }

    /// The start is done.
    pub fn ready(&self) -> io::Result<()> {
        self.send("READY=1\nSTATUS=serving clients")
    }

    /// The configuration is being read again; `ready` says when that is over.
    pub fn reloading(&self) -> io::Result<()> {
        // The manager tells by this time which signal of its own is answered.
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", clock::monotonic_micros()))
    }

    /// It is about to end.
    pub fn stopping(&self) -> io::Result<()> {
        self.send("STOPPING=1\nSTATUS=stopping")
    }

    /// Another process is the service from now on, and is ready.
    pub fn succeeded_by(&self, pid: ProcessId) -> io::Result<()> {
        self.send(&format!("MAINPID={pid}\nREADY=1\nSTATUS=serving clients"))
    }

    fn send(&self, text: &str) -> io::Result<()> {
        let Some(name) = &self.socket else { return Ok(()) };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(text.as_bytes(), &address(name)?)?;
        Ok(())
    }
}

/// `@` stands for an abstract name.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        #[cfg(target_os = "linux")]
        Some(name) => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(Path::new(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        let mut buffer = [0; 200];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn both_kinds_of_names_are_reached() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let abstract_name = format!("pgbalancer-notify-{}", std::process::id());
        let sockets = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (
                format!("@{abstract_name}").into(),
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap()).unwrap(),
            ),
        ];
        for (name, socket) in sockets {
            let notifier = Notifier { socket: Some(name) };
            notifier.ready().unwrap();
            assert_eq!(heard(&socket), "READY=1\nSTATUS=serving clients");
            notifier.reloading().unwrap();
            let said = heard(&socket);
            let micros = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(micros.parse::<u64>().unwrap() > 0);
            notifier.succeeded_by(77).unwrap();
            assert!(heard(&socket).starts_with("MAINPID=77\nREADY=1\n"));
        }
    }

    #[test]
    fn nobody_there_is_no_trouble() {
        Notifier::default().ready().unwrap();
        for name in ["/nowhere/notify", ""] {
            assert!(Notifier { socket: Some(name.into()) }.stopping().is_err());
        }
    }
}
