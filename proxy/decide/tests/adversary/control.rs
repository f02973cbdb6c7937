//! Anything at all is said to a decider; what it orders is judged by books of our own.

use hotspare_decide::message::{Down, ExitCause, ExitReceipt, FenceHow, FlowState, Heartbeat, MemberStatus, Up};
use hotspare_decide::{
    ConnectTrouble, Decider, Effect, Epoch, Fencing, Input, LinkId, Member, OnUnreachable, OpId, Operator, PerMember,
    ProbeOutcome, Record, Route, Settings, StateName, Tenure, Time,
};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kinds {
    Leased,
    Confirmed,
    Plain,
}

/// One thing that is said; numbers are made plausible when it is played.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    LinkUp(bool),
    LinkDown(bool),
    /// Flows, tenure relative to the highest epoch (none if 0), highest epoch known to the launcher likewise.
    Heartbeat(bool, u8, u8, u8),
    Started(bool, u8, bool),
    Fenced(bool, u8),
    Exited(bool, u8, bool),
    Probe(bool, u8, u8),
    Trouble(bool, u8),
    Drained(u8),
    /// The write under way is done, or failed.
    Written(bool),
    WrittenWrongly,
    Operator(u8),
    Stalled,
    Restart,
    LeadLost,
    Wait,
}

pub(crate) fn script() -> impl Strategy<Value = Vec<(u16, Said)>> {
    let b = any::<bool>;
    let said = prop_oneof![
        4 => b().prop_map(Said::LinkUp),
        1 => b().prop_map(Said::LinkDown),
        20 => (b(), 0u8..6, 0u8..3, 0u8..3).prop_map(|(m, f, t, x)| Said::Heartbeat(m, f, t, x)),
        8 => (b(), 0u8..3, b()).prop_map(|(m, e, ok)| Said::Started(m, e, ok)),
        6 => (b(), 0u8..3).prop_map(|(m, e)| Said::Fenced(m, e)),
        3 => (b(), 0u8..3, b()).prop_map(|(m, e, link)| Said::Exited(m, e, link)),
        6 => (b(), 0u8..3, 0u8..7).prop_map(|(m, o, f)| Said::Probe(m, o, f)),
        2 => (b(), 0u8..3).prop_map(|(m, e)| Said::Trouble(m, e)),
        1 => (0u8..3).prop_map(Said::Drained),
        12 => any::<u8>().prop_map(|n| Said::Written(n % 8 != 0)),
        1 => Just(Said::WrittenWrongly),
        3 => (0u8..10).prop_map(Said::Operator),
        1 => Just(Said::Stalled),
        1 => Just(Said::Restart),
        1 => Just(Said::LeadLost),
        4 => Just(Said::Wait),
    ];
    prop::collection::vec((0u16..1_200, said), 1..150)
}

/// The books: what was ordered, what is certain.
struct Books {
    kinds: Kinds,
    settings: Settings,
    now: u64,
    decider: Decider,
    links: [Option<u64>; 2],
    last_link: u64,
    disk: Option<Record>,
    writing: Option<(u64, Record)>,
    seq: u64,
    last_op: OpId,
    /// Starts ordered and not certainly over.
    open: Vec<Tenure>,
    /// Until when leases given to each member may live.
    lease_end: [u64; 2],
    highest_start: Epoch,
    highest_route: Epoch,
}

fn settings(kinds: Kinds) -> Settings {
    let kind = match kinds {
        Kinds::Leased => Fencing::Leased,
        Kinds::Confirmed => Fencing::Confirmed(OnUnreachable::Wait),
        Kinds::Plain => Fencing::Plain,
    };
    let mut settings = Settings { fencing: PerMember::new(kind, kind), ..Settings::default() };
    settings.health.checks = 1;
    settings.health.rise = 1;
    settings.health.fall = 1;
    settings.damping.max_per_hour = 1_000;
    settings
}

const WALL: u64 = 1_800_000_000_000;

pub(crate) fn play(script: &[(u16, Said)], kinds: Kinds) -> Result<(), TestCaseError> {
    let mut books = Books::new(kinds);
    books.settle()?;
    for (wait, said) in script {
        books.advance(u64::from(*wait))?;
        books.say(said)?;
    }
    books.advance(60_000)
}

fn member(b: bool) -> Member {
    if b { Member::B } else { Member::A }
}

