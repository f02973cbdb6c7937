//! Time, the two members, the controller with its disk, and what goes wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use hotspare_decide::message::{
    Down, FenceHow, FlowState, Heartbeat, MemberStatus, StartFailure, StartFailureKind, Up,
};
use hotspare_decide::{
    Decider, Effect, Epoch, Fencing, Input, LinkId, Member, OnUnreachable, Operator, PerMember, ProbeOutcome, Record,
    Route, Settings, Tenure, Time,
};

use crate::driver::{Driver, Job};
use crate::follower::Follower;
use crate::member::{Flows, Node, Request};
use crate::rng::Rng;

const LOOK_EVERY: u64 = 100;
const LOOK_TIMEOUT: u64 = 1_000;
/// For the driver: until it gives up on an order, which may be carried out all the same.
const PATIENCE: u64 = 3_000;
const WALL: u64 = 1_800_000_000_000;

#[derive(Debug)]
pub enum Ev {
    Look { m: Member, life: u64 },
    Looked { m: Member, life: u64, turn: u64, saw: Option<Flows> },
    Arrives { m: Member, number: u64 },
    Changed { m: Member, change: u64, to: Flows },
    Answered { m: Member, life: u64, number: u64, quiet: bool },
    GivesUp { m: Member, life: u64, turn: u64 },
    Written { life: u64, id: u64, record: Box<Record> },
    NotWritten { life: u64, id: u64 },
    Heals { m: Member },
    Thaws { m: Member },
    Boots,
    DiskIsRight,
    Trouble,
    Wake,
    FollowerLooks { m: Member },
    FollowerLooked { m: Member, saw: Option<Flows> },
    FollowerReads { record: Box<Record> },
}

pub struct World {
    pub rng: Rng,
    trace: bool,
    /// Milliseconds.
    now: u64,
    events: BTreeMap<(u64, u64), Ev>,
    count: u64,
    settings: Settings,
    nodes: [Node; 2],
    drivers: [Driver; 2],
    decider: Option<Decider>,
    pub follower: Follower,
    /// When it reads the newest record.
    reads_at: u64,
    /// Which controller this is, counted up at each death.
    life: u64,
    disk: Option<Record>,
    disk_fails: bool,
    faulty: bool,
    pub starts: u64,
    pub violation: Option<String>,
}

fn settings(rng: &mut Rng) -> Settings {
    let ms = Duration::from_millis;
    let kind = Fencing::Confirmed(OnUnreachable::Wait);
    let mut s =
        Settings { fencing: PerMember::new(kind, kind), prefer: rng.pick(&Member::BOTH), ..Settings::default() };
    s.health.checks = 1;
    s.health.rise = 1;
    s.health.fall = rng.pick(&[1, 3]);
    s.health.start_grace = ms(1_000);
    s.deadlines.recover = ms(rng.pick(&[0, 500, 3_000]));
    s.deadlines.observe = ms(rng.pick(&[0, 1_000]));
    // A start takes up to 0.8 s here: what is too short for that waits ever longer between its tries.
    s.deadlines.start = ms(rng.pick(&[1_500, 5_000]));
    s.deadlines.stop_grace = ms(rng.pick(&[200, 2_000]));
    s.deadlines.drain = ms(rng.pick(&[0, 300]));
    s.deadlines.verify = ms(1_500);
    s.deadlines.start_grace = ms(1_500);
    s.deadlines.restart = ms(5_000);
    s.damping.hold_down = ms(rng.pick(&[0, 500]));
    s.damping.hold_down_max = ms(2_000);
    s.damping.max_per_hour = rng.pick(&[6, 100]);
    s
}

impl World {
    pub fn new(seed: u64, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let launched = rng.chance(50);
        let settings = settings(&mut rng);
        let follower = Decider::follower(Time::from_nanos(1_000_000_000), WALL, "x".into(), settings.clone());
        World {
            trace,
            now: 1_000,
            events: BTreeMap::new(),
            count: 0,
            settings,
            follower: Follower::new(follower),
            reads_at: 0,
            nodes: [Node::new(launched), Node::new(launched)],
            drivers: Default::default(),
            decider: None,
            life: 0,
            disk: None,
            disk_fails: false,
            faulty: false,
            starts: 0,
            violation: None,
            rng,
        }
    }

