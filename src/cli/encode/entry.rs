//! One line of pool_passwd, written in its place. The rest of the file stays as it is, byte by byte.
#![forbid(unsafe_code)]

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;

use zeroize::Zeroizing;

use super::Failure;

/// Gives the user this secret in the file.
pub(super) fn write(path: &Path, user: &str, secret: &str) -> Result<(), Failure> {
    if user.contains([':', '\n', '\r', '#']) {
        // Such a line would be another user's.
        return Err(Failure::new(format!(
            "Error: user \"{}\" cannot stand in pool_passwd: a name must be without colon, \"#\" and line break\n",
            user.escape_debug()
        )));
    }
    put(path, user, secret)
        .map_err(|error| Failure::new(format!("could not write \"{}\": {error}\n", path.display())))
}

fn put(path: &Path, user: &str, secret: &str) -> io::Result<()> {
    // What a link leads to is replaced, and not the link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (old, like) = match fs::read(path) {
        Ok(content) => (Zeroizing::new(content), fs::metadata(path)?),
        // As readable as the directory's other files: the server may run as another user than we do.
        Err(error) if error.kind() == ErrorKind::NotFound => return create(path, &line(user, secret)),
        Err(error) => return Err(error),
    };
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&replaced(&old, user, secret))?;
    // Only root can give a file away; the mode must be set behind that, which clears bits of it.
    let _ = chown(&new, Some(like.uid()), Some(like.gid()));
    fs::set_permissions(&new, Permissions::from_mode(like.mode() & 0o7777))?;
    file.sync_all()?;
    fs::rename(new, path)
}

fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?.write_all(content)
}

fn line(user: &str, secret: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(format!("{user}:{secret}\n").into_bytes())
}

/// The content with the user's line in place of the first that is theirs, which is the one that counts; or behind all.
fn replaced(old: &[u8], user: &str, secret: &str) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(old.len() + user.len() + secret.len() + 3));
    let is_theirs = |of: &[u8]| of.strip_prefix(user.as_bytes()).is_some_and(|rest| rest.starts_with(b":"));
    let mut written = false;
    for of in old.split_inclusive(|byte| *byte == b'\n') {
        match !written && is_theirs(of) {
            true => out.extend_from_slice(&line(user, secret)),
            false => out.extend_from_slice(of),
        }
        written |= is_theirs(of);
    }
    if !written {
        if out.last().is_some_and(|byte| *byte != b'\n') {
            out.push(b'\n');
        }
        out.extend_from_slice(&line(user, secret));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_changes() {
        for (old, new) in [
            ("", "ann:new\n"),
            ("bob:x\nann:y\nann:z\ncy:w", "bob:x\nann:new\nann:z\ncy:w"),
            ("anna:x\n#ann:x\n", "anna:x\n#ann:x\nann:new\n"),
            // An unfinished last line stays what it is.
            ("bob:x", "bob:x\nann:new\n"),
        ] {
            assert_eq!(String::from_utf8_lossy(&replaced(old.as_bytes(), "ann", "new")), new);
        }
    }

    #[test]
    fn mode_and_link_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("pp"), dir.path().join("link"));
        fs::write(&path, "bob:x\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(write(&link, "ann", "s").is_ok());
        assert_eq!(fs::read_to_string(&path).unwrap(), "bob:x\nann:s\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        for user in ["a:b", "a\nb", "#a"] {
            assert!(write(&path, user, "s").is_err());
        }
    }
}