impl Books {
    fn new(kinds: Kinds) -> Self {
        let settings = settings(kinds);
        Books {
            kinds,
            now: 1_000,
            decider: Decider::new(time(1_000), WALL, "x".into(), settings.clone(), None),
            settings,
            links: [None; 2],
            last_link: 0,
            disk: None,
            writing: None,
            seq: 0,
            last_op: OpId(0),
            open: Vec::new(),
            lease_end: [0; 2],
            highest_start: Epoch::NONE,
            highest_route: Epoch::NONE,
        }
    }

    fn advance(&mut self, wait: u64) -> Result<(), TestCaseError> {
        let until = self.now + wait;
        let mut turns = 0;
        while let Some(due) = self.decider.poll_timeout().filter(|due| *due <= time(until)) {
            turns += 1;
            prop_assert!(turns < 10_000, "its timers never come to rest");
            self.now = self.now.max(due.as_nanos().div_ceil(1_000_000));
            self.decider.handle_timeout(time(self.now));
            self.settle()?;
        }
        self.now = until;
        Ok(())
    }

    /// An epoch near the highest one.
    fn near(&self, back: u8) -> Epoch {
        Epoch(self.decider.epoch().0.saturating_sub(u64::from(back)))
    }

    fn tell(&mut self, input: Input) -> Result<(), TestCaseError> {
        self.decider.handle(time(self.now), input);
        self.settle()
    }

    fn say(&mut self, said: &Said) -> Result<(), TestCaseError> {
        match *said {
            Said::LinkUp(m) => {
                self.last_link += 1;
                self.links[usize::from(m)] = Some(self.last_link);
                self.tell(Input::LinkUp { member: member(m), link: LinkId(self.last_link), session: self.last_link })
            }
            Said::LinkDown(m) => match self.links[usize::from(m)].take() {
                Some(link) => self.tell(Input::LinkDown { member: member(m), link: LinkId(link) }),
                None => Ok(()),
            },
            Said::Heartbeat(m, flows, tenure, max) => {
                let flows = [
                    FlowState::Down,
                    FlowState::Booting,
                    FlowState::Stopped,
                    FlowState::Starting,
                    FlowState::Running,
                    FlowState::Stopping,
                ][usize::from(flows)];
                let quiet = matches!(flows, FlowState::Down | FlowState::Booting | FlowState::Stopped);
                let tenure = (!quiet).then(|| self.near(tenure));
                let status = MemberStatus { flows, tenure, max_epoch: self.near(max), ..MemberStatus::default() };
                self.over_by_heartbeat(member(m), &status);
                self.seq += 1;
                let msg = Up::Heartbeat(Heartbeat { seq: self.seq, echo: None, status });
                self.up(m, msg)
            }
            Said::Started(m, back, ok) => {
                let failure = (!ok).then(|| hotspare_decide::message::StartFailure {
                    kind: hotspare_decide::message::StartFailureKind::Failed,
                    text: String::new(),
                });
                let (op, epoch) = (self.last_op, self.near(back));
                self.up(m, Up::Started { op, epoch, failure })
            }
            Said::Fenced(m, back) => {
                let epoch = self.near(back);
                if self.links[usize::from(m)].is_some() {
                    self.over(member(m), epoch);
                }
                self.up(m, Up::Fenced { op: OpId(1), epoch, how: FenceHow::FlowsStopped })
            }
            Said::Exited(m, back, by_link) => {
                let receipt = ExitReceipt { epoch: self.near(back), tenure: None, cause: ExitCause::Hung };
                if by_link && self.links[usize::from(m)].is_none() {
                    return Ok(());
                }
                self.over(member(m), receipt.epoch);
                match by_link {
                    true => self.up(m, Up::Exited(receipt)),
                    false => self.tell(Input::Receipt { member: member(m), receipt }),
                }
            }
            Said::Probe(m, outcome, flows) => {
                let reason = String::new();
                let outcome = match outcome {
                    0 => ProbeOutcome::Pass,
                    1 => ProbeOutcome::Fail { reason },
                    _ => ProbeOutcome::Unknown { reason },
                };
                let seen = [None, None, None, None, Some(FlowState::Stopped), Some(FlowState::Running), None];
                let flows = seen[usize::from(flows)].filter(|_| matches!(self.kinds, Kinds::Confirmed));
                self.tell(Input::Probe { member: member(m), check: 0, outcome, flows })
            }
            Said::Trouble(m, back) => {
                let (member, epoch) = (member(m), self.near(back));
                self.tell(Input::Trouble { member, epoch, trouble: ConnectTrouble::Refused })
            }
            Said::Drained(back) => self.tell(Input::Drained { epoch: self.near(back) }),
            Said::Written(done) => match self.writing.take() {
                Some((id, record)) if done => {
                    self.disk = Some(record);
                    self.tell(Input::Persisted { id })
                }
                Some((id, _)) => self.tell(Input::PersistFailed { id, reason: String::new() }),
                None => Ok(()),
            },
            Said::WrittenWrongly => self.tell(Input::Persisted { id: u64::MAX }),
            Said::Operator(n) => self.operator(n),
            Said::Stalled => self.tell(Input::Stalled { gap: Duration::from_secs(3) }),
            Said::Restart => self.restart(),
            Said::LeadLost => {
                // A follower goes by what members say, and these say anything.
                self.highest_route = Epoch::NONE;
                self.tell(Input::Leadership { leader: false, record: None, wall_ms: WALL })?;
                // A write under way when the lead was lost: the store refuses it.
                self.writing = None;
                self.bound_all();
                self.highest_route = Epoch::NONE;
                let record = self.disk.clone();
                self.tell(Input::Leadership { leader: true, record, wall_ms: WALL })
            }
            Said::Wait => self.advance(5_000),
        }
    }

