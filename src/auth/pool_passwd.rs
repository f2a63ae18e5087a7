//! The file pool_passwd: `user:PASSWORD` a line, in any of the forms that pgpool-II's tools write.
//! Also reads the same forms where a parameter holds a password.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::{fmt, fs};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::md5;
use super::pool_key::PoolKey;
use super::scram::{ProvedKeys, Verifier};
use crate::say;

/// What is known of a user's password.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// `md5` and 32 digits: serves MD5 authentication only.
    Md5(Zeroizing<String>),
    /// The password itself: serves every method.
    Plain(Zeroizing<String>),
    /// A SCRAM verifier: can check a client, cannot log in to a backend.
    Scram(Verifier),
    /// What a client has proved of such a verifier: logs in to backends that have the same. In no file.
    Proved(ProvedKeys),
    /// Base64 of a password encrypted with a key that we do not have (see [`PoolKey`]); of no use.
    Aes(Zeroizing<String>),
}

impl Secret {
    /// Reads any form: `md5…`, `AES…`, `TEXT…`, `SCRAM-SHA-256$…`; everything else is a plain password.
    /// An empty password is none: nobody could be told from one who knows nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let secret = |text: &str| Zeroizing::new(text.to_owned());
        if md5::is_stored(text) {
            return Some(Self::Md5(secret(text)));
        }
        if let Some(verifier) = Verifier::parse(text) {
            return Some(Self::Scram(verifier));
        }
        if let Some(encrypted) = text.strip_prefix("AES") {
            return Some(Self::Aes(secret(encrypted)));
        }
        let plain = text.strip_prefix("TEXT").unwrap_or(text);
        (!plain.is_empty()).then(|| Self::Plain(secret(plain)))
    }

    /// The password itself in place of an encrypted one, if this is its key.
    fn decrypted(self, key: Option<&PoolKey>) -> Self {
        let Self::Aes(encrypted) = &self else { return self };
        match key.and_then(|key| key.decrypt(encrypted)) {
            Some(password) => Self::Plain(password),
            None => self,
        }
    }

    /// One that was encrypted and is empty.
    fn is_empty(&self) -> bool {
        matches!(self, Self::Plain(password) if password.is_empty())
    }
}

impl Secret {
    /// Both are the same password. Takes the same time wherever they differ.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain(one), Self::Plain(other)) => one.as_bytes().ct_eq(other.as_bytes()).into(),
            _ => false,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5(_) => "Md5",
            Self::Plain(_) => "Plain",
            Self::Scram(_) => "Scram",
            Self::Proved(_) => "Proved",
            Self::Aes(_) => "Aes",
        })
    }
}

/// The users of a pool_passwd file, and the key that encrypted passwords are read with.
#[derive(Debug, Clone, Default)]
pub struct PoolPasswd {
    users: HashMap<String, Secret>,
    key: Option<PoolKey>,
}

/// Reads the file, and the key of its encrypted passwords. The notes are warnings, most as `FILE:LINE: text`, and never
/// hold a password. Without a file there are no users.
pub fn load(path: Option<&Path>, key_path: &Path) -> (PoolPasswd, Vec<String>) {
    let (key, warning) = match PoolKey::read(key_path) {
        Ok((key, warning)) => (Some(key), warning),
        // Most sites have none. Who needs it hears of it at the password that it is for.
        Err(error) => {
            say!(Debug1, "no key of encrypted passwords is read from {}: {error}", key_path.display());
            (None, None)
        }
    };
    let content = path.map(|path| (path, fs::read(path).map(Zeroizing::new)));
    let (mut found, mut notes) = match content {
        Some((path, Ok(content))) => PoolPasswd::parse(&content, &path.display().to_string(), key.as_ref()),
        // Its absence is no fault: there may be nobody who needs a password.
        Some((path, Err(error))) => {
            say!(Debug1, "no passwords are read from {}: {error}", path.display());
            Default::default()
        }
        None => Default::default(),
    };
    found.key = key;
    notes.extend(warning);
    (found, notes)
}

