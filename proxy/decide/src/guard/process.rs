//! The life of the Node-RED process: spawned with flows stopped, watched, killed when it hangs, spawned again.

use super::tenure::Phase;
use super::{Guard, GuardEffect, GuardEvent, ModuleEvent};
use crate::ids::OpId;
use crate::message::{ExitCause, ExitReceipt, FenceHow, FlowState, StartFailureKind, Up};
use crate::time::{Time, ms};
use std::time::Duration;

/// A process that lived this long is no part of a crash loop.
const LONG_LIFE: Duration = Duration::from_secs(30);
/// Deaths in a row, each after a short life, that make a crash loop.
const CRASH_LOOP: u32 = 5;
const BACK_OFF: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// A kill that has not led to an exit is ordered again.
const KILL_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Process {
    pub(super) number: u64,
    pub(super) flows: FlowState,
    /// A kill was ordered: why, and when it is ordered again.
    pub(super) killing: Option<(ExitCause, Time)>,
    pub(super) last_end: FenceHow,
    pub(super) lag_ms: u64,
    pub(super) revision: Option<String>,
    pub(super) nodes: Option<String>,
    pub(super) nodes_problem: Option<String>,
    pub(super) node_red: Option<String>,
    pub(super) missing_types: Vec<String>,
    pub(super) problem: Option<String>,
    pub(super) restarts: u64,
    /// Deaths in a row, each after a short life.
    short_lives: u32,
    spawned_at: Time,
    /// The last word of the module.
    heard: Time,
    command: u64,
    /// A spawn was ordered and nothing was heard of it yet.
    spawning: bool,
    /// Node-RED is to stay down.
    stopped_by_hand: bool,
    restart_asked: Option<(usize, OpId)>,
}

impl Process {
    pub(super) fn new(now: Time) -> Self {
        Process {
            number: 0,
            flows: FlowState::Down,
            killing: None,
            last_end: FenceHow::NeverRan,
            lag_ms: 0,
            revision: None,
            nodes: None,
            nodes_problem: None,
            node_red: None,
            missing_types: Vec::new(),
            problem: None,
            restarts: 0,
            short_lives: 0,
            spawned_at: now,
            heard: now,
            command: 0,
            spawning: false,
            stopped_by_hand: false,
            restart_asked: None,
        }
    }

    pub(super) fn crash_loop(&self, now: Time) -> bool {
        self.short_lives >= CRASH_LOOP && now.since(self.spawned_at) < LONG_LIFE
    }

    pub(super) fn next_command(&mut self) -> u64 {
        self.command += 1;
        self.command
    }
}

impl Guard {
    pub(super) fn spawn(&mut self, after: Duration) {
        // One that still waits for its back-off is ordered again under its number.
        if !std::mem::replace(&mut self.process.spawning, true) {
            self.process.number += 1;
            self.process.restarts = self.process.number - 1;
        }
        self.effects.push_back(GuardEffect::Spawn { process: self.process.number, after });
    }

    pub(super) fn on_spawned(&mut self, process: u64) {
        if process != self.process.number || self.process.flows != FlowState::Down {
            return self.ignore();
        }
        self.process.flows = FlowState::Booting;
        self.process.spawning = false;
        self.process.spawned_at = self.now;
        self.process.heard = self.now;
    }

    pub(super) fn on_module(&mut self, process: u64, event: ModuleEvent) {
        if process != self.process.number || self.process.flows == FlowState::Down {
            return self.ignore();
        }
        self.process.heard = self.now;
        match event {
            ModuleEvent::Ready { revision, node_red, missing_types } if self.process.flows == FlowState::Booting => {
                self.process.flows = FlowState::Stopped;
                self.process.revision = revision;
                self.process.node_red = node_red;
                self.process.missing_types = missing_types;
                self.process.problem = None;
                self.answer_restart(None);
            }
            ModuleEvent::Condition { missing_types, problem } => {
                self.process.missing_types = missing_types;
                self.process.problem = problem;
            }
            ModuleEvent::Nodes { installed, problem } => {
                self.process.nodes = installed;
                self.process.nodes_problem = problem;
            }
            ModuleEvent::FlowsStarted { cmd } if cmd == self.process.command => self.on_flows_started(),
            ModuleEvent::StartFailed { cmd, failure } if cmd == self.process.command => self.on_start_failed(failure),
            ModuleEvent::FlowsStopped { cmd } if cmd == self.process.command => self.on_flows_stopped(),
            ModuleEvent::Halted { why } => self.on_halted(why),
            ModuleEvent::Lag { ms } => {
                self.process.lag_ms = ms;
                if self.stood_still(Duration::from_millis(ms)) >= self.settings().hang_after {
                    self.kill(ExitCause::Hung);
                }
            }
            ModuleEvent::Deploy { revision, missing_types } => {
                self.process.missing_types = missing_types;
                self.process.revision = Some(revision.clone());
                self.send_all(|| Up::Deploy { revision: revision.clone() });
            }
            _ => self.ignore(),
        }
    }