    fn operator(&mut self, n: u8) -> Result<(), TestCaseError> {
        let reason = String::new();
        let command = match n {
            0 | 1 => Operator::Switchover { to: None, reason },
            2 => Operator::Failover { force: false, reason },
            3 => Operator::Restart { reason },
            4 => Operator::Pause { duration: Duration::from_secs(4), reason },
            5 => Operator::Resume,
            6 => Operator::Fence { member: Member::A },
            7 => Operator::Release { member: Member::A },
            8 => Operator::Switchover { to: Some(Member::A), reason },
            _ => Operator::Unfreeze,
        };
        self.tell(Input::Operator { request: 1, command })
    }

    /// The controller dies and starts again, with what was durable.
    fn restart(&mut self) -> Result<(), TestCaseError> {
        self.links = [None; 2];
        self.writing = None;
        self.bound_all();
        self.decider =
            Decider::new(time(self.now), WALL + self.now, "x".into(), self.settings.clone(), self.disk.clone());
        if !matches!(self.kinds, Kinds::Leased) {
            // No heartbeat says which tenure such a member runs under: what was routed after the last write that was
            // done is forgotten, and any tenure on record that is found running may be adopted.
            let on_record = self.disk.iter().flat_map(|record| &record.tenures).map(|t| t.epoch).min();
            self.highest_route = self.highest_route.min(on_record.unwrap_or(Epoch::NONE));
        }
        let nothing_runs =
            self.disk.as_ref().is_some_and(|r| r.tenures.is_empty()) || matches!(self.kinds, Kinds::Plain);
        let looks = self.decider.state() == StateName::Recovering;
        prop_assert!(looks || nothing_runs, "it acts before it has looked");
        self.settle()
    }

    /// After a restart the wait begins anew: the new controller can't know of the old one's grants.
    fn bound_all(&mut self) {
        for m in Member::BOTH {
            if self.open.iter().any(|t| t.member == m) {
                self.lease_end[m.index()] = self.lease_end[m.index()].max(self.now);
            }
        }
    }

    fn up(&mut self, m: bool, msg: Up) -> Result<(), TestCaseError> {
        let Some(link) = self.links[usize::from(m)] else { return Ok(()) };
        self.tell(Input::Up { member: member(m), link: LinkId(link), msg })
    }

    /// The tenures of `member` up to `epoch` are certainly over.
    fn over(&mut self, member: Member, epoch: Epoch) {
        self.open.retain(|t| t.member != member || t.epoch > epoch);
    }

    fn over_by_heartbeat(&mut self, member: Member, status: &MemberStatus) {
        if self.links[member.index()].is_none() || !matches!(self.kinds, Kinds::Leased) {
            return;
        }
        match status.tenure {
            Some(epoch) => self.over(member, Epoch(epoch.0.saturating_sub(1))),
            None => self.over(member, status.max_epoch),
        }
    }

