//! The client's half: how we log in to a backend. The backend must prove that it knows the password too.
#![forbid(unsafe_code)]

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::keys::{ClientKeys, Key, ProvedKeys, SaltedKeys, hmac, sha256, xor};
use super::{Binding, ScramError, text};

/// Most rounds taken from a server: a tenth of a second. An event loop waits meanwhile.
const MAX_ITERATIONS: u32 = 1_000_000;

/// An exchange that waits for server-first.
pub struct ClientExchange {
    knows: Knows,
    nonce: String,
    first_bare: String,
    binding: Binding,
}

/// What we log in with.
enum Knows {
    /// The user's name is for the cache of keys.
    Password { user: String, password: Zeroizing<String> },
    /// What a client has proved to us.
    Keys(ProvedKeys),
}

impl Knows {
    fn keys(&self, salt: &[u8], iterations: u32, cache: &mut SaltedKeys) -> Result<ClientKeys, ScramError> {
        match self {
            Self::Password { user, password } => Ok(cache.get(user, password, salt, iterations)),
            Self::Keys(keys) if keys.salt == salt && keys.iterations == iterations => {
                Ok(ClientKeys { client_key: keys.client_key.clone(), server_key: keys.server_key.clone() })
            }
            Self::Keys(_) => Err(ScramError::OtherVerifier),
        }
    }
}

impl ClientExchange {
    /// Begins; gives client-first too. On the wire the user's name is empty, since PostgreSQL takes it from the
    /// start-up message.
    pub fn start(user: &str, password: &str, binding: Binding, nonce: String) -> (Self, Vec<u8>) {
        let knows = Knows::Password { user: user.to_owned(), password: password.to_owned().into() };
        Self::with_first(knows, format!("n=,r={nonce}"), binding, nonce)
    }

    /// As `start`, with what a client has proved to us in place of the password.
    pub fn start_with_keys(keys: ProvedKeys, binding: Binding, nonce: String) -> (Self, Vec<u8>) {
        Self::with_first(Knows::Keys(keys), format!("n=,r={nonce}"), binding, nonce)
    }

    fn with_first(knows: Knows, first_bare: String, binding: Binding, nonce: String) -> (Self, Vec<u8>) {
        let message = format!("{},,{first_bare}", binding.flag()).into_bytes();
        (Self { knows, nonce, first_bare, binding }, message)
    }

    /// Takes server-first; gives the state that waits for the server's signature, and client-final.
    pub fn server_first(
        self,
        message: &[u8],
        keys: &mut SaltedKeys,
    ) -> Result<(ClientProof, Vec<u8>), ScramError> {
        let message = text::utf8(message)?;
        let mut parts = message.split(',');
        let nonce = text::nonce(text::attribute(&mut parts, 'r', "no nonce in server-first")?)?;
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(ScramError::Nonce);
        }
        let salt = text::decode(text::attribute(&mut parts, 's', "no salt in server-first")?, "odd salt")?;
        let rounds = text::attribute(&mut parts, 'i', "no iteration count in server-first")?;
        let iterations = match rounds.parse() {
            Ok(count @ 1..=MAX_ITERATIONS) => count,
            Ok(count) if count > 0 => return Err(ScramError::Iterations(count)),
            _ => return Err(ScramError::Malformed("odd iteration count")),
        };
        let keys = self.knows.keys(&salt, iterations, keys)?;
        let unproved = format!("c={},r={nonce}", self.binding.repeated());
        let signed = format!("{},{message},{unproved}", self.first_bare);
        let signature = hmac(&*sha256(&*keys.client_key), signed.as_bytes());
        let proof = text::encode(&*xor(&keys.client_key, &signature));
        let server_signature = hmac(&*keys.server_key, signed.as_bytes());
        Ok((ClientProof { server_signature }, format!("{unproved},p={proof}").into_bytes()))
    }
}

/// An exchange that waits for server-final.
pub struct ClientProof {
    server_signature: Key,
}

