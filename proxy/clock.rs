//! The one clock that decisions, leases and probes are measured on.
//!
//! `CLOCK_BOOTTIME` goes on while the machine is suspended, so a machine that wakes up cannot believe
//! that it still holds a lease. It is never compared with another machine's clock.

use hotspare_decide::Time;
use rustix::time::{ClockId, clock_gettime};

/// Now, in nanoseconds since this host booted, suspended time included.
pub fn now() -> Time {
    let ts = clock_gettime(ClockId::Boottime);
    Time::from_nanos(ts.tv_sec.unsigned_abs() * 1_000_000_000 + ts.tv_nsec.unsigned_abs())
}

/// Wall-clock milliseconds since the Unix epoch: for people and logs, never for a decision.
pub fn wall_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
