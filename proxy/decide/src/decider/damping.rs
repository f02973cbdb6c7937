//! What keeps the pair from flapping: a hold-down that doubles, a number per hour, the freeze; and the pause.

use super::Decider;
use crate::event::{Cause, EventKind};
use crate::time::{Time, ms};
use std::time::Duration;

const HOUR_MS: u64 = 3_600_000;

impl Decider {
    /// The wall clock now, from the anchor and the time that has passed.
    pub(super) fn wall_ms(&self) -> u64 {
        self.anchor.1 + ms(self.now.since(self.anchor.0))
    }

    pub(super) fn time_of_wall(&self, wall: u64) -> Time {
        let (time, anchor) = self.anchor;
        match wall.checked_sub(anchor) {
            Some(ahead) => time + Duration::from_millis(ahead),
            None => time - Duration::from_millis(anchor - wall),
        }
    }

    pub(super) fn failovers_last_hour(&self) -> u32 {
        let wall = self.wall_ms();
        let recent = self.durable.want.failovers_unix_ms.iter().filter(|at| **at + HOUR_MS > wall);
        u32::try_from(recent.count()).unwrap_or(u32::MAX)
    }

    pub(super) fn count_failover(&mut self) {
        let wall = self.wall_ms();
        self.durable.want.failovers_unix_ms.retain(|at| *at + HOUR_MS > wall);
        self.durable.want.failovers_unix_ms.push(wall);
        self.hold_until = self.now + self.hold_down(self.failovers_last_hour());
    }

    /// After the n-th failover of the hour: base, twice, four times …
    pub(super) fn hold_down(&self, n: u32) -> Duration {
        let damping = &self.settings.damping;
        let factor = 1u32.checked_shl(n.saturating_sub(1)).unwrap_or(u32::MAX);
        damping.hold_down.saturating_mul(factor).min(damping.hold_down_max)
    }

    /// Why an unplanned change to the spare may not happen by itself now.
    pub(super) fn damped(&mut self) -> Option<String> {
        if self.replacing.as_ref().is_some_and(|r| matches!(r.why, Cause::Operator { .. })) {
            return None;
        }
        let failovers = self.failovers_last_hour();
        if !self.durable.want.frozen && failovers >= self.settings.damping.max_per_hour {
            self.durable.want.frozen = true;
            self.event_seen(EventKind::Frozen { failovers });
        }
        if self.durable.want.frozen {
            return Some(format!("frozen after {failovers} failovers within an hour"));
        }
        (self.now < self.hold_until).then(|| "held down after the last failover".to_string())
    }

    pub(super) fn end_pause(&mut self) {
        if self.paused_until.is_some_and(|end| end <= self.now) {
            self.resume(true);
        }
    }

    pub(super) fn resume(&mut self, expired: bool) {
        self.paused_until = None;
        self.durable.want.paused = None;
        self.event(EventKind::Resumed { expired });
    }
}
