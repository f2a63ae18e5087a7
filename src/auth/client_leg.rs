//! What we ask of a client before we let it in, as a state machine over message bodies.
//! A user we do not know is asked all the same: only the log says that there is none. The session sends
//! the bytes, and the error where it ends in `Rejected`.
#![forbid(unsafe_code)]

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::md5;
use super::password::Password;
use super::pool_passwd::Secret;
use super::scram::{self, MECHANISM, MECHANISM_PLUS, ProvedKeys, ServerExchange, ServerProof};
use crate::wire::{backend, frontend};

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    Trust,
    /// MD5, or SCRAM where a verifier is all we have of the user, as in PostgreSQL.
    Md5,
    Scram,
    /// The password itself, which who asked checks.
    Clear,
    Reject,
}

/// Where the client stands after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Send what was appended and wait for a message of type `p`.
    More,
    /// The client is who it says; AuthenticationOk was appended.
    Accepted,
    /// The client has sent this password, which is not empty and must be checked; nothing was appended.
    Sent(Password),
    /// The client must go; `log` says why and is not for the client's eyes.
    Rejected { log: String },
}

impl Outcome {
    fn rejected(log: impl Into<String>) -> Self {
        Self::Rejected { log: log.into() }
    }
}

/// The conversation with one client.
pub struct ClientLeg {
    state: State,
    /// Why the client will be refused whatever it answers.
    doomed: Option<String>,
    keys: Option<ProvedKeys>,
}

enum State {
    /// Sent a salt; this is the right answer to it.
    Md5 {
        expected: Zeroizing<String>,
    },
    ScramFirst(ServerExchange),
    ScramFinal(ServerProof),
    Clear,
    Done,
}

impl ClientLeg {
    /// Begins the conversation: appends what the client is asked. `end_point`: the hash of our certificate, which SCRAM
    /// can be bound to.
    pub fn start(
        method: AuthMethod,
        user: &str,
        secret: Option<&Secret>,
        end_point: Option<Vec<u8>>,
        random: &mut dyn FnMut(&mut [u8]),
        out: &mut Vec<u8>,
    ) -> (Self, Outcome) {
        let (state, doomed, outcome) = match (method, secret) {
            (AuthMethod::Reject, _) => (
                State::Done,
                None,
                Outcome::rejected(format!("user \"{user}\" is rejected by pool_hba.conf")),
            ),
            (AuthMethod::Trust, _) => {
                backend::put_auth_ok(out);
                (State::Done, None, Outcome::Accepted)
            }
            (AuthMethod::Clear, _) => {
                backend::put_auth_cleartext(out);
                (State::Clear, None, Outcome::More)
            }
            (AuthMethod::Scram, _) | (AuthMethod::Md5, Some(Secret::Scram(_))) => {
                let (exchange, doomed) = scram_exchange(user, secret, random);
                let exchange = exchange.over(end_point);
                match exchange.can_bind() {
                    true => backend::put_auth_sasl(out, &[MECHANISM_PLUS, MECHANISM]),
                    false => backend::put_auth_sasl(out, &[MECHANISM]),
                }
                (State::ScramFirst(exchange), doomed, Outcome::More)
            }
            (AuthMethod::Md5, _) => {
                let mut salt = [0; 4];
                random(&mut salt);
                backend::put_auth_md5(out, salt);
                let (expected, doomed) = md5_answer(user, secret, salt);
                (State::Md5 { expected }, doomed, Outcome::More)
            }
        };
        (Self { state, doomed, keys: None }, outcome)
    }

    /// What a client that was accepted has shown of the verifier that we have of it.
    pub fn take_keys(&mut self) -> Option<ProvedKeys> {
        self.keys.take()
    }

    /// Takes the body of the client's next message of type `p`.
    pub fn on_password_message(&mut self, body: &[u8], out: &mut Vec<u8>) -> Outcome {
        match self.answer(body, out) {
            Ok(outcome) => outcome,
            Err(log) => Outcome::Rejected { log: self.doomed.take().unwrap_or(log) },
        }
    }

