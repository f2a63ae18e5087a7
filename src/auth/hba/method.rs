//! The method of a rule with its options, and which of them go together: as pgpool-II and PostgreSQL check them.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::ident::{self, Map};
use super::ldap_url;
use super::token::{Field, Token};

/// What to ask of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    Trust,
    Reject,
    Md5,
    ScramSha256,
    /// The password in clear, which `pool_passwd` or else the backend checks.
    Password,
    /// The name in a verified client certificate is the user's, or by this map is that of somebody who may be the user.
    Cert(Option<Arc<Map>>),
    /// The password in clear, checked by PAM.
    Pam(Arc<Pam>),
    /// The password in clear, checked by an LDAP server.
    Ldap(Arc<Ldap>),
}

impl Method {
    /// As it is written in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Reject => "reject",
            Self::Md5 => "md5",
            Self::ScramSha256 => "scram-sha-256",
            Self::Password => "password",
            Self::Cert(_) => "cert",
            Self::Pam(_) => "pam",
            Self::Ldap(_) => "ldap",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Options of method `pam`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pam {
    /// Name of the service, whose rules stand in /etc/pam.d.
    pub service: String,
    /// PAM is told the client's host name and not its address.
    pub use_hostname: bool,
}

/// Options of method `ldap`.
#[derive(Clone, PartialEq, Eq)]
pub struct Ldap {
    /// Hosts, tried in turn.
    pub servers: Vec<String>,
    /// 0: the port of the scheme.
    pub port: u16,
    /// TLS from the first byte (`ldaps`).
    pub is_ldaps: bool,
    /// TLS by StartTLS.
    pub start_tls: bool,
    pub finding: Finding,
    /// The password serves for the backends, even where `pool_passwd` has another.
    pub backend_use_password: bool,
}

/// How the entry of a user is found.
#[derive(Clone, PartialEq, Eq)]
pub enum Finding {
    /// Its name is made of the user's.
    Made { prefix: String, suffix: String },
    /// The server is asked for it.
    Searched {
        base: String,
        scope: Scope,
        /// With `$username` in it.
        filter: String,
        /// Whom we search as; nobody where it is empty.
        bind_dn: String,
        bind_password: Zeroizing<String>,
    },
}

/// How far below its base a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Base,
    One,
    Subtree,
}

// Without the password that we search with.
impl fmt::Debug for Ldap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ldap").field("servers", &self.servers).finish_non_exhaustive()
    }
}

/// Options as they are read, before it is known whether they fit together.
#[derive(Default)]
struct Options {
    map: Option<String>,
    service: Option<String>,
    use_hostname: bool,
    servers: Vec<String>,
    port: u16,
    is_ldaps: bool,
    start_tls: bool,
    bind_dn: Option<String>,
    bind_password: Option<Zeroizing<String>>,
    attribute: Option<String>,
    filter: Option<String>,
    base: Option<String>,
    scope: Option<Scope>,
    prefix: Option<String>,
    suffix: Option<String>,
    backend_use_password: bool,
}

/// Reads a method and the fields behind it. `tls`: the rule is for connections with TLS only; `include` as in `parse`.
pub(super) fn read<'a>(
    token: &Token,
    options: impl Iterator<Item = &'a Field>,
    tls: bool,
    include: &mut dyn FnMut(&str) -> io::Result<String>,
) -> Result<Method, String> {
    let name = token.text.as_str();
    let known = ["trust", "reject", "md5", "scram-sha-256", "password", "cert", "pam", "ldap"];
    if !known.contains(&name) {
        return Err(format!("invalid authentication method \"{name}\""));
    }
    if name == "pam" && !cfg!(feature = "pam") || name == "ldap" && !cfg!(feature = "ldap") {
        return Err(format!("invalid authentication method \"{name}\": not supported by this build"));
    }
    if name == "cert" && !tls {
        return Err("cert authentication is only supported on hostssl connections".to_owned());
    }
    let mut found = Options::default();
    for option in options.flatten() {
        let (key, value) = option
            .text
            .split_once('=')
            .ok_or_else(|| format!("authentication option not in name=value format: {}", option.text))?;
        found.take(name, key, value)?;
    }
    Ok(match name {
        "trust" => Method::Trust,
        "reject" => Method::Reject,
        "md5" => Method::Md5,
        "scram-sha-256" => Method::ScramSha256,
        "password" => Method::Password,
        "cert" => Method::Cert(found.map.map(|name| map(&name, include)).transpose()?.map(Arc::new)),
        "pam" => Method::Pam(Arc::new(Pam {
            service: found.service.unwrap_or_else(|| "pgpool".to_owned()),
            use_hostname: found.use_hostname,
        })),
        _ => Method::Ldap(Arc::new(found.ldap()?)),
    })
}

fn map(name: &str, include: &mut dyn FnMut(&str) -> io::Result<String>) -> Result<Map, String> {
    let text = include(ident::FILE).map_err(|e| format!("could not open file \"{}\": {e}", ident::FILE))?;
    Map::read(&text, name)
}