    /// Comes up, suffers, is healed, and must serve again.
    pub fn play(&mut self) {
        self.after(0, Ev::Boots);
        for m in Member::BOTH {
            self.after(0, Ev::FollowerLooks { m });
        }
        self.run_until(self.now + 4_000);
        self.faulty = true;
        self.after(0, Ev::Trouble);
        let lasts = self.rng.range(2_000, 20_000);
        self.run_until(self.now + lasts);
        self.heal();
        self.must_serve_again();
    }

    fn heal(&mut self) {
        self.faulty = false;
        self.say("healed");
        for m in Member::BOTH {
            self.after(0, Ev::Heals { m });
            self.after(0, Ev::Thaws { m });
        }
        self.after(0, Ev::DiskIsRight);
        if self.decider.is_none() {
            self.after(0, Ev::Boots);
        }
        self.run_until(self.now + 100);
        self.operator(Operator::Resume);
        self.operator(Operator::Unfreeze);
        for member in Member::BOTH {
            self.operator(Operator::Release { member });
        }
    }

    fn must_serve_again(&mut self) {
        let deadline = self.now + 120_000;
        let mut well = 0;
        while self.violation.is_none() && well < 4 {
            if self.now > deadline {
                let view = self.decider.as_ref().map(|d| d.view(self.time()));
                let follower = self.follower.decider.route();
                return self.violate(format!(
                    "healed, and not well after two minutes: {view:?}; the follower: {follower:?}; {:?}",
                    self.nodes
                ));
            }
            self.run_until(self.now + 200);
            // An operator who looks on: after too many failovers it is frozen, as it was told to.
            if self.decider.as_ref().is_some_and(|d| d.view(self.time()).frozen) {
                self.operator(Operator::Unfreeze);
            }
            well = if self.is_well() { well + 1 } else { 0 };
        }
    }

    fn is_well(&mut self) -> bool {
        let Some((m, epoch)) = self.decider.as_ref().and_then(|d| d.active()) else { return false };
        let route = Route::To { member: m, epoch };
        let routed = self.decider.as_ref().is_some_and(|d| d.route() == route);
        routed
            && self.follower.goes_to(m)
            && self.node(m).flows == Flows::Running
            && !self.node(m.other()).flows.may_run()
    }

    fn run_until(&mut self, until: u64) {
        while self.violation.is_none() {
            let deciders = self.decider.iter().chain([&self.follower.decider]);
            let due = deciders.filter_map(Decider::poll_timeout).min();
            let due = due.map(|at| at.as_nanos().div_ceil(1_000_000).max(self.now));
            let next = self.events.keys().next().map(|(at, _)| *at);
            if due.is_none_or(|due| due > until) && next.is_none_or(|next| next > until) {
                break;
            }
            if due.is_some_and(|due| next.is_none_or(|next| due < next)) {
                self.now = due.unwrap();
                self.happens(Ev::Wake);
            } else {
                let ((at, _), ev) = self.events.pop_first().unwrap();
                self.now = at.max(self.now);
                self.happens(ev);
            }
        }
        self.now = self.now.max(until);
    }

    fn happens(&mut self, ev: Ev) {
        if !matches!(ev, Ev::Look { .. } | Ev::Wake | Ev::FollowerLooks { .. }) {
            self.say(&format!("{ev:?}"));
        }
        let ours = self.life;
        match ev {
            Ev::Look { m, life } if life == ours && self.decider.is_some() => self.look(m),
            Ev::Looked { m, life, turn, saw } if life == ours && self.decider.is_some() => self.looked(m, turn, saw),
            Ev::Arrives { m, number } => self.arrives(m, number),
            Ev::Changed { m, change, to } if self.node(m).change == change => {
                self.change(m, to);
                self.finish(m);
            }
            Ev::Answered { m, life, number, quiet } if life == ours => self.answered(m, number, quiet),
            Ev::GivesUp { m, life, turn } if life == ours && self.driver(m).turn == turn => self.job_ends(m, false),
            Ev::Written { life, id, record } if life == ours => {
                self.write(*record);
                self.tell(Input::Persisted { id });
            }
            Ev::NotWritten { life, id } if life == ours => {
                self.tell(Input::PersistFailed { id, reason: "full".into() });
            }
            Ev::Heals { m } => {
                self.node(m).cut = false;
                for request in self.node(m).on_the_way.clone() {
                    self.after(1, Ev::Arrives { m, number: request.number });
                }
            }
            Ev::Thaws { m } => {
                self.node(m).hung = false;
                self.work(m);
            }
            Ev::Boots if self.decider.is_none() => self.boots(),
            Ev::DiskIsRight => self.disk_fails = false,
            Ev::Trouble if self.faulty => self.trouble(),
            Ev::Wake => {
                let time = self.time();
                if let Some(decider) = &mut self.decider {
                    decider.handle_timeout(time);
                }
                self.follower_wakes();
            }
            Ev::FollowerLooks { m } => self.follower_looks(m),
            Ev::FollowerLooked { m, saw } => self.follower_looked(m, saw),
            Ev::FollowerReads { record } => self.follower_reads(&record),
            _ => {}
        }
        self.carry_out();
        self.check();
    }

