//! The private key: from a file that nobody else may read, with a passphrase from a command if it needs one.
#![forbid(unsafe_code)]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use openssl::pkey::{PKey, Private};
use zeroize::Zeroizing;

use super::{TlsError, reasons};
use crate::sys::command::{self, Ended};

/// How long the command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Longest key file.
const MAX_FILE: u64 = 1 << 20;

/// What tells one version of a file from another: device, inode, length and time of the last change.
type Version = (u64, u64, u64, i64, i64);

/// Keys that took a passphrase: processes that are forked later have them without asking again.
static UNLOCKED: Mutex<Vec<(Version, PKey<Private>)>> = Mutex::new(Vec::new());

pub(super) fn load(path: &Path, command: &str) -> Result<PKey<Private>, TlsError> {
    let error = |text: String| TlsError::new("ssl_key", format!("{}: {text}", path.display()));
    let about = std::fs::metadata(path).map_err(|e| error(e.to_string()))?;
    if !about.is_file() || about.len() > MAX_FILE {
        return Err(error("is not a key file".to_owned()));
    }
    // The group may read a file that the administrator has put there, as with PostgreSQL.
    let spared = if about.uid() == 0 { 0o037 } else { 0o077 };
    if about.mode() & spared != 0 {
        let text = "others may read it; it must have permissions u=rw (0600) or less if owned by the user of \
                    this program, or u=rw,g=r (0640) or less if owned by root";
        return Err(error(text.to_owned()));
    }
    let version = (about.dev(), about.ino(), about.len(), about.mtime(), about.mtime_nsec());
    let mut unlocked = UNLOCKED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((_, key)) = unlocked.iter().find(|(known, _)| *known == version) {
        return Ok(key.clone());
    }
    let pem = Zeroizing::new(std::fs::read(path).map_err(|e| error(e.to_string()))?);
    let mut asked = None;
    let key = PKey::private_key_from_pem_callback(&pem, |room| {
        let answer = passphrase(command);
        let given = answer.as_deref().map_or(0, |text| {
            let length = text.len().min(room.len());
            room.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
            length
        });
        asked = Some(answer.map(drop));
        Ok(given)
    });
    match (key, asked) {
        (Ok(key), asked) => {
            if asked.is_some() {
                unlocked.push((version, key.clone()));
            }
            Ok(key)
        }
        (Err(_), Some(Err(text))) => Err(TlsError::new("ssl_passphrase_command", text)),
        (Err(e), _) => Err(error(reasons(&e))),
    }
}

/// What the command prints, without its line end.
fn passphrase(command: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    if command.is_empty() {
        return Err("the private key needs a passphrase, and no command gives it".to_owned());
    }
    let line = with_prompt(command, "Enter PEM pass phrase:");
    let printed = match command::output(&line, LIMIT) {
        Ok(Ended::Well(printed)) => Zeroizing::new(printed),
        Ok(Ended::Badly(status)) => return Err(format!("the command failed: {status}")),
        Ok(Ended::TooLong) => return Err("the command printed too much".to_owned()),
        Ok(Ended::TimedOut) => return Err(format!("the command took longer than {} s", LIMIT.as_secs())),
        Err(e) => return Err(format!("could not run the command: {e}")),
    };
    let text = printed.lines().next().unwrap_or_default();
    if text.is_empty() {
        return Err("the command printed nothing".to_owned());
    }
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}

/// `%p` is the prompt, `%%` a percent sign.
fn with_prompt(command: &str, prompt: &str) -> String {
    let mut line = String::new();
    let mut letters = command.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '%') {
            (_, true) => match letters.next() {
                Some('p') => line.push_str(prompt),
                Some('%') => line.push('%'),
                Some(other) => line.extend(['%', other]),
                None => line.push('%'),
            },
            (letter, false) => line.push(letter),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::with_prompt;

    #[test]
    fn the_prompt_stands_where_the_command_wants_it() {
        assert_eq!(with_prompt("echo '%p' 5%% %x %", "Who?"), "echo 'Who?' 5% %x %");
    }
}
