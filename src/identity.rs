//! Who we say we are: pgbalancer, or pgpool-II if started under the name `pgpool`.
//!
//! Scripts read the version line, the process titles and the first word of `SHOW pool_version`.
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Our own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The pgpool-II that we answer as.
const POOL_VERSION: &str = "4.7.2";

static AS_POOL: AtomicBool = AtomicBool::new(false);

/// Takes the name from how the program was started (`argv[0]`). Once, at the start.
pub fn adopt(program: &str) {
    let name = Path::new(program).file_name().unwrap_or_default();
    AS_POOL.store(name == "pgpool", Ordering::Relaxed);
}

/// Whether we go by the name of pgpool.
pub fn is_pool() -> bool {
    AS_POOL.load(Ordering::Relaxed)
}

/// Name of the program: `pgbalancer` or `pgpool`.
pub fn program() -> &'static str {
    if is_pool() { "pgpool" } else { "pgbalancer" }
}

/// What log lines call us: `pgbalancer` or `pgpool-II`.
pub fn product() -> &'static str {
    if is_pool() { "pgpool-II" } else { "pgbalancer" }
}

/// Version as the start-up line and `--version` give it.
pub fn version() -> String {
    if is_pool() { pool_version() } else { VERSION.to_owned() }
}

/// What `SHOW pool_version` answers under either name: exporters take the first word for a version of
/// pgpool-II and leave out what that version did not have.
pub fn pool_version() -> String {
    format!("{POOL_VERSION} (pgbalancer {VERSION})")
}