    // --- the members ---

    fn arrives(&mut self, m: Member, number: u64) {
        let node = self.node(m);
        let Some(at) = node.on_the_way.iter().position(|r| r.number == number).filter(|_| !node.cut) else { return };
        let request = node.on_the_way.remove(at);
        node.waiting.push_back(request);
        self.work(m);
    }

    /// One request after the other, and none while it hangs; nr-launcher ends a process that hangs.
    fn work(&mut self, m: Member) {
        let node = self.node(m);
        let settled =
            !matches!(node.flows, Flows::Starting | Flows::Closing) || (node.launched && node.at_work.is_none());
        if node.at_work.is_some() || !settled || (node.hung && !node.launched) {
            return;
        }
        let Some(request) = node.waiting.pop_front() else { return };
        node.at_work = Some(request);
        let (launched, flows) = (node.launched, node.flows);
        let takes = self.rng.range(1, 800);
        match (request.start, flows) {
            (true, Flows::Stopped) => self.changes(m, Flows::Starting, Flows::Running, takes),
            (true, Flows::Down) if launched => self.changes(m, Flows::Starting, Flows::Running, takes),
            (false, Flows::Running | Flows::Starting) if launched => {
                self.node(m).hung = false;
                self.changes(m, Flows::Closing, Flows::Down, takes);
            }
            (false, Flows::Running) => self.changes(m, Flows::Closing, Flows::Stopped, takes),
            _ => self.finish(m),
        }
    }

    fn changes(&mut self, m: Member, over: Flows, to: Flows, takes: u64) {
        self.change(m, over);
        let change = self.node(m).change;
        self.after(takes, Ev::Changed { m, change, to });
    }

    fn change(&mut self, m: Member, to: Flows) {
        let node = self.node(m);
        node.flows = to;
        node.change += 1;
    }

    /// What was at work is done: its sender is told, if it is there and can be reached.
    fn finish(&mut self, m: Member) {
        if let Some(request) = self.node(m).at_work.take() {
            let quiet = self.node(m).is_quiet();
            if !self.node(m).cut && !self.rng.chance(if self.faulty { 15 } else { 0 }) {
                let after = self.rng.range(1, 20);
                self.after(after, Ev::Answered { m, life: request.life, number: request.number, quiet });
            }
        }
        self.work(m);
    }

    fn crashes(&mut self, m: Member) {
        if self.node(m).flows == Flows::Down {
            return;
        }
        let launched = self.node(m).launched;
        let had_flows = self.node(m).flows.may_run();
        let node = self.node(m);
        node.hung = false;
        if !launched {
            // With its sockets goes what waited in them.
            node.waiting.clear();
            node.at_work = None;
        }
        let takes = self.rng.range(300, 2_000);
        match (launched, had_flows) {
            // Started again by its launcher, unasked, flows on: for us it may run all the time.
            (true, true) if self.node(m).at_work.is_none() => self.changes(m, Flows::Starting, Flows::Running, takes),
            (true, _) => {}
            (false, _) => self.changes(m, Flows::Down, Flows::Stopped, takes),
        }
    }

    // --- the drivers ---

