//! Wall-clock time, and how it reads in the local zone.

use std::ffi::CString;
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

/// Microseconds of the clock that never goes back (CLOCK_MONOTONIC), as service managers compare them.
pub fn monotonic_micros() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map_or(0, |time| (time.tv_sec() * 1_000_000 + time.tv_nsec() / 1_000).unsigned_abs())
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

/// Local time through strftime(3), for names of files. Empty if the pattern gives nothing or more than a path can hold.
pub fn local_format(pattern: &str, unix_seconds: u64) -> String {
    let Ok(pattern) = CString::new(pattern) else { return String::new() };
    let tm = local(unix_seconds);
    let mut buffer = [0_u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer and its length belong together, the pattern is NUL-terminated, and `tm` was filled by
    // localtime_r, so its zone pointer is null or points to a static text.
    let length =
        unsafe { libc::strftime(buffer.as_mut_ptr().cast(), buffer.len(), pattern.as_ptr(), &raw const tm) };
    String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned()
}

/// Seconds that local time is ahead of UTC at that moment.
pub fn local_offset(unix_seconds: u64) -> i64 {
    local(unix_seconds).tm_gmtoff
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
    fn names_of_files_follow_local_time() {
        let now = 1_700_000_000;
        assert_eq!(local_format("%Y-%m-%d %H:%M:%S", now), local_text(now));
        assert_eq!(local_format("a%%b", now), "a%b");
        for nothing in ["", &"x".repeat(5000), "a\0b"] {
            assert_eq!(local_format(nothing, now), "", "{nothing:.9}");
        }
        assert!(local_offset(now).abs() <= 14 * 3600);
    }

    #[test]
    fn impossible_times_do_not_panic() {
        local_text(u64::MAX);
    }
}
