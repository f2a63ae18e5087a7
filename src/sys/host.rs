//! How busy the host is, as Linux tells it in /proc; elsewhere nobody knows, and it reads as idle.
#![forbid(unsafe_code)]

use std::thread;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// What waits for a processor or runs, over the last minute, for each processor.
pub fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
    load / thread::available_parallelism().map_or(1.0, |count| count.get() as f64)
}

/// Memory that programs could still have, of 1.
pub fn available_memory() -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match (kibibytes(&text, "MemAvailable:"), kibibytes(&text, "MemTotal:")) {
        (Some(available), Some(all)) if all > 0 => available as f64 / all as f64,
        _ => 1.0,
    }
}

/// Processor time that this process has used, in seconds.
pub fn own_cpu_seconds() -> f64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return 0.0 };
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Memory of this process that is not swapped out, in bytes.
pub fn own_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    kibibytes(&text, "VmRSS:").unwrap_or(0).saturating_mul(1024)
}

/// A line "NAME: NUMBER kB" of /proc.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_their_range() {
        assert!(load() >= 0.0);
        assert!((0.0..=1.0).contains(&available_memory()) && available_memory() > 0.0);
        assert!(own_cpu_seconds() > 0.0);
        assert!(own_memory() > 1 << 20);
    }
}
