//! Where the REST API is: a host and a port, or the file of a Unix socket.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// Name or address, and port.
    Tcp(String, u16),
    /// Its socket on this host.
    Unix(PathBuf),
}

impl Server {
    /// From what an option says. The error says what is wrong with it.
    pub(super) fn new(host: &str, port: u16) -> Result<Server, String> {
        if let Some(path) = host.strip_prefix("unix:") {
            return match path {
                "" => Err("no path behind \"unix:\"; write unix:/path/of/the/socket".to_owned()),
                path => Ok(Server::Unix(path.into())),
            };
        }
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_name = !host.is_empty() && host.len() < 256 && host.chars().all(named);
        if is_name || bare.parse::<Ipv6Addr>().is_ok() {
            Ok(Server::Tcp(bare.to_owned(), port))
        } else {
            Err(format!("\"{host}\" is no host: give a name, an address, or unix:/path/of/the/socket"))
        }
    }

    /// What all addresses of the API begin with.
    pub(super) fn base(&self, is_secured: bool) -> String {
        match self {
            Server::Tcp(..) if is_secured => format!("https://{self}"),
            Server::Tcp(..) => format!("http://{self}"),
            Server::Unix(_) => "http://localhost".to_owned(),
        }
    }
}

/// As tokens are kept under it, and as messages name it.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Server::Tcp(host, port) => write!(f, "{host}:{port}"),
            Server::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_and_sockets() {
        for (host, shown, base) in [
            ("localhost", "localhost:8080", "http://localhost:8080"),
            ("10.0.0.1", "10.0.0.1:8080", "http://10.0.0.1:8080"),
            ("::1", "[::1]:8080", "http://[::1]:8080"),
            ("[fe80::1]", "[fe80::1]:8080", "http://[fe80::1]:8080"),
            ("unix:/run/rest", "unix:/run/rest", "http://localhost"),
        ] {
            let server = Server::new(host, 8080).unwrap();
            assert_eq!((server.to_string().as_str(), server.base(false).as_str()), (shown, base));
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for host in ["", "unix:", "a b", "user@host", "http://host", "h/x", "[::1", "::g", "h:1", "h\r\nX: y"]
        {
            assert!(Server::new(host, 1).is_err(), "{host}");
        }
    }
}
