//! Files that are whole at any moment, whoever reads them and whenever the power fails.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Puts a new file in the place of `path`: mode and owner are ours whatever lay there, no link is followed, and who
/// reads it finds the old content or the new one.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    put(path, content, mode).map(drop)
}

/// As `replace`, and it is on the disk when this returns.
pub fn replace_safely(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    put(path, content, mode)?.sync_all()?;
    // The name, too. A directory that cannot be opened for this is no reason to fail.
    File::open(directory.unwrap_or(Path::new("."))).map_or(Ok(()), |directory| directory.sync_all())
}

fn put(path: &Path, content: &[u8], mode: u32) -> io::Result<File> {
    let mut new = path.to_owned().into_os_string();
    new.push(".new");
    // What another one that died has left.
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(content)?;
    fs::rename(new, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_file_is_replaced_and_nothing_that_a_link_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("f"), dir.path().join("other"));
        fs::write(&other, "mine").unwrap();
        symlink(&other, &path).unwrap();
        symlink(&other, dir.path().join("f.new")).unwrap();
        replace_safely(&path, b"one", 0o600).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read(&other).unwrap(), b"mine");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert!(replace_safely(&dir.path().join("no/f"), b"", 0o600).is_err());
    }
}
