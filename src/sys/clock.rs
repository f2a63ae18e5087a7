//! Wall-clock time, and how it reads in the local zone.

use std::mem::MaybeUninit;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since 1970, as the system clock has it; zero if the clock stands before that.
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    since_epoch().as_secs()
}

/// Local time as `YYYY-MM-DD HH:MM:SS`, which is how pgpool-II writes times everywhere.
pub fn local_text(unix_seconds: u64) -> String {
    let tm = local(unix_seconds);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        i64::from(tm.tm_year) + 1900,
        tm.tm_mon + 1,
        tm.tm_mday,
        tm.tm_hour,
        tm.tm_min,
        tm.tm_sec
    )
}

fn local(unix_seconds: u64) -> libc::tm {
    let time = libc::time_t::try_from(unix_seconds).unwrap_or(libc::time_t::MAX);
    let mut tm = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call; all-zero bytes are a valid `tm` (the integers are
    // zero, the zone pointer is null), so it is initialised even where localtime_r fails.
    unsafe {
        libc::localtime_r(&raw const time, tm.as_mut_ptr());
        tm.assume_init()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_text_has_the_shape_of_a_log_time() {
        let text = local_text(1_700_000_000);
        assert_eq!(text.len(), 19, "{text}");
        assert!(text.starts_with("2023-11-1"), "{text}");
    }

    #[test]
    fn impossible_times_do_not_panic() {
        local_text(u64::MAX);
    }
}
