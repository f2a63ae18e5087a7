//! Who may come in, and how we log in to backends.
//! All of it is pure: message bytes and random bytes come in, message bytes go out. Passwords are wiped
//! when dropped and stand in no Debug output. The session and the helper client drive these machines.
#![forbid(unsafe_code)]

pub mod backend_leg;
pub mod client_leg;
pub mod hba;
pub mod md5;
pub mod pool_passwd;
pub mod scram;
