//! The listening sockets: made before the first fork, shared by all workers.
#![forbid(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use super::child::{Listener, ListenerKind};
use crate::config::Config;
use crate::sys::socket::{find_group, listen_tcp, listen_unix};

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

/// Makes all sockets of the configuration; the first failure ends it.
pub(super) fn open(config: &Config) -> Result<Vec<Listener>, ListenError> {
    let backlog = backlog(config);
    let mut listeners = Vec::new();
    if let Err(error) = open_all(config, backlog, &mut listeners) {
        remove_files(&listeners);
        return Err(error);
    }
    if listeners.is_empty() { Err(ListenError::Nothing) } else { Ok(listeners) }
}

fn open_all(config: &Config, backlog: i32, listeners: &mut Vec<Listener>) -> Result<(), ListenError> {
    let group = match config.unix_socket_group.as_str() {
        "" => None,
        name => Some(find_group(name).map_err(|error| ListenError::Group(name.to_owned(), error))?),
    };
    let directories = config.unix_socket_directories.iter().filter(|directory| !directory.is_empty());
    for (number, directory) in directories.enumerate() {
        let path = Path::new(directory).join(format!(".s.PGSQL.{}", config.port));
        crate::say!(Log, "create socket files[{number}]: {}", path.display());
        let mode = u32::try_from(config.unix_socket_permissions).unwrap_or(0o777) & 0o777;
        let fd = listen_unix(&path, backlog, mode, group)
            .map_err(|error| ListenError::File(path.clone(), error))?;
        listeners.push(Listener { fd, kind: ListenerKind::Unix(path) });
    }
    let names = config.listen_addresses.iter().filter(|name| !name.is_empty());
    for (number, name) in names.enumerate() {
        crate::say!(Log, "listen address[{number}]: {name}");
        open_name(name, config.port, backlog, listeners)?;
    }
    Ok(())
}

fn open_name(name: &str, port: i64, backlog: i32, listeners: &mut Vec<Listener>) -> Result<(), ListenError> {
    let failed = |error| ListenError::Address(name.to_owned(), port, error);
    let number = u16::try_from(port).map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    let mut opened = false;
    for address in addresses(name, number).map_err(failed)? {
        if listeners.iter().any(|listener| listener.kind == ListenerKind::Tcp(address)) {
            opened = true;
            continue;
        }
        crate::say!(Log, "Setting up socket for {}:{port}", address.ip());
        match listen_tcp(address, backlog) {
            Ok(fd) => {
                listeners.push(Listener { fd, kind: ListenerKind::Tcp(address) });
                opened = true;
            }
            Err(error) if is_absent_family(&error) => last = error,
            Err(error) => return Err(failed(error)),
        }
    }
    if opened { Ok(()) } else { Err(failed(last)) }
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

    #[test]
    fn a_port_in_use_is_an_error_and_leaves_no_socket_file() {
        let dir = tempfile::tempdir().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let path = dir.path().join(".s.PGSQL.1");
        let mut listeners = vec![Listener {
            fd: listen_unix(&path, 1, 0o777, None).unwrap(),
            kind: ListenerKind::Unix(path.clone()),
        }];
        let port = i64::from(taken.local_addr().unwrap().port());
        assert!(open_name("127.0.0.1", port, 1, &mut listeners).is_err());
        remove_files(&listeners);
        assert!(!path.exists());
    }

    #[test]
    fn the_same_address_twice_is_one_socket() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut listeners = Vec::new();
        for name in ["127.0.0.1", "127.0.0.1"] {
            open_name(name, i64::from(free), 1, &mut listeners).unwrap();
        }
        assert_eq!(listeners.len(), 1);
    }
}
