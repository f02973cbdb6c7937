//! One tenure here: the order to start, its renewals, its graceful stop, its certain end.

use super::{Guard, GuardEffect, GuardEvent};
use crate::ids::{Epoch, OpId};
use crate::lease::holder_end;
use crate::message::{ExitCause, FenceHow, FlowState, NotReady, OnIsolated, StartFailure, StartFailureKind, Up};
use crate::rules::Rule;
use crate::time::{Time, ms};
use std::time::Duration;

/// How long the module may take to stop what a failed start left behind.
const CLEAN_UP_GRACE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct TenureState {
    pub(super) epoch: Epoch,
    pub(super) op: OpId,
    /// Who ordered it, to be answered; `None` by hand.
    controller: Option<usize>,
    /// Flows may run until then.
    pub(super) end: Time,
    pub(super) phase: Phase,
    /// When a controller last renewed it.
    pub(super) renewed: Time,
    /// Since when its flows run; before that, when it was accepted.
    pub(super) started: Time,
    /// The start failed for this reason; answered once nothing runs.
    failure: Option<StartFailure>,
    /// Not stopped by then: killed.
    kill_at: Option<(Time, ExitCause)>,
    /// Running on without any lease, as configured; said once.
    isolated: bool,
    /// The flows stand still, and it was not asked for.
    pub(super) halted: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Accepted; its epoch is being made durable.
    Persisting,
    /// The module was told to start.
    Starting,
    Running,
    /// The module was told to stop, or the process is being killed. There is no way back.
    Stopping,
}

impl Guard {
    pub(super) fn on_start(&mut self, controller: usize, op: OpId, epoch: Epoch, seq: u64, ttl_ms: u64) {
        if let Some(tenure) = self.tenure.as_ref().filter(|t| t.op == op && t.epoch == epoch) {
            if tenure.phase == Phase::Running {
                self.send(controller, Up::Started { op, epoch, failure: None });
            }
            return;
        }
        let end = match self.rules.holds(Rule::StartCountsFromSending) {
            true => self.end_of(seq, ttl_ms),
            false => Some(holder_end(self.now, Duration::from_millis(ttl_ms))),
        };
        match self.start_obstacle(epoch, end) {
            None => self.accept(epoch, op, Some(controller), end.unwrap_or(self.now)),
            Some(failure) => self.refuse(Some(controller), op, epoch, failure),
        }
    }

    pub(super) fn on_manual_start(&mut self, epoch: Epoch, op: OpId) {
        if self.config.controllers > 0 {
            return self.ignore();
        }
        match self.start_obstacle(epoch, Some(Time::MAX)) {
            None => self.accept(epoch, op, None, Time::MAX),
            Some(failure) => self.refuse(None, op, epoch, failure),
        }
    }

    /// The end of a lease that answers heartbeat `seq`: counted from when we sent it. `None`: we know of no such one.
    fn end_of(&self, seq: u64, ttl_ms: u64) -> Option<Time> {
        let ttl = Duration::from_millis(ttl_ms);
        if !self.rules.holds(Rule::CountFromSending) {
            return Some(holder_end(self.now, ttl));
        }
        self.beats.sent_at(seq).map(|sent| holder_end(sent, ttl))
    }

    fn start_obstacle(&self, epoch: Epoch, end: Option<Time>) -> Option<StartFailure> {
        let failure = |kind, text: String| Some(StartFailure { kind, text });
        let max = self.max_epoch();
        if epoch <= max && self.rules.holds(Rule::StaleEpochRefused) {
            return failure(StartFailureKind::StaleEpoch, format!("epoch {epoch} is not above {max}"));
        }
        if let Some(why) = self.not_ready(self.now) {
            let kind = match why {
                NotReady::Quarantine { .. } | NotReady::PromiseGiven { .. } => StartFailureKind::Promised,
                NotReady::MissingTypes { .. } => StartFailureKind::MissingTypes,
                _ => StartFailureKind::NotReady,
            };
            return failure(kind, why.to_string());
        }
        // With less left than a graceful stop wants, the flows would be stopped as soon as they were started.
        if end.is_none_or(|end| end <= self.now + self.settings().lease.stop_lead) {
            return failure(StartFailureKind::TooLate, "hardly anything of its lease was left when it arrived".into());
        }
        None
    }