impl ClientProof {
    /// Takes server-final and checks the server's signature.
    pub fn server_final(self, message: &[u8]) -> Result<(), ScramError> {
        let message = text::utf8(message)?;
        if let Some(reason) = message.strip_prefix("e=") {
            return Err(ScramError::Refused(reason.to_owned()));
        }
        let value = text::attribute(&mut message.split(','), 'v', "no signature in server-final")?;
        let signature = text::decode_key(value, "odd signature in server-final")?;
        match bool::from(signature.ct_eq(&*self.server_signature)) {
            true => Ok(()),
            false => Err(ScramError::ServerSignature),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{ServerExchange, Verifier};
    use super::*;

    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
    const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn salt() -> Vec<u8> {
        text::decode(SALT, "").unwrap()
    }

    fn server_nonce() -> String {
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned()
    }

    fn rfc_client() -> ClientExchange {
        let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        let knows = Knows::Password { user: "user".to_owned(), password: "pencil".to_owned().into() };
        ClientExchange::with_first(knows, CLIENT_FIRST[3..].to_owned(), Binding::Impossible, nonce).0
    }

    #[test]
    fn the_client_of_rfc_7677() {
        let (proof, message) =
            rfc_client().server_first(SERVER_FIRST.as_bytes(), &mut SaltedKeys::new()).unwrap();
        assert_eq!(message, CLIENT_FINAL.as_bytes());
        assert_eq!(proof.server_final(SERVER_FINAL.as_bytes()), Ok(()));
    }

    #[test]
    fn the_server_of_rfc_7677() {
        let verifier = Verifier::derive("pencil", &salt(), 4096);
        let servers = [
            ServerExchange::from_password("pencil", &salt(), server_nonce()),
            ServerExchange::from_verifier(verifier, server_nonce()),
        ];
        for server in servers {
            let (proof, message) = server.client_first(false, CLIENT_FIRST.as_bytes()).unwrap();
            assert_eq!(message, SERVER_FIRST.as_bytes());
            assert_eq!(proof.client_final(CLIENT_FINAL.as_bytes()).unwrap().0, SERVER_FINAL.as_bytes());
        }
    }

    /// A client logs in to us, and we with what it has shown to a server that has this verifier.
    fn passed_on(password: &str, of_server: Verifier) -> Result<(), ScramError> {
        let mut cache = SaltedKeys::new();
        let (client, first) = ClientExchange::start("u", password, Binding::Impossible, "c".into());
        let here = Verifier::derive("pencil", &salt(), 4096);
        let (we, first) = ServerExchange::from_verifier(here, server_nonce()).client_first(false, &first)?;
        let (client, last) = client.server_first(&first, &mut cache)?;
        let (last, keys) = we.client_final(&last)?;
        client.server_final(&last)?;
        let (we, first) = ClientExchange::start_with_keys(keys.unwrap(), Binding::Impossible, "p".into());
        let (server, first) =
            ServerExchange::from_verifier(of_server, server_nonce()).client_first(false, &first)?;
        let (we, last) = we.server_first(&first, &mut cache)?;
        we.server_final(&server.client_final(&last)?.0)
    }

    #[test]
    fn what_a_client_has_proved_logs_in_where_the_verifier_is_the_same() {
        let verifier = |password, salt: &[u8], rounds| Verifier::derive(password, salt, rounds);
        assert_eq!(passed_on("pencil", verifier("pencil", &salt(), 4096)), Ok(()));
        assert_eq!(passed_on("other", verifier("pencil", &salt(), 4096)), Err(ScramError::WrongPassword));
        assert_eq!(passed_on("pencil", verifier("other", &salt(), 4096)), Err(ScramError::WrongPassword));
        for other in [verifier("pencil", b"salt", 4096), verifier("pencil", &salt(), 4097)] {
            assert_eq!(passed_on("pencil", other), Err(ScramError::OtherVerifier));
        }
    }

    /// What a client that says this of binding is told by a server whose certificate has this hash.
    fn bound(binding: Binding, is_plus: bool, end_point: Option<&[u8]>) -> Result<(), ScramError> {
        let (client, first) = ClientExchange::start("u", "pencil", binding, "c".into());
        let server = ServerExchange::from_password("pencil", &salt(), server_nonce());
        let server = server.over(end_point.map(<[u8]>::to_vec));
        let (server, first) = server.client_first(is_plus, &first)?;
        let (client, last) = client.server_first(&first, &mut SaltedKeys::new())?;
        client.server_final(&server.client_final(&last)?.0)
    }

    #[test]
    fn whoever_sits_in_between_has_another_certificate() {
        let to = |hash: &[u8]| Binding::EndPoint(hash.to_vec());
        assert_eq!(bound(to(b"ours"), true, Some(b"ours")), Ok(()));
        assert_eq!(bound(to(b"theirs"), true, Some(b"ours")), Err(ScramError::BindingCheck));
        assert_eq!(bound(to(b"ours"), false, Some(b"ours")), Err(ScramError::ChannelBinding));
        assert_eq!(bound(to(b"ours"), true, None), Err(ScramError::ChannelBinding));
        // One that has not heard of our offer, though it could bind.
        assert_eq!(bound(Binding::NotOffered, false, Some(b"ours")), Err(ScramError::Downgrade));
        assert_eq!(bound(Binding::NotOffered, false, None), Ok(()));
        assert_eq!(bound(Binding::Impossible, false, Some(b"ours")), Ok(()));
        for binding in [Binding::Impossible, Binding::NotOffered] {
            let told = bound(binding, true, Some(b"ours"));
            assert!(matches!(told, Err(ScramError::Malformed(_))), "{told:?}");
        }
    }

    #[test]
    fn wrong_password_and_unknown_user_look_alike() {
        let servers = [
            ServerExchange::from_password("other", &salt(), server_nonce()),
            ServerExchange::from_verifier(Verifier::derive("other", &salt(), 4096), server_nonce()),
            ServerExchange::mock(&salt(), server_nonce()),
        ];
        for server in servers {
            let (proof, message) = server.client_first(false, CLIENT_FIRST.as_bytes()).unwrap();
            assert_eq!(message, SERVER_FIRST.as_bytes());
            assert_eq!(proof.client_final(CLIENT_FINAL.as_bytes()).err(), Some(ScramError::WrongPassword));
        }
        // Not even the password that the mock is made of opens it.
        let (client, first) = ClientExchange::start("u", "mock", Binding::Impossible, "c".into());
        let (server, first) =
            ServerExchange::mock(&salt(), server_nonce()).client_first(false, &first).unwrap();
        let (_, last) = client.server_first(&first, &mut SaltedKeys::new()).unwrap();
        assert_eq!(server.client_final(&last).err(), Some(ScramError::WrongPassword));
    }

    #[test]
    fn the_client_refuses_a_false_server() {
        let mut keys = SaltedKeys::new();
        let mut answer =
            |text: &str| rfc_client().server_first(text.as_bytes(), &mut keys).map(|(proof, _)| proof);
        assert_eq!(answer("r=other,s=AAAA,i=1").err(), Some(ScramError::Nonce));
        assert_eq!(answer("r=rOprNGfwEbeRWgbNEkqO,s=AAAA,i=1").err(), Some(ScramError::Nonce));
        assert_eq!(
            answer("r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=2000000000").err(),
            Some(ScramError::Iterations(2_000_000_000))
        );
        assert!(answer("r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=0").is_err());
        let mut last = |text: &str| answer(SERVER_FIRST).unwrap().server_final(text.as_bytes());
        let forged = SERVER_FINAL.replace("6rri", "7rri");
        assert_eq!(last(&forged), Err(ScramError::ServerSignature));
        assert_eq!(last("e=other-error"), Err(ScramError::Refused("other-error".into())));
        assert!(last("v=AAAA").is_err());
    }

    #[test]
    fn the_server_refuses_what_it_does_not_offer() {
        let first = |text: &str| {
            let server = ServerExchange::mock(&salt(), server_nonce());
            server.client_first(false, text.as_bytes()).map(|(_, message)| message)
        };
        assert_eq!(first("p=tls-server-end-point,,n=,r=x"), Err(ScramError::ChannelBinding));
        assert_eq!(first("n,a=root,n=,r=x"), Err(ScramError::AuthorizationIdentity));
        assert_eq!(first("n,,m=x,n=,r=x"), Err(ScramError::Malformed("no user name in client-first")));
        assert_eq!(first("n,,n=,r="), Err(ScramError::Malformed("unprintable nonce")));
        assert!(first("y,,n=,r=x").is_ok());
    }

    #[test]
    fn the_proof_must_answer_this_exchange() {
        let last = |text: &str| {
            let server = ServerExchange::from_password("pencil", &salt(), server_nonce());
            server.client_first(false, CLIENT_FIRST.as_bytes()).unwrap().0.client_final(text.as_bytes()).err()
        };
        assert_eq!(last(&CLIENT_FINAL.replace("biws", "eSws")), Some(ScramError::BindingCheck));
        assert_eq!(last(&CLIENT_FINAL.replace("rOpr", "rOpq")), Some(ScramError::Nonce));
        assert_eq!(last(&CLIENT_FINAL.replace(",p=", ",x=y,p=")), Some(ScramError::WrongPassword));
        assert_eq!(last("c=biws,r=x"), Some(ScramError::Malformed("no proof")));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>, text in "[nyp],(a=x)?,[nr]=.*,[rsi]=.*") {
            for message in [&bytes[..], text.as_bytes()] {
                let _ = ServerExchange::mock(b"", server_nonce()).client_first(false, message);
                let (proof, _) = ServerExchange::mock(b"", server_nonce()).client_first(false, b"n,,n=,r=x").unwrap();
                let _ = proof.client_final(message);
                let _ = rfc_client().server_first(message, &mut SaltedKeys::new());
                let _ = ClientProof { server_signature: Key::default() }.server_final(message);
            }
        }
    }
}