    fn look(&mut self, m: Member) {
        let life = self.life;
        let takes = self.rng.range(1, 60);
        let (turn, node) = (self.driver(m).turn, self.node(m));
        let silent = node.cut || node.hung;
        let saw = match node.flows {
            _ if silent => None,
            Flows::Starting | Flows::Closing => None,
            // A stop counts when nothing is still to come; else it must last, which is for the real driver to see to.
            Flows::Stopped | Flows::Down if !node.is_quiet() => None,
            flows => Some(flows),
        };
        self.reachable(m);
        let takes = if silent { LOOK_TIMEOUT } else { takes };
        self.after(takes, Ev::Looked { m, life, turn, saw });
    }

    /// Whether orders can be given: by Node-RED itself, or by its launcher.
    fn reachable(&mut self, m: Member) {
        let life = self.life;
        let node = self.node(m);
        let reachable = !node.cut && (node.launched || (!node.hung && node.flows != Flows::Down));
        match (reachable, self.driver(m).link) {
            (true, None) => {
                self.count += 1;
                let link = self.count;
                self.driver(m).link = Some(link);
                self.tell(Input::LinkUp { member: m, link: LinkId(link), session: life });
            }
            (false, Some(link)) => {
                self.driver(m).link = None;
                self.tell(Input::LinkDown { member: m, link: LinkId(link) });
            }
            _ => {}
        }
    }

    fn looked(&mut self, m: Member, turn: u64, saw: Option<Flows>) {
        let life = self.life;
        self.after(LOOK_EVERY, Ev::Look { m, life });
        let active = matches!(self.decider.as_ref().map(Decider::route), Some(Route::To { member, .. }) if member == m);
        let launched = self.node(m).launched;
        let reason = || "as seen".to_owned();
        let stopped = |flows| {
            let ready = flows == Flows::Stopped || launched;
            let outcome = if active || !ready { ProbeOutcome::Fail { reason: reason() } } else { ProbeOutcome::Pass };
            (outcome, Some(if flows == Flows::Down { FlowState::Down } else { FlowState::Stopped }))
        };
        let (outcome, flows) = match saw {
            Some(Flows::Running) => (ProbeOutcome::Pass, Some(FlowState::Running)),
            Some(flows) => stopped(flows),
            None if self.driver(m).link.is_some() => (ProbeOutcome::Fail { reason: reason() }, None),
            None => (ProbeOutcome::Unknown { reason: reason() }, None),
        };
        self.driver(m).seq += 1;
        let driver = self.driver(m);
        let status = MemberStatus {
            flows: flows.unwrap_or(if active { FlowState::Running } else { FlowState::Stopping }),
            tenure: Some(Epoch(driver.tenure)).filter(|t| t.0 != 0 && flows == Some(FlowState::Running)),
            max_epoch: Epoch(driver.max_epoch),
            ..MemberStatus::default()
        };
        let seq = driver.seq;
        self.says(m, Up::Heartbeat(Heartbeat { seq, echo: None, status }));
        if self.driver(m).turn == turn && self.driver(m).job.is_none() {
            self.tell(Input::Probe { member: m, check: 0, outcome, flows });
        }
    }

    fn says(&mut self, m: Member, msg: Up) {
        if let Some(link) = self.driver(m).link {
            self.tell(Input::Up { member: m, link: LinkId(link), msg });
        }
    }

    fn ordered(&mut self, m: Member, order: Down) {
        // A fence comes in between a start.
        if let (Some(Job::Start { op, epoch }), Down::Fence { epoch: up_to, .. }) = (self.driver(m).job, &order)
            && up_to.0 >= epoch
        {
            self.driver(m).waiting.push_back(order);
            return self.start_failed(m, op, epoch);
        }
        self.driver(m).waiting.push_back(order);
        self.next_job(m);
    }

    fn next_job(&mut self, m: Member) {
        if self.driver(m).job.is_some() {
            return;
        }
        let Some(order) = self.driver(m).waiting.pop_front() else { return };
        match order {
            Down::Start { op, epoch, .. } => {
                let driver = self.driver(m);
                let newest = driver.max_epoch;
                driver.max_epoch = newest.max(epoch.0);
                if newest > epoch.0 || (newest == epoch.0 && driver.tenure != epoch.0) {
                    return self.start_failed(m, op, epoch.0);
                }
                driver.tenure = epoch.0;
                self.begins(m, Job::Start { op, epoch: epoch.0 }, Some(true));
            }
            Down::Fence { op, epoch, .. } => {
                if epoch.0 < self.driver(m).tenure {
                    self.says(m, Up::Fenced { op, epoch, how: FenceHow::NeverRan });
                    return self.next_job(m);
                }
                self.driver(m).max_epoch = self.driver(m).max_epoch.max(epoch.0);
                // Other fences that wait are the same.
                self.driver(m).waiting.retain(|o| !matches!(o, Down::Fence { .. }));
                self.begins(m, Job::Fence { op, epoch: epoch.0 }, Some(false));
            }
            Down::Restart { op } if self.node(m).launched => self.begins(m, Job::Restart { op }, None),
            Down::Restart { op } => {
                self.says(m, Up::Restarted { op, failure: Some("it has no call for that".into()) });
                self.next_job(m);
            }
            _ => self.next_job(m),
        }
    }

