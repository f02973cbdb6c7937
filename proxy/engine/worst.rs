//! The worst of the last minute, for what changes ten times a second and is looked at every fifteen.

use std::time::Duration;

use hotspare_decide::Time;

/// The window that runs, and the one before it: so what is told covers between one of these and two.
const WINDOW: Duration = Duration::from_secs(30);

/// Keeps the worst value of the window that runs and of the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Worst {
    worse: fn(u64, u64) -> u64,
    since: Time,
    current: Option<u64>,
    before: Option<u64>,
}

impl Worst {
    /// `worse` says which of two is worse: `u64::min` or `u64::max`.
    pub(super) fn by(worse: fn(u64, u64) -> u64) -> Self {
        Self { worse, since: Time::ZERO, current: None, before: None }
    }

    /// Takes a value.
    pub(super) fn note(&mut self, now: Time, value: u64) {
        let age = now.since(self.since);
        if age >= WINDOW {
            self.before = self.current.take().filter(|_| age < WINDOW * 2);
            self.since = now;
        }
        self.current = Some(self.current.map_or(value, |current| (self.worse)(current, value)));
    }

    /// The worst there was; `None` if nothing was noted for long.
    pub(super) fn get(&self, now: Time) -> Option<u64> {
        if now.since(self.since) >= WINDOW * 2 {
            return None;
        }
        self.current.into_iter().chain(self.before).reduce(self.worse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dip_between_two_scrapes_is_still_told_and_not_for_ever() {
        let at = |s: u64| Time::from_nanos(s * 1_000_000_000);
        let mut margin = Worst::by(u64::min);
        assert_eq!(margin.get(at(1)), None);
        for second in 1..200 {
            margin.note(at(second), if second == 100 { 150 } else { 900 });
        }
        let mut told = Worst::by(u64::min);
        for second in 1..=115 {
            told.note(at(second), if second == 100 { 150 } else { 900 });
        }
        assert_eq!((told.get(at(115)), margin.get(at(200))), (Some(150), Some(900)));
        assert_eq!(margin.get(at(300)), None);
    }
}
