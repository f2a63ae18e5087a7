//! The listening sockets: made before the first fork, shared by all workers.
#![forbid(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::child::{Listener, ListenerKind};
use crate::config::Config;
use crate::sys::socket::{find_group, listen_tcp, listen_unix, set_backlog};

/// A socket that could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenError {
    #[error("could not listen on {0}, port {1}: {2}")]
    Address(String, i64, io::Error),
    #[error("could not make socket file {}: {}", .0.display(), .1)]
    File(PathBuf, io::Error),
    #[error("unix_socket_group = '{0}': {1}")]
    Group(String, io::Error),
    #[error("no address to listen on: listen_addresses and unix_socket_directories are empty")]
    Nothing,
}

/// Makes all sockets of the configuration; the first failure ends it. What of them was `inherited` from a program
/// that this one takes over from is taken from there.
pub(super) fn open(
    config: &Config,
    inherited: Option<&mut Vec<Listener>>,
) -> Result<Vec<Listener>, ListenError> {
    let mut nothing = Vec::new();
    let inherited = inherited.unwrap_or(&mut nothing);
    let foreign: Vec<ListenerKind> = inherited.iter().map(|listener| listener.kind.clone()).collect();
    let mut opening = Opening { backlog: backlog(config), inherited, listeners: Vec::new() };
    let result = opening.open_all(config);
    let mut listeners = opening.listeners;
    if let Err(error) = result {
        // The other program still serves clients there.
        listeners.retain(|listener| !foreign.contains(&listener.kind));
        remove_files(&listeners);
        return Err(error);
    }
    Ok(listeners)
}

struct Opening<'a> {
    backlog: i32,
    inherited: &'a mut Vec<Listener>,
    listeners: Vec<Listener>,
}

impl Opening<'_> {
    fn open_all(&mut self, config: &Config) -> Result<(), ListenError> {
        let group = match config.unix_socket_group.as_str() {
            "" => None,
            name => Some(find_group(name).map_err(|error| ListenError::Group(name.to_owned(), error))?),
        };
        let directories = config.unix_socket_directories.iter().filter(|directory| !directory.is_empty());
        for (number, directory) in directories.enumerate() {
            let path = Path::new(directory).join(format!(".s.PGSQL.{}", config.port));
            crate::say!(Log, "create socket files[{number}]: {}", path.display());
            let mode = u32::try_from(config.unix_socket_permissions).unwrap_or(0o777) & 0o777;
            let backlog = self.backlog;
            self.add(ListenerKind::Unix(path.clone()), || listen_unix(&path, backlog, mode, group))
                .map_err(|error| ListenError::File(path.clone(), error))?;
        }
        let names = config.listen_addresses.iter().filter(|name| !name.is_empty());
        for (number, name) in names.enumerate() {
            crate::say!(Log, "listen address[{number}]: {name}");
            self.open_name(name, config.port)?;
        }
        if self.listeners.is_empty() { Err(ListenError::Nothing) } else { Ok(()) }
    }

    fn open_name(&mut self, name: &str, port: i64) -> Result<(), ListenError> {
        let failed = |error| ListenError::Address(name.to_owned(), port, error);
        let number = u16::try_from(port).map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        let mut opened = false;
        let backlog = self.backlog;
        for address in addresses(name, number).map_err(failed)? {
            if self.listeners.iter().any(|listener| listener.kind == ListenerKind::Tcp(address)) {
                opened = true;
                continue;
            }
            crate::say!(Log, "Setting up socket for {}:{port}", address.ip());
            match self.add(ListenerKind::Tcp(address), || listen_tcp(address, backlog)) {
                Ok(()) => opened = true,
                Err(error) if is_absent_family(&error) => last = error,
                Err(error) => return Err(failed(error)),
            }
        }
        if opened { Ok(()) } else { Err(failed(last)) }
    }

    /// Takes the socket from those that are there, or makes it.
    fn add(&mut self, kind: ListenerKind, make: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<()> {
        let fd = match self.inherited.iter().position(|listener| listener.kind == kind) {
            Some(at) => {
                let fd = self.inherited.swap_remove(at).fd;
                set_backlog(&fd, self.backlog)?;
                fd
            }
            None => make()?,
        };
        self.listeners.push(Listener { fd, kind });
        Ok(())
    }
}

/// Addresses of a name; `*` is every IPv4 and every IPv6 address.
fn addresses(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if name == "*" {
        return Ok(vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]);
    }
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    Ok((name, port).to_socket_addrs()?.collect())
}

/// A host without IPv6 still resolves `localhost` to `::1`; the other address does.
fn is_absent_family(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(nix::errno::Errno::from_raw),
        Some(nix::errno::Errno::EAFNOSUPPORT | nix::errno::Errno::EADDRNOTAVAIL)
    )
}

/// pgpool-II's depth: children × `listen_backlog_multiplier`. Few workers of many sessions take bursts
/// that their number does not tell, so then it is as deep as the kernel allows.
fn backlog(config: &Config) -> i32 {
    if config.sessions_per_child > 1 {
        return i32::MAX;
    }
    let depth = config.num_init_children.saturating_mul(config.listen_backlog_multiplier);
    i32::try_from(depth).unwrap_or(i32::MAX)
}

/// Removes the files of Unix sockets, so that nobody knocks in vain.
pub(super) fn remove_files(listeners: &[Listener]) {
    for listener in listeners {
        if let ListenerKind::Unix(path) = &listener.kind {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let all = |name| addresses(name, 5).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(all("*"), ["0.0.0.0:5", "[::]:5"]);
        assert_eq!(all("127.0.0.2"), ["127.0.0.2:5"]);
        assert_eq!(all("::1"), ["[::1]:5"]);
        assert_eq!(all("[::1]"), ["[::1]:5"]);
        assert!(addresses("no such host", 5).is_err());
    }

    fn opening(inherited: &mut Vec<Listener>) -> Opening<'_> {
        Opening { backlog: 1, inherited, listeners: Vec::new() }
    }

    /// The configuration of a port and the directory of its socket.
    fn config(port: u16, dir: &Path) -> Config {
        Config {
            port: port.into(),
            listen_addresses: vec!["127.0.0.1".to_owned()],
            unix_socket_directories: vec![dir.to_str().unwrap().to_owned()],
            ..Config::default()
        }
    }

    #[test]
    fn a_port_in_use_is_an_error_and_leaves_no_socket_file() {
        let dir = tempfile::tempdir().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(open(&config(port, dir.path()), None).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_same_address_twice_is_one_socket() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut nothing = Vec::new();
        let mut opening = opening(&mut nothing);
        for name in ["127.0.0.1", "127.0.0.1"] {
            opening.open_name(name, i64::from(free)).unwrap();
        }
        assert_eq!(opening.listeners.len(), 1);
    }

    #[test]
    fn what_is_inherited_is_used_and_not_removed_by_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut first = open(&config(free, dir.path()), None).unwrap();
        let second = open(&config(free, dir.path()), Some(&mut first)).unwrap();
        assert_eq!((first.len(), second.len()), (0, 2));
        let mut second = second;
        let wrong = Config { listen_addresses: vec!["no such host".to_owned()], ..config(free, dir.path()) };
        assert!(open(&wrong, Some(&mut second)).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
