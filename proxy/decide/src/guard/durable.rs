//! What is on disk, what should be, and the one write under way.

use super::{Guard, GuardEffect, GuardEvent, GuardRecord};
use crate::time::Time;
use std::time::Duration;

/// How soon a failed write is tried again.
const RETRY: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Durable {
    /// On disk for certain.
    pub(super) done: GuardRecord,
    /// To be on disk.
    want: GuardRecord,
    /// `want` was touched since it was last found equal to `done`.
    touched: bool,
    in_flight: Option<(u64, GuardRecord)>,
    last_id: u64,
    pub(super) retry_at: Option<Time>,
    pub(super) failing: bool,
}

impl Durable {
    pub(super) fn new(record: GuardRecord) -> Self {
        Durable {
            done: record.clone(),
            want: record,
            touched: false,
            in_flight: None,
            last_id: 0,
            retry_at: None,
            failing: false,
        }
    }
}

impl Durable {
    /// What should be on disk.
    pub(super) fn want(&self) -> &GuardRecord {
        &self.want
    }

    /// The same, to be changed.
    pub(super) fn change(&mut self) -> &mut GuardRecord {
        self.touched = true;
        &mut self.want
    }
}

impl Guard {
    pub(super) fn pump_durable(&mut self) {
        let d = &mut self.durable;
        if !d.touched && !d.failing {
            return;
        }
        if d.in_flight.is_some() || d.retry_at.is_some() {
            return;
        }
        if d.want == d.done && !d.failing {
            d.touched = false;
            return;
        }
        d.last_id += 1;
        d.in_flight = Some((d.last_id, d.want.clone()));
        self.effects.push_back(GuardEffect::Persist { id: d.last_id, record: d.want.clone() });
    }

    pub(super) fn durable_timers(&mut self) {
        if self.durable.retry_at.is_some_and(|at| at <= self.now) {
            self.durable.retry_at = None;
        }
    }

    pub(super) fn on_persisted(&mut self, id: u64) {
        match self.durable.in_flight.take() {
            Some((expected, record)) if expected == id => {
                self.durable.done = record;
                self.durable.failing = false;
            }
            other => {
                self.durable.in_flight = other;
                self.ignore();
            }
        }
    }

    pub(super) fn on_persist_failed(&mut self, id: u64) {
        if self.durable.in_flight.as_ref().is_none_or(|(expected, _)| *expected != id) {
            return self.ignore();
        }
        self.durable.in_flight = None;
        self.durable.retry_at = Some(self.now + RETRY);
        if !self.durable.failing {
            self.durable.failing = true;
            self.event(GuardEvent::PersistFailing);
        }
        self.fail_undurable_start();
    }
}
