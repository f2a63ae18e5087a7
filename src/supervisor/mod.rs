//! The process tree: who runs, who is replaced, and every change of a backend's state.
//!
//! The supervisor sees no client bytes and makes no blocking call. It knows its children by a table of
//! roles that the caller hands in; children speak to it through `request`.
#![forbid(unsafe_code)]

mod child;
mod collector;
mod listen;
mod nodes;
mod pidfile;
mod reload;
pub mod request;
mod run;
mod spare;
mod start;
mod stop;
mod tree;
mod upgrade;

pub use child::{ChildContext, Files, Listener, ListenerKind, LogSource};
pub use pidfile::PidFile;
pub use request::{Answer, Incoming, Order, Request, StopMode, Ticket, ToSupervisor};
pub use start::{Launch, start};
pub use tree::{NO_RESTART, RENEW, Role};
pub use upgrade::{PATIENCE as UPGRADE_PATIENCE, Program};
