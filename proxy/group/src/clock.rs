//! The clock of elections: `CLOCK_BOOTTIME`, which goes on while the machine is suspended.

use hotspare_decide::Time;
use rustix::time::{ClockId, clock_gettime};

/// Now, in nanoseconds since this host booted.
pub(crate) fn now() -> Time {
    let ts = clock_gettime(ClockId::Boottime);
    Time::from_nanos(ts.tv_sec.unsigned_abs() * 1_000_000_000 + ts.tv_nsec.unsigned_abs())
}