    fn accept(&mut self, epoch: Epoch, op: OpId, controller: Option<usize>, end: Time) {
        self.event(GuardEvent::StartAccepted { epoch });
        self.forbid_up_to(epoch);
        self.highest_tenure = self.highest_tenure.max(epoch);
        self.tenure = Some(TenureState {
            epoch,
            op,
            controller,
            end,
            phase: Phase::Persisting,
            renewed: self.now,
            started: self.now,
            failure: None,
            kill_at: None,
            isolated: false,
            halted: None,
        });
    }

    fn refuse(&mut self, controller: Option<usize>, op: OpId, epoch: Epoch, failure: StartFailure) {
        self.event(GuardEvent::StartFailed { epoch, failure: failure.clone() });
        if let Some(controller) = controller {
            self.send(controller, Up::Started { op, epoch, failure: Some(failure) });
        }
    }

    /// The epoch of the accepted start is on disk: now the flows may start.
    pub(super) fn start_if_durable(&mut self) {
        let durable = self.durable.done.max_epoch;
        let rule = self.rules.holds(Rule::StartIsDurable);
        let Some(tenure) = self.tenure.as_mut().filter(|t| t.phase == Phase::Persisting) else { return };
        if durable < tenure.epoch && rule {
            return;
        }
        tenure.phase = Phase::Starting;
        let (epoch, end, process) = (tenure.epoch, tenure.end, self.process.number);
        self.process.flows = FlowState::Starting;
        let cmd = self.process.next_command();
        self.effects.push_back(GuardEffect::SetLease { process, epoch, end });
        self.effects.push_back(GuardEffect::StartFlows { process, cmd, epoch });
    }

    pub(super) fn fail_undurable_start(&mut self) {
        if self.tenure.as_ref().is_some_and(|t| t.phase == Phase::Persisting) {
            self.fail_start(StartFailureKind::NotDurable, "the launcher cannot write its state directory");
            self.end_tenure(FenceHow::NeverRan);
        }
    }

    /// Notes why a start that is under way has failed; answered when nothing of it runs.
    pub(super) fn fail_start(&mut self, kind: StartFailureKind, text: &str) {
        if let Some(tenure) = self.tenure.as_mut().filter(|t| matches!(t.phase, Phase::Persisting | Phase::Starting)) {
            tenure.failure.get_or_insert(StartFailure { kind, text: text.into() });
        }
    }

    pub(super) fn on_flows_started(&mut self) {
        let Some(tenure) = self.tenure.as_mut().filter(|t| t.phase == Phase::Starting) else { return self.ignore() };
        tenure.phase = Phase::Running;
        tenure.started = self.now;
        let (op, epoch, controller) = (tenure.op, tenure.epoch, tenure.controller);
        self.process.flows = FlowState::Running;
        self.event(GuardEvent::Running { epoch });
        if let Some(controller) = controller {
            self.send(controller, Up::Started { op, epoch, failure: None });
        }
    }

    /// The module says that the flows stand still, or run again. The tenure goes on either way: it is the lease that
    /// permits, and whoever stopped them by hand may start them again by hand.
    pub(super) fn on_halted(&mut self, why: Option<String>) {
        let Some(tenure) = self.tenure.as_mut().filter(|t| t.phase == Phase::Running) else { return };
        if tenure.halted == why {
            return;
        }
        tenure.halted.clone_from(&why);
        self.process.flows = if why.is_some() { FlowState::Stopped } else { FlowState::Running };
        self.event(GuardEvent::Halted { why });
    }

    pub(super) fn on_start_failed(&mut self, failure: StartFailure) {
        let Some(tenure) = self.tenure.as_mut().filter(|t| t.phase == Phase::Starting) else { return self.ignore() };
        tenure.failure = Some(failure);
        self.begin_stop(CLEAN_UP_GRACE, ExitCause::Requested);
    }

    pub(super) fn on_flows_stopped(&mut self) {
        self.process.flows = FlowState::Stopped;
        if self.tenure.as_ref().is_some_and(|t| t.phase == Phase::Stopping) {
            self.end_tenure(FenceHow::FlowsStopped);
        }
    }

