//! A file of users as it is now: as with pgpool-II's pcp.conf a change counts from the next login on.
#![forbid(unsafe_code)]

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Reads the file; the notes are for the log.
type Load<T> = fn(&Path) -> io::Result<(T, Vec<String>)>;

/// The file and what it held when it was read last.
pub(super) struct UsersFile<T> {
    path: PathBuf,
    load: Load<T>,
    users: T,
    /// Tells whether it is another file, or another content, now.
    stamp: Option<Stamp>,
}

type Stamp = (u64, u64, i64, i64);

fn stamp(file: &Metadata) -> Stamp {
    (file.ino(), file.len(), file.mtime(), file.mtime_nsec())
}

impl<T: Default> UsersFile<T> {
    pub(super) fn new(path: PathBuf, load: Load<T>) -> UsersFile<T> {
        UsersFile { path, load, users: T::default(), stamp: None }
    }

    /// The users now. Somebody is about to log in: that nobody can is said in the log.
    pub(super) fn current(&mut self) -> &T {
        if let Err(error) = self.look() {
            self.forget();
            crate::say!(
                Warning,
                "could not read \"{}\": {}; nobody in it can log in",
                self.path.display(),
                error
            );
        }
        &self.users
    }

    /// The users as they were known last.
    pub(super) fn last(&self) -> &T {
        &self.users
    }

    /// Reads the file again, whatever is known of it. A site without users has none, which is no fault.
    pub(super) fn reload(&mut self) {
        self.forget();
        match self.look() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                crate::say!(Warning, "could not read \"{}\": {}", self.path.display(), error);
            }
            _ => {}
        }
    }

    fn forget(&mut self) {
        self.stamp = None;
        self.users = T::default();
    }

    fn look(&mut self) -> io::Result<()> {
        let now = Some(stamp(&fs::metadata(&self.path)?));
        if now != self.stamp {
            let (users, notes) = (self.load)(&self.path)?;
            notes.iter().for_each(|note| crate::say!(Warning, "{note}"));
            (self.users, self.stamp) = (users, now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::pcp_conf::{self, PcpConf};

    const SALT: [u8; 4] = *b"salt";

    fn admits(users: &mut UsersFile<PcpConf>, password: &str) -> bool {
        let said = pcp_conf::answer(b"ann", password.as_bytes(), SALT);
        users.current().admits(b"ann", SALT, said.as_bytes())
    }

    #[test]
    fn the_file_counts_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pcp.conf");
        let mut users = UsersFile::new(path.clone(), pcp_conf::load);
        users.reload();
        assert!(!admits(&mut users, "secret"), "there is no file");
        fs::write(&path, "ann:5ebe2294ecd0e0f08eab7690d2a6ee69\n").unwrap();
        assert!(admits(&mut users, "secret"));
        fs::write(&path, "# nobody\n").unwrap();
        assert!(!admits(&mut users, "secret"));
        fs::write(&path, "ann:5ebe2294ecd0e0f08eab7690d2a6ee69").unwrap();
        assert!(admits(&mut users, "secret"));
        fs::remove_file(&path).unwrap();
        assert!(!admits(&mut users, "secret"), "the file is gone");
    }
}
