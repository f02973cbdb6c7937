//! The controller's host: the shipping decider, its disk, its clock; it can crash, freeze and starve.

use super::clock::Clock;
use super::rng::MS;
use super::world::{Ev, World};
use hotspare_decide::message::{Down, ExitReceipt, FlowState, Up};
use hotspare_decide::{Decider, Effect, Epoch, Input, Member, ProbeOutcome, Record, Route, Tenure};
use std::collections::VecDeque;
use std::time::Duration;

pub struct Control {
    pub clock: Clock,
    pub decider: Option<Decider>,
    pub life: u64,
    pub disk: Option<Record>,
    /// The write under way.
    writing: Option<(u64, Record)>,
    pub disk_full: bool,
    pub slow_disk: bool,
    pub frozen: bool,
    frozen_at: u64,
    clock_stands: bool,
    inbox: VecDeque<Input>,
    wake: u64,
    wake_at: u64,
    pub route: Option<(Member, Epoch)>,
}

impl Control {
    pub fn new(clock: Clock) -> Self {
        Control {
            clock,
            decider: None,
            life: 0,
            disk: None,
            writing: None,
            disk_full: false,
            slow_disk: false,
            frozen: false,
            frozen_at: 0,
            clock_stands: false,
            inbox: VecDeque::new(),
            wake: 0,
            wake_at: u64::MAX,
            route: None,
        }
    }
}

impl World {
    pub fn control_boots(&mut self) {
        if self.control.decider.is_some() {
            return;
        }
        let now = self.control.clock.local(self.now);
        let wall = 1_800_000_000_000 + self.now / MS;
        let (settings, record) = (self.settings.clone(), self.control.disk.clone());
        self.log(|| format!("controller boots with {record:?}"));
        #[allow(unused_mut)]
        let mut decider = Decider::new(now, wall, "sim".into(), settings, record);
        #[cfg(feature = "mutants")]
        if let Some(rule) = self.broken {
            decider.break_rule(rule);
        }
        self.control.decider = Some(decider);
        self.control.life += 1;
        self.control.frozen = false;
        self.after_control();
    }

    pub fn control_crashes(&mut self) {
        if self.control.decider.take().is_none() {
            return;
        }
        self.log(|| "controller crashes".into());
        // The write under way may have reached the disk, or not.
        let write = self.control.writing.take();
        if let Some((_, record)) = write.filter(|_| self.rng.chance(50)) {
            self.control.disk = Some(record);
        }
        self.control.inbox.clear();
        self.control.frozen = false;
        for member in Member::BOTH {
            // Its kernel resets the connections, unless the whole machine is gone.
            let soon = if self.rng.chance(70) { self.rng.below(5) * MS } else { self.rng.below(1_500) * MS };
            self.break_conn(member, 0, soon);
            self.conn(member).control = None;
            let all = self.net.conn_count;
            self.conn(member).closed = all;
        }
    }

    /// `stands`: its clock stands still meanwhile.
    pub fn control_freezes(&mut self, stands: bool) {
        // One that is down hears nothing, and keeps nothing for later.
        if !self.control.frozen && self.control.decider.is_some() {
            self.control.frozen = true;
            self.control.clock_stands = stands;
            self.control.frozen_at = self.now;
        }
    }

    pub fn control_thaws(&mut self) {
        if !std::mem::take(&mut self.control.frozen) {
            return;
        }
        let gap = Duration::from_nanos(self.now - self.control.frozen_at);
        self.log(|| format!("controller thaws after {gap:?}"));
        let stood = std::mem::take(&mut self.control.clock_stands);
        if stood {
            let (before, now) = (self.control.frozen_at, self.now);
            self.control.clock.stood(before, now);
        }
        // The engine usually notices first; a short gap, a clock that stood, or bad luck, and it doesn't.
        if gap > Duration::from_millis(300) && !stood && self.rng.chance(70) {
            self.tell_control(Input::Stalled { gap });
        }
        while let Some(input) = self.control.inbox.pop_front() {
            self.tell_control(input);
        }
        self.poke_control();
    }

    pub fn wake_control(&mut self, version: u64) {
        if version == self.control.wake {
            self.control.wake_at = u64::MAX;
            self.poke_control();
        }
    }

    fn poke_control(&mut self) {
        if self.control.frozen {
            return;
        }
        let now = self.control.clock.local(self.now);
        if let Some(decider) = &mut self.control.decider {
            decider.handle_timeout(now);
            self.after_control();
        }
    }

    pub fn tell_control(&mut self, input: Input) {
        if self.control.frozen {
            return self.control.inbox.push_back(input);
        }
        let now = self.control.clock.local(self.now);
        if let Some(decider) = &mut self.control.decider {
            decider.handle(now, input);
            self.after_control();
        }
    }

