//! Tokens of earlier logins, `~/.cache/bctl/tokens.json`: for each server and user the latest one.
#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::private;
use crate::sys::file;

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Token {
    /// As `Server` is shown.
    pub(super) server: String,
    /// Empty: nobody was named.
    pub(super) user: String,
    pub(super) token: String,
    /// Seconds since 1970.
    pub(super) expires_at: u64,
}

/// The file.
#[derive(Debug)]
pub(super) struct Tokens {
    path: PathBuf,
    /// The latest last.
    all: Vec<Token>,
}

#[derive(Default, Serialize, Deserialize)]
struct Content {
    tokens: Vec<Token>,
}

impl Tokens {
    /// Reads the file in this home directory. One that is not there is empty, one that others may read is refused.
    pub(super) fn read(home: &Path) -> Result<Tokens, Failure> {
        let path = home.join(".cache/bctl/tokens.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Tokens { path, all: Vec::new() });
            }
            Err(error) => return Err(Failure::Local(format!("cannot read {}: {error}", path.display()))),
        };
        private::check(&path)?;
        let content: Content = serde_json::from_str(&text).map_err(|error| {
            Failure::Local(format!("{} is damaged ({error}): remove it and log in again", path.display()))
        })?;
        Ok(Tokens { path, all: content.tokens })
    }

    /// The token of this user; without a name that of the latest login at this server.
    pub(super) fn find(&self, server: &str, user: Option<&str>) -> Option<&Token> {
        let mut of_server = self.all.iter().rev().filter(|token| token.server == server);
        of_server.find(|token| user.is_none_or(|user| token.user == user))
    }

    /// Keeps a token in the place of an older one of the same user, and forgets those that `now` is too late for.
    pub(super) fn keep(&mut self, token: Token, now: u64) -> Result<(), Failure> {
        let same = |old: &Token| old.server == token.server && old.user == token.user;
        self.all.retain(|old| !same(old) && old.expires_at > now);
        self.all.push(token);
        self.write()
    }

    /// Forgets the token of this user, without a name all of this server. False: there was none.
    pub(super) fn forget(&mut self, server: &str, user: Option<&str>) -> Result<bool, Failure> {
        let before = self.all.len();
        self.all.retain(|token| token.server != server || user.is_some_and(|user| token.user != user));
        if self.all.len() == before {
            return Ok(false);
        }
        self.write()?;
        Ok(true)
    }

    fn write(&self) -> Result<(), Failure> {
        let shown = self.path.display();
        let failed = |error: io::Error| Failure::Local(format!("cannot write {shown}: {error}"));
        let content = Content { tokens: self.all.clone() };
        let text = serde_json::to_string_pretty(&content).map_err(|error| failed(error.into()))?;
        if let Some(directory) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        }
        file::replace(&self.path, text.as_bytes(), 0o600).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn token(server: &str, user: &str, text: &str, expires_at: u64) -> Token {
        Token { server: server.to_owned(), user: user.to_owned(), token: text.to_owned(), expires_at }
    }

    #[test]
    fn kept_by_server_and_user() {
        let home = tempfile::tempdir().unwrap();
        let mut tokens = Tokens::read(home.path()).unwrap();
        for (user, text, until) in [("old", "0", 5), ("ann", "1", 50), ("bob", "2", 60), ("ann", "3", 70)] {
            tokens.keep(token("a:1", user, text, until), 10).unwrap();
        }
        tokens.keep(token("b:1", "ann", "4", 70), 10).unwrap();
        let mode = fs::metadata(&tokens.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut tokens = Tokens::read(home.path()).unwrap();
        let text = |tokens: &Tokens, server, user| tokens.find(server, user).map(|token| token.token.clone());
        assert_eq!(text(&tokens, "a:1", Some("ann")).as_deref(), Some("3"));
        assert_eq!(text(&tokens, "a:1", Some("bob")).as_deref(), Some("2"));
        assert_eq!(text(&tokens, "a:1", None).as_deref(), Some("3"), "the latest");
        assert_eq!(text(&tokens, "a:1", Some("old")), None, "it has expired");
        assert_eq!(text(&tokens, "c:1", None), None);
        assert!(tokens.forget("a:1", Some("ann")).unwrap());
        assert!(!tokens.forget("a:1", Some("ann")).unwrap());
        assert_eq!(text(&tokens, "b:1", None).as_deref(), Some("4"));
        assert!(tokens.forget("b:1", None).unwrap());
        let tokens = Tokens::read(home.path()).unwrap();
        assert_eq!(tokens.all.len(), 1);
    }

    #[test]
    fn refused_if_others_may_read_it_and_named_if_damaged() {
        let home = tempfile::tempdir().unwrap();
        let mut tokens = Tokens::read(home.path()).unwrap();
        tokens.keep(token("a:1", "ann", "1", 50), 10).unwrap();
        fs::set_permissions(&tokens.path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Tokens::read(home.path()).unwrap_err().text().contains("chmod 600"));
        fs::set_permissions(&tokens.path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&tokens.path, "{").unwrap();
        assert!(Tokens::read(home.path()).unwrap_err().text().contains("remove it"));
    }
}
