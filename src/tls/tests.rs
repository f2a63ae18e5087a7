//! What is found out about certificates.
#![forbid(unsafe_code)]

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::{X509, X509Name};

use super::*;

fn certificate(key: &PKey<Private>, digest: MessageDigest) -> X509 {
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, "ann").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.sign(key, digest).unwrap();
    builder.build()
}

#[test]
fn the_hash_that_scram_binds_to_is_that_of_the_signature_but_never_a_weak_one() {
    let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let ec = PKey::from_ec_key(EcKey::generate(&curve).unwrap()).unwrap();
    let (sha1, sha256, sha512) = (MessageDigest::sha1(), MessageDigest::sha256(), MessageDigest::sha512());
    for (key, signed, bound) in [(&rsa, sha1, sha256), (&rsa, sha512, sha512), (&ec, sha256, sha256)] {
        let certificate = certificate(key, signed);
        let hash = certificate.digest(bound).unwrap();
        assert_eq!(end_of(&certificate).as_deref(), Some(hash.as_ref()));
    }
    // Its signature has no hash of its own: there is nothing to bind to (RFC 5929).
    let ed = PKey::generate_ed25519().unwrap();
    assert_eq!(end_of(&certificate(&ed, MessageDigest::null())), None);
}

#[test]
fn what_a_server_answers_to_a_request_for_tls() {
    use SslMode::{Prefer, Require, VerifyFull};
    for mode in [Prefer, Require, VerifyFull] {
        assert_eq!(mode.begins(b"S"), Ok(true), "{mode:?}");
        assert_eq!(mode.begins(b"N").is_ok(), mode == Prefer, "{mode:?}");
        // Not a byte that was not encrypted is taken for a part of what comes behind.
        for answer in [&b"SR\0\0\0\x08\0\0\0\0"[..], b"NR", b"SS"] {
            assert_eq!(mode.begins(answer), Err("received unencrypted data after SSL response"));
        }
        for answer in [&b""[..], b"E", b"\x15\x03"] {
            assert_eq!(mode.begins(answer), Err("received invalid response to SSL negotiation"));
        }
    }
}
