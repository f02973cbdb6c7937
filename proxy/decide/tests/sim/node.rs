//! A member's host: the shipping guard with its disk and clock, and a Node-RED as FACTS has it: it boots, starts and
//! stops flows in its own time, hangs, freezes, crashes, and dies at the end of its lease by one wall or another.

use super::clock::Clock;
use super::rng::MS;
use super::world::{Ev, NodeEv, World};
use hotspare_decide::message::Down;
use hotspare_decide::message::{ExitCause, ExitReceipt, PromiseAnswer, PromiseAsk, StartFailure, StartFailureKind};
use hotspare_decide::{
    Epoch, Guard, GuardConfig, GuardEffect, GuardInput, GuardRecord, Member, ModuleEvent, Rule, Time,
};
use std::collections::VecDeque;

pub struct Node {
    pub clock: Clock,
    pub guard: Option<Guard>,
    /// Rises with each start of the launcher.
    pub life: u64,
    pub session: u64,
    pub disk: GuardRecord,
    writing: Option<(u64, GuardRecord)>,
    pub disk_full: bool,
    pub frozen: bool,
    inbox: VecDeque<GuardInput>,
    wake: u64,
    wake_at: u64,
    pub red: Option<Red>,
    uid: u64,
    /// Launcher's life and number of the last process that was spawned.
    spawned: (u64, u64),
    /// The machine is lost: nothing answers until it boots again.
    pub lost: bool,
    /// What the next start or stop of flows takes, in milliseconds, at most.
    pub slow_start: u64,
    pub slow_stop: u64,
    pub start_fails: bool,
}

/// A Node-RED process.
#[derive(Debug)]
pub struct Red {
    pub uid: u64,
    pub process: u64,
    pub booted: bool,
    /// Flows run, or are being started or stopped: anything may have an effect.
    pub flows: Option<Epoch>,
    pub frozen: bool,
    pub hung: bool,
    hung_at: u64,
    lease: (Epoch, Time),
    last_command: u64,
    lease_version: u64,
    /// Reached it while it was frozen or hung.
    waiting: VecDeque<NodeEv>,
    dying: bool,
}

impl Node {
    pub fn new(clock: Clock) -> Self {
        Node {
            clock,
            guard: None,
            life: 0,
            session: 0,
            disk: GuardRecord::default(),
            writing: None,
            disk_full: false,
            frozen: false,
            inbox: VecDeque::new(),
            wake: 0,
            wake_at: u64::MAX,
            red: None,
            uid: 0,
            spawned: (0, 0),
            lost: false,
            slow_start: 20,
            slow_stop: 20,
            start_fails: false,
        }
    }

    pub fn machine_gone(&self) -> bool {
        self.lost
    }
}

impl World {
    /// Ground truth: the epoch under which flows of this member have effects at this moment.
    pub fn runs(&self, member: Member) -> Option<Epoch> {
        self.nodes[member.index()].red.as_ref().filter(|r| !r.frozen).and_then(|r| r.flows)
    }

    pub fn launcher_boots(&mut self, member: Member) {
        if self.node(member).guard.is_some() {
            return;
        }
        if self.node(member).red.is_some() {
            // A new launcher first makes sure that nothing of the old one is left.
            return self.after(5 * MS, Ev::LauncherBoots { member });
        }
        let session = self.rng.next();
        let local = self.nodes[member.index()].clock.local(self.now);
        let node = self.node(member);
        node.lost = false;
        node.frozen = false;
        node.life += 1;
        node.session = session;
        let life = node.life;
        #[allow(unused_mut)]
        let mut guard = Guard::new(local, GuardConfig { session, controllers: 1 }, node.disk.clone());
        #[cfg(feature = "mutants")]
        if let Some(rule) = self.broken {
            guard.break_rule(rule);
        }
        self.node(member).guard = Some(guard);
        self.log(|| format!("launcher {member} boots"));
        self.after_guard(member);
        self.after(MS, Ev::Connect { member, life });
    }

