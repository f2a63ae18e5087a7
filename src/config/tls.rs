//! What the parameters of TLS make together.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::{BackendSslmode, Config};
use crate::error::NodeId;
use crate::tls::{Acceptor, Connector, Settings, SslMode, TicketKeys, TlsError, Wanted};

/// What connections are secured with, where they are.
#[derive(Clone, Default)]
pub struct Secure {
    /// Those of clients.
    pub clients: Option<Acceptor>,
    /// Those to the REST API.
    pub web: Option<Acceptor>,
    /// Those to servers.
    pub servers: Vec<(NodeId, Connector)>,
}

impl Config {
    /// The `ssl_*` parameters.
    pub fn tls(&self) -> Settings {
        let file = |name: &str| if name.is_empty() { PathBuf::new() } else { self.path(name) };
        Settings {
            cert: file(&self.ssl_cert),
            key: file(&self.ssl_key),
            ca_cert: file(&self.ssl_ca_cert),
            ca_cert_dir: file(&self.ssl_ca_cert_dir),
            crl: file(&self.ssl_crl_file),
            dh_params: file(&self.ssl_dh_params_file),
            ciphers: self.ssl_ciphers.clone(),
            prefer_server_ciphers: self.ssl_prefer_server_ciphers,
            curve: self.ssl_ecdh_curve.clone(),
            passphrase_command: self.ssl_passphrase_command.clone(),
            min_version: self.ssl_min_protocol_version.word().to_owned(),
            max_version: self.ssl_max_protocol_version.word().to_owned(),
        }
    }

    /// As pgpool-II's: `ssl` decides, unless the server has a word of its own.
    pub(super) fn tls_of(&self, node: NodeId) -> Option<Wanted> {
        let mode = match self.backend_sslmode.get(node) {
            BackendSslmode::Auto if self.ssl => SslMode::Prefer,
            BackendSslmode::Auto | BackendSslmode::Disable => SslMode::Disable,
            BackendSslmode::Allow => SslMode::Allow,
            BackendSslmode::Prefer => SslMode::Prefer,
            BackendSslmode::Require => SslMode::Require,
            BackendSslmode::VerifyCa => SslMode::VerifyCa,
            BackendSslmode::VerifyFull => SslMode::VerifyFull,
        };
        (mode != SslMode::Disable).then(|| Wanted { mode, settings: self.tls() })
    }

    /// What clients' connections are secured with; none where `ssl` is off.
    ///
    /// # Errors
    /// A file or value cannot be used.
    pub fn acceptor(&self, tickets: &TicketKeys) -> Result<Option<Acceptor>, TlsError> {
        self.ssl.then(|| Acceptor::new(&self.tls(), tickets)).transpose()
    }

    /// What the REST API is secured with; none where `rest_api_ssl` is off.
    ///
    /// # Errors
    /// A file or value cannot be used.
    pub fn web_acceptor(&self, tickets: &TicketKeys) -> Result<Option<Acceptor>, TlsError> {
        let is_wanted = self.rest_api_enabled && self.rest_api_ssl;
        is_wanted.then(|| Acceptor::for_web(&self.tls(), tickets)).transpose()
    }

    /// All of it.
    ///
    /// # Errors
    /// A file or value cannot be used.
    pub fn secure(&self, tickets: &TicketKeys) -> Result<Secure, TlsError> {
        Ok(Secure {
            clients: self.acceptor(tickets)?,
            web: self.web_acceptor(tickets)?,
            servers: self.connectors()?,
        })
    }

    /// What the connections to each server are secured with, where they are.
    ///
    /// # Errors
    /// A file or value cannot be used.
    pub fn connectors(&self) -> Result<Vec<(NodeId, Connector)>, TlsError> {
        let wanted = self.backends().into_iter().filter_map(|backend| Some((backend.id, backend.tls?)));
        let mut made: Vec<(NodeId, Connector)> = Vec::new();
        for (node, wanted) in wanted {
            let connector = match made.first() {
                Some((_, first)) => first.alike(&wanted)?,
                None => Connector::new(&wanted)?,
            };
            made.push((node, connector));
        }
        Ok(made)
    }
}
