//! The pid file: decimal number and a NUL byte, mode 0600, as pgpool-II writes it.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::sys::file;
use crate::sys::process::{ProcessId, is_alive, own_id};

/// Where the number of the running supervisor stands.
#[derive(Clone, Debug)]
pub struct PidFile {
    path: PathBuf,
}

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is none.
    Nothing,
    /// It names nobody who lives.
    Stale,
    /// It names this process.
    Live(ProcessId),
}

impl PidFile {
    /// The file that `pid_file_name` names; a relative name counts from the configuration's directory.
    pub fn new(name: &str, config_path: &Path) -> PidFile {
        PidFile { path: config_path.parent().unwrap_or(Path::new("/")).join(name) }
    }

    /// The number in the file.
    pub fn read(&self) -> Option<ProcessId> {
        let bytes = fs::read(&self.path).ok()?;
        let text = bytes.split(|byte| *byte == 0).next()?;
        std::str::from_utf8(text).ok()?.trim().parse().ok().filter(|pid| *pid > 0)
    }

    /// Removes the file.
    pub fn remove(&self) {
        // Gone already is as good.
        let _ = fs::remove_file(&self.path);
    }

    /// Who owns the file now.
    pub(super) fn look(&self) -> Found {
        match self.read() {
            // Our own number comes back in containers, where we are always the same one.
            Some(pid) if pid != own_id() && is_alive(pid) => Found::Live(pid),
            None if !self.path.exists() => Found::Nothing,
            _ => Found::Stale,
        }
    }

    /// Writes the number.
    pub(super) fn write(&self, pid: ProcessId) -> io::Result<()> {
        file::replace(&self.path, format!("{pid}\0").as_bytes(), 0o600)
    }

    /// The path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn written_as_pgpool_does_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = PidFile::new("run.pid", &dir.path().join("pgbalancer.conf"));
        assert_eq!(file.look(), Found::Nothing);
        file.write(4_000_000).unwrap();
        assert_eq!(fs::read(file.path()).unwrap(), b"4000000\0");
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!((file.read(), file.look()), (Some(4_000_000), Found::Stale));
        file.remove();
        assert_eq!(file.look(), Found::Nothing);
    }

    #[test]
    fn whose_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = PidFile::new(dir.path().join("x.pid").to_str().unwrap(), Path::new("/etc/p.conf"));
        for (content, found) in [
            ("1\0".to_owned(), Found::Live(1)),
            ("1\n".to_owned(), Found::Live(1)),
            (format!("{}\0", own_id()), Found::Stale),
            ("0\0".to_owned(), Found::Stale),
            ("-1\0".to_owned(), Found::Stale),
            ("what\0".to_owned(), Found::Stale),
            (String::new(), Found::Stale),
        ] {
            fs::write(file.path(), &content).unwrap();
            assert_eq!(file.look(), found, "{content:?}");
        }
    }
}
