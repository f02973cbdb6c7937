//! The holder of a lease: decides, beside one Node-RED, whether its flows may run.
mod types;

pub use types::{GuardConfig, GuardEffect, GuardEvent, GuardInput, GuardRecord, ModuleEvent};

use crate::message::MemberStatus;
use crate::time::Time;
use std::collections::VecDeque;

/// The launcher's side of the lease, one per member.
#[derive(Debug)]
pub struct Guard {
    record: GuardRecord,
    effects: VecDeque<GuardEffect>,
}

impl Guard {
    /// A launcher that has just booted.
    ///
    /// The shell must have made certain that no Node-RED of an earlier launcher is left (undertaker, lock file,
    /// parent-death signal): a guard answers for its member from the first heartbeat on. The first `Spawn` comes
    /// out at once.
    pub fn new(_now: Time, _config: GuardConfig, record: GuardRecord) -> Self {
        Guard { record, effects: VecDeque::new() }
    }

    /// Tells the guard what happened. `now` is this host's `CLOCK_BOOTTIME`.
    pub fn handle(&mut self, _now: Time, _input: GuardInput) {}

    /// Tells the guard that the time of `poll_timeout` has come.
    pub fn handle_timeout(&mut self, _now: Time) {}

    /// When to call `handle_timeout` next. `None`: only after an input.
    pub fn poll_timeout(&self) -> Option<Time> {
        None
    }

    /// What to do next, in order; `None` when there is nothing more.
    pub fn poll_effect(&mut self) -> Option<GuardEffect> {
        self.effects.pop_front()
    }

    /// What is durable, as far as known.
    pub fn record(&self) -> &GuardRecord {
        &self.record
    }

    /// What a heartbeat would say now.
    pub fn status(&self, _now: Time) -> MemberStatus {
        MemberStatus::default()
    }

    /// When the present tenure's permission ends, if there is one.
    pub fn lease_end(&self) -> Option<Time> {
        None
    }

    /// Inputs ignored as late, stale or illegal.
    pub fn ignored(&self) -> u64 {
        0
    }
}