    /// Looks at everything the decider wants.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        while let Some(effect) = self.decider.poll_effect() {
            match effect {
                Effect::Persist { id, record } => {
                    prop_assert!(self.writing.is_none(), "two writes at once");
                    self.writing = Some((id, record));
                }
                Effect::Send { member, link, msg } => {
                    prop_assert_eq!(Some(link.0), self.links[member.index()], "sent over a link that is gone");
                    self.sent(member, msg)?;
                }
                Effect::Route { route: Route::To { epoch, .. }, .. } => {
                    prop_assert!(epoch >= self.highest_route, "the route went back to epoch {}", epoch);
                    self.highest_route = epoch;
                }
                Effect::Route { .. } | Effect::Probe { .. } | Effect::Event(_) | Effect::Answer { .. } => {}
            }
        }
        // Invariant 7: what is routed is what is active (or was, under suspicion: parked).
        if let (Route::To { member, epoch }, true) = (self.decider.route(), self.decider.is_leader()) {
            let recovering = self.decider.state() == StateName::Recovering;
            prop_assert!(recovering || self.decider.active() == Some((member, epoch)), "routed to one not active");
        }
        // Reading never panics.
        let view = self.decider.view(time(self.now));
        prop_assert!(view.members.iter().filter(|m| m.status.is_some()).count() <= 2);
        let _ = self.decider.forecast(time(self.now));
        Ok(())
    }

    fn sent(&mut self, member: Member, msg: Down) -> Result<(), TestCaseError> {
        let lease = self.settings.lease;
        let bound = u64::try_from(lease.bound(lease.ttl).as_millis()).unwrap();
        match msg {
            Down::Grant { .. } => {
                prop_assert!(matches!(self.kinds, Kinds::Leased), "a grant to a member without a lease");
                self.lease_end[member.index()] = self.now + bound;
            }
            Down::Start { op, epoch, .. } => {
                let tenure = Tenure { member, epoch };
                let durable = self.disk.as_ref().is_some_and(|r| r.epoch >= epoch && r.tenures.contains(&tenure));
                prop_assert!(durable, "start under epoch {} before it is durable", epoch);
                prop_assert!(epoch > self.highest_start, "start under epoch {} after {}", epoch, self.highest_start);
                for t in self.open.iter().filter(|t| t.member == member.other()) {
                    let expired = matches!(self.kinds, Kinds::Leased) && self.now >= self.lease_end[t.member.index()];
                    prop_assert!(
                        expired,
                        "{} is started under epoch {} while {} may run under epoch {}",
                        member,
                        epoch,
                        t.member,
                        t.epoch
                    );
                }
                self.open.retain(|t| t.member == member);
                self.highest_start = epoch;
                self.last_op = op;
                self.open.push(tenure);
                self.lease_end[member.index()] = self.now + bound;
            }
            _ => {}
        }
        Ok(())
    }
}

fn time(ms: u64) -> Time {
    Time::from_nanos(ms * 1_000_000)
}

/// A pair whose first member is active, everything durable.
fn running() -> Books {
    let mut books = Books::new(Kinds::Leased);
    let pass = |m| Said::Probe(m, 0, 0);
    for m in [false, true] {
        books.say(&Said::LinkUp(m)).unwrap();
        books.say(&pass(m)).unwrap();
    }
    for _ in 0..60 {
        books.advance(50).unwrap();
        if books.decider.active().is_none() {
            books.say(&Said::Heartbeat(false, 2, 0, 2)).unwrap();
            books.say(&Said::Started(false, 0, true)).unwrap();
        }
        beat(&mut books, true);
        if books.decider.active().is_some() {
            beat(&mut books, false);
        }
        books.say(&Said::Written(true)).unwrap();
    }
    assert_eq!(books.decider.active(), Some((Member::A, Epoch(1))), "{:?}", books.decider.view(time(books.now)));
    books
}

fn beat(books: &mut Books, m: bool) -> Vec<Effect> {
    let active = books.decider.active().filter(|(who, _)| *who == member(m));
    let flows = if active.is_some() { FlowState::Running } else { FlowState::Stopped };
    let tenure = active.map(|(_, epoch)| epoch);
    let status = MemberStatus { flows, tenure, max_epoch: tenure.unwrap_or_default(), ..MemberStatus::default() };
    books.seq += 1;
    let msg = Up::Heartbeat(Heartbeat { seq: books.seq, echo: None, status });
    let link = LinkId(books.links[usize::from(m)].unwrap());
    books.decider.handle(time(books.now), Input::Up { member: member(m), link, msg });
    let effects: Vec<Effect> = std::iter::from_fn(|| books.decider.poll_effect()).collect();
    for effect in &effects {
        if let Effect::Persist { id, record } = effect {
            books.writing = Some((*id, record.clone()));
        }
    }
    effects
}

