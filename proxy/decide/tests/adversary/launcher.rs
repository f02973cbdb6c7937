//! Anything at all is said to a guard; what it does to its Node-RED is judged by books of our own.

use hotspare_decide::message::{
    Down, LauncherSettings, Peer, PromiseAnswer, PromiseAsk, PromiseVerdict, StartFailure, StartFailureKind, Up,
    VERSION, Welcome,
};
use hotspare_decide::{Epoch, Guard, GuardConfig, GuardEffect, GuardInput, GuardRecord, ModuleEvent, OpId, Time};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

#[derive(Clone, Debug)]
pub(crate) enum Said {
    Link(bool, bool),
    Welcome(bool),
    Ack(bool),
    Grant(bool, u8, u8),
    Start(bool, u8, u8),
    Fence(bool, u8, u16),
    Restart,
    Spawned,
    Exited,
    Ready,
    FlowsStarted(bool),
    FlowsStopped(bool),
    StartFailed,
    Halted(bool),
    Lag(u16),
    Asked(u8),
    Answered(u8),
    Written(bool),
    Reboot,
    ManualStop(bool),
}

pub(crate) fn script() -> impl Strategy<Value = Vec<(u16, Said)>> {
    let b = any::<bool>;
    let said = prop_oneof![
        4 => (b(), any::<u8>()).prop_map(|(c, up)| Said::Link(c, up % 4 != 0)),
        4 => b().prop_map(Said::Welcome),
        4 => b().prop_map(Said::Ack),
        10 => (b(), 0u8..4, 0u8..3).prop_map(|(c, s, e)| Said::Grant(c, s, e)),
        10 => (b(), 0u8..4, 0u8..4).prop_map(|(c, s, e)| Said::Start(c, s, e)),
        4 => (b(), 0u8..4, 0u16..500).prop_map(|(c, e, g)| Said::Fence(c, e, g)),
        1 => Just(Said::Restart),
        6 => Just(Said::Spawned),
        1 => Just(Said::Exited),
        6 => Just(Said::Ready),
        6 => b().prop_map(Said::FlowsStarted),
        4 => b().prop_map(Said::FlowsStopped),
        1 => Just(Said::StartFailed),
        2 => b().prop_map(Said::Halted),
        2 => (0u16..3_000).prop_map(Said::Lag),
        4 => (0u8..3).prop_map(Said::Asked),
        4 => (0u8..3).prop_map(Said::Answered),
        8 => any::<u8>().prop_map(|n| Said::Written(n % 8 != 0)),
        1 => Just(Said::Reboot),
        1 => b().prop_map(Said::ManualStop),
    ];
    prop::collection::vec((0u16..400, said), 1..150)
}

struct Books {
    now: u64,
    guard: Guard,
    disk: GuardRecord,
    writing: Option<(u64, GuardRecord)>,
    process: u64,
    command: u64,
    asked: Option<PromiseAsk>,
    /// Numbers and times of the heartbeats sent in this life.
    sent: Vec<(u64, u64)>,
    /// The tenure that may be running, and until when at most.
    running: Option<Epoch>,
    allowed_until: u64,
    /// Nothing may start before.
    promised_until: u64,
    highest: Epoch,
    op: u64,
}

const SESSION: u64 = 40_000;

fn boot(now: u64, life: u64, disk: &GuardRecord) -> Guard {
    Guard::new(time(now), GuardConfig { session: SESSION * life, controllers: 2 }, disk.clone())
}

pub(crate) fn play(script: &[(u16, Said)]) -> Result<(), TestCaseError> {
    let disk = GuardRecord::default();
    let mut books = Books {
        now: 10_000,
        guard: boot(10_000, 1, &disk),
        disk,
        writing: None,
        process: 0,
        command: 0,
        asked: None,
        sent: Vec::new(),
        running: None,
        allowed_until: 0,
        promised_until: 0,
        highest: Epoch::NONE,
        op: 0,
    };
    books.settle()?;
    for (wait, said) in script {
        books.advance(u64::from(*wait))?;
        books.say(said)?;
    }
    books.advance(20_000)
}

impl Books {
    fn advance(&mut self, wait: u64) -> Result<(), TestCaseError> {
        let until = self.now + wait;
        let mut turns = 0;
        while let Some(due) = self.guard.poll_timeout().filter(|due| *due <= time(until)) {
            turns += 1;
            prop_assert!(turns < 10_000, "its timers never come to rest");
            self.now = self.now.max(due.as_nanos().div_ceil(1_000_000));
            self.guard.handle_timeout(time(self.now));
            self.settle()?;
        }
        self.now = until;
        Ok(())
    }

