//! When a log file ends and how the next one is called: pure, the time is an argument.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use crate::sys::clock;

/// The parameters of the log files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// `log_directory`.
    pub(super) directory: PathBuf,
    /// `log_filename`, with escapes of strftime.
    pub(super) pattern: String,
    /// `log_file_mode`.
    pub(super) mode: u32,
    /// `log_rotation_age`; zero: never by age.
    pub(super) age: Duration,
    /// `log_rotation_size` in bytes; zero: never by size.
    pub(super) size: u64,
    /// `log_truncate_on_rotation`.
    pub(super) truncate: bool,
}

impl Settings {
    /// The file for this moment.
    pub(super) fn path(&self, now: u64) -> PathBuf {
        self.directory.join(clock::local_format(&self.pattern, now))
    }

    /// The next multiple of the age in local time, so that a daily file begins at midnight.
    pub(super) fn next_rotation(&self, now: u64) -> Option<u64> {
        let age = i64::try_from(self.age.as_secs()).ok().filter(|age| *age > 0)?;
        let offset = clock::local_offset(now);
        let local = i64::try_from(now).ok()?.checked_add(offset)?;
        let next = (local - local.rem_euclid(age)).checked_add(age)? - offset;
        u64::try_from(next).ok()
    }
}

/// Why a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Its time is over.
    Age,
    /// It is long enough.
    Size,
}

/// Whether the file of `size` bytes that should last until `until` ends now.
pub(super) fn due(settings: &Settings, until: Option<u64>, size: u64, now: u64) -> Option<Cause> {
    if until.is_some_and(|until| until <= now) {
        return Some(Cause::Age);
    }
    (settings.size > 0 && size >= settings.size).then_some(Cause::Size)
}

/// Whether the next file begins empty: only where a cycle of names comes round again by time, and never the file
/// that was written to just now.
pub(super) fn truncates(settings: &Settings, cause: Cause, is_same: bool) -> bool {
    settings.truncate && cause == Cause::Age && !is_same
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn settings(age: u64, size: u64) -> Settings {
        Settings {
            directory: "/d".into(),
            pattern: "p-%H%M.log".into(),
            mode: 0o600,
            age: Duration::from_secs(age),
            size,
            truncate: true,
        }
    }

    #[test]
    fn files_end_at_multiples_of_their_age_in_local_time() {
        let now = 1_700_000_123;
        let local = |at: u64| at.checked_add_signed(clock::local_offset(at)).unwrap();
        for age in [60, 600, 3600, 86_400, 7 * 86_400] {
            let next = settings(age, 0).next_rotation(now).unwrap();
            assert_eq!(local(next) % age, 0, "{age}");
            assert!(next > now && next - now <= age, "{age}");
            assert_eq!(
                settings(age, 0).next_rotation(next).unwrap(),
                next + age,
                "{age}: at that moment the next"
            );
        }
        assert_eq!(settings(0, 0).next_rotation(now), None);
        assert_eq!(settings(60, 0).next_rotation(u64::MAX), None);
    }

    #[test]
    fn age_or_size_ends_a_file() {
        for (until, size, now, cause) in [
            (Some(100), 0, 99, None),
            (Some(100), 0, 100, Some(Cause::Age)),
            (Some(100), 5000, 100, Some(Cause::Age)),
            (Some(100), 5000, 99, Some(Cause::Size)),
            (None, 4999, u64::MAX, None),
            (None, 5000, 0, Some(Cause::Size)),
        ] {
            assert_eq!(due(&settings(60, 5000), until, size, now), cause, "{until:?} {size} {now}");
        }
        assert_eq!(due(&settings(60, 0), None, u64::MAX, 0), None);
    }

    #[test]
    fn only_a_cycle_by_time_begins_a_file_anew() {
        let on = settings(60, 0);
        assert!(truncates(&on, Cause::Age, false));
        assert!(!truncates(&on, Cause::Age, true));
        assert!(!truncates(&on, Cause::Size, false));
        assert!(!truncates(&Settings { truncate: false, ..on }, Cause::Age, false));
    }

    #[test]
    fn the_name_follows_local_time() {
        let text = clock::local_text(1_700_000_123);
        let expected = format!("/d/p-{}{}.log", &text[11..13], &text[14..16]);
        assert_eq!(settings(60, 0).path(1_700_000_123).to_str().unwrap(), expected);
    }
}