pub(crate) fn journal_fails() {
    let mut books = running();
    let request = Input::Operator { request: 9, command: Operator::Switchover { to: None, reason: String::new() } };
    let mut effects = beat(&mut books, true);
    books.decider.handle(time(books.now), request);
    let mut failures = 0;
    for _ in 0..80 {
        effects.extend(std::iter::from_fn(|| books.decider.poll_effect()));
        let writes: Vec<u64> =
            effects.iter().filter_map(|e| if let Effect::Persist { id, .. } = e { Some(*id) } else { None }).collect();
        for id in writes {
            failures += 1;
            let reason = "no space left on device".to_string();
            books.decider.handle(time(books.now), Input::PersistFailed { id, reason });
        }
        effects.retain(|e| !matches!(e, Effect::Persist { .. }));
        books.now += 50;
        books.decider.handle_timeout(time(books.now));
        effects.extend(beat(&mut books, false));
        effects.extend(beat(&mut books, true));
    }
    assert!(failures >= 3, "a failed write is tried again ({failures} times)");
    assert_eq!(books.decider.route(), Route::To { member: Member::A, epoch: Epoch(1) }, "traffic was disturbed");
    assert!(books.decider.view(time(books.now)).journal_failing);
    let grants = effects.iter().filter(|e| matches!(e, Effect::Send { msg: Down::Grant { .. }, .. })).count();
    assert!(grants >= 70, "only {grants} grants");
    let new = |e: &&Effect| matches!(e, Effect::Send { msg: Down::Start { .. } | Down::Fence { .. }, .. });
    assert_eq!(effects.iter().find(new), None, "something new was decided");
    let refused = |e: &&Effect| matches!(e, Effect::Answer { request: 9, result: Err(_) });
    assert!(effects.iter().any(|e| refused(&e)), "the operator was not told");
}

pub(crate) fn stranger() {
    let mut books = running();
    let (before, ignored) = (books.decider.view(time(books.now)), books.decider.ignored());
    let receipt = ExitReceipt { epoch: Epoch(9), tenure: None, cause: ExitCause::Hung };
    let strange = [
        Input::Up { member: Member::A, link: LinkId(77), msg: Up::Exited(receipt) },
        Input::Up {
            member: Member::A,
            link: LinkId(77),
            msg: Up::Fenced { op: OpId(1), epoch: Epoch(9), how: FenceHow::NeverRan },
        },
        Input::LinkDown { member: Member::A, link: LinkId(77) },
        Input::LinkUp { member: Member::A, link: LinkId(0), session: 1 },
        Input::Persisted { id: 12_345 },
        Input::Drained { epoch: Epoch(1) },
        Input::Trouble { member: Member::B, epoch: Epoch(1), trouble: ConnectTrouble::Refused },
        Input::Probe { member: Member::A, check: 9, outcome: ProbeOutcome::Pass, flows: None },
    ];
    let count = strange.len() as u64;
    for input in strange {
        books.decider.handle(time(books.now), input);
    }
    let mut after = books.decider.view(time(books.now));
    assert_eq!(after.ignored, ignored + count);
    after.ignored = before.ignored;
    assert_eq!(after, before);
}

pub(crate) fn unconfirmed_stop() {
    let script = [
        (0, Said::LinkUp(false)),
        (0, Said::Probe(false, 0, 5)),
        (0, Said::Written(true)),
        (0, Said::LinkUp(true)),
        (90, Said::Probe(true, 0, 4)),
        (410, Said::Written(true)),
        (0, Said::Operator(0)),
        (0, Said::Written(true)),
    ];
    let mut books = Books::new(Kinds::Confirmed);
    for (wait, said) in &script {
        books.advance(*wait).unwrap();
        books.say(said).unwrap();
    }
    assert_eq!(books.decider.state(), StateName::Draining);
    // Both go on to answer their checks: a runs, b doesn't.
    for _ in 0..200 {
        books.say(&Said::Probe(false, 0, 5)).unwrap();
        books.say(&Said::Probe(true, 0, 4)).unwrap();
        books.advance(100).unwrap();
    }
    let (route, view) = (books.decider.route(), books.decider.view(time(books.now)));
    assert_eq!(books.open.iter().map(|t| t.member).collect::<Vec<_>>(), [Member::A], "{view:?}");
    assert_eq!(books.decider.state(), StateName::Starting, "a, which went on, was not asked to: {route:?} {view:?}");
}
