//! The listening sockets, of clients, of pcp tools and of the REST API: made before the first fork, shared by all who serve them.
#![forbid(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::unistd::Gid;

use super::child::{Door, Listener, ListenerKind};
use crate::config::Config;
use crate::sys::socket::{find_group, listen_tcp, listen_unix, set_backlog};

/// A socket that could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenError {
    #[error("could not listen on {0}, port {1}: {2}")]
    Address(String, i64, io::Error),
    #[error("could not make socket file {}: {}", .0.display(), .1)]
    File(PathBuf, io::Error),
    #[error("{0} = '{1}': {2}")]
    Group(&'static str, String, io::Error),
    #[error("no address to listen on: listen_addresses and unix_socket_directories are empty")]
    Nothing,
}

/// Makes all sockets of the configuration; the first failure ends it. What of them was `inherited` from a program
/// that this one takes over from is taken from there.
pub(super) fn open(
    config: &Config,
    inherited: Option<&mut Vec<Inherited>>,
) -> Result<Vec<Listener>, ListenError> {
    let mut nothing = Vec::new();
    let inherited = inherited.unwrap_or(&mut nothing);
    let foreign: Vec<ListenerKind> = inherited.iter().map(|listener| listener.kind.clone()).collect();
    let mut opening = Opening { inherited, listeners: Vec::new() };
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

/// A listening socket of the program that this one takes over from.
pub(super) struct Inherited {
    pub(super) fd: OwnedFd,
    pub(super) kind: ListenerKind,
}

/// Where those who come in by one door find it.
struct Way<'a> {
    door: Door,
    directories: &'a [String],
    addresses: &'a [String],
    port: i64,
    /// What stands before the port in the names of the files.
    file: &'static str,
    backlog: i32,
    /// Access mode of the files, and who owns them besides their user.
    mode: u32,
    group: Option<Gid>,
}

struct Opening<'a> {
    inherited: &'a mut Vec<Inherited>,
    listeners: Vec<Listener>,
}

impl Opening<'_> {
    fn open_all(&mut self, config: &Config) -> Result<(), ListenError> {
        self.open_way(&Way {
            door: Door::Clients,
            directories: &config.unix_socket_directories,
            addresses: &config.listen_addresses,
            port: config.port,
            file: ".s.PGSQL.",
            backlog: backlog(config),
            mode: mode(config.unix_socket_permissions),
            group: group("unix_socket_group", &config.unix_socket_group)?,
        })?;
        if self.listeners.is_empty() {
            return Err(ListenError::Nothing);
        }
        self.open_way(&Way {
            door: Door::Pcp,
            directories: &config.pcp_socket_dir,
            addresses: &config.pcp_listen_addresses,
            port: config.pcp_port,
            file: ".s.PGSQL.",
            backlog: TOOLS_BACKLOG,
            mode: mode(config.pcp_socket_permissions),
            group: group("pcp_socket_group", &config.pcp_socket_group)?,
        })?;
        if !config.rest_api_enabled {
            return Ok(());
        }
        // Who may use the socket of the pcp tools may use this one: both give an operator's powers.
        self.open_way(&Way {
            door: Door::Rest,
            directories: config.pcp_socket_dir.get(..1).unwrap_or_default(),
            addresses: &config.rest_api_listen_addresses,
            port: config.rest_api_port,
            file: ".s.PGREST.",
            backlog: TOOLS_BACKLOG,
            mode: mode(config.pcp_socket_permissions),
            group: group("pcp_socket_group", &config.pcp_socket_group)?,
        })
    }

    fn open_way(&mut self, way: &Way<'_>) -> Result<(), ListenError> {
        let what = match way.door {
            Door::Clients => "",
            Door::Pcp => "pcp ",
            Door::Rest => "REST API ",
        };
        let directories = way.directories.iter().filter(|directory| !directory.is_empty());
        for (number, directory) in directories.enumerate() {
            let path = Path::new(directory).join(format!("{}{}", way.file, way.port));
            crate::say!(Log, "create {what}socket files[{number}]: {}", path.display());
            let make = || listen_unix(&path, way.backlog, way.mode, way.group);
            self.add(way, ListenerKind::Unix(path.clone()), make)
                .map_err(|error| ListenError::File(path.clone(), error))?;
        }
        let names = way.addresses.iter().filter(|name| !name.is_empty());
        for (number, name) in names.enumerate() {
            crate::say!(Log, "{what}listen address[{number}]: {name}");
            self.open_name(way, name)?;
        }
        Ok(())
    }

    fn open_name(&mut self, way: &Way<'_>, name: &str) -> Result<(), ListenError> {
        let failed = |error| ListenError::Address(name.to_owned(), way.port, error);
        let number = u16::try_from(way.port).map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        let mut opened = false;
        for address in addresses(name, number).map_err(failed)? {
            let kind = ListenerKind::Tcp(address);
            if self.listeners.iter().any(|listener| listener.kind == kind && listener.door == way.door) {
                opened = true;
                continue;
            }
            crate::say!(Log, "Setting up socket for {}:{}", address.ip(), way.port);
            match self.add(way, kind, || listen_tcp(address, way.backlog)) {
                Ok(()) => opened = true,
                Err(error) if is_absent_family(&error) => last = error,
                Err(error) => return Err(failed(error)),
            }
        }
        if opened { Ok(()) } else { Err(failed(last)) }
    }

    /// Takes the socket from those that are there, or makes it.
    fn add(
        &mut self,
        way: &Way<'_>,
        kind: ListenerKind,
        make: impl FnOnce() -> io::Result<OwnedFd>,
    ) -> io::Result<()> {
        let fd = match self.inherited.iter().position(|listener| listener.kind == kind) {
            Some(at) => {
                let fd = self.inherited.swap_remove(at).fd;
                set_backlog(&fd, way.backlog)?;
                fd
            }
            None => make()?,
        };
        self.listeners.push(Listener { fd, kind, door: way.door });
        Ok(())
    }
}

