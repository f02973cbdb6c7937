//! The one clock of the launcher: `CLOCK_BOOTTIME`, which also counts while the machine is suspended, so that a
//! machine that wakes up does not believe that it still holds a lease.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since this machine booted.
pub(crate) fn boottime_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds * 1_000_000_000 + nanos
}

/// Milliseconds of the wall clock since 1970: for logs and timestamps only, never for a decision.
pub(crate) fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
