//! What every module shares about failing: exit codes, and the one error that reaches a client.
#![forbid(unsafe_code)]

/// Exit codes of the program, as pgpool-II's (scripts and unit files test them).
pub mod exit {
    /// Done, or stopped as asked.
    pub const OK: u8 = 0;
    /// Wrong command line; a live process owns the pid file; no pid file to signal.
    pub const USAGE: u8 = 1;
    /// Every FATAL error: bad configuration, port in use.
    pub const FATAL: u8 = 3;
}

/// Number of a backend: the N of `backend_hostnameN`, 0 to 127.
pub type NodeId = usize;

/// Most backends a configuration may name; pgpool-II's MAX_NUM_BACKENDS.
pub const MAX_NODES: usize = 128;
