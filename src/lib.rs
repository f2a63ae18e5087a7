//! pgbalancer: load balancer and connection pooler for PostgreSQL, taking the place of pgpool-II.
//!
//! The modules stand in the order of dependency: a module may use only those above it
//! (`tests/cases/layers.rs` holds the rule). What decides is pure; what acts is thin.

pub mod error;
pub mod identity;

pub mod sys;

pub mod log;

pub mod shm;

pub mod ffi;

pub mod wire;

pub mod net;

pub mod config;

pub mod auth;

pub mod sql;

pub mod cluster;

pub mod route;

pub mod pool;

pub mod admin;

pub mod face;

pub mod session;

pub mod supervisor;

pub mod role;

pub mod cli;

/// The program: reads the command line and becomes a supervisor, a command (`stop`, `reload`) or a message.
pub fn main() -> std::process::ExitCode {
    cli::main()
}
