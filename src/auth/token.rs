//! Tokens of the REST API: JSON web tokens, signed with HMAC-SHA256 and nothing else.
//!
//! Pure: the time is an argument. The number of the key is made from the secret, so that another secret makes all
//! tokens void, and says so.
#![forbid(unsafe_code)]

use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result as JwtResult};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use signature::{Signer, Verifier};
use thiserror::Error;
use zeroize::Zeroizing;

/// Longest token that is looked at; ours have some 300 bytes.
const LONGEST: usize = 4096;

/// What one who has logged in may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See everything.
    Viewer,
    /// Change it, too.
    Operator,
}

impl Role {
    /// As files and answers have it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
        }
    }
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who.
    pub sub: String,
    /// What they may do.
    pub role: Role,
    /// Since when (unix seconds).
    pub iat: u64,
    /// Until when.
    pub exp: u64,
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    #[error("it is no token of this server")]
    Malformed,
    #[error("it is signed in another way than HS256")]
    Algorithm,
    #[error("it was signed with another secret")]
    OtherKey,
    #[error("its signature is wrong")]
    Signature,
    #[error("it has expired")]
    Expired,
}

/// Makes and checks tokens.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    key_id: String,
}

impl Tokens {
    /// With this secret.
    pub fn new(secret: &[u8]) -> Tokens {
        // Who installed it first does not matter: it is the same.
        let _ = PROVIDER.install_default();
        let key = Sha256::new().chain_update(b"pgbalancer token key").chain_update(secret).finalize();
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(key.into());
        let id = Sha256::new().chain_update(b"pgbalancer key id").chain_update(secret).finalize();
        Tokens {
            encoding: EncodingKey::from_secret(&*key),
            decoding: DecodingKey::from_secret(&*key),
            key_id: id.iter().take(8).map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    /// A token that says this.
    ///
    /// # Errors
    /// The claims could not be written.
    pub fn issue(&self, claims: &Claims) -> Result<String, TokenError> {
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(|_| TokenError::Malformed)
    }

    /// What a token says, if it is ours and good at this time.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn check(&self, token: &str, now: u64) -> Result<Claims, TokenError> {
        if token.len() > LONGEST {
            return Err(TokenError::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.alg != Algorithm::HS256 {
            return Err(TokenError::Algorithm);
        }
        if header.kid.as_deref() != Some(&self.key_id) {
            return Err(TokenError::OtherKey);
        }
        let mut validation = Validation::new(Algorithm::HS256);
        // The library has a clock of its own; ours is the argument.
        validation.validate_exp = false;
        validation.set_required_spec_claims(&["exp"]);
        let claims =
            jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation).map_err(
                |error| match error.kind() {
                    ErrorKind::InvalidSignature => TokenError::Signature,
                    ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
                    _ => TokenError::Malformed,
                },
            )?;
        match claims.claims.exp > now {
            true => Ok(claims.claims),
            false => Err(TokenError::Expired),
        }
    }
}

/// The library asks for the cryptography; this is all that HS256 needs.
static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory, verifier_factory, key_utils: KeyUtils::new_unimplemented() };

fn signer_factory(algorithm: &Algorithm, key: &EncodingKey) -> JwtResult<Box<dyn JwtSigner>> {
    Ok(Box::new(hs256(*algorithm, key.as_bytes())?))
}

fn verifier_factory(algorithm: &Algorithm, key: &DecodingKey) -> JwtResult<Box<dyn JwtVerifier>> {
    Ok(Box::new(hs256(*algorithm, key.try_get_as_bytes()?)?))
}

fn hs256(algorithm: Algorithm, key: &[u8]) -> JwtResult<Hs256> {
    match algorithm {
        Algorithm::HS256 => {
            Hmac::new_from_slice(key).map(Hs256).map_err(|_| ErrorKind::InvalidKeyFormat.into())
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

struct Hs256(Hmac<Sha256>);

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    /// Takes the same time whatever is wrong.
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        self.0.clone().chain_update(message).verify_slice(signature).map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn claims() -> Claims {
        Claims { sub: "ann".to_owned(), role: Role::Viewer, iat: NOW, exp: NOW + 60 }
    }

    fn part(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    #[test]
    fn a_token_says_what_it_was_given_until_it_expires() {
        let tokens = Tokens::new(b"secret");
        let token = tokens.issue(&claims()).unwrap();
        assert_eq!(tokens.check(&token, NOW + 59), Ok(claims()));
        assert_eq!(tokens.check(&token, NOW + 60), Err(TokenError::Expired));
        assert_eq!(Tokens::new(b"other").check(&token, NOW), Err(TokenError::OtherKey));
    }

    #[test]
    fn forged_tokens_are_refused() {
        let tokens = Tokens::new(b"secret");
        let token = tokens.issue(&claims()).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let id = &tokens.key_id;
        let head = |alg: &str| part(&format!("{{\"alg\":\"{alg}\",\"typ\":\"JWT\",\"kid\":\"{id}\"}}"));
        let operator =
            part(&format!("{{\"sub\":\"ann\",\"role\":\"operator\",\"iat\":1,\"exp\":{}}}", NOW * 2));
        let endless = part("{\"sub\":\"ann\",\"role\":\"viewer\",\"iat\":1}");
        let signed = |message: String| {
            let key = Sha256::new().chain_update(b"pgbalancer token key").chain_update(b"secret").finalize();
            let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap().chain_update(&message).finalize();
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.into_bytes()))
        };
        for (forged, why) in [
            (format!("{}.{operator}.{}", parts[0], parts[2]), TokenError::Signature),
            (format!("{}.{operator}.", parts[0]), TokenError::Signature),
            (format!("{}.{operator}.", head("none")), TokenError::Malformed),
            (format!("{}.{operator}.{}", head("HS512"), parts[2]), TokenError::Algorithm),
            (format!("{}.{operator}.{}", head("RS256"), parts[2]), TokenError::Algorithm),
            (signed(format!("{}.{endless}", parts[0])), TokenError::Malformed),
            (format!("{}.{}.{}", part("{\"alg\":\"HS256\"}"), parts[1], parts[2]), TokenError::OtherKey),
            (format!("{}.{}", parts[0], parts[1]), TokenError::Malformed),
            (String::new(), TokenError::Malformed),
            ("a".repeat(5000), TokenError::Malformed),
        ] {
            assert_eq!(tokens.check(&forged, NOW), Err(why), "{forged}");
        }
        assert!(tokens.check(&signed(format!("{}.{operator}", parts[0])), NOW).is_ok(), "signed as we do");
    }

    proptest! {
        #[test]
        fn any_text_is_refused(text in "\\PC{0,80}", parts in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}") {
            let tokens = Tokens::new(b"secret");
            prop_assert!(tokens.check(&text, NOW).is_err());
            prop_assert!(tokens.check(&parts, NOW).is_err());
        }
    }
}
