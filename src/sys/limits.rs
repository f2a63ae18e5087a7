//! Resource limits.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lifts the soft limit of open files to the hard one and returns it: a worker holds thousands of sockets.
pub fn raise_open_files() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Memory that has been given back stays with the process up to so many bytes, so that what comes and goes (buffers of
/// bulk data) is not asked of the kernel, and cleared by it, each time anew. Elsewhere than with glibc nothing happens.
pub fn keep_freed_memory(bytes: u32) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt changes settings of malloc, and takes any value; it refuses with zero what it cannot use.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::try_from(bytes).unwrap_or(i32::MAX));
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = bytes;
}