    fn tell(&mut self, input: GuardInput) -> Result<(), TestCaseError> {
        self.guard.handle(time(self.now), input);
        self.settle()
    }

    fn down(&mut self, controller: bool, msg: Down) -> Result<(), TestCaseError> {
        self.tell(GuardInput::Down { controller: usize::from(controller), msg })
    }

    /// A number near the last heartbeat's; some were never sent.
    fn seq(&self, back: u8) -> u64 {
        let last = self.sent.last().map_or(SESSION, |(seq, _)| *seq);
        (last + 1).saturating_sub(u64::from(back))
    }

    fn near(&self, n: u8) -> Epoch {
        Epoch((self.highest.0 + 2).saturating_sub(u64::from(n)))
    }

    fn module(&mut self, event: ModuleEvent) -> Result<(), TestCaseError> {
        let process = self.process;
        self.tell(GuardInput::Module { process, event })
    }

    fn say(&mut self, said: &Said) -> Result<(), TestCaseError> {
        match *said {
            Said::Link(c, true) => self.tell(GuardInput::LinkUp { controller: usize::from(c) }),
            Said::Link(c, false) => self.tell(GuardInput::LinkDown { controller: usize::from(c) }),
            Said::Welcome(c) => {
                let peer = Some(Peer { member: "b".into(), url: String::new(), secret: String::new() });
                let (settings, controller) = (LauncherSettings::default(), String::new());
                self.down(c, Down::Welcome(Welcome { version: VERSION, controller, leader: true, settings, peer }))
            }
            Said::Ack(c) => self.down(c, Down::Ack { seq: self.seq(1), leader: true, left: None }),
            Said::Grant(c, seq, epoch) => {
                let epoch = Epoch(self.near(epoch).0.saturating_sub(1));
                let seq = self.seq(seq);
                let sent = self.sent.iter().find(|(s, _)| *s == seq).map(|(_, at)| *at);
                if let (Some(sent), true) = (sent, self.running == Some(epoch)) {
                    self.allowed_until = self.allowed_until.max(sent + 1_000);
                }
                self.down(c, Down::Grant { seq, epoch, ttl_ms: 1_000 })
            }
            Said::Start(c, seq, epoch) => {
                self.op += 1;
                let (op, epoch, seq) = (OpId(self.op), self.near(epoch), self.seq(seq));
                self.down(c, Down::Start { op, epoch, seq, ttl_ms: 1_000 })
            }
            Said::Fence(c, epoch, grace) => {
                self.op += 1;
                let (op, epoch) = (OpId(self.op), self.near(epoch));
                self.down(c, Down::Fence { op, epoch, grace_ms: u64::from(grace) })
            }
            Said::Restart => self.down(false, Down::Restart { op: OpId(1) }),
            Said::Spawned => self.tell(GuardInput::Spawned { process: self.process }),
            Said::Exited => {
                self.running = None;
                self.tell(GuardInput::Exited { process: self.process, code: Some(1), signal: None })
            }
            Said::Ready => {
                self.module(ModuleEvent::Ready { revision: None, node_red: None, missing_types: Vec::new() })
            }
            Said::FlowsStarted(now) => {
                self.module(ModuleEvent::FlowsStarted { cmd: self.command - u64::from(!now).min(self.command) })
            }
            Said::FlowsStopped(now) => {
                let cmd = self.command - u64::from(!now).min(self.command);
                let stopping = self.guard.status(time(self.now)).flows;
                if now && stopping == hotspare_decide::message::FlowState::Stopping {
                    self.running = None;
                }
                self.module(ModuleEvent::FlowsStopped { cmd })
            }
            Said::StartFailed => {
                let failure = StartFailure { kind: StartFailureKind::Failed, text: String::new() };
                self.module(ModuleEvent::StartFailed { cmd: self.command, failure })
            }
            Said::Halted(yes) => self.module(ModuleEvent::Halted { why: yes.then(|| "by hand".into()) }),
            Said::Lag(ms) => self.module(ModuleEvent::Lag { ms: u64::from(ms) }),
            Said::Asked(n) => {
                let ask = PromiseAsk { ask: 1, epoch: self.near(n) };
                self.tell(GuardInput::PromiseAsked { request: 1, ask })
            }
            Said::Answered(n) => {
                let Some(ask) = self.asked else { return Ok(()) };
                let verdict = match n {
                    0 => PromiseVerdict::HearsController,
                    _ => PromiseVerdict::Given { hold_ms: 2_000 },
                };
                if n > 0 && self.running == Some(ask.epoch) {
                    // Counted from the question at the latest; the books need no more.
                    self.allowed_until = self.allowed_until.max(self.now + 2_000);
                }
                self.tell(GuardInput::PromiseAnswered {
                    answer: PromiseAnswer { ask: ask.ask, epoch: ask.epoch, verdict },
                })
            }
            Said::Written(done) => match self.writing.take() {
                Some((id, record)) if done => {
                    self.disk = record;
                    self.tell(GuardInput::Persisted { id })
                }
                Some((id, _)) => self.tell(GuardInput::PersistFailed { id }),
                None => Ok(()),
            },
            Said::Reboot => {
                self.writing = None;
                self.running = None;
                self.sent.clear();
                self.process = 0;
                self.command = 0;
                self.asked = None;
                let settings = self.disk.settings.unwrap_or_default();
                let wait = settings.lease.bound(settings.lease.promise).as_millis();
                self.promised_until = self.promised_until.max(self.now + u64::try_from(wait).unwrap());
                self.op += 1;
                self.guard = boot(self.now, self.op + 2, &self.disk);
                self.settle()
            }
            Said::ManualStop(restart) => self.tell(GuardInput::ManualStop { restart }),
        }
    }

