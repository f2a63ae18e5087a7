//! Online recovery: a node that is out of use is made anew from the primary by scripts in the primary's data directory,
//! started, and attached.
//!
//! What is to be done, and whether it may be, is decided in `plan`; the texts for the servers are made in `call`; `run`
//! does it, and waits. It belongs in a thread of a process that may wait: the PCP process has one. It changes no state of
//! a node: it asks the supervisor, through `world::Supervisor`.
#![forbid(unsafe_code)]

mod call;
mod error;
mod plan;
mod run;
#[cfg(test)]
mod tests;
mod world;

pub use error::RecoveryError;
pub use plan::{Plan, Seen, Stage, Step, plan};
pub use run::run;
pub use world::{RealServers, Server, Servers, Supervisor};
