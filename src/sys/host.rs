//! How busy the host is, as Linux tells it in /proc; elsewhere nobody knows, and it reads as idle.
#![forbid(unsafe_code)]

use std::thread;

/// What waits for a processor or runs, over the last minute, for each processor.
pub fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
    load / thread::available_parallelism().map_or(1.0, |count| count.get() as f64)
}

/// Memory that programs could still have, of 1.
pub fn available_memory() -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let number = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_whitespace().next()?.parse::<f64>().ok()
    };
    match (number("MemAvailable:"), number("MemTotal:")) {
        (Some(available), Some(all)) if all > 0.0 => available / all,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_their_range() {
        assert!(load() >= 0.0);
        assert!((0.0..=1.0).contains(&available_memory()) && available_memory() > 0.0);
    }
}