    /// The launcher is killed. Node-RED dies with it; the undertaker, if it lives, tells the controller.
    pub fn launcher_crashes(&mut self, member: Member, machine: bool) {
        let node = &mut self.nodes[member.index()];
        let Some(guard) = node.guard.take() else { return };
        let write = node.writing.take();
        node.inbox.clear();
        node.frozen = false;
        node.life += 1;
        node.lost = machine;
        let epoch = guard.record().max_epoch;
        if let Some((_, record)) = write.filter(|_| self.rng.chance(50)) {
            self.node(member).disk = record;
        }
        self.log(|| format!("launcher {member} is killed (machine lost: {machine})"));
        let dies = if machine { 0 } else { self.rng.below(10) * MS };
        if machine {
            self.node(member).red = None;
        } else if let Some(red) = &self.node(member).red {
            let uid = red.uid;
            self.after(dies, Ev::Node { member, uid, what: NodeEv::Die });
        }
        if !machine && self.rng.chance(80) {
            let late = if self.rng.chance(70) { self.rng.below(20) } else { self.rng.below(6_000) };
            let receipt = ExitReceipt { epoch, tenure: None, cause: ExitCause::LauncherDied };
            self.after(dies + MS + late * MS, Ev::Receipt { member, receipt });
        }
        self.conn(member).guard = None;
        let noticed = if machine || self.rng.chance(20) { self.rng.range(1_000, 5_000) } else { self.rng.below(5) };
        self.break_conn(member, noticed * MS, 0);
    }

    pub fn launcher_thaws(&mut self, member: Member) {
        if !std::mem::take(&mut self.node(member).frozen) {
            return;
        }
        // Timers and sockets are ready at once; which is looked at first is anybody's guess.
        if self.rng.chance(50) {
            self.poke_guard(member);
        }
        while let Some(input) = self.node(member).inbox.pop_front() {
            self.tell_guard(member, input);
        }
        self.poke_guard(member);
    }

    pub fn wake_guard(&mut self, member: Member, version: u64) {
        if version == self.node(member).wake {
            self.node(member).wake_at = u64::MAX;
            self.poke_guard(member);
        }
    }

    fn poke_guard(&mut self, member: Member) {
        let truth = self.now;
        let node = self.node(member);
        if node.frozen {
            return;
        }
        let now = node.clock.local(truth);
        if let Some(guard) = &mut node.guard {
            guard.handle_timeout(now);
            let spins = guard.poll_timeout().is_some_and(|at| at <= now);
            self.after_guard(member);
            assert!(!spins || self.broken.is_some(), "a timer of the guard stays in the past: it would spin");
        }
    }

    pub fn tell_guard(&mut self, member: Member, input: GuardInput) {
        let truth = self.now;
        let node = self.node(member);
        if node.frozen {
            return node.inbox.push_back(input);
        }
        let now = node.clock.local(truth);
        if let Some(guard) = &mut node.guard {
            guard.handle(now, input);
            self.after_guard(member);
        }
    }

    pub fn reaches_guard(&mut self, member: Member, conn: u64, msg: Down) {
        if self.conn(member).guard == Some(conn) {
            self.tell_guard(member, GuardInput::Down { controller: 0, msg });
        }
    }

    pub fn ask_reaches(&mut self, to: Member, ask: PromiseAsk) {
        self.tell_guard(to, GuardInput::PromiseAsked { request: ask.ask, ask });
    }

    pub fn answer_reaches(&mut self, to: Member, answer: PromiseAnswer) {
        self.tell_guard(to, GuardInput::PromiseAnswered { answer });
    }

    fn after_guard(&mut self, member: Member) {
        while let Some(effect) = self.node(member).guard.as_mut().and_then(Guard::poll_effect) {
            self.guard_effect(member, effect);
        }
        let truth = self.now;
        let node = self.node(member);
        let Some(guard) = &node.guard else { return };
        // A mutant may leave a timer in the past.
        let soonest = node.clock.local(truth) + std::time::Duration::from_micros(100);
        let due = guard.poll_timeout().map_or(u64::MAX, |at| node.clock.truth(at.max(soonest), truth));
        if due < node.wake_at {
            node.wake += 1;
            node.wake_at = due;
            let version = node.wake;
            self.at(due, Ev::WakeGuard(member, version));
        }
    }

