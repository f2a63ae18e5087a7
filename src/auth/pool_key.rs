//! The key of encrypted passwords (`AES…`): where it lies, how it is read, and what it does.
//!
//! As pgpool-II has it: AES-256-CBC, with key and start vector made from the text by one round of SHA-1 without salt.
//! The same password always gives the same text, so this hides a password from a glance and not from who has the key.
#![forbid(unsafe_code)]

use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkcs5::bytes_to_key;
use openssl::symm::{Cipher, decrypt, encrypt};
use zeroize::Zeroizing;

use crate::sys::process;

/// Name of the file in the home of who runs us.
const FILE: &str = ".pgpoolkey";

/// Bytes of a key that count, as in pgpool-II, and of one that stands in a file.
const LONGEST: usize = 256;
const LONGEST_IN_FILE: usize = 255;

/// A key.
#[derive(Clone, PartialEq, Eq)]
pub struct PoolKey(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for PoolKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PoolKey")
    }
}

/// Where the key lies if nobody says: `PGPOOLKEYFILE`, or the home of who runs us by the system's list of users (a
/// service may have no HOME).
pub fn default_path() -> PathBuf {
    env::var_os("PGPOOLKEYFILE").map_or_else(|| process::home().unwrap_or_default().join(FILE), PathBuf::from)
}

impl PoolKey {
    /// A key of this text; an empty one is none.
    pub fn new(text: &[u8]) -> Option<PoolKey> {
        let text = text.get(..LONGEST).unwrap_or(text);
        (!text.is_empty()).then(|| PoolKey(text.to_vec().into()))
    }

    /// Reads the first line of a file, blanks and all. The warning is pgpool-II's, which takes the key all the same.
    ///
    /// # Errors
    /// It cannot be read, or has no text.
    pub fn read(path: &Path) -> io::Result<(PoolKey, Option<String>)> {
        let file = File::open(path)?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::other("not a plain file"));
        }
        let is_open = about.permissions().mode() & 0o077 != 0;
        let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_IN_FILE));
        BufReader::with_capacity(LONGEST_IN_FILE, file)
            .take(LONGEST_IN_FILE as u64)
            .read_until(b'\n', &mut line)?;
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let key = PoolKey::new(text).ok_or_else(|| io::Error::other("its first line is empty"))?;
        let warning = format!(
            "pool key file \"{}\" has group or world access; permissions should be u=rw (0600) or less",
            path.display()
        );
        Ok((key, is_open.then_some(warning)))
    }

    /// Base64 of the encrypted password, as it stands behind `AES`.
    ///
    /// # Errors
    /// OpenSSL refuses: it was built without these methods, or has no memory.
    pub fn encrypt(&self, password: &[u8]) -> Result<String, ErrorStack> {
        let (cipher, key, iv) = self.material()?;
        Ok(STANDARD.encode(encrypt(cipher, &key, Some(&iv), password)?))
    }

    /// The password, unless the text is not base64, or of another key.
    pub fn decrypt(&self, text: &str) -> Option<Zeroizing<String>> {
        let bytes = STANDARD.decode(text).ok()?;
        let (cipher, key, iv) = self.material().ok()?;
        let plain = Zeroizing::new(decrypt(cipher, &key, Some(&iv), &bytes).ok()?);
        let plain = std::str::from_utf8(&plain).ok()?;
        (!plain.contains('\0')).then(|| Zeroizing::new(plain.to_owned()))
    }

    fn material(&self) -> Result<Material, ErrorStack> {
        let cipher = Cipher::aes_256_cbc();
        let made = bytes_to_key(cipher, MessageDigest::sha1(), &self.0, None, 1)?;
        Ok((cipher, made.key.into(), made.iv.unwrap_or_default().into()))
    }
}

/// The method, its key and its start vector.
type Material = (Cipher, Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>);

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_debians_pg_enc_encrypts() {
        let key = PoolKey::new(b"pgpoolkey").unwrap();
        for (password, text) in [("secret", "/JkxGLX6vvcF+QySgi0gnA=="), ("", "xFQbTAWye8gNbEVoOTS0Ag==")] {
            assert_eq!(key.encrypt(password.as_bytes()).unwrap(), text);
            assert_eq!(key.decrypt(text).unwrap().as_str(), password);
        }
        assert_eq!(PoolKey::new(b"other").unwrap().decrypt("/JkxGLX6vvcF+QySgi0gnA=="), None);
        assert_eq!(key.decrypt("no base64"), None);
        assert_eq!(key.decrypt("AAAA"), None);
        assert_eq!(PoolKey::new(b""), None);
        assert_eq!(format!("{key:?}"), "PoolKey");
    }

    #[test]
    fn files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let read = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            PoolKey::read(&path).map_err(|error| error.to_string())
        };
        let key = |text: &str| PoolKey::new(text.as_bytes()).unwrap();
        assert_eq!(read(" a b \nnext\n", 0o600), Ok((key(" a b "), None)));
        assert_eq!(read("a", 0o400), Ok((key("a"), None)));
        assert_eq!(read("a\r\n", 0o600).unwrap().0, key("a\r"));
        assert_eq!(read(&"k".repeat(300), 0o600).unwrap().0, key(&"k".repeat(255)));
        let (found, warning) = read("a", 0o640).unwrap();
        assert!(found == key("a") && warning.unwrap().contains("has group or world access"));
        assert_eq!(read("\na", 0o600), Err("its first line is empty".to_owned()));
        assert!(PoolKey::read(dir.path()).is_err());
    }

    proptest! {
        #[test]
        fn what_is_encrypted_is_decrypted(key in ".{1,40}", password in "[^\0]{0,140}", any in ".{0,80}") {
            let key = PoolKey::new(key.as_bytes()).unwrap();
            let text = key.encrypt(password.as_bytes()).unwrap();
            let plain = key.decrypt(&text).unwrap();
            prop_assert_eq!(plain.as_str(), password.as_str());
            let _ = key.decrypt(&any);
        }
    }
}