    fn answer(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<Outcome, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        match std::mem::replace(&mut self.state, State::Done) {
            State::Md5 { expected } => {
                let answer = frontend::password(body).map_err(|error| text(&error))?;
                if !bool::from(answer.ct_eq(expected.as_bytes())) || self.doomed.is_some() {
                    return Err("password does not match".into());
                }
            }
            State::ScramFirst(exchange) => {
                let initial = frontend::sasl_initial(body).map_err(|error| text(&error))?;
                let is_plus = initial.mechanism == MECHANISM_PLUS.as_bytes() && exchange.can_bind();
                if !is_plus && initial.mechanism != MECHANISM.as_bytes() {
                    return Err("client selected an invalid SASL authentication mechanism".into());
                }
                let first = initial.response.ok_or("client sent no initial SASL response")?;
                let (proof, answer) = exchange.client_first(is_plus, first).map_err(|error| text(&error))?;
                backend::put_auth_sasl_continue(out, &answer);
                self.state = State::ScramFinal(proof);
                return Ok(Outcome::More);
            }
            State::ScramFinal(proof) => {
                let last = frontend::sasl_response(body).map_err(|error| text(&error))?;
                let (answer, keys) = proof.client_final(last).map_err(|error| text(&error))?;
                self.keys = keys;
                backend::put_auth_sasl_final(out, &answer);
            }
            State::Clear => {
                let sent = frontend::password(body).map_err(|error| text(&error))?;
                let sent = std::str::from_utf8(sent).map_err(|_| "the password is not valid UTF-8")?;
                if sent.is_empty() {
                    return Err("empty password returned by client".into());
                }
                return Ok(Outcome::Sent(Password::new(sent.to_owned().into())));
            }
            State::Done => return Err("client sent a password message that nobody asked for".into()),
        }
        backend::put_auth_ok(out);
        Ok(Outcome::Accepted)
    }
}

/// The answer we wait for, and why none will do.
fn md5_answer(user: &str, secret: Option<&Secret>, salt: [u8; 4]) -> (Zeroizing<String>, Option<String>) {
    let (answer, doomed) = match secret {
        Some(Secret::Plain(password)) => (md5::response(user, password, salt), None),
        Some(Secret::Md5(stored)) => (md5::response_from_stored(stored, salt), None),
        _ => (md5::response(user, "", salt), Some(unusable(user, secret, "md5"))),
    };
    (answer.into(), doomed)
}

/// The exchange with the client, and why it will fail.
fn scram_exchange(
    user: &str,
    secret: Option<&Secret>,
    random: &mut dyn FnMut(&mut [u8]),
) -> (ServerExchange, Option<String>) {
    let nonce = scram::nonce(random);
    let salt = scram::salt_for(user, random);
    match secret {
        Some(Secret::Plain(password)) => (ServerExchange::from_password(password, &salt, nonce), None),
        Some(Secret::Scram(verifier)) => (ServerExchange::from_verifier(verifier.clone(), nonce), None),
        _ => (ServerExchange::mock(&salt, nonce), Some(unusable(user, secret, "scram-sha-256"))),
    }
}

/// Whether a password that was sent in clear is the one of `pool_passwd`.
///
/// # Errors
/// Why it is not, for the log.
pub fn check_password(user: &str, secret: &Secret, sent: &str) -> Result<(), String> {
    let is_right = match secret {
        Secret::Plain(password) => password.as_bytes().ct_eq(sent.as_bytes()).into(),
        Secret::Md5(stored) => md5::stored(user, sent).as_bytes().ct_eq(stored.as_bytes()).into(),
        Secret::Scram(verifier) => verifier.is_of(sent),
        Secret::Aes(_) | Secret::Proved(_) => return Err(unusable(user, Some(secret), "password")),
    };
    if is_right { Ok(()) } else { Err("password does not match".into()) }
}

