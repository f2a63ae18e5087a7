//! The file of `rest_api_auth_file`: `name:role:verifier` a line, and how its users prove who they are.
//!
//! A verifier is `SCRAM-SHA-256$…`, as pool_passwd and PostgreSQL have it, or a PHC text of argon2. What it costs to check
//! one is bounded when the file is read.
#![forbid(unsafe_code)]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::{fmt, fs, io};

use argon2::password_hash::{PasswordHash, PasswordVerifier};
use argon2::{Argon2, Params};
use zeroize::Zeroizing;

use super::scram::Verifier;
use super::token::Role;

/// Longest name of a user, as in pcp.conf.
const MAX_USER: usize = 128;

/// Most that a check may cost: rounds of SCRAM; memory (KiB) and passes of argon2.
const MAX_ROUNDS: u32 = 1_000_000;
const MAX_MEMORY: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;

/// The users of the file.
#[derive(Clone, Default)]
pub struct RestUsers {
    users: Vec<User>,
}

#[derive(Clone)]
struct User {
    name: String,
    role: Role,
    proof: Proof,
}

#[derive(Clone)]
enum Proof {
    Scram(Verifier),
    /// A PHC text, parsed once already.
    Argon2(Zeroizing<String>),
}

impl Proof {
    fn parse(text: &str) -> Result<Proof, &'static str> {
        if let Some(verifier) = Verifier::parse(text) {
            return match verifier.rounds() <= MAX_ROUNDS {
                true => Ok(Proof::Scram(verifier)),
                false => Err("verifier needs more than 1000000 rounds"),
            };
        }
        let unknown = "verifier is neither SCRAM-SHA-256$… nor $argon2id$…";
        let hash = PasswordHash::new(text).map_err(|_| unknown)?;
        if !hash.algorithm.as_str().starts_with("argon2") || hash.hash.is_none() || hash.salt.is_none() {
            return Err(unknown);
        }
        let costs = Params::try_from(&hash).map_err(|_| "verifier has odd costs of argon2")?;
        match costs.m_cost() <= MAX_MEMORY && costs.t_cost() <= MAX_PASSES {
            true => Ok(Proof::Argon2(Zeroizing::new(text.to_owned()))),
            false => Err("verifier needs more than 256 MiB or 16 passes"),
        }
    }

    /// May take half a second.
    fn admits(&self, password: &str) -> bool {
        match self {
            Proof::Scram(verifier) => verifier.is_of(password),
            Proof::Argon2(text) => PasswordHash::new(text)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()),
        }
    }
}

/// Reads the file. The notes are warnings, each as `FILE:LINE: text`, and never hold a verifier.
///
/// # Errors
/// It cannot be read.
pub fn load(path: &Path) -> io::Result<(RestUsers, Vec<String>)> {
    let content = Zeroizing::new(fs::read(path)?);
    Ok(RestUsers::parse(&content, &path.display().to_string()))
}

impl RestUsers {
    /// Reads the content of a file called `file`. The first line of a user counts.
    pub fn parse(content: &[u8], file: &str) -> (RestUsers, Vec<String>) {
        let mut found = RestUsers::default();
        let mut notes = Vec::new();
        for (number, line) in (1..).zip(content.split(|byte| *byte == b'\n')) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            match parse_line(line) {
                Ok(user) if found.users.iter().any(|known| known.name == user.name) => {
                    notes.push(format!("{file}:{number}: user stands twice, the first line counts"));
                }
                Ok(user) => found.users.push(user),
                Err(text) => notes.push(format!("{file}:{number}: {text}, ignored")),
            }
        }
        (found, notes)
    }

    /// The role of a user who knows the password. It takes as long for a user who is not there as for one who is: one
    /// of the others is checked, always the same for the same name. May take half a second.
    pub fn role(&self, name: &str, password: &str) -> Option<Role> {
        let known = self.users.iter().find(|user| user.name == name);
        let user = known.or_else(|| self.stand_in(name))?;
        let admitted = user.proof.admits(password);
        (admitted && known.is_some()).then_some(user.role)
    }

    fn stand_in(&self, name: &str) -> Option<&User> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let count = u64::try_from(self.users.len()).ok().filter(|count| *count > 0)?;
        self.users.get(usize::try_from(hasher.finish() % count).ok()?)
    }
}

