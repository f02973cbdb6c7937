//! Orders to fence, answered only when the fence is a fact and cannot be forgotten.

use super::Guard;
use crate::ids::{Epoch, OpId};
use crate::message::{ExitCause, FenceHow, Up};
use crate::rules::Rule;
use std::time::Duration;

/// More open orders than this are from a controller gone wild; the oldest is dropped (it will be repeated).
const MAX_PENDING: usize = 8;

#[derive(Debug)]
pub(super) struct PendingFence {
    controller: usize,
    op: OpId,
    epoch: Epoch,
    how: FenceHow,
}

impl Guard {
    pub(super) fn on_fence(&mut self, controller: usize, op: OpId, epoch: Epoch, grace_ms: u64) {
        let ran = self.fence_up_to(epoch, Duration::from_millis(grace_ms));
        if self.fences.iter().any(|f| f.controller == controller && f.op == op) {
            return;
        }
        if self.fences.len() >= MAX_PENDING {
            self.fences.remove(0);
            self.ignore();
        }
        let how = if ran { FenceHow::FlowsStopped } else { FenceHow::NeverRan };
        self.fences.push(PendingFence { controller, op, epoch, how });
    }

    pub(super) fn on_manual_fence(&mut self, epoch: Option<Epoch>, grace: Duration) {
        let epoch = epoch.unwrap_or_else(|| self.max_epoch());
        self.fence_up_to(epoch, grace);
    }

    /// Forbids every epoch up to this one; true if one of them was running.
    fn fence_up_to(&mut self, epoch: Epoch, grace: Duration) -> bool {
        self.forbid_up_to(epoch);
        let runs = self.tenure.as_ref().is_some_and(|t| t.epoch <= epoch);
        if runs {
            self.begin_stop(grace, ExitCause::Fenced);
        }
        runs
    }

    /// Answers the orders that have become facts.
    pub(super) fn answer_fences(&mut self) {
        if self.fences.is_empty() {
            return;
        }
        let durable = self.durable.done.max_epoch;
        let running = self.tenure.as_ref().map(|t| t.epoch);
        let honest = self.rules.holds(Rule::FencedMeansStopped);
        let last_end = self.process.last_end;
        let (facts, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.fences)
            .into_iter()
            .partition(|f| !honest || (durable >= f.epoch && running.is_none_or(|epoch| epoch > f.epoch)));
        self.fences = open;
        for fact in facts {
            let how = if fact.how == FenceHow::NeverRan { FenceHow::NeverRan } else { last_end };
            self.send(fact.controller, Up::Fenced { op: fact.op, epoch: fact.epoch, how });
        }
    }

    /// By hand: end the process. What runs must be fenced first.
    pub(super) fn on_manual_stop(&mut self, restart: bool) {
        if self.tenure.is_some() {
            return self.ignore();
        }
        self.stop_process(restart);
    }

    pub(super) fn drop_fences_of(&mut self, controller: usize) {
        self.fences.retain(|f| f.controller != controller);
    }
}
