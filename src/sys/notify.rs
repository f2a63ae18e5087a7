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
use std::time::Duration;

use super::clock;
use super::process::{self, ProcessId};
use super::takeover::take_variable;

/// Name of the variable.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

/// Name of the variable that says how many microseconds the manager waits for a sign of life.
pub const WATCHDOG_VARIABLE: &str = "WATCHDOG_USEC";

/// The process that is meant, where it is set.
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// The way to the service manager; without one, nothing is said.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    socket: Option<OsString>,
    /// How long the manager waits for a sign of life.
    patience: Option<Duration>,
}

impl Notifier {
    /// Takes the name of the socket out of the environment; children must not speak for us. Before there are threads.
    pub fn take() -> Notifier {
        let socket = take_variable(VARIABLE);
        let (micros, pid) = (take_variable(WATCHDOG_VARIABLE), take_variable(WATCHDOG_PID));
        Notifier { patience: patience(micros.as_deref(), pid.as_deref(), process::own_id()), socket }
    }

    /// How often the manager wants a sign of life: twice in the time that it waits for one.
    pub fn sign_of_life_every(&self) -> Option<Duration> {
        self.socket.as_ref()?;
        self.patience.map(|patience| patience / 2)
    }

    /// The variables by which a program that takes our place finds the manager.
    pub fn variables(&self) -> Vec<(&'static str, OsString)> {
        let socket = self.socket.clone().map(|socket| (VARIABLE, socket));
        let patience = self.patience.map(|time| (WATCHDOG_VARIABLE, time.as_micros().to_string().into()));
        socket.into_iter().chain(patience).collect()
    }

    /// A sign of life.
    pub fn lives(&self) -> io::Result<()> {
        self.send("WATCHDOG=1")
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

/// What the variables say, if they are about this process.
fn patience(micros: Option<&OsStr>, pid: Option<&OsStr>, own: ProcessId) -> Option<Duration> {
    let number = |text: &OsStr| text.to_str()?.parse::<u64>().ok();
    let is_meant = pid.is_none_or(|pid| number(pid) == u64::try_from(own).ok());
    let micros = micros.and_then(number).filter(|micros| is_meant && *micros > 0)?;
    Some(Duration::from_micros(micros))
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
            let notifier = Notifier { socket: Some(name), patience: None };
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
    fn the_manager_waits_as_long_as_its_variable_says_if_it_means_this_process() {
        for (micros, pid, expected) in [
            (Some("30000000"), None, Some(30)),
            (Some("30000000"), Some("7"), Some(30)),
            (Some("30000000"), Some("8"), None),
            (Some("30000000"), Some("x"), None),
            (Some("0"), None, None),
            (Some("-1"), None, None),
            (None, Some("7"), None),
        ] {
            let found = patience(micros.map(OsStr::new), pid.map(OsStr::new), 7);
            assert_eq!(found, expected.map(Duration::from_secs), "{micros:?} {pid:?}");
        }
        let notifier = Notifier { socket: Some("s".into()), patience: Some(Duration::from_micros(5000)) };
        assert_eq!(notifier.sign_of_life_every(), Some(Duration::from_micros(2500)));
        assert_eq!(notifier.variables()[1], (WATCHDOG_VARIABLE, "5000".into()));
        assert_eq!(Notifier { socket: None, ..notifier }.sign_of_life_every(), None);
    }

    #[test]
    fn nobody_there_is_no_trouble() {
        Notifier::default().ready().unwrap();
        for name in ["/nowhere/notify", ""] {
            assert!(Notifier { socket: Some(name.into()), patience: None }.stopping().is_err());
        }
    }
}
