//! What the data path tells the engine, at once and never twice in a storm.

use crate::config::InstanceId;

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignalKind {
    /// The member refused a connect, or the network said that it can't be reached.
    Refused,
    /// A connect was not answered within its time.
    Timeout,
    /// The member reset a connection before its first byte.
    ResetBeforeFirstByte,
    /// A connect succeeded after one of the above.
    Recovered,
    /// Of what the route of `version` no longer covers and drains, nothing is left on which anything is under way. Told
    /// once a version.
    Quiet,
    /// Nothing is left of what the route of `version` no longer covers.
    Clear,
}

/// One observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Whose connection it was.
    pub instance: InstanceId,
    /// What was seen.
    pub kind: SignalKind,
    /// The member concerned (0 or 1); 0 for [`SignalKind::Quiet`] and [`SignalKind::Clear`].
    pub member: u8,
    /// The epoch of the connection; 0 for [`SignalKind::Quiet`] and [`SignalKind::Clear`].
    pub epoch: u64,
    /// The route version that was in force.
    pub version: u64,
    /// How many of this kind this thread kept to itself since its last signal of the kind.
    pub suppressed: u32,
}

/// Takes signals. Called on the data path's own threads: it must return at once (hand over, never wait).
pub trait SignalSink: Send + Sync {
    /// One observation. At most one per kind, instance, thread and `signal_every`, but every `Quiet` and every `Clear`.
    fn signal(&self, signal: Signal);
}

impl<F: Fn(Signal) + Send + Sync> SignalSink for F {
    fn signal(&self, signal: Signal) {
        self(signal);
    }
}

/// Holds back signals of one instance in one thread that come too close to one another.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// Per rate-limited kind: not before this time (ms), and how many were held back.
    kinds: [(u64, u32); 4],
}

impl Throttle {
    /// Whether a signal may go out at `now_ms`; if so, with how many held back before it.
    pub(crate) fn pass(&mut self, kind: SignalKind, now_ms: u64, every_ms: u64) -> Option<u32> {
        let place = match kind {
            SignalKind::Refused => 0,
            SignalKind::Timeout => 1,
            SignalKind::ResetBeforeFirstByte => 2,
            SignalKind::Recovered => 3,
            SignalKind::Quiet | SignalKind::Clear => return Some(0),
        };
        let (not_before, held) = &mut self.kinds[place];
        if now_ms < *not_before {
            *held = held.saturating_add(1);
            return None;
        }
        *not_before = now_ms + every_ms;
        Some(std::mem::take(held))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_storm_becomes_one_signal_per_interval_with_a_count() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.pass(SignalKind::Refused, 100, 5), Some(0));
        for _ in 0..1000 {
            assert_eq!(throttle.pass(SignalKind::Refused, 104, 5), None);
        }
        assert_eq!(throttle.pass(SignalKind::Timeout, 104, 5), Some(0), "kinds do not hold back one another");
        assert_eq!(throttle.pass(SignalKind::Refused, 105, 5), Some(1000));
        assert_eq!(throttle.pass(SignalKind::Clear, 105, 5), Some(0));
        assert_eq!(throttle.pass(SignalKind::Clear, 105, 5), Some(0));
    }
}