fn unusable(user: &str, secret: Option<&Secret>, method: &str) -> String {
    let form = match secret {
        None => return format!("pool_passwd file does not contain an entry for \"{user}\""),
        Some(Secret::Md5(_)) => "an md5 hash",
        Some(Secret::Aes(_)) => {
            return format!(
                "unable to decrypt password from pool_passwd for user \"{user}\": verify the valid pool_key exists"
            );
        }
        Some(Secret::Scram(_) | Secret::Proved(_)) => "a SCRAM verifier",
        Some(Secret::Plain(_)) => "a plain password",
    };
    format!("{method} authentication is not possible: pool_passwd has {form} for user \"{user}\"")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::auth::scram::{ClientExchange, SaltedKeys, ScramError};
    use crate::wire::backend::Authentication;

    /// Random bytes that are all alike.
    fn sevens(bytes: &mut [u8]) {
        bytes.fill(7);
    }

    fn start(method: AuthMethod, secret: Option<&Secret>) -> (ClientLeg, Outcome, Vec<u8>) {
        let mut out = Vec::new();
        let (leg, outcome) = ClientLeg::start(method, "ann", secret, None, &mut sevens, &mut out);
        (leg, outcome, out)
    }

    fn secret(text: &str) -> Option<Secret> {
        Secret::parse(text)
    }

    /// Bodies of the frames in `bytes`.
    fn bodies(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut found = Vec::new();
        while let Some(head) = crate::wire::frame::header(bytes).unwrap() {
            found.push(&bytes[5..head.length]);
            bytes = &bytes[head.length..];
        }
        found
    }

    /// Plays a SCRAM client that knows `password`.
    fn scram_client(method: AuthMethod, secret: Option<&Secret>, password: &str) -> Outcome {
        let (mut leg, outcome, asked) = start(method, secret);
        assert_eq!(outcome, Outcome::More);
        let offered = backend::authentication(bodies(&asked)[0]).unwrap();
        assert_eq!(offered, Authentication::Sasl(vec![MECHANISM.into()]));

        let (client, first) =
            ClientExchange::start("ann", password, scram::Binding::Impossible, "nonce".into());
        let (mut message, mut out) = (Vec::new(), Vec::new());
        frontend::put_sasl_initial(&mut message, MECHANISM, &first);
        assert_eq!(leg.on_password_message(&message[5..], &mut out), Outcome::More);
        let Ok(Authentication::SaslContinue(first)) = backend::authentication(bodies(&out)[0]) else {
            panic!()
        };
        let (client, last) = client.server_first(first, &mut SaltedKeys::new()).unwrap();

        out.clear();
        let outcome = leg.on_password_message(&last, &mut out);
        if outcome == Outcome::Accepted {
            let [last, ok] = bodies(&out)[..] else { panic!() };
            let Ok(Authentication::SaslFinal(last)) = backend::authentication(last) else { panic!() };
            assert_eq!(client.server_final(last), Ok(()));
            assert_eq!(backend::authentication(ok), Ok(Authentication::Ok));
        } else {
            assert!(out.is_empty());
        }
        outcome
    }

    /// Plays an MD5 client that knows `password`.
    fn md5_client(secret: Option<&Secret>, password: &str) -> Outcome {
        let (mut leg, outcome, asked) = start(AuthMethod::Md5, secret);
        assert_eq!(outcome, Outcome::More);
        let salt = [7; 4];
        assert_eq!(backend::authentication(bodies(&asked)[0]), Ok(Authentication::Md5 { salt }));
        let (mut message, mut out) = (Vec::new(), Vec::new());
        frontend::put_password(&mut message, md5::response("ann", password, salt).as_bytes());
        leg.on_password_message(&message[5..], &mut out)
    }

    #[test]
    fn trust_and_reject_ask_nothing() {
        let (_, outcome, out) = start(AuthMethod::Trust, None);
        assert_eq!((outcome, out.as_slice()), (Outcome::Accepted, &b"R\0\0\0\x08\0\0\0\0"[..]));
        let (mut leg, outcome, out) = start(AuthMethod::Reject, secret("x").as_ref());
        assert!(matches!(outcome, Outcome::Rejected { .. }) && out.is_empty());
        assert!(matches!(leg.on_password_message(b"x\0", &mut Vec::new()), Outcome::Rejected { .. }));
    }

    #[test]
    fn md5_with_either_secret() {
        let hashed = Secret::Md5(md5::stored("ann", "pw"));
        for secret in [secret("pw"), Some(hashed)] {
            assert_eq!(md5_client(secret.as_ref(), "pw"), Outcome::Accepted);
            assert_eq!(md5_client(secret.as_ref(), "no"), Outcome::rejected("password does not match"));
        }
    }

    #[test]
    fn scram_with_either_secret() {
        let verifier = Secret::Scram(crate::auth::scram::Verifier::derive("pw", b"salt", 10));
        for secret in [secret("pw"), Some(verifier)] {
            assert_eq!(scram_client(AuthMethod::Scram, secret.as_ref(), "pw"), Outcome::Accepted);
            let want = Outcome::rejected(ScramError::WrongPassword.to_string());
            assert_eq!(scram_client(AuthMethod::Scram, secret.as_ref(), "no"), want);
        }
    }

    #[test]
    fn md5_of_a_user_with_a_verifier_is_scram() {
        let verifier = Secret::Scram(crate::auth::scram::Verifier::derive("pw", b"salt", 10));
        assert_eq!(scram_client(AuthMethod::Md5, Some(&verifier), "pw"), Outcome::Accepted);
    }

    #[test]
    fn who_cannot_come_in_is_asked_all_the_same() {
        let hashed = Secret::Md5(md5::stored("ann", "pw"));
        let encrypted = secret("AESab==");
        let missing = "pool_passwd file does not contain an entry for \"ann\"";
        // The empty password is what the answer of an unknown user is made of.
        for password in ["", "pw"] {
            assert_eq!(md5_client(None, password), Outcome::rejected(missing));
            assert_eq!(scram_client(AuthMethod::Scram, None, password), Outcome::rejected(missing));
            let Outcome::Rejected { log } = scram_client(AuthMethod::Scram, Some(&hashed), password) else {
                panic!()
            };
            assert!(log.contains("an md5 hash"), "{log}");
            let Outcome::Rejected { log } = md5_client(encrypted.as_ref(), password) else { panic!() };
            assert!(log.contains("unable to decrypt password from pool_passwd"), "{log}");
        }
    }

    #[test]
    fn a_clear_password_is_handed_over() {
        let sent = |text: &[u8]| {
            let (mut leg, outcome, asked) = start(AuthMethod::Clear, None);
            assert_eq!(outcome, Outcome::More);
            assert_eq!(backend::authentication(bodies(&asked)[0]), Ok(Authentication::CleartextPassword));
            let mut message = Vec::new();
            frontend::put_password(&mut message, text);
            let mut out = Vec::new();
            let outcome = leg.on_password_message(&message[5..], &mut out);
            assert!(out.is_empty(), "it is not accepted yet");
            outcome
        };
        let password = |text: &str| Password::new(text.to_owned().into());
        assert_eq!(sent(b"pw"), Outcome::Sent(password("pw")));
        assert_ne!(sent(b"pw"), Outcome::Sent(password("pW")));
        assert_eq!(sent(b""), Outcome::rejected("empty password returned by client"));
        assert_eq!(sent(b"\xff"), Outcome::rejected("the password is not valid UTF-8"));
        assert!(!format!("{:?}", sent(b"hush")).contains("hush"));
    }

    #[test]
    fn a_clear_password_against_every_secret() {
        let verifier = Secret::Scram(crate::auth::scram::Verifier::derive("pw", b"salt", 10));
        for secret in [secret("pw").unwrap(), Secret::Md5(md5::stored("ann", "pw")), verifier] {
            assert_eq!(check_password("ann", &secret, "pw"), Ok(()), "{secret:?}");
            for wrong in ["", "p", "pw ", "Pw"] {
                assert!(check_password("ann", &secret, wrong).is_err(), "{secret:?} takes {wrong}");
            }
        }
        let hashed = Secret::Md5(md5::stored("ann", "pw"));
        assert!(check_password("bob", &hashed, "pw").is_err());
        assert!(check_password("ann", &secret("AESab==").unwrap(), "ab==").is_err());
    }

    #[test]
    fn scram_refuses_another_mechanism() {
        let (mut leg, ..) = start(AuthMethod::Scram, secret("pw").as_ref());
        let body = b"SCRAM-SHA-256-PLUS\0\0\0\0\0";
        let outcome = leg.on_password_message(body, &mut Vec::new());
        assert_eq!(outcome, Outcome::rejected("client selected an invalid SASL authentication mechanism"));
        // The conversation is over.
        assert!(matches!(leg.on_password_message(body, &mut Vec::new()), Outcome::Rejected { .. }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_never_accepted(first: Vec<u8>, second: Vec<u8>) {
            for method in [AuthMethod::Md5, AuthMethod::Scram] {
                let (mut leg, ..) = start(method, secret("pw").as_ref());
                for body in [&first, &second] {
                    prop_assert!(leg.on_password_message(body, &mut Vec::new()) != Outcome::Accepted);
                }
            }
        }
    }
}
