//! How we log in to a backend: answers its Authentication messages with what we have of the user.
//! Remembers what was asked, so that a session without pool_hba can ask its client the same.
#![forbid(unsafe_code)]

use thiserror::Error;

use super::client_leg::AuthMethod;
use super::md5;
use super::pool_passwd::Secret;
use super::scram::{Binding, ClientExchange, ClientProof, MECHANISM, MECHANISM_PLUS, SaltedKeys, ScramError};
use crate::wire::backend::Authentication;
use crate::wire::frontend;

/// What a backend asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsKind {
    /// Nothing.
    Trust,
    Password,
    Md5,
    Scram,
}

/// What to ask of a client where the backend asked this of us.
impl From<AsKind> for AuthMethod {
    fn from(kind: AsKind) -> Self {
        match kind {
            AsKind::Trust => Self::Trust,
            AsKind::Md5 => Self::Md5,
            // Who answered a backend has the password itself, so the client need not send it in clear.
            AsKind::Password | AsKind::Scram => Self::Scram,
        }
    }
}

/// Where the login stands after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send what was appended, if anything, and wait for the next Authentication message.
    More,
    /// Logged in; ParameterStatus and the rest follow.
    Done,
}

/// Why we cannot log in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoginError {
    #[error("backend asks for a password, but pool_passwd file does not contain an entry for \"{user}\"")]
    NoSecret { user: String },
    #[error("backend asks for {asked} authentication, but pool_passwd has {form} for user \"{user}\"")]
    Unusable { user: String, asked: &'static str, form: &'static str },
    #[error(
        "unable to decrypt password from pool_passwd for user \"{user}\": verify the valid pool_key exists"
    )]
    Encrypted { user: String },
    #[error("backend asks for authentication method {0}, which is not supported")]
    Unsupported(i32),
    #[error("backend offers none of the SASL mechanisms that are supported: {0}")]
    NoMechanism(String),
    #[error("backend sent an authentication message out of order")]
    OutOfOrder,
    #[error(transparent)]
    Scram(#[from] ScramError),
}

/// A login to one backend.
pub struct Login {
    user: String,
    secret: Option<Secret>,
    nonce: String,
    /// The hash of the server's certificate, if the connection is secured.
    end_point: Option<Vec<u8>>,
    asked: AsKind,
    state: State,
}

enum State {
    /// Nothing was asked yet.
    Start,
    /// A password was sent: only AuthenticationOk may follow.
    Answered,
    ScramFirst(ClientExchange),
    ScramFinal(ClientProof),
    Over,
}

impl Login {
    /// A login as `user`; `nonce` is used if the backend asks for SCRAM (see [`super::scram::nonce`]).
    pub fn new(user: &str, secret: Option<&Secret>, nonce: String) -> Self {
        Self {
            user: user.to_owned(),
            secret: secret.cloned(),
            nonce,
            end_point: None,
            asked: AsKind::Trust,
            state: State::Start,
        }
    }

    /// The connection is secured by the certificate of this hash: SCRAM is bound to it where the server offers that.
    pub fn over(mut self, end_point: Option<Vec<u8>>) -> Self {
        self.end_point = end_point;
        self
    }

    /// What the backend asked for, as far as it went.
    pub fn asked(&self) -> AsKind {
        self.asked
    }

    /// Takes the backend's next Authentication message; appends the answer.
    pub fn on(
        &mut self,
        message: Authentication<'_>,
        out: &mut Vec<u8>,
        keys: &mut SaltedKeys,
    ) -> Result<Step, LoginError> {
        let state = std::mem::replace(&mut self.state, State::Over);
        self.state = match (state, message) {
            // In the midst of SCRAM this would be a server that has not proved itself.
            (State::Start | State::Answered, Authentication::Ok) => return Ok(Step::Done),
            (State::Start, Authentication::CleartextPassword) => self.password(out)?,
            (State::Start, Authentication::Md5 { salt }) => self.md5(salt, out)?,
            (State::Start, Authentication::Sasl(offered)) => self.scram(&offered, out)?,
            (State::ScramFirst(exchange), Authentication::SaslContinue(data)) => {
                let (proof, answer) = exchange.server_first(data, keys)?;
                frontend::put_sasl_response(out, &answer);
                State::ScramFinal(proof)
            }
            (State::ScramFinal(proof), Authentication::SaslFinal(data)) => {
                proof.server_final(data)?;
                State::Answered
            }
            (_, Authentication::Unsupported(code)) => return Err(LoginError::Unsupported(code)),
            _ => return Err(LoginError::OutOfOrder),
        };
        Ok(Step::More)
    }