    fn guard_effect(&mut self, member: Member, effect: GuardEffect) {
        let life = self.node(member).life;
        match effect {
            GuardEffect::Spawn { process, after } => {
                let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
                self.after(after, Ev::Spawn { member, life, process });
            }
            GuardEffect::Kill { process, .. } => {
                let budget = self.kill_takes();
                if let Some(red) = self.nodes[member.index()].red.as_mut().filter(|r| r.process == process && !r.dying)
                {
                    red.dying = true;
                    let uid = red.uid;
                    self.after(budget, Ev::Node { member, uid, what: NodeEv::Die });
                }
            }
            GuardEffect::SetLease { process, epoch, end } => self.set_lease(member, process, epoch, end),
            GuardEffect::StartFlows { process, cmd, epoch } => {
                if self.node(member).disk.max_epoch < epoch {
                    self.violate(format!("{member} starts its flows under epoch {epoch} before that is durable there"));
                }
                self.command(member, process, NodeEv::Start { cmd });
            }
            GuardEffect::StopFlows { process, cmd } => self.command(member, process, NodeEv::Stop { cmd }),
            GuardEffect::Send { msg, .. } => self.send_up(member, msg),
            GuardEffect::AskPromise { ask } => self.ask_peer(member, ask),
            GuardEffect::AnswerPromise { answer, .. } => self.answer_peer(member, answer),
            GuardEffect::Persist { id, record } => {
                assert!(self.node(member).writing.is_none(), "two writes at once");
                self.node(member).writing = Some((id, record));
                let takes = self.rng.range(100, 6_000) * 1_000;
                self.after(takes, Ev::GuardWritten { member, life });
            }
            GuardEffect::Event(event) => self.log(|| format!("guard {member}: {event:?}")),
        }
    }

    pub fn guard_written(&mut self, member: Member, life: u64) {
        let node = self.node(member);
        if node.life != life {
            return;
        }
        let Some((id, record)) = node.writing.take() else { return };
        if node.disk_full {
            return self.tell_guard(member, GuardInput::PersistFailed { id });
        }
        node.disk = record;
        self.tell_guard(member, GuardInput::Persisted { id });
    }

    /// A kill takes anything up to the kill budget; all of it is likely.
    fn kill_takes(&mut self) -> u64 {
        let budget = self.settings.lease.kill_budget.as_nanos() as u64;
        match self.rng.below(3) {
            0 => budget * 49 / 50,
            1 => self.rng.below(budget * 49 / 50),
            _ => self.rng.below(2 * MS),
        }
    }

    pub fn spawn(&mut self, member: Member, life: u64, process: u64) {
        let node = self.node(member);
        if (node.life, process) <= node.spawned || node.life != life || node.red.is_some() {
            return;
        }
        let node = self.node(member);
        node.spawned = (life, process);
        node.uid += 1;
        let uid = node.uid;
        node.red = Some(Red {
            uid,
            process,
            booted: false,
            flows: None,
            frozen: false,
            hung: false,
            hung_at: 0,
            lease: (Epoch::NONE, Time::ZERO),
            lease_version: 0,
            last_command: 0,
            waiting: VecDeque::new(),
            dying: false,
        });
        self.tell_guard(member, GuardInput::Spawned { process });
        let boot = self.rng.range(50, 600) * MS;
        self.after(boot, Ev::Node { member, uid, what: NodeEv::Booted });
    }

    fn command(&mut self, member: Member, process: u64, what: NodeEv) {
        let takes = self.rng.range(50, 500) * 1_000;
        let now = self.now;
        let Some(red) = self.nodes[member.index()].red.as_mut().filter(|r| r.process == process) else { return };
        // The pipe to the module keeps its order.
        red.last_command = (now + takes).max(red.last_command + 1);
        let (uid, when) = (red.uid, red.last_command);
        self.at(when, Ev::Node { member, uid, what });
    }

    fn set_lease(&mut self, member: Member, process: u64, epoch: Epoch, end: Time) {
        let walls = self.broken != Some(Rule::KillAtEnd);
        let late = self.kill_takes();
        let truth = self.now;
        let node = self.node(member);
        let clock = node.clock;
        let Some(red) = node.red.as_mut().filter(|r| r.process == process) else { return };
        red.lease = (epoch, end);
        red.lease_version += 1;
        let (uid, version) = (red.uid, red.lease_version);
        if walls {
            let when = clock.truth(end, truth).saturating_add(late);
            self.at(when, Ev::Node { member, uid, what: NodeEv::LeaseEnd { version } });
        }
    }

