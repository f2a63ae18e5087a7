//! Contexts from settings.
#![forbid(unsafe_code)]

use std::path::Path;

use openssl::dh::Dh;
use openssl::error::ErrorStack;
use openssl::ssl::{
    AlpnError, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslMode as Mode, SslOptions,
    SslVerifyMode, SslVersion, select_next_proto,
};
use openssl::x509::X509Name;
use openssl::x509::store::X509Lookup;
use openssl::x509::verify::X509VerifyFlags;
use zeroize::Zeroizing;

use super::{ALPN, Settings, TlsError, key, reasons};
use crate::ffi::openssl::{TICKET_KEYS, set_dh_auto, set_ticket_keys};

/// `ALPN` with its length before it, as the handshake has it.
const ALPN_LIST: &[u8] = b"\x0apostgresql";

const HTTP: &[u8] = b"http/1.1";
const HTTP_LIST: &[u8] = b"\x08http/1.1";

/// What session tickets are made with. All processes must have the same, or a client that comes back to another one
/// has to begin anew.
#[derive(Clone)]
pub struct TicketKeys(Zeroizing<[u8; TICKET_KEYS]>);

impl TicketKeys {
    /// From random bytes.
    pub fn new(fill: &mut dyn FnMut(&mut [u8])) -> TicketKeys {
        let mut keys = Zeroizing::new([0; TICKET_KEYS]);
        fill(keys.as_mut());
        TicketKeys(keys)
    }
}

/// Turns OpenSSL's answer into an error of a parameter.
fn of<T>(parameter: &'static str, path: &Path, result: Result<T, ErrorStack>) -> Result<T, TlsError> {
    result.map_err(|e| TlsError::new(parameter, format!("{}: {}", path.display(), reasons(&e))))
}

fn value<T>(parameter: &'static str, text: &str, result: Result<T, ErrorStack>) -> Result<T, TlsError> {
    result.map_err(|e| TlsError::new(parameter, format!("\"{text}\" cannot be used: {}", reasons(&e))))
}

pub(super) fn server(settings: &Settings, tickets: &TicketKeys) -> Result<SslContext, TlsError> {
    let mut builder = serving(settings, tickets)?;
    if authorities(&mut builder, settings)? {
        // A client may come without one: pool_hba.conf says who needs it.
        builder.set_verify(SslVerifyMode::PEER);
        if !settings.ca_cert.as_os_str().is_empty() {
            let names = X509Name::load_client_ca_file(&settings.ca_cert);
            builder.set_client_ca_list(of("ssl_ca_cert", &settings.ca_cert, names)?);
        }
    }
    builder.set_alpn_select_callback(|_, offered| {
        select_next_proto(ALPN_LIST, offered).filter(|chosen| *chosen == ALPN).ok_or(AlpnError::ALERT_FATAL)
    });
    Ok(builder.build())
}

pub(super) fn web(settings: &Settings, tickets: &TicketKeys) -> Result<SslContext, TlsError> {
    let mut builder = serving(settings, tickets)?;
    builder.set_alpn_select_callback(|_, offered| {
        select_next_proto(HTTP_LIST, offered).filter(|chosen| *chosen == HTTP).ok_or(AlpnError::NOACK)
    });
    Ok(builder.build())
}

/// For either kind of clients.
fn serving(settings: &Settings, tickets: &TicketKeys) -> Result<SslContextBuilder, TlsError> {
    let mut builder = base(settings, SslMethod::tls_server())?;
    for (parameter, path) in [("ssl_cert", &settings.cert), ("ssl_key", &settings.key)] {
        if path.as_os_str().is_empty() {
            return Err(TlsError::new(parameter, "names no file, and TLS is wanted"));
        }
    }
    own_certificate(&mut builder, settings)?;
    if settings.prefer_server_ciphers {
        builder.set_options(SslOptions::CIPHER_SERVER_PREFERENCE);
    }
    exchange(&mut builder, settings)?;
    let memory = |result: Result<(), ErrorStack>| value("ssl", "on", result);
    memory(builder.set_session_id_context(ALPN))?;
    memory(set_ticket_keys(&mut builder, &tickets.0))?;
    Ok(builder)
}

pub(super) fn client(settings: &Settings) -> Result<SslContext, TlsError> {
    let mut builder = base(settings, SslMethod::tls_client())?;
    if !settings.cert.as_os_str().is_empty() && !settings.key.as_os_str().is_empty() {
        own_certificate(&mut builder, settings)?;
    }
    let checks = authorities(&mut builder, settings)?;
    builder.set_verify(if checks { SslVerifyMode::PEER } else { SslVerifyMode::NONE });
    value("ssl", "on", builder.set_alpn_protos(ALPN_LIST))?;
    Ok(builder.build())
}

