//! The deciders' timers: the next deadline of each instance, and which is due.

use std::collections::{BTreeSet, HashMap};

use hotspare_decide::Time;

/// One deadline an instance at the most.
#[derive(Default)]
pub(super) struct Timers {
    at: HashMap<u32, Time>,
    order: BTreeSet<(Time, u32)>,
}

impl Timers {
    /// Replaces the deadline of an instance.
    pub(super) fn set(&mut self, index: u32, at: Option<Time>) {
        let before = match at {
            Some(at) => self.at.insert(index, at),
            None => self.at.remove(&index),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, index));
        }
        if let Some(at) = at {
            self.order.insert((at, index));
        }
    }

    /// The nearest deadline of all.
    pub(super) fn next(&self) -> Option<Time> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes an instance whose deadline has come.
    pub(super) fn due(&mut self, now: Time) -> Option<u32> {
        let (at, index) = *self.order.first()?;
        (at <= now).then(|| {
            self.set(index, None);
            index
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_due_first_and_only_once() {
        let at = Time::from_nanos;
        let mut timers = Timers::default();
        timers.set(0, Some(at(30)));
        timers.set(1, Some(at(10)));
        timers.set(2, Some(at(20)));
        timers.set(1, Some(at(25)));
        assert_eq!(timers.next(), Some(at(20)));
        assert_eq!((timers.due(at(25)), timers.due(at(25)), timers.due(at(25))), (Some(2), Some(1), None));
        timers.set(0, None);
        assert_eq!((timers.next(), timers.due(at(99))), (None, None));
    }
}
