//! Who may come in, and how we log in to backends.
//! All of it but `outside` is pure: message bytes and random bytes come in, message bytes go out. Passwords are wiped
//! when dropped and stand in no Debug output. The session and the helper client drive these machines.
#![forbid(unsafe_code)]

pub mod backend_leg;
pub mod client_leg;
pub mod hba;
pub mod md5;
pub mod outside;
pub mod password;
pub mod pcp_conf;
pub mod pool_key;
pub mod pool_passwd;
pub mod rest_users;
pub mod scram;
pub mod token;

/// The lines of a file of users that say something, with their numbers.
fn entries(content: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = content.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    (1..).zip(lines).filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#"))
}
