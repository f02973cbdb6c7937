//! When to look at each instance's decider again.

use std::collections::{BTreeSet, HashMap};

use hotspare_decide::Time;

/// At most one look an instance, never later than its decider's deadline. It may come earlier: with each heartbeat deadlines
/// move away, and the look stays where it is, to be set anew when it has come.
#[derive(Default)]
pub(super) struct Timers {
    at: HashMap<u32, Time>,
    order: BTreeSet<(Time, u32)>,
}

impl Timers {
    /// Looks at an instance no later than this.
    pub(super) fn look_by(&mut self, index: u32, at: Time) {
        let before = self.at.get(&index).copied();
        if before.is_some_and(|before| before <= at) {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, index));
        }
        self.at.insert(index, at);
        self.order.insert((at, index));
    }

    /// The nearest look of all.
    pub(super) fn next(&self) -> Option<Time> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes an instance whose look has come.
    pub(super) fn due(&mut self, now: Time) -> Option<u32> {
        let (_, index) = self.order.first().copied().filter(|(at, _)| *at <= now)?;
        self.order.pop_first();
        self.at.remove(&index);
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_due_first_only_once_and_never_late() {
        let at = Time::from_nanos;
        let mut timers = Timers::default();
        timers.look_by(0, at(30));
        timers.look_by(1, at(25));
        timers.look_by(2, at(20));
        timers.look_by(2, at(90));
        timers.look_by(1, at(10));
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!((timers.due(at(20)), timers.due(at(20)), timers.due(at(20))), (Some(1), Some(2), None));
        timers.look_by(2, at(90));
        assert_eq!((timers.due(at(99)), timers.due(at(99))), (Some(0), Some(2)));
        assert_eq!((timers.next(), timers.due(at(99))), (None, None));
    }
}