    /// Tells the module to stop; kills the process if it hasn't by `grace` (or by the end of the lease).
    pub(super) fn begin_stop(&mut self, grace: Duration, cause: ExitCause) {
        let kill_at = self.now + grace;
        let Some(tenure) = &mut self.tenure else { return };
        let earliest = tenure.kill_at.map_or(kill_at, |(at, _)| at.min(kill_at));
        tenure.kill_at = Some((earliest, cause));
        match tenure.phase {
            Phase::Stopping => {}
            Phase::Persisting => {
                self.fail_start(StartFailureKind::Fenced, "it was stopped before its epoch was durable");
                self.end_tenure(FenceHow::NeverRan);
            }
            Phase::Starting | Phase::Running => {
                match cause {
                    // The controller may try again at once: nothing is wrong with this member.
                    ExitCause::LeaseEnded => {
                        self.fail_start(StartFailureKind::TooLate, "its lease was ending before the flows had started");
                    }
                    _ => self.fail_start(StartFailureKind::Fenced, "it was stopped before the flows had started"),
                }
                if let Some(tenure) = &mut self.tenure {
                    tenure.phase = Phase::Stopping;
                }
                self.process.flows = FlowState::Stopping;
                let (process, cmd) = (self.process.number, self.process.next_command());
                self.effects.push_back(GuardEffect::StopFlows { process, cmd });
            }
        }
    }

    /// Nothing of the tenure runs any more: a fact, reported to who asked.
    pub(super) fn end_tenure(&mut self, how: FenceHow) {
        let Some(tenure) = self.tenure.take() else { return };
        self.process.last_end = how;
        self.event(GuardEvent::TenureEnded { epoch: tenure.epoch, how });
        if let Some(failure) = tenure.failure {
            self.refuse(tenure.controller, tenure.op, tenure.epoch, failure);
        }
    }

    pub(super) fn on_grant(&mut self, seq: u64, epoch: Epoch, ttl_ms: u64) {
        let end = self.end_of(seq, ttl_ms);
        match (end, &self.tenure) {
            (Some(end), Some(t)) if t.epoch == epoch && t.phase != Phase::Stopping => {
                self.renew(end);
                if let Some(tenure) = self.tenure.as_mut().filter(|t| t.end > self.now) {
                    tenure.renewed = self.now;
                }
                if self.promises.asking {
                    self.promises.asking = false;
                    self.event(GuardEvent::Renewed);
                }
            }
            _ => self.ignore(),
        }
    }

    /// The end only ever moves forward.
    pub(super) fn renew(&mut self, end: Time) {
        let Some(tenure) = self.tenure.as_mut().filter(|t| end > t.end) else { return };
        tenure.end = end;
        if matches!(tenure.phase, Phase::Starting | Phase::Running) {
            let (process, epoch) = (self.process.number, tenure.epoch);
            self.effects.push_back(GuardEffect::SetLease { process, epoch, end });
        }
    }

    fn stop_begins(&self, tenure: &TenureState) -> Time {
        tenure.end - self.settings().lease.stop_lead
    }

    pub(super) fn lease_deadline(&self) -> Option<Time> {
        let tenure = self.tenure.as_ref()?;
        let hard = tenure.kill_at.map_or(tenure.end, |(at, _)| at.min(tenure.end));
        match tenure.phase {
            // The kill was ordered; what is left is to be told of the exit.
            Phase::Stopping if self.process.killing.is_some() => None,
            Phase::Stopping => Some(hard),
            _ => Some(hard.min(self.stop_begins(tenure))),
        }
    }

    pub(super) fn lease_timers(&mut self) {
        let Some(tenure) = &self.tenure else { return };
        let (now, end) = (self.now, tenure.end);
        if now >= self.stop_begins(tenure) && tenure.phase == Phase::Persisting {
            self.fail_start(StartFailureKind::TooLate, "its lease was ending before its epoch was durable");
            return self.end_tenure(FenceHow::NeverRan);
        }
        if now >= self.stop_begins(tenure) && matches!(tenure.phase, Phase::Starting | Phase::Running) {
            if self.run_isolated() {
                return;
            }
            self.event(GuardEvent::Isolated { left_ms: ms(now.until(end)) });
            self.begin_stop(now.until(end), ExitCause::LeaseEnded);
        }
        let Some(tenure) = &self.tenure else { return };
        if now >= end && self.rules.holds(Rule::KillAtEnd) {
            self.kill(ExitCause::LeaseEnded);
        } else if let Some((_, cause)) = tenure.kill_at.filter(|(at, _)| now >= *at && now < end) {
            self.kill(cause);
        }
    }

    /// `on_isolated = "run"`: go on although nobody renews, unless somebody was heard to decline.
    fn run_isolated(&mut self) -> bool {
        let settings = self.settings();
        if settings.on_isolated != OnIsolated::Run || self.hears_leader() || self.promises.declined_lately(self.now) {
            return false;
        }
        self.renew(self.now + settings.lease.ttl);
        if let Some(tenure) = self.tenure.as_mut().filter(|t| !t.isolated) {
            tenure.isolated = true;
            self.event(GuardEvent::RunningIsolated);
        }
        true
    }
}
