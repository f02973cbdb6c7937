//! The holder of a lease: decides, beside one Node-RED, whether its flows may run.
//!
//! Owns: the tenure of this member and its end, the promise given to and taken from the peer, the life of the
//! Node-RED process. Never does: I/O; trusting a clock of another machine; starting flows on its own.
//!
//! Reads in this order: `types` (what goes in and out), this file (the parts and their timers), `tenure` (start,
//! renew, stop, end), `fence`, `promise`, `process`, `beat` (links, heartbeats, status), `durable`.

mod beat;
mod durable;
mod fence;
mod process;
mod promise;
mod tenure;
mod types;

pub use types::{GuardConfig, GuardEffect, GuardEvent, GuardInput, GuardRecord, ModuleEvent};

use crate::ids::Epoch;
use crate::message::{Down, LauncherSettings, MemberStatus};
use crate::rules::{Rule, Rules};
use crate::time::Time;
use beat::Beats;
use durable::Durable;
use fence::PendingFence;
use process::Process;
use promise::Promises;
use std::collections::VecDeque;
use tenure::TenureState;

/// The launcher's side of the lease, one per member.
#[derive(Debug)]
pub struct Guard {
    config: GuardConfig,
    rules: Rules<Rule>,
    /// The latest time seen; time never goes back in here.
    now: Time,
    /// Nothing is started before this: an earlier life may have promised.
    quarantine_end: Time,
    booted: Time,
    /// A controller has said welcome in this life.
    welcomed: bool,
    durable: Durable,
    beats: Beats,
    process: Process,
    tenure: Option<TenureState>,
    /// The highest epoch accepted here in this life.
    highest_tenure: Epoch,
    fences: Vec<PendingFence>,
    promises: Promises,
    effects: VecDeque<GuardEffect>,
    ignored: u64,
}

impl Guard {
    /// A launcher that has just booted.
    ///
    /// The shell must have made certain that no Node-RED of an earlier launcher is left (undertaker, lock file,
    /// parent-death signal): a guard answers for its member from the first heartbeat on. The first `Spawn` comes
    /// out at once.
    pub fn new(now: Time, config: GuardConfig, record: GuardRecord) -> Self {
        let lease = record.settings.unwrap_or_default().lease;
        let quarantine = if config.controllers == 0 { now } else { now + lease.bound(lease.promise) };
        let mut guard = Guard {
            config,
            rules: Rules::default(),
            now,
            quarantine_end: quarantine,
            booted: now,
            welcomed: false,
            durable: Durable::new(record),
            beats: Beats::new(now, config),
            process: Process::new(now),
            tenure: None,
            highest_tenure: Epoch::NONE,
            fences: Vec::new(),
            promises: Promises::new(config),
            effects: VecDeque::new(),
            ignored: 0,
        };
        guard.spawn(std::time::Duration::ZERO);
        guard
    }

    /// Breaks one safety rule, so that a test can show that the rule is needed.
    #[cfg(feature = "mutants")]
    pub fn break_rule(&mut self, rule: Rule) {
        self.rules = Rules::breaking(rule);
        if !self.rules.holds(Rule::QuarantineAfterBoot) {
            self.quarantine_end = self.now;
        }
    }

    /// Tells the guard what happened. `now` is this host's `CLOCK_BOOTTIME`.
    pub fn handle(&mut self, now: Time, input: GuardInput) {
        // What has ended meanwhile has ended before this input: a message that waited in a frozen process's socket
        // must not renew a lease that is over.
        self.run_timers(now);
        match input {
            GuardInput::LinkUp { controller } => self.link_up(controller),
            GuardInput::LinkDown { controller } => self.link_down(controller),
            GuardInput::Down { controller, msg } => self.on_message(controller, msg),
            GuardInput::Spawned { process } => self.on_spawned(process),
            GuardInput::Exited { process, code, signal } => self.on_exited(process, code, signal),
            GuardInput::Module { process, event } => self.on_module(process, event),
            GuardInput::PromiseAsked { request, ask } => self.on_promise_asked(request, ask),
            GuardInput::PromiseAnswered { answer } => self.on_promise_answered(answer),
            GuardInput::Persisted { id } => self.on_persisted(id),
            GuardInput::PersistFailed { id } => self.on_persist_failed(id),
            GuardInput::ManualStart { epoch, op } => self.on_manual_start(epoch, op),
            GuardInput::ManualFence { epoch, grace } => self.on_manual_fence(epoch, grace),
            GuardInput::ManualStop { restart } => self.on_manual_stop(restart),
        }
        self.settle();
    }

