//! The queue of events, and what is checked after each.

use super::clock::Clock;
use super::control::Control;
use super::faults::{Fault, Profile};
use super::net::{Conn, Net};
use super::node::Node;
use super::rng::{MS, Rng};
use hotspare_decide::message::{Down, ExitReceipt, PromiseAnswer, PromiseAsk, Up};
use hotspare_decide::{Epoch, Member, Rule, Settings};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that happens at a moment of true time.
#[derive(Clone, Debug)]
pub enum Ev {
    WakeControl(u64),
    WakeGuard(Member, u64),
    ToControl {
        member: Member,
        conn: u64,
        msg: Up,
    },
    ToGuard {
        member: Member,
        conn: u64,
        msg: Down,
    },
    /// A launcher tries to connect.
    Connect {
        member: Member,
        life: u64,
    },
    /// One end of a connection notices that it is gone.
    ControlSeesDown {
        member: Member,
        conn: u64,
        era: u64,
    },
    GuardSeesDown {
        member: Member,
        conn: u64,
        era: u64,
    },
    Receipt {
        member: Member,
        receipt: ExitReceipt,
    },
    Ask {
        to: Member,
        ask: PromiseAsk,
    },
    Answer {
        to: Member,
        answer: PromiseAnswer,
    },
    ControlWritten {
        life: u64,
    },
    GuardWritten {
        member: Member,
        life: u64,
    },
    ControlBoots,
    LauncherBoots {
        member: Member,
    },
    Spawn {
        member: Member,
        life: u64,
        process: u64,
    },
    Node {
        member: Member,
        uid: u64,
        what: NodeEv,
    },
    /// The launcher is told of the exit.
    ExitSeen {
        member: Member,
        life: u64,
        process: u64,
    },
    ProbeTick,
    /// Something the controller is told.
    ToControlInput(Box<hotspare_decide::Input>),
    /// The end of a fault; void once everything was healed.
    Undo(Fault),
    NextFault,
}

/// What happens inside one Node-RED process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeEv {
    Booted,
    Start {
        cmd: u64,
    },
    Started {
        cmd: u64,
        works: bool,
    },
    Stop {
        cmd: u64,
    },
    Stopped {
        cmd: u64,
    },
    Lag,
    /// The walls: at the end of the lease (and a part of the kill budget later).
    LeaseEnd {
        version: u64,
    },
    Die,
}

pub struct World {
    pub rng: Rng,
    pub now: u64,
    pub trace: bool,
    pub broken: Option<Rule>,
    pub settings: Settings,
    pub profile: Profile,
    pub net: Net,
    pub nodes: [Node; 2],
    pub control: Control,
    /// Faults happen.
    pub faulty: bool,
    pub faults_left: u64,
    /// Rises when everything is healed.
    pub era: u64,
    /// The first thing that went wrong.
    pub violation: Option<String>,
    /// The highest epoch under which flows were ever started.
    pub highest: Epoch,
    /// When flows last ran anywhere.
    pub served_at: u64,
    pub steps: u64,
    pub failovers: u64,
    /// When, in which order, and where in `slots`.
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    slots: Vec<Option<Ev>>,
    free: Vec<usize>,
    queued: u64,
}

impl World {
    pub fn new(seed: u64, broken: Option<Rule>, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let settings = super::run::random_settings(&mut rng);
        let drift = settings.lease.drift_ppm;
        let clocks = [(); 3].map(|()| Clock::new(&mut rng, drift));
        let profile = Profile::random(&mut rng);
        let nodes = [Node::new(clocks[0]), Node::new(clocks[1])];
        World {
            now: 0,
            trace,
            broken,
            control: Control::new(clocks[2]),
            settings,
            profile,
            net: Net::default(),
            nodes,
            faulty: false,
            faults_left: 0,
            era: 0,
            violation: None,
            highest: Epoch::NONE,
            served_at: 0,
            steps: 0,
            failovers: 0,
            queue: BinaryHeap::with_capacity(256),
            slots: Vec::with_capacity(256),
            free: Vec::with_capacity(256),
            queued: 0,
            rng,
        }
    }

    pub fn at(&mut self, when: u64, ev: Ev) {
        self.queued += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(ev);
        self.queue.push(Reverse((when.max(self.now), self.queued, slot)));
    }

    pub fn after(&mut self, delay: u64, ev: Ev) {
        self.at(self.now + delay, ev);
    }

    pub fn log(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>12.3} ms  {}", self.now as f64 / MS as f64, text());
        }
    }

    pub fn violate(&mut self, what: String) {
        self.log(|| format!("VIOLATION: {what}"));
        self.violation.get_or_insert(what);
    }

    /// Runs until true time `until`, or a violation.
    pub fn run_until(&mut self, until: u64) {
        while self.violation.is_none() {
            match self.queue.peek() {
                Some(Reverse(next)) if next.0 <= until => {}
                _ => break,
            }
            let Some(Reverse((when, _, slot))) = self.queue.pop() else { break };
            self.free.push(slot);
            let Some(ev) = self.slots[slot].take() else { continue };
            self.now = when;
            self.steps += 1;
            if self.steps > 2_000_000 {
                self.violate("the run does not come to rest (two million steps)".into());
            }
            self.happen(ev);
            self.check();
        }
        if self.violation.is_none() {
            self.now = until;
        }
    }

    fn happen(&mut self, ev: Ev) {
        match ev {
            Ev::WakeControl(version) => self.wake_control(version),
            Ev::WakeGuard(member, version) => self.wake_guard(member, version),
            Ev::ToControl { member, conn, msg } => self.reaches_control(member, conn, msg),
            Ev::ToGuard { member, conn, msg } => self.reaches_guard(member, conn, msg),
            Ev::Connect { member, life } => self.connect(member, life),
            Ev::ControlSeesDown { member, conn, era } => self.control_sees_down(member, conn, era),
            Ev::GuardSeesDown { member, conn, era } => self.guard_sees_down(member, conn, era),
            Ev::Receipt { member, receipt } => self.receipt_reaches_control(member, receipt),
            Ev::Ask { to, ask } => self.ask_reaches(to, ask),
            Ev::Answer { to, answer } => self.answer_reaches(to, answer),
            Ev::ControlWritten { life } => self.control_written(life),
            Ev::GuardWritten { member, life } => self.guard_written(member, life),
            Ev::ControlBoots => self.control_boots(),
            Ev::LauncherBoots { member } => self.launcher_boots(member),
            Ev::Spawn { member, life, process } => self.spawn(member, life, process),
            Ev::Node { member, uid, what } => self.node_event(member, uid, what),
            Ev::ExitSeen { member, life, process } => self.exit_seen(member, life, process),
            Ev::ProbeTick => self.probe_tick(),
            Ev::ToControlInput(input) => self.tell_control(*input),
            Ev::Undo(fault) if self.faulty => self.undo(fault),
            Ev::Undo(_) => {}
            Ev::NextFault => self.next_fault(),
        }
    }

    /// The invariants, on ground truth.
    fn check(&mut self) {
        let running = [self.runs(Member::A), self.runs(Member::B)];
        if let [Some(a), Some(b)] = running {
            self.violate(format!("both members run flows: a under epoch {a}, b under epoch {b}"));
        }
        if running[0].is_some() || running[1].is_some() {
            self.served_at = self.now;
        }
    }

    pub fn conn(&mut self, member: Member) -> &mut Conn {
        &mut self.net.conns[member.index()]
    }

    pub fn node(&mut self, member: Member) -> &mut Node {
        &mut self.nodes[member.index()]
    }
}