fn base(settings: &Settings, method: SslMethod) -> Result<SslContextBuilder, TlsError> {
    let mut builder = value("ssl", "on", SslContextBuilder::new(method))?;
    builder.set_options(
        SslOptions::NO_SSLV2
            | SslOptions::NO_SSLV3
            | SslOptions::NO_COMPRESSION
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::SINGLE_DH_USE
            | SslOptions::SINGLE_ECDH_USE,
    );
    builder.set_mode(
        Mode::AUTO_RETRY
            | Mode::ACCEPT_MOVING_WRITE_BUFFER
            | Mode::ENABLE_PARTIAL_WRITE
            | Mode::RELEASE_BUFFERS,
    );
    let min = version("ssl_min_protocol_version", &settings.min_version)?;
    let max = version("ssl_max_protocol_version", &settings.max_version)?;
    value("ssl_min_protocol_version", &settings.min_version, builder.set_min_proto_version(min))?;
    value("ssl_max_protocol_version", &settings.max_version, builder.set_max_proto_version(max))?;
    if !settings.ciphers.is_empty() {
        value("ssl_ciphers", &settings.ciphers, builder.set_cipher_list(&settings.ciphers))?;
    }
    Ok(builder)
}

/// A version as PostgreSQL writes it, or the newest that the library has.
fn version(parameter: &'static str, text: &str) -> Result<Option<SslVersion>, TlsError> {
    match text {
        "newest" => Ok(None),
        "TLSv1" => Ok(Some(SslVersion::TLS1)),
        "TLSv1.1" => Ok(Some(SslVersion::TLS1_1)),
        "TLSv1.2" => Ok(Some(SslVersion::TLS1_2)),
        "TLSv1.3" => Ok(Some(SslVersion::TLS1_3)),
        other => Err(TlsError::new(parameter, format!("\"{other}\" is no version of TLS"))),
    }
}

fn own_certificate(builder: &mut SslContextBuilder, settings: &Settings) -> Result<(), TlsError> {
    of("ssl_cert", &settings.cert, builder.set_certificate_chain_file(&settings.cert))?;
    let private = key::load(&settings.key, &settings.passphrase_command)?;
    of("ssl_key", &settings.key, builder.set_private_key(&private))?;
    of("ssl_key", &settings.key, builder.check_private_key())
}

/// Whether a peer's certificate can be checked.
fn authorities(builder: &mut SslContextBuilder, settings: &Settings) -> Result<bool, TlsError> {
    let given = |path: &'_ Path| !path.as_os_str().is_empty();
    let (file, directory) = (&settings.ca_cert, &settings.ca_cert_dir);
    let checks = given(file) || given(directory);
    if given(file) {
        of("ssl_ca_cert", file, builder.set_ca_file(file))?;
    }
    if given(directory) {
        if !directory.is_dir() {
            return Err(TlsError::new("ssl_ca_cert_dir", format!("{}: no directory", directory.display())));
        }
        of("ssl_ca_cert_dir", directory, builder.load_verify_locations(None, Some(directory)))?;
    }
    if given(&settings.crl) {
        let crl = &settings.crl;
        let store = builder.cert_store_mut();
        let lookup = of("ssl_crl_file", crl, store.add_lookup(X509Lookup::file()))?;
        let read = lookup.load_crl_file(crl, SslFiletype::PEM);
        if of("ssl_crl_file", crl, read)? == 0 {
            return Err(TlsError::new("ssl_crl_file", format!("{}: holds no list", crl.display())));
        }
        let flags = X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL;
        of("ssl_crl_file", crl, store.set_flags(flags))?;
    }
    Ok(checks)
}

/// How keys are exchanged.
fn exchange(builder: &mut SslContextBuilder, settings: &Settings) -> Result<(), TlsError> {
    if !settings.curve.is_empty() {
        value("ssl_ecdh_curve", &settings.curve, builder.set_groups_list(&settings.curve))?;
    }
    let path = &settings.dh_params;
    if path.as_os_str().is_empty() {
        set_dh_auto(builder);
        return Ok(());
    }
    let pem = std::fs::read(path)
        .map_err(|e| TlsError::new("ssl_dh_params_file", format!("{}: {e}", path.display())))?;
    let parameters = of("ssl_dh_params_file", path, Dh::params_from_pem(&pem))?;
    of("ssl_dh_params_file", path, builder.set_tmp_dh(&parameters))
}
