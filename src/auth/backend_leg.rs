//! How we log in to a backend: answers its Authentication messages with what we have of the user.
//! Remembers what was asked, so that a session without pool_hba can ask its client the same.
#![forbid(unsafe_code)]

use thiserror::Error;

use super::client_leg::AuthMethod;
use super::md5;
use super::pool_passwd::Secret;
use super::scram::{ClientExchange, ClientProof, MECHANISM, SaltedKeys, ScramError};
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
            asked: AsKind::Trust,
            state: State::Start,
        }
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
        if !offered.iter().any(|name| name == MECHANISM) {
            return Err(LoginError::NoMechanism(offered.join(", ")));
        }
        let password = self.plain("scram-sha-256")?;
        let (exchange, first) = ClientExchange::start(&self.user, password, self.nonce.clone());
        frontend::put_sasl_initial(out, MECHANISM, &first);
        Ok(State::ScramFirst(exchange))
    }

    /// The password itself, which all but MD5 need.
    fn plain(&self, asked: &'static str) -> Result<&str, LoginError> {
        let form = match &self.secret {
            Some(Secret::Plain(password)) => return Ok(password),
            None => return Err(LoginError::NoSecret { user: self.user.clone() }),
            Some(Secret::Md5(_)) => "an md5 hash",
            Some(Secret::Scram(_)) => "a SCRAM verifier",
            Some(Secret::Aes(_)) => "an AES-encrypted password, which cannot be decrypted",
        };
        Err(LoginError::Unusable { user: self.user.clone(), asked, form })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scram::ServerExchange;

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
        let (server, first) = server.client_first(first.response.unwrap()).unwrap();
        let (_, last) = step(&mut login, Authentication::SaslContinue(&first)).unwrap();
        (login, server.client_final(&last).unwrap())
    }

    #[test]
    fn scram() {
        let (mut login, last) = scram_to_the_end();
        assert_eq!(step(&mut login, Authentication::SaslFinal(&last)), Ok((Step::More, vec![])));
        assert_eq!(step(&mut login, Authentication::Ok), Ok((Step::Done, vec![])));
        assert_eq!(login.asked(), AsKind::Scram);
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
        assert!(text("AESx", Authentication::Md5 { salt: [0; 4] }).contains("AES-encrypted"));
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
