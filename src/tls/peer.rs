//! What a handshake has found out.
#![forbid(unsafe_code)]

use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::ssl::SslRef;
use openssl::x509::X509Ref;

use super::ALPN;

/// A connection that is secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secured {
    /// As OpenSSL writes it: `TLSv1.3`.
    pub version: &'static str,
    pub cipher: String,
    pub bits: i32,
    /// Common name of the peer's certificate, which was checked; none without a certificate.
    pub peer_name: Option<String>,
    /// Both sides have said that they speak PostgreSQL.
    pub is_postgresql: bool,
    /// What SCRAM binds to: `tls-server-end-point` of RFC 5929. None where the hash of the certificate is not defined.
    pub end_point: Option<Vec<u8>>,
    /// Keys of an earlier session were used again.
    pub is_resumed: bool,
}

impl Secured {
    pub(crate) fn of(ssl: &SslRef) -> Secured {
        let cipher = ssl.current_cipher();
        let peer = ssl.peer_certificate();
        let end_point = match ssl.is_server() {
            true => ssl.certificate().and_then(end_of),
            false => peer.as_deref().and_then(end_of),
        };
        Secured {
            version: ssl.version_str(),
            cipher: cipher.map_or("", |cipher| cipher.name()).to_owned(),
            bits: cipher.map_or(0, |cipher| cipher.bits().secret),
            peer_name: peer.as_deref().and_then(common_name),
            is_postgresql: ssl.selected_alpn_protocol() == Some(ALPN),
            end_point,
            is_resumed: ssl.session_reused(),
        }
    }
}

/// The first common name; one that holds a NUL could be read as another.
fn common_name(certificate: &X509Ref) -> Option<String> {
    let entry = certificate.subject_name().entries_by_nid(Nid::COMMONNAME).next()?;
    let text = entry.data().to_string().ok()?;
    (!text.is_empty() && !text.contains('\0')).then_some(text)
}

/// The hash of a server's certificate that SCRAM binds to: that of its signature, SHA-256 where that is MD5 or SHA-1
/// (RFC 5929, 4.1).
pub fn end_of(certificate: &X509Ref) -> Option<Vec<u8>> {
    let signature = certificate.signature_algorithm().object().nid().signature_algorithms()?;
    let digest = match signature.digest {
        Nid::MD5 | Nid::SHA1 => MessageDigest::sha256(),
        Nid::UNDEF => return None,
        other => MessageDigest::from_nid(other)?,
    };
    certificate.digest(digest).ok().map(|hash| hash.to_vec())
}
