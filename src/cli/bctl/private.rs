//! Files with secrets: nobody but their owner may read them.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::failure::Failure;

/// Most bytes of a password, as servers take it.
const LONGEST_PASSWORD: u64 = 1024;

/// Refuses a file that others may read.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    let data = fs::metadata(path).map_err(|error| Failure::Local(format!("cannot read {shown}: {error}")))?;
    if data.is_file() && data.permissions().mode() & 0o077 != 0 {
        let text = format!("{shown} may be read by others: nothing was read from it; run chmod 600 {shown}");
        return Err(Failure::Local(text));
    }
    let us = nix::unistd::geteuid().as_raw();
    if data.uid() != us && us != 0 {
        return Err(Failure::Local(format!("{shown} belongs to somebody else: nothing was read from it")));
    }
    Ok(())
}

/// The first line of a file that only its owner may read.
pub(super) fn password(path: &Path) -> Result<Zeroizing<String>, Failure> {
    check(path)?;
    let shown = path.display();
    let unreadable = |error| Failure::Local(format!("cannot read the password in {shown}: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    let mut line = Zeroizing::new(String::new());
    BufReader::new(file.take(LONGEST_PASSWORD + 2)).read_line(&mut line).map_err(unreadable)?;
    let length = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(length);
    match line.len() as u64 {
        0 => Err(Failure::Local(format!("there is no password in the first line of {shown}"))),
        length if length > LONGEST_PASSWORD => {
            Err(Failure::Local(format!("the password in {shown} is longer than {LONGEST_PASSWORD} bytes")))
        }
        _ => Ok(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn the_first_line_is_the_password() {
        for text in ["secret", "secret\n", "secret\r\nsecond\n"] {
            assert_eq!(*password(file(text, 0o600).path()).unwrap(), "secret");
        }
        for wrong in ["", "\nsecret", &"x".repeat(2000)] {
            assert!(password(file(wrong, 0o600).path()).is_err());
        }
    }

    #[test]
    fn what_others_may_read_is_refused() {
        for mode in [0o640, 0o604, 0o644] {
            let file = file("secret", mode);
            let text = password(file.path()).unwrap_err().text();
            assert!(text.contains("chmod 600"), "{text}");
        }
    }
}
