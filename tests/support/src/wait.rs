//! Waiting for a condition with a deadline, instead of sleeping for a time that is hoped to be long enough.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks again and again until `look` gives `Ok`, and returns its value.
///
/// # Panics
/// When `deadline` has passed: with `what` was waited for and what `look` saw last.
pub fn wait_until<T, E: Debug>(deadline: Duration, what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let began = Instant::now();
    loop {
        match look() {
            Ok(value) => return value,
            Err(seen) if began.elapsed() >= deadline => {
                panic!("waited {deadline:?} for: {what}; last seen: {seen:?}")
            }
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// Looks for the whole of `time` and expects that `look` never gives `Err`: for what must *not* happen.
///
/// # Panics
/// As soon as `look` gives `Err`, with `what` was to hold and what was seen.
pub fn holds_for<E: Debug>(time: Duration, what: &str, mut look: impl FnMut() -> Result<(), E>) {
    let began = Instant::now();
    while began.elapsed() < time {
        if let Err(seen) = look() {
            panic!("expected for {time:?}: {what}; after {:?} saw: {seen:?}", began.elapsed());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
