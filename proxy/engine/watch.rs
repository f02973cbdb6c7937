//! The deciders' timers: the next deadline of each instance, and which is due.

use std::collections::BTreeSet;

use hotspare_decide::Time;

/// One deadline an instance at the most.
pub(super) struct Timers {
    at: Vec<Option<Time>>,
    order: BTreeSet<(Time, usize)>,
}

impl Timers {
    pub(super) fn new(instances: usize) -> Self {
        Self { at: vec![None; instances], order: BTreeSet::new() }
    }

    /// Replaces the deadline of an instance.
    pub(super) fn set(&mut self, index: usize, at: Option<Time>) {
        if self.at[index] == at {
            return;
        }
        if let Some(old) = self.at[index].take() {
            self.order.remove(&(old, index));
        }
        if let Some(new) = at {
            self.order.insert((new, index));
            self.at[index] = Some(new);
        }
    }

    /// The nearest deadline of all.
    pub(super) fn next(&self) -> Option<Time> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes an instance whose deadline has come.
    pub(super) fn due(&mut self, now: Time) -> Option<usize> {
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
        let mut timers = Timers::new(3);
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