impl PoolPasswd {
    /// The secret of a user.
    pub fn get(&self, user: &str) -> Option<&Secret> {
        self.users.get(user)
    }

    /// The secret that a parameter holds for a user; an empty one takes what the file has.
    pub fn secret(&self, user: &str, parameter: &str) -> Option<Secret> {
        match parameter {
            "" => self.get(user).cloned(),
            text => Secret::parse(text).map(|secret| secret.decrypted(self.key.as_ref())),
        }
    }

    /// Reads the content of a file called `file`. As in pgpool-II the first line of a user counts.
    pub fn parse(content: &[u8], file: &str, key: Option<&PoolKey>) -> (Self, Vec<String>) {
        let mut found = Self { users: HashMap::new(), key: key.cloned() };
        let mut notes = Vec::new();
        for (number, line) in super::entries(content) {
            if let Err(text) = found.add(line) {
                notes.push(format!("{file}:{number}: {text}"));
            }
        }
        (found, notes)
    }

    fn add(&mut self, line: &[u8]) -> Result<(), String> {
        let line = std::str::from_utf8(line).map_err(|_| "line is not valid UTF-8, ignored".to_owned())?;
        let (user, rest) = line.split_once(':').ok_or("line has no \":\", ignored")?;
        if user.is_empty() {
            return Err("line has no user name, ignored".into());
        }
        let (password, extra) = without_backend_login(rest);
        let secret = Secret::parse(password).map(|secret| secret.decrypted(self.key.as_ref()));
        let secret = secret
            .filter(|secret| !secret.is_empty())
            .ok_or(format!("user \"{user}\" has an empty password, ignored"))?;
        let is_encrypted = matches!(secret, Secret::Aes(_));
        match self.users.entry(user.to_owned()) {
            Entry::Occupied(_) => return Err(format!("user \"{user}\" stands twice, the first line counts")),
            Entry::Vacant(entry) => entry.insert(secret),
        };
        if is_encrypted {
            let why = match self.key {
                Some(_) => "it was made with another key than that of the key file",
                None => "there is no key file that can be read (option -k, PGPOOLKEYFILE, or ~/.pgpoolkey)",
            };
            return Err(format!("unable to decrypt password of user \"{user}\": {why}"));
        }
        match extra {
            true => Err(format!("backend user and password of user \"{user}\" are ignored")),
            false => Ok(()),
        }
    }
}