    fn password(&mut self, out: &mut Vec<u8>) -> Result<State, LoginError> {
        self.asked = AsKind::Password;
        frontend::put_password(out, self.plain("password")?.as_bytes());
        Ok(State::Answered)
    }

    fn md5(&mut self, salt: [u8; 4], out: &mut Vec<u8>) -> Result<State, LoginError> {
        self.asked = AsKind::Md5;
        let answer = match &self.secret {
            Some(Secret::Md5(stored)) => md5::response_from_stored(stored, salt),
            _ => md5::response(&self.user, self.plain("md5")?, salt),
        };
        frontend::put_password(out, answer.as_bytes());
        Ok(State::Answered)
    }

    fn scram(&mut self, offered: &[String], out: &mut Vec<u8>) -> Result<State, LoginError> {
        self.asked = AsKind::Scram;
        let offers = |mechanism| offered.iter().any(|name| name == mechanism);
        let (mechanism, binding) = match self.end_point.clone() {
            Some(hash) if offers(MECHANISM_PLUS) => (MECHANISM_PLUS, Binding::EndPoint(hash)),
            _ if !offers(MECHANISM) => return Err(LoginError::NoMechanism(offered.join(", "))),
            Some(_) => (MECHANISM, Binding::NotOffered),
            None => (MECHANISM, Binding::Impossible),
        };
        let nonce = self.nonce.clone();
        let (exchange, first) = match &self.secret {
            Some(Secret::Proved(keys)) => ClientExchange::start_with_keys(keys.clone(), binding, nonce),
            _ => ClientExchange::start(&self.user, self.plain("scram-sha-256")?, binding, nonce),
        };
        frontend::put_sasl_initial(out, mechanism, &first);
        Ok(State::ScramFirst(exchange))
    }

    /// The password itself, which all but MD5 need.
    fn plain(&self, asked: &'static str) -> Result<&str, LoginError> {
        let form = match &self.secret {
            Some(Secret::Plain(password)) => return Ok(password),
            None => return Err(LoginError::NoSecret { user: self.user.clone() }),
            Some(Secret::Md5(_)) => "an md5 hash",
            Some(Secret::Scram(_)) => {
                "a SCRAM verifier, which serves only clients that prove themselves by it (enable_pool_hba = on, \
                 method scram-sha-256)"
            }
            Some(Secret::Proved(_)) => "a SCRAM verifier",
            Some(Secret::Aes(_)) => return Err(LoginError::Encrypted { user: self.user.clone() }),
        };
        Err(LoginError::Unusable { user: self.user.clone(), asked, form })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::client_leg::{ClientLeg, Outcome};
    use crate::auth::scram::{ServerExchange, Verifier};

    fn login(secret: &str) -> Login {
        Login::new("ann", Secret::parse(secret).as_ref(), "nonce".into())
    }

    /// One step; the body of what was answered.
    fn step(login: &mut Login, message: Authentication<'_>) -> Result<(Step, Vec<u8>), LoginError> {
        let mut out = Vec::new();
        let step = login.on(message, &mut out, &mut SaltedKeys::new())?;
        Ok((step, out.get(5..).unwrap_or_default().to_vec()))
    }

    fn offer() -> Authentication<'static> {
        Authentication::Sasl(vec!["SCRAM-SHA-256-PLUS".into(), MECHANISM.into()])
    }

    #[test]
    fn trust_needs_no_secret() {
        let mut login = Login::new("ann", None, String::new());
        assert_eq!(step(&mut login, Authentication::Ok), Ok((Step::Done, vec![])));
        assert_eq!(login.asked(), AsKind::Trust);
    }

    #[test]
    fn passwords() {
        let salt = [1, 2, 3, 4];
        let response = md5::response("ann", "pw", salt);
        let stored = md5::stored("ann", "pw");
        let cases = [
            ("pw", Authentication::CleartextPassword, "pw", AsKind::Password),
            ("pw", Authentication::Md5 { salt }, response.as_str(), AsKind::Md5),
            (stored.as_str(), Authentication::Md5 { salt }, response.as_str(), AsKind::Md5),
        ];
        for (secret, message, want, asked) in cases {
            let mut login = login(secret);
            let (reached, body) = step(&mut login, message).unwrap();
            assert_eq!((reached, frontend::password(&body)), (Step::More, Ok(want.as_bytes())));
            assert_eq!(login.asked(), asked);
            assert_eq!(step(&mut login, Authentication::Ok), Ok((Step::Done, vec![])));
        }
    }

