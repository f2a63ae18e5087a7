//! The process tree: who runs, who is replaced, and every change of a backend's state.
//!
//! The supervisor sees no client bytes and makes no blocking call. It knows its children by a table of
//! roles that the caller hands in; children speak to it through `request`.
#![forbid(unsafe_code)]

mod child;
mod collector;
mod events;
mod failover;
mod learned;
mod listen;
mod nodes;
mod operate;
mod owed;
mod pause;
mod pidfile;
mod reload;
pub mod request;
mod run;
mod script;
mod spare;
mod start;
mod status_file;
mod stop;
mod tree;
mod upgrade;

pub use child::{ChildContext, Door, Files, Gate, Listener, ListenerKind, LogSource, TokenSeed};
pub use pidfile::PidFile;
#[cfg(test)]
pub(crate) use request::socket_pair;
pub use request::{Answer, Incoming, Order, Request, StopMode, Ticket, ToSupervisor};
pub use start::{Launch, start};
pub use tree::{NO_RESTART, RENEW, Role};
pub use upgrade::{PATIENCE as UPGRADE_PATIENCE, Program};