    fn begins(&mut self, m: Member, job: Job, start: Option<bool>) {
        let life = self.life;
        let driver = self.driver(m);
        driver.turn += 1;
        driver.job = Some(job);
        let turn = driver.turn;
        match start {
            // A restart of a spare that is down, or comes back down.
            None => self.after(200, Ev::GivesUp { m, life, turn }),
            Some(start) => {
                self.count += 1;
                let number = self.count;
                self.driver(m).request = Some(number);
                self.node(m).on_the_way.push(Request { number, start, life });
                let takes = self.rng.range(1, 30);
                self.after(takes, Ev::Arrives { m, number });
                self.after(PATIENCE, Ev::GivesUp { m, life, turn });
            }
        }
    }

    fn answered(&mut self, m: Member, number: u64, quiet: bool) {
        if self.driver(m).request != Some(number) {
            return;
        }
        self.driver(m).request = None;
        let flows = self.node(m).flows;
        let fact = match self.driver(m).job {
            Some(Job::Start { .. }) => flows == Flows::Running,
            Some(Job::Fence { .. }) => quiet && self.node(m).is_quiet() && !flows.may_run(),
            _ => true,
        };
        self.job_ends(m, fact);
    }

    fn job_ends(&mut self, m: Member, well: bool) {
        let Some(job) = self.driver(m).job.take() else { return };
        self.driver(m).turn += 1;
        self.driver(m).request = None;
        match job {
            Job::Start { op, epoch } if well => {
                let (outcome, flows) = (ProbeOutcome::Pass, Some(FlowState::Running));
                self.tell(Input::Probe { member: m, check: 0, outcome, flows });
                self.says(m, Up::Started { op, epoch: Epoch(epoch), failure: None });
            }
            Job::Start { op, epoch } => return self.start_failed(m, op, epoch),
            Job::Fence { op, epoch } if well => {
                self.driver(m).tenure = 0;
                self.says(m, Up::Fenced { op, epoch: Epoch(epoch), how: FenceHow::FlowsStopped });
            }
            Job::Fence { .. } => {}
            Job::Restart { op } => self.says(m, Up::Restarted { op, failure: None }),
        }
        self.next_job(m);
    }

    fn start_failed(&mut self, m: Member, op: hotspare_decide::OpId, epoch: u64) {
        if self.driver(m).job.take().is_some() {
            self.driver(m).turn += 1;
            self.driver(m).request = None;
        }
        let failure = Some(StartFailure { kind: StartFailureKind::Failed, text: "no".into() });
        self.says(m, Up::Started { op, epoch: Epoch(epoch), failure });
        self.next_job(m);
    }

    // --- the controller ---

    fn boots(&mut self) {
        let time = self.time();
        self.decider = Some(Decider::new(time, WALL + self.now, "x".into(), self.settings.clone(), self.disk.clone()));
        for m in Member::BOTH {
            let (after, life) = (self.rng.range(1, 200), self.life);
            self.after(after, Ev::Look { m, life });
        }
    }

    fn dies(&mut self) {
        self.decider = None;
        self.drivers = Default::default();
        self.life += 1;
        // A write under way may have been done, or not.
        let half_done = self.events.values().find_map(|ev| match ev {
            Ev::Written { life, record, .. } if *life + 1 == self.life => Some(Record::clone(record)),
            _ => None,
        });
        if let Some(record) = half_done.filter(|_| self.rng.chance(50)) {
            self.write(record);
        }
        let away = self.rng.range(1, 3_000);
        self.after(away, Ev::Boots);
    }