    /// Goes through SCRAM up to the server's last message.
    fn scram_to_the_end() -> (Login, Vec<u8>) {
        let mut login = login("pw");
        let (_, body) = step(&mut login, offer()).unwrap();
        let first = frontend::sasl_initial(&body).unwrap();
        assert_eq!(first.mechanism, MECHANISM.as_bytes());
        let server = ServerExchange::from_password("pw", b"salt", "server".into());
        let (server, first) = server.client_first(false, first.response.unwrap()).unwrap();
        let (_, last) = step(&mut login, Authentication::SaslContinue(&first)).unwrap();
        (login, server.client_final(&last).unwrap().0)
    }

    #[test]
    fn scram() {
        let (mut login, last) = scram_to_the_end();
        assert_eq!(step(&mut login, Authentication::SaslFinal(&last)), Ok((Step::More, vec![])));
        assert_eq!(step(&mut login, Authentication::Ok), Ok((Step::Done, vec![])));
        assert_eq!(login.asked(), AsKind::Scram);
    }

    #[test]
    fn what_a_client_has_proved_serves_scram_only() {
        let keys = scram_client().take_keys().unwrap();
        let mut login = Login::new("ann", Some(&Secret::Proved(keys.clone())), "nonce".into());
        let (_, body) = step(&mut login, offer()).unwrap();
        let first = frontend::sasl_initial(&body).unwrap().response.unwrap();
        let server = ServerExchange::from_verifier(Verifier::derive("pw", b"salt", 10), "server".into());
        let (server, first) = server.client_first(false, first).unwrap();
        let (_, last) = step(&mut login, Authentication::SaslContinue(&first)).unwrap();
        let (last, _) = server.client_final(&last).unwrap();
        assert_eq!(step(&mut login, Authentication::SaslFinal(&last)), Ok((Step::More, vec![])));
        let mut login = Login::new("ann", Some(&Secret::Proved(keys)), "nonce".into());
        let refused = step(&mut login, Authentication::Md5 { salt: [0; 4] }).unwrap_err().to_string();
        assert!(refused.ends_with("pool_passwd has a SCRAM verifier for user \"ann\""), "{refused}");
    }

    /// A client that has logged in to us, who have its verifier.
    fn scram_client() -> ClientLeg {
        let verifier = Secret::Scram(Verifier::derive("pw", b"salt", 10));
        let mut random = |bytes: &mut [u8]| bytes.fill(7);
        let (mut leg, _) =
            ClientLeg::start(AuthMethod::Scram, "ann", Some(&verifier), None, &mut random, &mut Vec::new());
        let mut client = login("pw");
        let (_, body) = step(&mut client, offer()).unwrap();
        let mut out = Vec::new();
        leg.on_password_message(&body, &mut out);
        let first = out.get(9..).unwrap_or_default();
        let (_, last) = step(&mut client, Authentication::SaslContinue(first)).unwrap();
        assert_eq!(leg.on_password_message(&last, &mut Vec::new()), Outcome::Accepted);
        leg
    }

    #[test]
    fn a_server_that_does_not_prove_itself_is_refused() {
        let (mut login, _) = scram_to_the_end();
        assert_eq!(step(&mut login, Authentication::Ok), Err(LoginError::OutOfOrder));
        let (mut login, _) = scram_to_the_end();
        let forged = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        let want = Err(LoginError::Scram(ScramError::ServerSignature));
        assert_eq!(step(&mut login, Authentication::SaslFinal(forged)), want);
        // After an error nothing more is believed.
        assert_eq!(step(&mut login, Authentication::Ok), Err(LoginError::OutOfOrder));
    }

    #[test]
    fn what_cannot_serve() {
        let hashed = md5::stored("ann", "pw");
        let text = |secret: &str, message| step(&mut login(secret), message).unwrap_err().to_string();
        assert_eq!(
            text("", Authentication::CleartextPassword),
            "backend asks for a password, but pool_passwd file does not contain an entry for \"ann\""
        );
        assert_eq!(
            text(&hashed, offer()),
            "backend asks for scram-sha-256 authentication, but pool_passwd has an md5 hash for user \"ann\""
        );
        assert!(text("AESx", Authentication::Md5 { salt: [0; 4] }).contains("unable to decrypt password"));
        assert!(text("pw", Authentication::Unsupported(7)).contains("method 7"));
        assert!(text("pw", Authentication::Sasl(vec!["X".into()])).ends_with("supported: X"));
    }

    #[test]
    fn a_password_is_sent_once() {
        let mut login = login("pw");
        assert!(step(&mut login, Authentication::CleartextPassword).is_ok());
        assert_eq!(step(&mut login, Authentication::CleartextPassword), Err(LoginError::OutOfOrder));
    }
}
