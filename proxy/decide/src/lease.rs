//! The arithmetic of a lease, used by both ends.
//!
//! The holder counts from when it *sent* the heartbeat, the grantor from when it *answered* it, and adds the drift
//! bound and the kill budget. So the holder's end always comes first, whatever the network does, and no clock is ever
//! compared with another machine's.

use crate::time::{Time, millis};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The timings of a lease and of the peer's promise. Both ends must use the same; the controller hands them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseSettings {
    /// How often a launcher sends a heartbeat. Serde: milliseconds.
    #[serde(with = "millis", rename = "heartbeat_ms")]
    pub heartbeat: Duration,
    /// How long one grant lets flows run. Serde: milliseconds.
    #[serde(with = "millis", rename = "ttl_ms")]
    pub ttl: Duration,
    /// How far the rates of two machines' clocks may differ, in parts per million.
    pub drift_ppm: u32,
    /// How long it may take from the end of a lease until the flows are certainly gone. Serde: milliseconds.
    #[serde(with = "millis", rename = "kill_budget_ms")]
    pub kill_budget: Duration,
    /// T of the peer's promise: "I start nothing for T". Serde: milliseconds.
    #[serde(with = "millis", rename = "promise_ms")]
    pub promise: Duration,
    /// How long before the end of an unrenewed lease the graceful stop of flows begins. Serde: milliseconds.
    #[serde(with = "millis", rename = "stop_lead_ms")]
    pub stop_lead: Duration,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        LeaseSettings {
            heartbeat: Duration::from_millis(100),
            ttl: Duration::from_millis(1000),
            drift_ppm: 10_000,
            kill_budget: Duration::from_millis(200),
            promise: Duration::from_millis(2000),
            stop_lead: Duration::from_millis(250),
        }
    }
}

/// A combination of lease timings that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseFault {
    /// `heartbeat` is below 10 ms or above 60 s.
    HeartbeatRange,
    /// `ttl` is above an hour: an unreachable active would never be replaced.
    TtlRange,
    /// `ttl` leaves no room for the silence that both launchers must notice, the question to the peer and the stop.
    TtlTooShort {
        /// The least that works with the other values.
        least: Duration,
    },
    /// `drift_ppm` is above 100,000 (10 %): no clock is that wrong, and the wait would be absurd.
    DriftRange,
    /// `kill_budget` is below 20 ms: less than the kernel needs to end a process on a busy machine.
    KillBudgetTooShort,
    /// `promise` is too short to be asked for again before it ends.
    PromiseTooShort {
        /// The least that works with the other values.
        least: Duration,
    },
    /// `promise` is above 10 minutes: a launcher that has just booted refuses to start for that long.
    PromiseRange,
}

impl fmt::Display for LeaseFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeartbeatRange => f.write_str("heartbeat must be between 10ms and 60s"),
            Self::TtlRange => f.write_str("ttl must be at most 1h"),
            Self::TtlTooShort { least } => write!(
                f,
                "ttl must be at least {}ms: six heartbeats and stop_lead have to fit into it",
                least.as_millis()
            ),
            Self::DriftRange => f.write_str("drift_ppm must be at most 100000 (10 %)"),
            Self::KillBudgetTooShort => f.write_str("kill_budget must be at least 20ms"),
            Self::PromiseTooShort { least } => write!(
                f,
                "promise must be at least {}ms: four heartbeats and stop_lead have to fit into it",
                least.as_millis()
            ),
            Self::PromiseRange => f.write_str("promise must be at most 10min"),
        }
    }
}

impl LeaseSettings {
    /// Every impossible combination at once; empty if all is well.
    pub fn validate(&self) -> Vec<LeaseFault> {
        let mut faults = Vec::new();
        if self.heartbeat < Duration::from_millis(10) || self.heartbeat > Duration::from_secs(60) {
            faults.push(LeaseFault::HeartbeatRange);
        }
        if self.ttl > Duration::from_secs(3600) {
            faults.push(LeaseFault::TtlRange);
        }
        // One heartbeat old is the last renewal, three and a half of silence, one until the question, one to answer.
        let least = self.heartbeat.saturating_mul(6) + self.stop_lead;
        if self.ttl < least {
            faults.push(LeaseFault::TtlTooShort { least });
        }
        if self.drift_ppm > 100_000 {
            faults.push(LeaseFault::DriftRange);
        }
        if self.kill_budget < Duration::from_millis(20) {
            faults.push(LeaseFault::KillBudgetTooShort);
        }
        let least = self.heartbeat.saturating_mul(4) + self.stop_lead;
        if self.promise < least {
            faults.push(LeaseFault::PromiseTooShort { least });
        }
        if self.promise > Duration::from_secs(600) {
            faults.push(LeaseFault::PromiseRange);
        }
        faults
    }

    /// How long without a word before the other side counts as silent: three heartbeats and a half.
    pub fn silence(&self) -> Duration {
        self.heartbeat.saturating_mul(7) / 2
    }

    /// `d` on one clock lasts at most this long on another.
    pub fn stretch(&self, d: Duration) -> Duration {
        let extra = d.as_nanos() * u128::from(self.drift_ppm) / 1_000_000 + 1;
        d.saturating_add(Duration::from_nanos(u64::try_from(extra).unwrap_or(u64::MAX)))
    }

    /// Grantor's side: how long after an answer the lease it carried has certainly ended, flows gone.
    pub fn bound(&self, ttl: Duration) -> Duration {
        self.stretch(ttl.saturating_add(self.kill_budget))
    }

    /// The widest of two settings in every respect that makes a wait longer.
    #[must_use]
    pub fn widest(&self, other: &LeaseSettings) -> LeaseSettings {
        LeaseSettings {
            heartbeat: self.heartbeat.max(other.heartbeat),
            ttl: self.ttl.max(other.ttl),
            drift_ppm: self.drift_ppm.max(other.drift_ppm),
            kill_budget: self.kill_budget.max(other.kill_budget),
            promise: self.promise.max(other.promise),
            stop_lead: self.stop_lead.max(other.stop_lead),
        }
    }
}

/// Holder's side: the end of a lease asked for at `sent` on the holder's own clock.
pub fn holder_end(sent: Time, ttl: Duration) -> Time {
    sent + ttl
}

/// Grantor's side: after this, a lease answered at `answered` has certainly ended, and its flows are gone.
pub fn grantor_end(answered: Time, ttl: Duration, settings: &LeaseSettings) -> Time {
    answered + settings.bound(ttl)
}
