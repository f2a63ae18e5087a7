//! The operating system behind small safe functions: processes, signals, sockets, titles, clock.
//!
//! One of three places where `unsafe` may stand. Knows nothing of this program: no log, no
//! configuration. What Linux alone has stands here, each with what other systems get instead.

pub mod clock;
pub mod command;
pub mod file;
pub mod host;
pub mod interfaces;
pub mod limits;
pub mod names;
pub mod notify;
pub mod pipe;
pub mod poll;
pub mod process;
pub mod random;
pub mod ring;
pub mod shell;
pub mod signals;
pub mod socket;
pub mod syslog;
pub mod takeover;
pub mod terminal;
pub mod ticker;
pub mod title;
pub mod watched;
