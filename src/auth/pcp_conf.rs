//! The file pcp.conf (`user:MD5` a line, as `pg_md5` prints it), and how its users prove who they are.
//!
//! The answer to a salt is made from the MD5 of the password, so what the file holds is as good as the password.
#![forbid(unsafe_code)]

use std::path::Path;
use std::{fmt, fs, io};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::md5;

/// Longest name of a user; pgpool-II's.
const MAX_USER: usize = 128;

/// Length of an MD5 in digits.
const DIGITS: usize = 32;

/// The users of pcp.conf.
#[derive(Clone, Default)]
pub struct PcpConf {
    users: Vec<(Vec<u8>, Zeroizing<String>)>,
}

/// Reads the file. The notes are warnings, each as `FILE:LINE: text`, and never hold a password.
pub fn load(path: &Path) -> io::Result<(PcpConf, Vec<String>)> {
    let content = Zeroizing::new(fs::read(path)?);
    Ok(PcpConf::parse(&content, &path.display().to_string()))
}

/// What one who knows the password says to `salt`.
pub fn answer(user: &[u8], password: &[u8], salt: [u8; 4]) -> Zeroizing<String> {
    answer_from_stored(&md5::digits(password, b""), user, salt)
}

fn answer_from_stored(stored: &str, user: &[u8], salt: [u8; 4]) -> Zeroizing<String> {
    md5::digits(md5::digits(stored.as_bytes(), user).as_bytes(), &salt)
}

impl PcpConf {
    /// Reads the content of a file called `file`. A user may have several lines, each with a password.
    pub fn parse(content: &[u8], file: &str) -> (Self, Vec<String>) {
        let mut found = Self::default();
        let mut notes = Vec::new();
        for (number, line) in super::entries(content) {
            match parse_line(line) {
                Ok(user) => found.users.push(user),
                Err(text) => notes.push(format!("{file}:{number}: {text}, ignored")),
            }
        }
        (found, notes)
    }

    /// Whether `said` is what one of the user's passwords makes of `salt`. It takes as long for a user that is not there.
    pub fn admits(&self, user: &[u8], salt: [u8; 4], said: &[u8]) -> bool {
        let nobody = [(Vec::new(), Zeroizing::new("0".repeat(DIGITS)))];
        let lines = if self.users.is_empty() { &nobody[..] } else { &self.users };
        lines.iter().fold(false, |admitted, (name, stored)| {
            let right = answer_from_stored(stored, user, salt).as_bytes().ct_eq(said);
            admitted | bool::from(right & name.as_slice().ct_eq(user)) & !user.is_empty()
        })
    }
}

fn parse_line(line: &[u8]) -> Result<(Vec<u8>, Zeroizing<String>), &'static str> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or("line has no \":\"")?;
    let (user, stored) = line.split_at(colon);
    let stored = stored.get(1..).unwrap_or_default();
    if user.is_empty() {
        return Err("line has no user name");
    }
    if user.len() > MAX_USER {
        return Err("user name is longer than 128 bytes");
    }
    if stored.len() != DIGITS || !md5::are_digits(stored) {
        return Err("password is not an MD5 of 32 digits, as pg_md5 prints it");
    }
    Ok((user.to_vec(), Zeroizing::new(String::from_utf8_lossy(stored).into_owned())))
}

impl fmt::Debug for PcpConf {
    /// What the file holds is as good as passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PcpConf({} users)", self.users.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT: [u8; 4] = [1, 2, 0, 255];

    /// As `pg_md5 secret` prints it.
    const SECRET: &str = "5ebe2294ecd0e0f08eab7690d2a6ee69";

    #[test]
    fn the_answer_is_that_of_pgpool_s_clients() {
        // md5(md5(md5("secret") + "ann") + salt), counted with md5sum.
        assert_eq!(*answer(b"ann", b"secret", *b"salt"), "f20a84f82665c5d1e85fa5236a597c1c");
        assert_eq!(*md5::digits(b"secret", b""), SECRET);
    }

    #[test]
    fn users_come_in_with_any_of_their_passwords_and_nobody_else_does() {
        let other = md5::digits(b"other", b"");
        let text = format!("ann:{SECRET}\nbob:{SECRET}\nann:{}\n", *other);
        let (users, notes) = PcpConf::parse(text.as_bytes(), "pcp.conf");
        assert!(notes.is_empty());
        for (user, password, admitted) in [
            ("ann", "secret", true),
            ("ann", "other", true),
            ("bob", "secret", true),
            ("bob", "other", false),
            ("ann", "", false),
            ("cy", "secret", false),
            ("", "secret", false),
        ] {
            let said = answer(user.as_bytes(), password.as_bytes(), SALT);
            assert_eq!(users.admits(user.as_bytes(), SALT, said.as_bytes()), admitted, "{user} {password}");
            assert!(!users.admits(user.as_bytes(), *b"else", said.as_bytes()), "the salt counts");
            assert!(!PcpConf::default().admits(user.as_bytes(), SALT, said.as_bytes()), "{user}");
        }
        assert!(!users.admits(b"ann", SALT, b""));
        let zeros = answer_from_stored(&"0".repeat(DIGITS), b"", SALT);
        assert!(!PcpConf::default().admits(b"", SALT, zeros.as_bytes()));
    }

    #[test]
    fn wrong_lines_are_named_and_left_out() {
        let long = "u".repeat(129);
        let text = format!(
            "# note\n\nann:{SECRET}\r\nnocolon\n:{SECRET}\nbob:secret\ncy:{} \ndan:{}\n{long}:{SECRET}\n\
             ed:md5{SECRET}",
            SECRET,
            SECRET.to_uppercase()
        );
        let (users, notes) = PcpConf::parse(text.as_bytes(), "p");
        assert_eq!(format!("{users:?}"), "PcpConf(1 users)");
        let no_md5 = "password is not an MD5 of 32 digits, as pg_md5 prints it, ignored";
        assert_eq!(
            notes,
            [
                "p:4: line has no \":\", ignored".to_owned(),
                "p:5: line has no user name, ignored".to_owned(),
                format!("p:6: {no_md5}"),
                format!("p:7: {no_md5}"),
                format!("p:8: {no_md5}"),
                "p:9: user name is longer than 128 bytes, ignored".to_owned(),
                format!("p:10: {no_md5}"),
            ]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(content: Vec<u8>, user: Vec<u8>, said: Vec<u8>) {
            let (users, _) = PcpConf::parse(&content, "p");
            users.admits(&user, SALT, &said);
        }
    }
}
