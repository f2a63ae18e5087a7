//! The server as commands see it: requests carry the token that is at hand, and where a password is at hand, too, a token
//! that the server does not take (any longer) is asked for anew.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, IsTerminal};

use serde_json::{Value, json};
use ureq::Body;
use ureq::http::Response;
use zeroize::Zeroizing;

use super::client::{Answer, Client, Patience};
use super::failure::Failure;
use super::private;
use super::settings::Settings;
use super::tokens::{Token, Tokens};
use crate::sys::{clock, terminal};

/// What a token lasts where the server does not say.
const USUAL_LIFE: u64 = 3600;

/// A server, and what lets us in.
pub(super) struct Api<'a> {
    client: Client,
    pub(super) settings: &'a Settings,
}

impl<'a> Api<'a> {
    /// Takes the token of the settings, or that of an earlier login.
    pub(super) fn new(settings: &'a Settings) -> Result<Api<'a>, Failure> {
        let mut api = Api::without_token(settings)?;
        let token = match &settings.token {
            Some(token) => Some(token.clone()),
            None => api.kept()?,
        };
        api.client.set_token(token);
        if settings.ask_password {
            api.log_in()?;
        }
        Ok(api)
    }

    /// The token of an earlier login that has not expired.
    fn kept(&self) -> Result<Option<String>, Failure> {
        let settings = self.settings;
        let Some(tokens) = tokens(settings)? else { return Ok(None) };
        let kept = tokens.find(&settings.server.to_string(), settings.username.as_deref());
        Ok(kept.filter(|kept| kept.expires_at > clock::unix_seconds()).map(|kept| kept.token.clone()))
    }

    pub(super) fn without_token(settings: &'a Settings) -> Result<Api<'a>, Failure> {
        let client = Client::new(&settings.server, settings.tls.as_ref(), settings.verbose)?;
        Ok(Api { client, settings })
    }

    pub(super) fn get(&mut self, path: &str) -> Result<Answer, Failure> {
        self.let_in(|client| client.get(path))
    }

    /// Has something done. What is in `body` goes with it.
    pub(super) fn post(
        &mut self,
        path: &str,
        body: Option<&Value>,
        patience: Patience,
    ) -> Result<Answer, Failure> {
        self.let_in(|client| client.request("POST", path, body, patience))
    }

    /// Opens a stream of events.
    pub(super) fn stream(&mut self, path: &str) -> Result<Response<Body>, Failure> {
        self.let_in(|client| client.stream(path))
    }

    /// A refused request was not carried out: it is safe to send it again.
    fn let_in<T>(&mut self, ask: impl Fn(&Client) -> Result<T, Failure>) -> Result<T, Failure> {
        match ask(&self.client) {
            Err(Failure::Refused(status, _))
                if self.settings.password_file.is_some()
                    && self.settings.username.is_some()
                    && (status == 401 || status == 403 && !self.client.has_token()) =>
            {
                self.log_in()?;
                ask(&self.client)
            }
            other => other,
        }
    }

    /// Gets a token and keeps it. Whom nobody names logs in without a name, where the server allows that.
    pub(super) fn log_in(&mut self) -> Result<Answer, Failure> {
        let user = match &self.settings.username {
            None if io::stdin().is_terminal() => Some(asked_name()?),
            other => other.clone(),
        };
        let body = match &user {
            Some(user) => Some(json!({ "username": user, "password": *self.password()? })),
            None if self.settings.password_file.is_some() || self.settings.ask_password => {
                return Err(Failure::Usage("whose password is it? Give the user with -U".to_owned()));
            }
            None => None,
        };
        self.client.set_token(None);
        let answer = self.client.request("POST", "/auth/login", body.as_ref(), Patience::Usual)?;
        let Some(token) = answer.value.get("token").and_then(Value::as_str) else {
            return Err(Failure::Local("the server has accepted the login but sent no token".to_owned()));
        };
        self.client.set_token(Some(token.to_owned()));
        if let Some(mut tokens) = tokens(self.settings)? {
            let life = answer.value.get("expires_in").and_then(Value::as_u64).unwrap_or(USUAL_LIFE);
            let now = clock::unix_seconds();
            let token = Token {
                server: self.settings.server.to_string(),
                user: user.unwrap_or_default(),
                token: token.to_owned(),
                expires_at: now.saturating_add(life),
            };
            tokens.keep(token, now)?;
        }
        Ok(answer)
    }

    fn password(&self) -> Result<Zeroizing<String>, Failure> {
        match &self.settings.password_file {
            Some(path) if !self.settings.ask_password => private::password(path),
            _ => asked_password("Password: "),
        }
    }
}

/// The tokens of earlier logins; None: there is no home to keep them in.
pub(super) fn tokens(settings: &Settings) -> Result<Option<Tokens>, Failure> {
    settings.home.as_deref().map(Tokens::read).transpose()
}

/// Reads a password that is not shown.
pub(super) fn asked_password(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let read = terminal::read_hidden(prompt);
    read.map(Zeroizing::new).map_err(|error| Failure::Local(format!("no password could be read: {error}")))
}

fn asked_name() -> Result<String, Failure> {
    eprint!("Username: ");
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Failure::Local(format!("no name could be read: {error}")))?;
    match line.trim() {
        "" => Err(Failure::Usage("no user was named".to_owned())),
        name => Ok(name.to_owned()),
    }
}
