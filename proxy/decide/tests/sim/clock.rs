//! The clock of one host: its own offset, its own rate within the drift bound. It goes on while the host is frozen,
//! as `CLOCK_BOOTTIME` does, unless it is told to stand still, as that of a paused virtual machine may.

use super::rng::Rng;
use hotspare_decide::Time;

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    offset: u64,
    /// Parts per million faster (or slower) than true time.
    ppm: i64,
}

impl Clock {
    /// Any two of these differ by less than `drift_ppm` in rate; extremes are likely.
    pub fn new(rng: &mut Rng, drift_ppm: u32) -> Self {
        let half = i64::from(drift_ppm) * 48 / 100;
        let ppm = match rng.below(4) {
            0 => half,
            1 => -half,
            2 => 0,
            _ => rng.below(2 * half as u64 + 1) as i64 - half,
        };
        Clock { offset: (1 << 50) + rng.below(1 << 50), ppm }
    }

    /// It has stood still from one true time to the other.
    pub fn stood(&mut self, from: u64, to: u64) {
        self.offset -= self.local(to).as_nanos() - self.local(from).as_nanos();
    }

    pub fn local(&self, truth: u64) -> Time {
        let skew = i128::from(truth) * i128::from(self.ppm) / 1_000_000;
        Time::from_nanos((i128::from(self.offset) + i128::from(truth) + skew) as u64)
    }

    /// The first true time at which this clock shows `local`, never before `now`.
    pub fn truth(&self, local: Time, now: u64) -> u64 {
        if local == Time::MAX {
            return u64::MAX;
        }
        let ahead = i128::from(local.as_nanos()) - i128::from(self.offset);
        let mut truth = (ahead * 1_000_000 / (1_000_000 + i128::from(self.ppm))).max(0) as u64;
        while self.local(truth) < local {
            truth += 1;
        }
        truth.max(now)
    }
}