    pub fn reaches_control(&mut self, member: Member, conn: u64, msg: Up) {
        if self.control.decider.is_none() {
            return;
        }
        if let Up::Hello(hello) = &msg {
            return self.accept(member, conn, hello.session);
        }
        self.tell_control(Input::Up { member, link: hotspare_decide::LinkId(conn), msg });
    }

    pub fn receipt_reaches_control(&mut self, member: Member, receipt: ExitReceipt) {
        self.log(|| format!("receipt of {member}: {receipt:?}"));
        self.tell_control(Input::Receipt { member, receipt });
    }

    /// Carries out what the decider wants, and sets its timer.
    fn after_control(&mut self) {
        while let Some(effect) = self.control.decider.as_mut().and_then(Decider::poll_effect) {
            match effect {
                Effect::Persist { id, record } => self.control_writes(id, record),
                Effect::Send { member, link, msg } => {
                    if let Down::Start { epoch, .. } = &msg {
                        self.check_start_is_durable(member, *epoch);
                    }
                    if self.trace && !matches!(msg, Down::Ack { .. } | Down::Grant { .. }) {
                        self.log(|| format!("controller to {member}: {msg:?}"));
                    }
                    self.send_down(member, link.0, msg);
                }
                Effect::Route { route, .. } => self.routed(route),
                Effect::Probe { member } => self.probe(member),
                Effect::Event(event) => self.log(|| format!("decider: {:?}", event.kind)),
                Effect::Answer { request, result } => self.log(|| format!("answer {request}: {result:?}")),
            }
        }
        let Some(decider) = &self.control.decider else { return };
        let local = self.control.clock.local(self.now);
        let due = decider.poll_timeout().map_or(u64::MAX, |at| {
            assert!(at > local, "a timer of the decider lies in the past: it would spin");
            self.control.clock.truth(at, self.now)
        });
        // An earlier wake-up than needed is harmless, and cheaper than one event per message.
        if due < self.control.wake_at {
            self.control.wake += 1;
            self.control.wake_at = due;
            self.at(due, Ev::WakeControl(self.control.wake));
        }
    }

    fn routed(&mut self, route: Route) {
        self.log(|| format!("route {route:?}"));
        self.control.route = match route {
            Route::To { member, epoch } => Some((member, epoch)),
            Route::Park { .. } => None,
        };
    }

    /// Invariant 3: an epoch is durable before its first effect.
    fn check_start_is_durable(&mut self, member: Member, epoch: Epoch) {
        let durable = self
            .control
            .disk
            .as_ref()
            .is_some_and(|r| r.epoch >= epoch && r.tenures.contains(&Tenure { member, epoch }));
        if !durable {
            self.violate(format!("start of {member} under epoch {epoch} ordered before it is durable"));
        }
        self.failovers += 1;
    }

    fn control_writes(&mut self, id: u64, record: Record) {
        assert!(self.control.writing.is_none(), "two writes at once");
        self.control.writing = Some((id, record));
        let takes =
            if self.control.slow_disk { self.rng.range(100, 1_500) } else { self.rng.range(0, 4) } * MS + 200_000;
        let life = self.control.life;
        self.after(takes, Ev::ControlWritten { life });
    }

    pub fn control_written(&mut self, life: u64) {
        if life != self.control.life || self.control.decider.is_none() {
            return;
        }
        let Some((id, record)) = self.control.writing.take() else { return };
        if self.control.disk_full {
            return self.tell_control(Input::PersistFailed { id, reason: "disk full".into() });
        }
        self.control.disk = Some(record);
        self.tell_control(Input::Persisted { id });
    }

    pub fn probe_tick(&mut self) {
        for member in Member::BOTH {
            self.probe(member);
        }
        self.after(500 * MS, Ev::ProbeTick);
    }

    /// One health check, answered at once: does Node-RED answer?
    fn probe(&mut self, member: Member) {
        if self.settings.health.checks == 0 {
            return;
        }
        let node = &self.nodes[member.index()];
        let cut = self.net.cut_down[member.index()] || self.net.cut_up[member.index()];
        let mute = cut || node.machine_gone();
        let outcome = match &node.red {
            _ if mute => ProbeOutcome::Unknown { reason: String::new() },
            None => ProbeOutcome::Fail { reason: String::new() },
            Some(red) if red.hung || red.frozen => ProbeOutcome::Unknown { reason: String::new() },
            Some(red) if !red.booted => ProbeOutcome::Fail { reason: String::new() },
            Some(_) => ProbeOutcome::Pass,
        };
        let flows: Option<FlowState> = None;
        self.tell_control_later(Input::Probe { member, check: 0, outcome, flows });
    }

    /// A result that the decider is told after it has finished what it is doing.
    fn tell_control_later(&mut self, input: Input) {
        self.after(300_000, Ev::ToControlInput(Box::new(input)));
    }
}
