//! Who logs in gets a token.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::Response;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::Server;
use super::connection::Origin;
use super::reply::{self, JSON, Reply};
use crate::auth::pcp_conf;
use crate::auth::rest_users::{self, RestUsers};
use crate::auth::token::{Claims, Role};
use crate::config::Config;
use crate::face::rest::{LoginBody, LoginDone, Refusal, read};
use crate::role::users_file::UsersFile;
use crate::sys::{clock, random};

/// Longest password; what is longer is no password of anybody.
const LONGEST_PASSWORD: usize = 1024;

/// How long a client waits for its turn to be checked.
const TURN: Duration = Duration::from_secs(10);

/// The file of `rest_api_auth_file`, for the threads that check passwords.
#[derive(Clone)]
pub(super) struct AuthFile(Option<Arc<Mutex<UsersFile<RestUsers>>>>);

impl AuthFile {
    pub(super) fn of(config: &Config) -> AuthFile {
        let name = &config.rest_api_auth_file;
        let path: Option<PathBuf> = (!name.is_empty()).then(|| config.path(name));
        AuthFile(path.map(|path| Arc::new(Mutex::new(UsersFile::new(path, rest_users::load)))))
    }
}

impl Server {
    /// Answers a request for a token.
    pub(super) async fn login(&self, origin: &Origin, body: &[u8]) -> Result<Response<Reply>, Refusal> {
        let file = self.auth_file.borrow().clone();
        let asks = self.policy.borrow().asks_for_tokens || file.0.is_some();
        if body.trim_ascii().is_empty() {
            // The token allows what its owner may do without one, so that old scripts go on.
            return match !asks && origin.peer.is_local() {
                true => self.token(String::new(), Role::Operator),
                false => Err(Refusal::new(401, "a user and a password are needed")),
            };
        }
        let LoginBody { username, password } = read(body)?;
        let password = Zeroizing::new(password);
        if let Err(seconds) = self.attempts.borrow_mut().attempt(origin.peer, Instant::now()) {
            let text = format!("too many logins have failed; try again in {seconds} seconds");
            return Err(Refusal { retry_after: Some(seconds), ..Refusal::new(429, text) });
        }
        let role = match file.0 {
            Some(file) => self.check_elsewhere(file, username.clone(), password).await?,
            None => self.is_pcp_user(&username, &password).then_some(Role::Operator),
        };
        let name = username.escape_debug().take(128).collect::<String>();
        match role {
            Some(role) => {
                self.attempts.borrow_mut().succeeded(origin.peer);
                crate::say!(Log, "REST user \"{name}\" from {}: login as {}: done", origin.text, role.name());
                self.token(username, role)
            }
            None => {
                crate::say!(Warning, "REST user \"{name}\" from {}: login: refused", origin.text);
                Err(Refusal::new(401, "username and/or password does not match"))
            }
        }
    }

    /// The role of a user of the file. Elsewhere, since it takes long on purpose; who waits too long is told so.
    async fn check_elsewhere(
        &self,
        file: Arc<Mutex<UsersFile<RestUsers>>>,
        name: String,
        password: Zeroizing<String>,
    ) -> Result<Option<Role>, Refusal> {
        let busy =
            || Refusal { retry_after: Some(5), ..Refusal::new(503, "too many logins at once; try again") };
        let turn = timeout(TURN, self.checkers.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(busy()) };
        let checked = spawn_blocking(move || {
            let users = file.lock().unwrap_or_else(PoisonError::into_inner).current().clone();
            users.role(&name, &password).filter(|_| password.len() <= LONGEST_PASSWORD)
        });
        checked.await.map_err(|_| busy())
    }

    /// Whether it is a user of pcp.conf, who may do everything there.
    fn is_pcp_user(&self, name: &str, password: &str) -> bool {
        let mut salt = [0; 4];
        random::fill(&mut salt);
        let said = pcp_conf::answer(name.as_bytes(), password.as_bytes(), salt);
        let mut users = self.pcp_users.borrow_mut();
        users.current().admits(name.as_bytes(), salt, said.as_bytes()) && password.len() <= LONGEST_PASSWORD
    }

    fn token(&self, user: String, role: Role) -> Result<Response<Reply>, Refusal> {
        let expiry = u64::try_from(self.context.borrow().config.rest_api_jwt_expiry).unwrap_or(0);
        let now = clock::unix_seconds();
        let claims = Claims { sub: user, role, iat: now, exp: now.saturating_add(expiry) };
        let token = self.tokens.borrow().issue(&claims);
        let token = token.map_err(|error| Refusal::new(503, format!("no token could be made: {error}")))?;
        let body = LoginDone { token, expires_in: expiry, token_type: "Bearer", role: role.name() };
        Ok(reply::live(200, JSON, serde_json::to_vec(&body).unwrap_or_default()))
    }
}