    fn write(&mut self, record: Record) {
        self.disk = Some(record.clone());
        let soon = self.now + self.rng.range(1, 200);
        self.reads_at = self.reads_at.max(soon);
        self.after(self.reads_at - self.now, Ev::FollowerReads { record: Box::new(record) });
    }

    fn tell(&mut self, input: Input) {
        let time = self.time();
        if let Some(decider) = &mut self.decider {
            decider.handle(time, input);
        }
        self.carry_out();
    }

    fn operator(&mut self, command: Operator) {
        self.say(&format!("{command:?}"));
        self.count += 1;
        self.tell(Input::Operator { request: self.count, command });
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.decider.as_mut().and_then(Decider::poll_effect) {
            if !matches!(effect, Effect::Probe { .. }) {
                self.say(&format!("    {}", format!("{effect:?}").split(", observations").next().unwrap_or_default()));
            }
            match effect {
                Effect::Persist { id, record } => {
                    let (life, record, takes) = (self.life, Box::new(record), self.rng.range(1, 40));
                    let done = Ev::Written { life, id, record };
                    self.after(takes, if self.disk_fails { Ev::NotWritten { life, id } } else { done });
                }
                Effect::Send { member, link, msg } => {
                    if let Down::Start { epoch, .. } = msg {
                        self.starts += 1;
                        let tenure = Tenure { member, epoch };
                        if !self.disk.as_ref().is_some_and(|r| r.epoch >= epoch && r.tenures.contains(&tenure)) {
                            self.violate(format!("{member} is started under epoch {epoch} before that is durable"));
                        }
                    }
                    if self.driver(member).link == Some(link.0) {
                        self.ordered(member, msg);
                    }
                }
                _ => {}
            }
        }
    }

    fn check(&mut self) {
        if self.nodes.iter().all(|node| node.flows.may_run()) {
            let both = self.nodes.iter().map(|node| node.flows).collect::<Vec<_>>();
            self.violate(format!("both may run flows: {both:?}"));
        }
        let Some(decider) = &self.decider else { return };
        if let Route::To { member, epoch } = decider.route()
            && decider.active() != Some((member, epoch))
        {
            self.violate(format!("{member} is routed to under epoch {epoch}, and is not active"));
        }
    }

    // --- what goes wrong ---

    fn trouble(&mut self) {
        let again = self.rng.range(50, 2_500);
        self.after(again, Ev::Trouble);
        let m = self.rng.pick(&Member::BOTH);
        let (spell, reason) = (self.rng.spell() / 1_000_000, String::new());
        match self.rng.below(16) {
            0 | 1 => self.crashes(m),
            2 | 3 if self.node(m).flows != Flows::Down => {
                self.node(m).hung = true;
                self.after(spell, Ev::Thaws { m });
            }
            4 | 5 => {
                self.node(m).cut = true;
                self.after(spell, Ev::Heals { m });
            }
            6 | 7 if self.decider.is_some() => self.dies(),
            8 => {
                self.disk_fails = true;
                self.after(spell, Ev::DiskIsRight);
            }
            9 | 10 => self.operator(Operator::Switchover { to: None, reason }),
            11 => self.operator(Operator::Failover { force: false, reason }),
            12 => self.operator(Operator::Restart { reason }),
            13 => self.operator(Operator::Pause { duration: Duration::from_millis(spell), reason }),
            14 => self.operator(Operator::Fence { member: m }),
            15 => self.operator(Operator::Release { member: m }),
            _ => {}
        }
        self.say(&format!("trouble: {:?}", self.nodes));
    }

    // --- small things ---

    pub fn node(&mut self, m: Member) -> &mut Node {
        &mut self.nodes[m.index()]
    }

    fn driver(&mut self, m: Member) -> &mut Driver {
        &mut self.drivers[m.index()]
    }

    pub fn after(&mut self, ms: u64, ev: Ev) {
        self.count += 1;
        self.events.insert((self.now + ms, self.count), ev);
    }

    pub fn time(&self) -> Time {
        Time::from_nanos(self.now * 1_000_000)
    }

    pub fn say(&self, text: &str) {
        if self.trace {
            println!("{:8} {text}", self.now);
        }
    }

    pub fn violate(&mut self, what: String) {
        self.violation.get_or_insert_with(|| format!("at {} ms: {what}", self.now));
    }
}