    fn settle(&mut self) -> Result<(), TestCaseError> {
        while let Some(effect) = self.guard.poll_effect() {
            match effect {
                GuardEffect::Spawn { process, .. } => {
                    prop_assert!(self.running.is_none(), "spawned while one runs");
                    self.process = process;
                }
                GuardEffect::Persist { id, record } => {
                    prop_assert!(self.writing.is_none(), "two writes at once");
                    prop_assert!(record.max_epoch >= self.disk.max_epoch, "the highest epoch went back");
                    self.writing = Some((id, record));
                }
                GuardEffect::StartFlows { epoch, cmd, .. } => {
                    self.command = cmd;
                    prop_assert!(self.running.is_none(), "two starts");
                    prop_assert!(epoch > self.highest, "epoch {} after {}", epoch, self.highest);
                    prop_assert!(self.disk.max_epoch >= epoch, "started before epoch {} is durable", epoch);
                    prop_assert!(self.now >= self.promised_until, "started within a promise");
                    self.highest = epoch;
                    self.running = Some(epoch);
                    self.allowed_until = self.now + 1_000;
                }
                GuardEffect::StopFlows { cmd, .. } => self.command = cmd,
                GuardEffect::SetLease { epoch, end, .. } => {
                    let most = time(self.allowed_until.max(self.now + 1_000));
                    prop_assert!(end <= most, "a lease until {} under epoch {}: longer than given", end, epoch);
                }
                GuardEffect::Send { msg, .. } => self.said_up(msg)?,
                GuardEffect::AskPromise { ask } => self.asked = Some(ask),
                GuardEffect::AnswerPromise { answer, .. } => {
                    if let PromiseVerdict::Given { hold_ms } = answer.verdict {
                        prop_assert!(self.running.is_none(), "an active promises to start nothing");
                        self.promised_until = self.promised_until.max(self.now + hold_ms);
                    }
                }
                GuardEffect::Kill { .. } | GuardEffect::Event(_) => {}
            }
        }
        // What still runs when its permission has ended was ordered to be killed: it is stopping at the latest now.
        let state = self.guard.status(time(self.now)).flows;
        let free = matches!(
            state,
            hotspare_decide::message::FlowState::Running | hotspare_decide::message::FlowState::Starting
        );
        let over = self.guard.lease_end().is_some_and(|end| end <= time(self.now));
        prop_assert!(!(free && over), "it runs on after its lease has ended");
        Ok(())
    }

    fn said_up(&mut self, msg: Up) -> Result<(), TestCaseError> {
        match msg {
            Up::Heartbeat(beat) => {
                if self.sent.last().is_none_or(|(seq, _)| *seq < beat.seq) {
                    self.sent.push((beat.seq, self.now));
                }
                prop_assert!(beat.status.max_epoch <= self.disk.max_epoch, "a heartbeat says more than is durable");
                if beat.status.tenure.is_none() {
                    prop_assert!(self.running.is_none(), "a heartbeat hides a tenure");
                }
            }
            Up::Fenced { epoch, .. } => {
                prop_assert!(self.running.is_none_or(|running| running > epoch), "fenced, and it runs");
                prop_assert!(self.disk.max_epoch >= epoch, "fenced, and it may be forgotten");
            }
            Up::Exited(receipt) => {
                prop_assert!(self.running.is_none(), "a receipt for a process that runs");
                prop_assert!(receipt.epoch <= self.disk.max_epoch, "a receipt says more than is durable");
            }
            _ => {}
        }
        Ok(())
    }
}

fn time(ms: u64) -> Time {
    Time::from_nanos(ms * 1_000_000)
}