impl Options {
    fn take(&mut self, method: &str, key: &str, value: &str) -> Result<(), String> {
        let owner = match key {
            "map" => "cert",
            "pamservice" | "pam_use_hostname" => "pam",
            "ldapurl"
            | "ldaptls"
            | "ldapscheme"
            | "ldapserver"
            | "ldapport"
            | "ldapbinddn"
            | "ldapbindpasswd"
            | "ldapsearchattribute"
            | "ldapsearchfilter"
            | "ldapbasedn"
            | "ldapprefix"
            | "ldapsuffix"
            | "backend_use_passwd" => "ldap",
            _ => return Err(format!("unrecognized authentication option name: \"{key}\"")),
        };
        if owner != method {
            return Err(format!(
                "{key} authentication option can only be configured for authentication method \"{owner}\""
            ));
        }
        let text = || Some(value.to_owned());
        match key {
            "map" => self.map = text(),
            "pamservice" if value.is_empty() => return Err("pamservice must not be empty".to_owned()),
            "pamservice" => self.service = text(),
            "pam_use_hostname" => self.use_hostname = switch(key, value)?,
            "ldapurl" => self.take_url(value)?,
            "ldaptls" => self.start_tls = switch(key, value)?,
            "ldapscheme" => self.is_ldaps = scheme(value)?,
            "ldapserver" => self.servers = value.split_whitespace().map(str::to_owned).collect(),
            "ldapport" => self.port = port(value)?,
            "ldapbinddn" => self.bind_dn = text(),
            "ldapbindpasswd" => self.bind_password = text().map(Zeroizing::new),
            "ldapsearchattribute" => self.attribute = text(),
            "ldapsearchfilter" => self.filter = text(),
            "ldapbasedn" => self.base = text(),
            "ldapprefix" => self.prefix = text(),
            "ldapsuffix" => self.suffix = text(),
            _ => self.backend_use_password = switch(key, value)?,
        }
        Ok(())
    }

    fn take_url(&mut self, value: &str) -> Result<(), String> {
        let url =
            ldap_url::read(value).map_err(|why| format!("could not parse LDAP URL \"{value}\": {why}"))?;
        self.is_ldaps =
            scheme(&url.scheme).map_err(|_| format!("unsupported LDAP URL scheme: {}", url.scheme))?;
        self.servers = url.host.into_iter().collect();
        self.port = url.port;
        self.base = Some(url.base);
        self.attribute = url.attribute;
        self.scope = Some(url.scope);
        self.filter = url.filter;
        Ok(())
    }

    fn ldap(self) -> Result<Ldap, String> {
        let searches = self.base.is_some()
            || self.bind_dn.is_some()
            || self.bind_password.is_some()
            || self.attribute.is_some()
            || self.filter.is_some();
        let finding = if self.prefix.is_some() || self.suffix.is_some() {
            if searches {
                return Err("cannot use ldapbasedn, ldapbinddn, ldapbindpasswd, ldapsearchattribute, \
                            ldapsearchfilter, or ldapurl together with ldapprefix"
                    .to_owned());
            }
            Finding::Made { prefix: self.prefix.unwrap_or_default(), suffix: self.suffix.unwrap_or_default() }
        } else {
            let base = self.base.ok_or(
                "authentication method \"ldap\" requires argument \"ldapbasedn\", \"ldapprefix\", or \
                 \"ldapsuffix\" to be set",
            )?;
            let filter = match (self.attribute, self.filter) {
                (Some(_), Some(_)) => {
                    return Err("cannot use ldapsearchattribute together with ldapsearchfilter".to_owned());
                }
                (None, Some(filter)) => filter,
                (attribute, None) => format!("({}=$username)", attribute.as_deref().unwrap_or("uid")),
            };
            Finding::Searched {
                base,
                scope: self.scope.unwrap_or(Scope::Subtree),
                filter,
                bind_dn: self.bind_dn.unwrap_or_default(),
                bind_password: self.bind_password.unwrap_or_default(),
            }
        };
        if self.servers.is_empty() {
            // pgpool-II would look for SRV records of the domain in ldapbasedn.
            return Err(
                "authentication method \"ldap\" requires argument \"ldapserver\" to be set".to_owned()
            );
        }
        if self.is_ldaps && self.start_tls {
            return Err("cannot use ldaptls together with scheme ldaps".to_owned());
        }
        Ok(Ldap {
            servers: self.servers,
            port: self.port,
            is_ldaps: self.is_ldaps,
            start_tls: self.start_tls,
            finding,
            backend_use_password: self.backend_use_password,
        })
    }
}

/// PostgreSQL takes whatever is not 1 for 0. To go without TLS for a typing mistake is worse than an error.
fn switch(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" => Ok(true),
        "0" => Ok(false),
        _ => Err(format!("invalid value for {key}: \"{value}\" (0 or 1)")),
    }
}

fn scheme(value: &str) -> Result<bool, String> {
    match value {
        "ldap" => Ok(false),
        "ldaps" => Ok(true),
        _ => Err(format!("invalid ldapscheme value: \"{value}\"")),
    }
}

fn port(value: &str) -> Result<u16, String> {
    let port = value.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("invalid LDAP port number: \"{value}\""))
}