fn mode(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(0o777) & 0o777
}

/// The group that a parameter names; empty: that of the process.
fn group(parameter: &'static str, name: &str) -> Result<Option<Gid>, ListenError> {
    if name.is_empty() {
        return Ok(None);
    }
    find_group(name).map(Some).map_err(|error| ListenError::Group(parameter, name.to_owned(), error))
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

/// Tools that knock at the same moment; each is taken in at once.
const TOOLS_BACKLOG: i32 = 128;

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

    /// The configuration of two ports and the directory of their sockets.
    fn config(port: u16, pcp_port: u16, dir: &Path) -> Config {
        let (address, dir) = (vec!["127.0.0.1".to_owned()], vec![dir.to_str().unwrap().to_owned()]);
        Config {
            port: port.into(),
            listen_addresses: address.clone(),
            unix_socket_directories: dir.clone(),
            pcp_port: pcp_port.into(),
            pcp_listen_addresses: address,
            pcp_socket_dir: dir,
            ..Config::default()
        }
    }

    fn free() -> u16 {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    fn files(dir: &Path) -> usize {
        std::fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn a_port_in_use_is_an_error_and_leaves_no_socket_file() {
        let dir = tempfile::tempdir().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(open(&config(port, free(), dir.path()), None).is_err());
        assert!(open(&config(free(), port, dir.path()), None).is_err());
        let both = free();
        assert!(open(&config(both, both, dir.path()), None).is_err(), "two doors cannot have one port");
        assert_eq!(files(dir.path()), 0);
    }

    #[test]
    fn each_door_has_its_own_sockets() {
        let dir = tempfile::tempdir().unwrap();
        let all = open(&config(free(), free(), dir.path()), None).unwrap();
        assert_eq!(
            all.iter().map(|listener| listener.door).collect::<Vec<_>>(),
            [Door::Clients, Door::Clients, Door::Pcp, Door::Pcp]
        );
        drop(all);
        let none = Config {
            pcp_listen_addresses: Vec::new(),
            pcp_socket_dir: Vec::new(),
            ..config(free(), free(), dir.path())
        };
        let clients = open(&none, None).unwrap();
        assert!(clients.iter().all(|listener| listener.door == Door::Clients));
    }

    #[test]
    fn the_rest_api_has_sockets_where_it_is_offered() {
        let dir = tempfile::tempdir().unwrap();
        let port = free();
        let config = Config {
            rest_api_enabled: true,
            rest_api_port: port.into(),
            rest_api_listen_addresses: vec!["127.0.0.1".to_owned()],
            ..config(free(), free(), dir.path())
        };
        let all = open(&config, None).unwrap();
        let kinds: Vec<_> = all.iter().filter(|one| one.door == Door::Rest).map(|one| &one.kind).collect();
        let file = dir.path().join(format!(".s.PGREST.{port}"));
        let address = ([127, 0, 0, 1], port).into();
        assert_eq!(kinds, [&ListenerKind::Unix(file), &ListenerKind::Tcp(address)]);
    }

    #[test]
    fn the_same_address_twice_is_one_socket() {
        let dir = tempfile::tempdir().unwrap();
        let twice = vec!["127.0.0.1".to_owned(), "127.0.0.1".to_owned()];
        let config = Config { pcp_listen_addresses: twice.clone(), ..config(free(), free(), dir.path()) };
        let config = Config { listen_addresses: twice, ..config };
        assert_eq!(open(&config, None).unwrap().len(), 4);
    }

    #[test]
    fn what_is_inherited_is_used_and_not_removed_by_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(free(), free(), dir.path());
        let inherited = |listeners: Vec<Listener>| -> Vec<Inherited> {
            listeners.into_iter().map(|Listener { fd, kind, .. }| Inherited { fd, kind }).collect()
        };
        let mut first = inherited(open(&config, None).unwrap());
        let second = open(&config, Some(&mut first)).unwrap();
        assert_eq!((first.len(), second.len()), (0, 4));
        let wrong = Config { pcp_listen_addresses: vec!["no such host".to_owned()], ..config };
        assert!(open(&wrong, Some(&mut inherited(second))).is_err());
        assert_eq!(files(dir.path()), 2);
    }
}
