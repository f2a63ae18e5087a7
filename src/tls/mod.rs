//! Contexts of TLS, towards clients and towards servers, from files. Who uses them moves the bytes.
#![forbid(unsafe_code)]

mod context;
mod key;
mod peer;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use openssl::error::ErrorStack;
use openssl::ssl::{Ssl, SslContext};
use thiserror::Error;

pub use context::TicketKeys;
pub use peer::{Secured, end_of};

/// Name of the protocol in the handshake (ALPN), registered with IANA for PostgreSQL.
pub const ALPN: &[u8] = b"postgresql";

/// What the `ssl_*` parameters say. An empty path or text is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub ca_cert: PathBuf,
    pub ca_cert_dir: PathBuf,
    pub crl: PathBuf,
    pub dh_params: PathBuf,
    pub ciphers: String,
    pub prefer_server_ciphers: bool,
    pub curve: String,
    pub passphrase_command: String,
    pub min_version: String,
    pub max_version: String,
}

/// A file or value that cannot be used.
#[derive(Debug, Error)]
#[error("{parameter}: {text}")]
pub struct TlsError {
    /// The parameter that names it.
    pub parameter: &'static str,
    pub text: String,
}

impl TlsError {
    fn new(parameter: &'static str, text: impl Into<String>) -> Self {
        TlsError { parameter, text: text.into() }
    }
}

/// What a client's connection is secured with.
#[derive(Clone)]
pub struct Acceptor {
    context: SslContext,
}

impl Acceptor {
    /// Reads certificate, key and what else the parameters name.
    ///
    /// # Errors
    /// Which parameter names what cannot be used, and why.
    pub fn new(settings: &Settings, tickets: &TicketKeys) -> Result<Acceptor, TlsError> {
        Ok(Acceptor { context: context::server(settings, tickets)? })
    }

    /// The same for clients that speak HTTP, who are not asked for certificates.
    ///
    /// # Errors
    /// As `new`.
    pub fn for_web(settings: &Settings, tickets: &TicketKeys) -> Result<Acceptor, TlsError> {
        Ok(Acceptor { context: context::web(settings, tickets)? })
    }

    /// The server's side of a new connection.
    ///
    /// # Errors
    /// No memory.
    pub fn start(&self) -> Result<Ssl, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        ssl.set_accept_state();
        Ok(ssl)
    }
}

/// SQLSTATE of a server that lets nobody in this way: no entry of its pg_hba.conf fits, it may be for the want of TLS.
pub const NOT_THIS_WAY: &str = "28000";

/// How much TLS a server must give, as libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    Disable,
    /// In the clear, unless the server wants TLS.
    Allow,
    /// TLS where the server has it.
    Prefer,
    Require,
    /// The certificate must come from an authority that is known.
    VerifyCa,
    /// And must be that of the host.
    VerifyFull,
}

impl SslMode {
    /// Whether a connection is to be secured. The second try comes after a server has refused the first one.
    pub fn wants(self, is_second_try: bool) -> bool {
        match self {
            SslMode::Disable => false,
            SslMode::Allow => is_second_try,
            SslMode::Prefer => !is_second_try,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => true,
        }
    }

    /// Whether there is another way than that of a connection that was refused: `allow` and `prefer` mean both, as with
    /// libpq.
    pub fn has_other_way(self, is_secured: bool) -> bool {
        matches!((self, is_secured), (SslMode::Allow, false) | (SslMode::Prefer, true))
    }

    /// Whether TLS begins after this answer to an SSLRequest. It is one byte; what stands behind it was not encrypted, and
    /// whoever sits in between could have put it there (CVE-2021-23222).
    ///
    /// # Errors
    /// Why the connection is of no use.
    pub fn begins(self, answer: &[u8]) -> Result<bool, &'static str> {
        match answer {
            [b'S'] => Ok(true),
            [b'N'] if self <= SslMode::Prefer => Ok(false),
            [b'N'] => Err("server does not support TLS, and backend_sslmode requires it"),
            [b'S' | b'N', ..] => Err("received unencrypted data after SSL response"),
            _ => Err("received invalid response to SSL negotiation"),
        }
    }
}

/// What connections to a server are to be secured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub mode: SslMode,
    pub settings: Settings,
}

impl Wanted {
    fn check(&self) -> Result<(), TlsError> {
        let settings = &self.settings;
        let knows_nobody =
            settings.ca_cert.as_os_str().is_empty() && settings.ca_cert_dir.as_os_str().is_empty();
        if self.mode >= SslMode::VerifyCa && knows_nobody {
            let text = "a server's certificate is to be verified, and no authority is named";
            return Err(TlsError::new("ssl_ca_cert", text));
        }
        Ok(())
    }
}

/// What a server's connection is secured with.
#[derive(Clone)]
pub struct Connector {
    context: SslContext,
    pub mode: SslMode,
}

impl Connector {
    /// Reads the authorities, and the certificate to show if the server asks for one. Where there are authorities every
    /// certificate is checked against them, whatever the mode: as libpq and pgpool-II do.
    ///
    /// # Errors
    /// Which parameter names what cannot be used, and why.
    pub fn new(wanted: &Wanted) -> Result<Connector, TlsError> {
        wanted.check()?;
        Ok(Connector { context: context::client(&wanted.settings)?, mode: wanted.mode })
    }

    /// For another server, with the same files: they are not read again.
    ///
    /// # Errors
    /// The files do not do for that mode.
    pub fn alike(&self, wanted: &Wanted) -> Result<Connector, TlsError> {
        wanted.check()?;
        Ok(Connector { context: self.context.clone(), mode: wanted.mode })
    }

    /// The client's side of a new connection to `host`.
    ///
    /// # Errors
    /// No memory, or a name that cannot be one.
    pub fn start(&self, host: &str) -> Result<Ssl, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        let address = host.parse().ok();
        if self.mode == SslMode::VerifyFull {
            match address {
                Some(address) => ssl.param_mut().set_ip(address)?,
                None => ssl.param_mut().set_host(host)?,
            }
        }
        // A name that is none of a host is not sent, as RFC 6066 wants it.
        if address.is_none() && !host.starts_with('/') {
            ssl.set_hostname(host)?;
        }
        ssl.set_connect_state();
        Ok(ssl)
    }
}

/// Bit of a code that is an error number of the system, which OpenSSL has put into words beside it.
const SYSTEM: std::ffi::c_ulong = 1 << 31;

/// Every reason of an OpenSSL error, without file names and codes of its own.
pub fn reasons(errors: &ErrorStack) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in errors.errors() {
        let text = match (error.reason(), error.code() & SYSTEM) {
            (Some(reason), _) => reason.to_owned(),
            (None, 0) => format!("error {:#x}", error.code()),
            (None, _) => continue,
        };
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    if texts.is_empty() { "no reason given".to_owned() } else { texts.join("; ") }
}
