//! Whether a stop that is seen can be believed.
//!
//! "Stopped" is also what a member says while its nodes still close, while a start under way has not begun yet,
//! and in the two seconds of a restart that somebody else ordered. So a stop counts at once only if this
//! driver ordered it and had it confirmed; any other has to be seen for a settling time without a break.
//!
//! Pure bookkeeping: the time is an argument. The drivers that use it: `node_red.rs`, `flowfuse.rs`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Identifies the moment at which a look began; see [`Belief::turn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn(u64);

/// Marks an operation as under way for as long as it lives, also when its caller gives up on it.
pub(super) struct Operation<'a>(&'a Mutex<Belief>);

impl<'a> Operation<'a> {
    pub(super) fn begin(belief: &'a Mutex<Belief>, what: &'static str) -> Self {
        locked(belief).begin(what);
        Self(belief)
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        locked(self.0).end();
    }
}

/// Locks it; a panic elsewhere leaves plain values that are still good.
pub(super) fn locked(belief: &Mutex<Belief>) -> MutexGuard<'_, Belief> {
    belief.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one driver believes of its member.
#[derive(Debug)]
pub(super) struct Belief {
    settle: Duration,
    stopped_since: Option<Instant>,
    confirmed: bool,
    doubted: bool,
    operation: Option<&'static str>,
    turn: u64,
}

impl Belief {
    /// Knows nothing yet. `settle`: how long a stop that was not ordered here has to be seen.
    pub(super) fn new(settle: Duration) -> Self {
        Self { settle, stopped_since: None, confirmed: false, doubted: false, operation: None, turn: 0 }
    }

    /// To be taken before a look and handed back with what it saw: an operation that began or ended in between
    /// makes the look worthless.
    pub(super) fn turn(&self) -> Turn {
        Turn(self.turn)
    }

    /// An operation (`a start`, `a stop`) begins.
    fn begin(&mut self, operation: &'static str) {
        self.turn += 1;
        self.operation = Some(operation);
    }

    /// The operation has ended, whatever came of it.
    fn end(&mut self) {
        self.turn += 1;
        self.operation = None;
    }

    /// A stop ordered here was confirmed.
    pub(super) fn confirm(&mut self, now: Instant) {
        self.stopped_since = Some(now);
        self.confirmed = !self.doubted;
    }

    /// Whether a stop ordered here was confirmed and nothing else has been seen since.
    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// An order was lost on its way: it may be executed yet, so even a confirmed stop has to last.
    pub(super) fn doubt(&mut self) {
        self.doubted = true;
        self.forget();
    }

    /// Anything but a stop was seen, or nothing at all.
    pub(super) fn forget(&mut self) {
        self.stopped_since = None;
        self.confirmed = false;
    }

    /// A stop was seen by the look that began at `turn`.
    ///
    /// # Errors
    /// Why it can't be believed yet.
    pub(super) fn saw_stopped(&mut self, turn: Turn, now: Instant) -> Result<(), String> {
        if let Some(operation) = self.operation {
            return Err(format!("{operation} is under way"));
        }
        if turn.0 != self.turn {
            return Err("it was started or stopped during the look".to_owned());
        }
        match self.left(now) {
            Duration::ZERO => Ok(()),
            left => Err(format!("says it is stopped; that counts in {} ms if it stays so", left.as_millis())),
        }
    }

    /// Notes a stop seen at `now` and says how long it still has to be seen.
    pub(super) fn left(&mut self, now: Instant) -> Duration {
        let since = *self.stopped_since.get_or_insert(now);
        let left = self.settle.saturating_sub(now.saturating_duration_since(since));
        if self.confirmed {
            return Duration::ZERO;
        }
        self.doubted &= !left.is_zero();
        left
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SETTLE: Duration = Duration::from_secs(2);

    #[test]
    fn a_stop_nobody_here_ordered_has_to_last() {
        let (mut belief, start) = (Belief::new(SETTLE), Instant::now());
        assert!(belief.saw_stopped(belief.turn(), start).is_err());
        assert!(belief.saw_stopped(belief.turn(), start + SETTLE / 2).is_err());
        assert!(belief.saw_stopped(belief.turn(), start + SETTLE).is_ok());
    }

    #[test]
    fn a_break_starts_the_wait_again() {
        let (mut belief, start) = (Belief::new(SETTLE), Instant::now());
        belief.saw_stopped(belief.turn(), start).unwrap_err();
        belief.forget();
        assert!(belief.saw_stopped(belief.turn(), start + SETTLE).is_err());
        assert!(belief.saw_stopped(belief.turn(), start + SETTLE * 2).is_ok());
    }

    #[test]
    fn a_confirmed_stop_counts_at_once_until_the_next_start() {
        let (mut belief, now) = (Belief::new(SETTLE), Instant::now());
        belief.begin("a stop");
        assert!(belief.saw_stopped(belief.turn(), now).is_err(), "its nodes may still close");
        belief.confirm(now);
        belief.end();
        assert!(belief.saw_stopped(belief.turn(), now).is_ok());
        belief.forget();
        assert!(belief.saw_stopped(belief.turn(), now).is_err());
    }

    #[test]
    fn after_a_lost_order_even_a_confirmed_stop_has_to_last() {
        let (mut belief, now) = (Belief::new(SETTLE), Instant::now());
        belief.doubt();
        belief.confirm(now);
        assert!(belief.saw_stopped(belief.turn(), now).is_err());
        assert!(belief.saw_stopped(belief.turn(), now + SETTLE).is_ok());
        belief.confirm(now + SETTLE);
        assert!(belief.saw_stopped(belief.turn(), now + SETTLE).is_ok(), "the doubt is over");
    }

    #[test]
    fn a_look_from_before_an_operation_is_worthless() {
        let (mut belief, now) = (Belief::new(Duration::ZERO), Instant::now());
        let early = belief.turn();
        belief.begin("a start");
        belief.end();
        assert!(belief.saw_stopped(early, now).is_err());
        assert!(belief.saw_stopped(belief.turn(), now).is_ok());
    }
}