    /// How much of this lag counts. Flows that start may keep the event loop busy for long, on a busy machine above all:
    /// that is no hang, it ends by the lease or by the controller's deadline, and what was before the flows ran is over.
    fn stood_still(&self, lag: Duration) -> Duration {
        match &self.tenure {
            Some(tenure) if matches!(tenure.phase, Phase::Persisting | Phase::Starting) => Duration::ZERO,
            Some(tenure) => lag.min(self.now.since(tenure.started)),
            None => lag,
        }
    }

    pub(super) fn on_exited(&mut self, process: u64, code: Option<i32>, signal: Option<i32>) {
        if process != self.process.number {
            return self.ignore();
        }
        let lived = self.now.since(self.process.spawned_at);
        let booted = !matches!(self.process.flows, FlowState::Down | FlowState::Booting);
        let killed = self.process.killing.take().map(|(cause, _)| cause);
        let cause = killed.unwrap_or(ExitCause::Crash { code, signal });
        let tenure = self.tenure.as_ref().map(|t| t.epoch);
        self.process.flows = FlowState::Down;
        self.process.spawning = false;
        self.process.lag_ms = 0;
        self.fail_start(StartFailureKind::Failed, "Node-RED ended");
        self.end_tenure(FenceHow::ProcessExited);
        let epoch = self.durable.done.max_epoch;
        self.send_all(|| Up::Exited(ExitReceipt { epoch, tenure, cause }));

        let asked = matches!(cause, ExitCause::Requested | ExitCause::Fenced | ExitCause::LeaseEnded);
        self.process.short_lives = match () {
            () if asked || lived >= LONG_LIFE => 0,
            () => self.process.short_lives.saturating_add(1),
        };
        if !booted && !asked {
            self.answer_restart(Some("Node-RED ended while it was starting up".into()));
        }
        let after = self.back_off();
        let crash_loop = self.process.short_lives >= CRASH_LOOP;
        self.event(GuardEvent::Exited { cause, restart_in_ms: ms(after), crash_loop });
        if !self.process.stopped_by_hand {
            self.spawn(after);
        }
    }

    /// At once after the first death, then 1 s, 2 s, 4 s … 60 s, each up to a quarter longer.
    fn back_off(&self) -> Duration {
        let doublings = match self.process.short_lives {
            0 | 1 => return Duration::ZERO,
            lives => (lives - 2).min(6),
        };
        let plain = BACK_OFF.saturating_mul(1 << doublings).min(BACK_OFF_MAX);
        let jitter = (self.config.session ^ u64::from(self.process.short_lives)) % 256;
        plain + plain.mul_f64(jitter as f64 / 1024.0)
    }

    pub(super) fn kill(&mut self, cause: ExitCause) {
        if self.process.flows == FlowState::Down || self.process.killing.is_some() {
            return;
        }
        self.event(GuardEvent::Killing { cause });
        self.process.killing = Some((cause, self.now + KILL_AGAIN));
        self.effects.push_back(GuardEffect::Kill { process: self.process.number, cause });
        // There is no way back for the tenure: nothing may renew it while the kill is on its way.
        self.begin_stop(Duration::ZERO, cause);
    }

    pub(super) fn process_deadline(&self) -> Option<Time> {
        if let Some((_, again)) = self.process.killing {
            return Some(again);
        }
        let settings = self.settings();
        match self.process.flows {
            FlowState::Down => None,
            FlowState::Booting => Some(self.process.spawned_at + settings.boot_deadline),
            _ => Some(self.process.heard + settings.hang_after),
        }
    }

    pub(super) fn process_timers(&mut self) {
        if self.process_deadline().is_none_or(|at| at > self.now) {
            return;
        }
        match self.process.killing {
            Some((cause, _)) => {
                self.process.killing = Some((cause, self.now + KILL_AGAIN));
                self.effects.push_back(GuardEffect::Kill { process: self.process.number, cause });
            }
            None if self.process.flows == FlowState::Booting => self.kill(ExitCause::BootFailed),
            None => self.kill(ExitCause::Hung),
        }
    }

    /// We were paused ourselves: that the module was not heard meanwhile says nothing about it.
    pub(super) fn notice_stall(&mut self, now: Time) {
        if now.since(self.now) > self.settings().hang_after / 2 {
            self.process.heard = self.process.heard.max(now);
        }
    }

    pub(super) fn on_restart(&mut self, controller: usize, op: OpId) {
        if self.tenure.is_some() {
            let failure = Some("its flows run".to_string());
            return self.send(controller, Up::Restarted { op, failure });
        }
        if self.process.restart_asked.is_some_and(|(_, earlier)| earlier == op) {
            return;
        }
        self.answer_restart(Some("another restart was asked for".into()));
        self.process.restart_asked = Some((controller, op));
        self.stop_process(true);
    }

    /// Ends the process, if there is one; `restart`: and starts it again at once.
    pub(super) fn stop_process(&mut self, restart: bool) {
        self.process.stopped_by_hand = !restart;
        self.process.short_lives = 0;
        match self.process.flows {
            FlowState::Down if restart => self.spawn(Duration::ZERO),
            FlowState::Down => {}
            _ => self.kill(ExitCause::Requested),
        }
    }

    fn answer_restart(&mut self, failure: Option<String>) {
        if let Some((controller, op)) = self.process.restart_asked.take() {
            self.send(controller, Up::Restarted { op, failure });
        }
    }
}