/// Cuts off `:backenduser:backendpassword`, which pgpool-II's parser takes and never uses. A verifier has
/// two colons of its own; a password may have one.
fn without_backend_login(rest: &str) -> (&str, bool) {
    let own = usize::from(rest.starts_with("SCRAM-SHA-256$")) * 2;
    let colons: Vec<usize> = rest.match_indices(':').map(|(at, _)| at).collect();
    match colons.get(own) {
        Some(at) if colons.len() == own + 2 => (rest.get(..*at).unwrap_or(rest), true),
        _ => (rest, false),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MD5: &str = "md5b8b29fc4ab2a8b5b7a3b7d6c0f6d4d12";
    const SCRAM: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                         WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn plain(text: &str) -> Option<Secret> {
        Some(Secret::Plain(text.to_owned().into()))
    }

    #[test]
    fn forms_of_a_password() {
        let cases = [
            ("secret", plain("secret")),
            ("TEXTsecret", plain("secret")),
            ("TEXTmd5", plain("md5")),
            ("TEXT", None),
            ("", None),
            (MD5, Some(Secret::Md5(MD5.to_owned().into()))),
            ("md5short", plain("md5short")),
            ("AESab==", Some(Secret::Aes("ab==".to_owned().into()))),
            (SCRAM, Verifier::parse(SCRAM).map(Secret::Scram)),
            ("SCRAM-SHA-256$x", plain("SCRAM-SHA-256$x")),
        ];
        for (text, want) in cases {
            assert!(Secret::parse(text) == want, "{text}");
        }
    }

    #[test]
    fn lines_of_a_file() {
        let content = format!(
            "ann:{MD5}\r\n\n# note\nbob:TEXTa:b\ncy:{SCRAM}\nnocolon\n:x\ndan:p:u:q\nann:again\nempty:\ned:{SCRAM}:u:q"
        );
        let (users, notes) = PoolPasswd::parse(content.as_bytes(), "pp", None);
        assert!(users.get("ann") == Secret::parse(MD5).as_ref());
        assert!(users.get("bob") == plain("a:b").as_ref());
        assert!(users.get("cy") == Secret::parse(SCRAM).as_ref());
        assert!(users.get("dan") == plain("p").as_ref());
        assert!(users.get("ed") == Secret::parse(SCRAM).as_ref());
        assert!(users.get("empty").is_none());
        let want = [
            "pp:6: line has no \":\", ignored",
            "pp:7: line has no user name, ignored",
            "pp:8: backend user and password of user \"dan\" are ignored",
            "pp:9: user \"ann\" stands twice, the first line counts",
            "pp:10: user \"empty\" has an empty password, ignored",
            "pp:11: backend user and password of user \"ed\" are ignored",
        ];
        assert_eq!(notes, want);
    }

    #[test]
    fn encrypted_passwords_need_the_key_that_they_were_made_with() {
        let key = PoolKey::new(b"pgpoolkey").unwrap();
        let (good, empty) = (key.encrypt(b"secret").unwrap(), key.encrypt(b"").unwrap());
        let content = format!("ann:AES{good}\nbob:AES{empty}\ncy:AESno base64\n");
        let (users, notes) = PoolPasswd::parse(content.as_bytes(), "pp", Some(&key));
        assert!(users.get("ann") == plain("secret").as_ref());
        assert!(users.get("bob").is_none());
        assert!(matches!(users.get("cy"), Some(Secret::Aes(_))));
        let want = [
            "pp:2: user \"bob\" has an empty password, ignored",
            "pp:3: unable to decrypt password of user \"cy\": it was made with another key than that of the key file",
        ];
        assert_eq!(notes, want);
        assert!(users.secret("x", &format!("AES{good}")) == plain("secret"));
        assert!(users.secret("ann", "") == plain("secret"));
        let (users, notes) = PoolPasswd::parse(content.as_bytes(), "pp", None);
        assert!(matches!(users.get("ann"), Some(Secret::Aes(_))));
        assert!(
            notes[0].starts_with("pp:1: unable to decrypt password of user \"ann\": there is no key file")
        );
    }

    #[test]
    fn nothing_secret_is_printed() {
        let (users, _) =
            PoolPasswd::parse(format!("a:hidden\nb:{MD5}\nc:AEShidden\nd:{SCRAM}").as_bytes(), "pp", None);
        let text = format!("{users:?}");
        assert!(!text.contains("hidden") && !text.contains("b8b2") && !text.contains("W22Z"), "{text}");
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(content: Vec<u8>, text in "([a-z]{0,3}:?(md5|AES|TEXT|SCRAM-SHA-256\\$)?.*\n){0,4}") {
            PoolPasswd::parse(&content, "pp", None);
            PoolPasswd::parse(text.as_bytes(), "pp", PoolKey::new(b"k").as_ref());
        }

        #[test]
        fn what_is_written_is_read(user in "[a-z][a-z0-9 ]{0,9}", password in "[^\r\n:]{1,20}") {
            let (users, notes) = PoolPasswd::parse(format!("{user}:TEXT{password}\n").as_bytes(), "pp", None);
            prop_assert!(notes.is_empty());
            prop_assert!(users.get(&user) == plain(&password).as_ref());
        }
    }
}
