//! Waiting for something to become true, at most so long. Nothing here sleeps longer than a blink.

use std::time::{Duration, Instant};

/// What a thing on this machine may take when all its cores are busy with other tests.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(10);

/// Asks `probe` until it has an answer, and fails the test when the time is up.
pub(crate) fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "waited {limit:?} for {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Waits for a value, and shows the last one when it does not come.
#[track_caller]
pub(crate) fn until_equal<T: PartialEq + std::fmt::Debug>(expected: T, mut probe: impl FnMut() -> T) {
    let end = Instant::now() + LIMIT;
    loop {
        let found = probe();
        if found == expected {
            return;
        }
        assert!(Instant::now() < end, "waited {LIMIT:?} for {expected:?}, and it is {found:?}");
        std::thread::sleep(PAUSE);
    }
}

/// As `until`, for a plain yes.
pub(crate) fn until_true(what: &str, mut probe: impl FnMut() -> bool) {
    until(what, LIMIT, || probe().then_some(()));
}