fn parse_line(line: &[u8]) -> Result<User, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "line is not valid UTF-8")?;
    let (name, rest) = line.split_once(':').ok_or("line is not name:role:verifier")?;
    let (role, verifier) = rest.split_once(':').ok_or("line is not name:role:verifier")?;
    if name.is_empty() || name.len() > MAX_USER {
        return Err("user name is empty or longer than 128 bytes");
    }
    let role = [Role::Viewer, Role::Operator].into_iter().find(|known| known.name() == role);
    let role = role.ok_or("role is neither viewer nor operator")?;
    Ok(User { name: name.to_owned(), role, proof: Proof::parse(verifier)? })
}

impl fmt::Debug for RestUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RestUsers({} users)", self.users.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of the password `pencil`.
    const SCRAM: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                         WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn argon2(password: &str) -> String {
        use argon2::password_hash::{PasswordHasher, SaltString};
        let salt = SaltString::encode_b64(b"0123456789abcdef").unwrap();
        let hasher = Argon2::new(
            argon2::Algorithm::Argon2id,
            argon2::Version::V0x13,
            Params::new(64, 1, 1, None).unwrap(),
        );
        hasher.hash_password(password.as_bytes(), &salt).unwrap().to_string()
    }

    #[test]
    fn users_come_in_with_their_password_and_role() {
        let text = format!("# note\n\nann:viewer:{SCRAM}\r\nbob:operator:{}\n", argon2("b:b"));
        let (users, notes) = RestUsers::parse(text.as_bytes(), "f");
        assert!(notes.is_empty(), "{notes:?}");
        for (name, password, role) in [
            ("ann", "pencil", Some(Role::Viewer)),
            ("ann", "Pencil", None),
            ("bob", "b:b", Some(Role::Operator)),
            ("bob", "pencil", None),
            ("cy", "pencil", None),
            ("cy", "b:b", None),
            ("", "", None),
        ] {
            assert_eq!(users.role(name, password), role, "{name} {password}");
        }
        assert_eq!(RestUsers::default().role("ann", "pencil"), None);
    }

    #[test]
    fn wrong_lines_are_named_and_left_out() {
        let dear = argon2("x").replace("m=64", "m=9999999");
        let text = format!(
            "ann:viewer\nbob:admin:{SCRAM}\n:viewer:{SCRAM}\ncy:viewer:plain\ndan:viewer:{dear}\n\
             ed:viewer:{}\ned2:viewer:{SCRAM}\ned2:operator:{SCRAM}\n",
            SCRAM.replace("4096", "9999999")
        );
        let (users, notes) = RestUsers::parse(text.as_bytes(), "f");
        assert_eq!(format!("{users:?}"), "RestUsers(1 users)");
        assert_eq!(users.role("ed2", "pencil"), Some(Role::Viewer));
        assert_eq!(notes.len(), 7, "{notes:?}");
        assert_eq!(notes[0], "f:1: line is not name:role:verifier, ignored");
        assert_eq!(notes[1], "f:2: role is neither viewer nor operator, ignored");
        assert!(notes[4].starts_with("f:5: verifier needs more than 256 MiB"), "{}", notes[4]);
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(content: Vec<u8>, text in "([a-z]{0,3}:(viewer|operator):(SCRAM-SHA-256\\$|\\$argon2id\\$)?.*\n){0,4}") {
            RestUsers::parse(&content, "f");
            RestUsers::parse(text.as_bytes(), "f");
        }
    }
}
