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

pub mod tls;

pub mod wire;

pub mod net;

pub mod config;

pub mod auth;

pub mod sql;

pub mod cluster;

pub mod route;

pub mod pool;

pub mod recovery;

pub mod admin;

pub mod face;

pub mod session;

pub mod supervisor;

pub mod role;

pub mod cli;

/// pgpool-II's `pcp_*` tools under their names.
pub fn pcp_main() -> std::process::ExitCode {
    cli::pcp::main()
}

/// pgpool-II's `pg_md5` and `pg_enc` under their names.
pub fn pg_enc_main() -> std::process::ExitCode {
    cli::encode::main()
}

/// `bctl`, which manages a running server over its REST API.
pub fn bctl_main() -> std::process::ExitCode {
    cli::bctl::main()
}

/// The program: reads the command line and becomes a supervisor, a command (`stop`, `reload`) or a message.
pub fn main() -> std::process::ExitCode {
    cli::main()
}