    pub fn node_event(&mut self, member: Member, uid: u64, what: NodeEv) {
        let truth = self.now;
        let walls = self.broken != Some(Rule::KillAtEnd);
        let node = &mut self.nodes[member.index()];
        let Some(red) = node.red.as_mut().filter(|r| r.uid == uid) else { return };
        if what != NodeEv::Die && red.frozen {
            return red.waiting.push_back(what);
        }
        if red.hung && !matches!(what, NodeEv::Die | NodeEv::Lag | NodeEv::LeaseEnd { .. }) {
            return red.waiting.push_back(what);
        }
        let process = red.process;
        let open = node.clock.local(truth) < red.lease.1 || !walls;
        let module = |event| GuardInput::Module { process, event };
        match what {
            NodeEv::Booted => {
                red.booted = true;
                self.tell_guard(
                    member,
                    module(ModuleEvent::Ready { revision: None, node_red: None, missing_types: Vec::new() }),
                );
                self.after(100 * MS, Ev::Node { member, uid, what: NodeEv::Lag });
            }
            NodeEv::Start { cmd } if !open || node.start_fails => {
                let failure = StartFailure { kind: StartFailureKind::Failed, text: "no lease".into() };
                self.tell_guard(member, module(ModuleEvent::StartFailed { cmd, failure }));
            }
            NodeEv::Start { cmd } => {
                let epoch = red.lease.0;
                red.flows = Some(epoch);
                let most = node.slow_start;
                self.started_flows(member, epoch);
                let takes = self.rng.below(most + 1) * MS + 100_000;
                self.after(takes, Ev::Node { member, uid, what: NodeEv::Started { cmd, works: true } });
            }
            NodeEv::Started { cmd, .. } => {
                self.tell_guard(member, module(ModuleEvent::FlowsStarted { cmd }));
            }
            NodeEv::Stop { cmd } => {
                let most = node.slow_stop;
                let takes = self.rng.below(most + 1) * MS + 100_000;
                self.after(takes, Ev::Node { member, uid, what: NodeEv::Stopped { cmd } });
            }
            NodeEv::Stopped { cmd } => {
                red.flows = None;
                self.tell_guard(member, module(ModuleEvent::FlowsStopped { cmd }));
            }
            NodeEv::Lag => {
                let ms = if red.hung { (truth - red.hung_at) / MS } else { 1 };
                self.tell_guard(member, module(ModuleEvent::Lag { ms }));
                self.after(450 * MS, Ev::Node { member, uid, what: NodeEv::Lag });
            }
            NodeEv::LeaseEnd { version } => {
                if red.lease_version == version && red.flows.is_some() {
                    self.log(|| format!("the walls end Node-RED {member}"));
                    self.red_dies(member);
                }
            }
            NodeEv::Die => self.red_dies(member),
        }
    }

    /// Invariant: flows start under a new highest epoch only, and for one member only.
    fn started_flows(&mut self, member: Member, epoch: Epoch) {
        self.log(|| format!("flows of {member} start under epoch {epoch}"));
        if epoch <= self.highest {
            let highest = self.highest;
            self.violate(format!("{member} starts flows under epoch {epoch}; epoch {highest} has run already"));
        }
        self.highest = epoch;
    }

    pub fn red_dies(&mut self, member: Member) {
        let Some(red) = self.node(member).red.take() else { return };
        self.log(|| format!("Node-RED {member} is gone"));
        let life = self.node(member).life;
        let seen = self.rng.below(10) * MS;
        self.after(seen, Ev::ExitSeen { member, life, process: red.process });
    }

    pub fn exit_seen(&mut self, member: Member, life: u64, process: u64) {
        if self.node(member).life == life {
            self.tell_guard(member, GuardInput::Exited { process, code: None, signal: Some(9) });
        }
    }

    pub fn red_hangs(&mut self, member: Member) {
        let now = self.now;
        if let Some(red) = &mut self.node(member).red {
            red.hung = true;
            red.hung_at = now;
        }
    }

    pub fn red_goes_on(&mut self, member: Member) {
        let truth = self.now;
        let walls = self.broken != Some(Rule::KillAtEnd);
        let node = self.node(member);
        let local = node.clock.local(truth);
        let Some(red) = &mut node.red else { return };
        let was_frozen = red.frozen;
        red.frozen = false;
        red.hung = false;
        let uid = red.uid;
        let waiting = std::mem::take(&mut red.waiting);
        // The gate looks at the clock before the first message is delivered.
        if was_frozen && walls && red.flows.is_some() && local >= red.lease.1 {
            red.flows = None;
            return self.red_dies(member);
        }
        for what in waiting {
            self.node_event(member, uid, what);
        }
    }

    pub fn red_freezes(&mut self, member: Member) {
        if let Some(red) = &mut self.node(member).red {
            red.frozen = true;
        }
    }
}