    /// Tells the guard that the time of `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now: Time) {
        self.run_timers(now);
        self.settle();
    }

    fn run_timers(&mut self, now: Time) {
        let now = now.max(self.now);
        self.notice_stall(now);
        self.now = now;
        self.lease_timers();
        self.process_timers();
        self.durable_timers();
        self.promise_timers();
    }

    /// After every input: what has become true by it.
    fn settle(&mut self) {
        self.pump_durable();
        self.start_if_durable();
        self.answer_fences();
        self.beat_if_due();
    }

    /// When to call `handle_timeout` next. Always in the future of the last call's `now`, or due.
    pub fn poll_timeout(&self) -> Option<Time> {
        [
            Some(self.beats.next_at),
            self.lease_deadline(),
            self.process_deadline(),
            self.durable.retry_at,
            self.promise_deadline(),
            (self.quarantine_end > self.now).then_some(self.quarantine_end),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What to do next, in order; `None` when there is nothing more.
    pub fn poll_effect(&mut self) -> Option<GuardEffect> {
        self.effects.pop_front()
    }

    /// What is durable, as far as known.
    pub fn record(&self) -> &GuardRecord {
        &self.durable.done
    }

    /// What a heartbeat would say now.
    pub fn status(&self, now: Time) -> MemberStatus {
        self.make_status(now.max(self.now))
    }

    /// When the present tenure's permission ends, if there is one.
    pub fn lease_end(&self) -> Option<Time> {
        self.tenure.as_ref().map(|t| t.end)
    }

    /// Why the flows of the present tenure stand still although nobody here asked for it.
    pub fn halted(&self) -> Option<&str> {
        self.tenure.as_ref()?.halted.as_deref()
    }

    /// Inputs ignored as late, stale or illegal.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    fn settings(&self) -> LauncherSettings {
        self.durable.want().settings.unwrap_or_default()
    }

    /// The highest epoch known here, durable or about to be.
    fn max_epoch(&self) -> Epoch {
        self.durable.want().max_epoch
    }

    /// Nothing up to this epoch may be started here again, once this is on disk.
    fn forbid_up_to(&mut self, epoch: Epoch) {
        if epoch > self.max_epoch() {
            self.durable.change().max_epoch = epoch;
        }
    }

    fn event(&mut self, event: GuardEvent) {
        self.effects.push_back(GuardEffect::Event(event));
    }

    fn ignore(&mut self) {
        self.ignored += 1;
    }

    fn on_message(&mut self, controller: usize, msg: Down) {
        if !self.heard(controller, &msg) {
            return self.ignore();
        }
        match msg {
            Down::Welcome(welcome) => {
                self.welcomed = true;
                let lease = welcome.settings.lease;
                if self.rules.holds(Rule::QuarantineAfterBoot) {
                    self.quarantine_end = self.quarantine_end.max(self.booted + lease.bound(lease.promise));
                }
                self.durable.change().settings = Some(welcome.settings);
                self.durable.change().peer = welcome.peer;
            }
            Down::Ack { .. } | Down::Refused { .. } => {}
            Down::Grant { seq, epoch, ttl_ms } => self.on_grant(seq, epoch, ttl_ms),
            Down::Start { op, epoch, seq, ttl_ms } => self.on_start(controller, op, epoch, seq, ttl_ms),
            Down::Fence { op, epoch, grace_ms } => self.on_fence(controller, op, epoch, grace_ms),
            Down::Restart { op } => self.on_restart(controller, op),
        }
    }
}
