//! The story of an instance, told one situation at a time: what the controller orders, and in which order.
//! (That it holds in every situation is for `simulation.rs` and `invariants.rs` to show.)

#![allow(missing_docs, clippy::unwrap_used)]

use hotspare_decide::message::{Down, ExitCause, ExitReceipt, FenceHow, FlowState, Heartbeat, MemberStatus, Up};
use hotspare_decide::{
    Cause, ConnectTrouble, Decider, Effect, Epoch, EventKind, Fencing, Input, LinkId, Member, OnUnreachable, OpId,
    Operator, ParkReason, PerMember, ProbeOutcome, Proof, Record, Route, Settings, StateName, Time,
};
use std::time::Duration;

/// A decider and two members that do as they are told, unless a test says otherwise.
struct Pair {
    decider: Decider,
    settings: Settings,
    now: u64,
    disk: Option<Record>,
    status: [MemberStatus; 2],
    /// Heard or not.
    heard: [bool; 2],
    /// Orders are carried out at once.
    obeys: [bool; 2],
    /// A start fails.
    fails: [bool; 2],
    seq: u64,
    link: LinkId,
    /// Everything that was ordered, without grants and acks.
    orders: Vec<(Member, Down)>,
    events: Vec<EventKind>,
    answers: Vec<(u64, Result<String, Vec<String>>)>,
}

const WALL: u64 = 1_800_000_000_000;

impl Pair {
    fn new(settings: Settings) -> Self {
        let mut pair = Pair {
            decider: Decider::new(at(0), WALL, "line-1".into(), settings.clone(), None),
            settings,
            now: 0,
            disk: None,
            status: [(); 2].map(|()| MemberStatus { flows: FlowState::Stopped, ..MemberStatus::default() }),
            heard: [true; 2],
            obeys: [true; 2],
            fails: [false; 2],
            seq: 0,
            link: LinkId(1),
            orders: Vec::new(),
            events: Vec::new(),
            answers: Vec::new(),
        };
        pair.connect();
        pair
    }

    /// Up to the moment where A is active and B could take over.
    fn serving(settings: Settings) -> Self {
        let mut pair = Pair::new(settings);
        pair.run(5_000);
        assert_eq!(pair.decider.active(), Some((Member::A, Epoch(1))), "{:?}", pair.decider.view(at(pair.now)));
        pair.orders.clear();
        pair.events.clear();
        pair
    }

    fn connect(&mut self) {
        for member in Member::BOTH {
            self.tell(Input::LinkUp { member, link: LinkId(1 + self.now), session: 1 });
        }
        self.link = LinkId(1 + self.now);
    }

    fn tell(&mut self, input: Input) {
        self.decider.handle(at(self.now), input);
        self.obey();
    }

    /// Time passes, heartbeats come.
    fn run(&mut self, ms: u64) {
        let until = self.now + ms;
        while self.now < until {
            self.now += 10;
            self.decider.handle_timeout(at(self.now));
            self.obey();
            if self.now.is_multiple_of(100) {
                self.beat();
            }
        }
    }

    fn beat(&mut self) {
        let heard = self.heard;
        for member in Member::BOTH.into_iter().filter(|m| heard[m.index()]) {
            self.seq += 1;
            let status = self.status[member.index()].clone();
            self.up(member, Up::Heartbeat(Heartbeat { seq: self.seq, echo: None, status }));
            for check in 0..self.settings.health.checks {
                self.tell(Input::Probe { member, check, outcome: ProbeOutcome::Pass, flows: None });
            }
        }
    }

    fn up(&mut self, member: Member, msg: Up) {
        self.tell(Input::Up { member, link: self.link, msg });
    }

    fn obey(&mut self) {
        while let Some(effect) = self.decider.poll_effect() {
            match effect {
                Effect::Persist { id, record } => {
                    self.disk = Some(record);
                    self.decider.handle(at(self.now), Input::Persisted { id });
                }
                Effect::Send { member, msg, .. } => self.ordered(member, msg),
                Effect::Event(event) => self.events.push(event.kind),
                Effect::Answer { request, result } => self.answers.push((request, result)),
                Effect::Route { .. } | Effect::Probe { .. } => {}
            }
        }
    }

    fn ordered(&mut self, member: Member, msg: Down) {
        if matches!(msg, Down::Grant { .. } | Down::Ack { .. }) {
            return;
        }
        self.orders.push((member, msg.clone()));
        if !self.obeys[member.index()] {
            return;
        }
        let (fails, link) = (self.fails[member.index()], self.link);
        let status = &mut self.status[member.index()];
        let msg = match msg {
            Down::Start { op, epoch, .. } if fails => {
                let kind = hotspare_decide::message::StartFailureKind::MissingTypes;
                let failure = Some(hotspare_decide::message::StartFailure { kind, text: "types missing".into() });
                Up::Started { op, epoch, failure }
            }
            Down::Start { op, epoch, .. } => {
                (status.flows, status.tenure, status.max_epoch) = (FlowState::Running, Some(epoch), epoch);
                status.not_ready = Some(hotspare_decide::message::NotReady::Busy);
                Up::Started { op, epoch, failure: None }
            }
            Down::Fence { op, epoch, .. } => {
                (status.flows, status.tenure, status.not_ready) = (FlowState::Stopped, None, None);
                status.max_epoch = status.max_epoch.max(epoch);
                Up::Fenced { op, epoch, how: FenceHow::FlowsStopped }
            }
            Down::Restart { op } => Up::Restarted { op, failure: None },
            _ => return,
        };
        self.decider.handle(at(self.now), Input::Up { member, link, msg });
    }

    /// The process of a member ends and its launcher says so.
    fn dies(&mut self, member: Member) {
        let status = &mut self.status[member.index()];
        let receipt = ExitReceipt {
            epoch: status.max_epoch,
            tenure: status.tenure,
            cause: ExitCause::Crash { code: None, signal: Some(9) },
        };
        (status.flows, status.tenure) = (FlowState::Down, None);
        status.not_ready = Some(hotspare_decide::message::NotReady::Down);
        self.up(member, Up::Exited(receipt));
    }

    fn switchover(&mut self) {
        self.tell(Input::Operator { request: 7, command: Operator::Switchover { to: None, reason: String::new() } });
    }

    fn proofs(&self) -> Vec<Proof> {
        self.events.iter().filter_map(|e| if let EventKind::Fenced { by, .. } = e { Some(*by) } else { None }).collect()
    }

    fn causes(&self) -> Vec<Cause> {
        let why = |e: &EventKind| if let EventKind::FailoverBegan { why, .. } = e { Some(why.clone()) } else { None };
        self.events.iter().filter_map(why).collect()
    }

    /// The controller is killed and started again; the launchers connect anew.
    fn restart_controller(&mut self) {
        self.decider = Decider::new(at(self.now), WALL, "line-1".into(), self.settings.clone(), self.disk.clone());
        self.obey();
    }
}

fn at(ms: u64) -> Time {
    Time::from_nanos(ms * 1_000_000)
}

fn quick() -> Settings {
    let mut settings = Settings::default();
    settings.deadlines.drain = Duration::from_millis(200);
    settings
}

#[test]
fn a_crash_starts_the_spare_in_the_same_breath() {
    let mut pair = Pair::serving(quick());
    let before = pair.now;
    pair.dies(Member::A);
    assert_eq!(pair.now, before, "no time may pass");
    assert!(matches!(pair.orders[..], [(Member::B, Down::Start { epoch: Epoch(2), .. })]), "{:?}", pair.orders);
    assert_eq!(pair.decider.route(), Route::To { member: Member::B, epoch: Epoch(2) });
    assert_eq!(pair.proofs(), [Proof::ExitReceipt]);
}

#[test]
fn a_kill_that_has_only_begun_is_told_by_its_cause_and_is_no_proof_yet() {
    let mut pair = Pair::serving(quick());
    pair.status[0].flows = FlowState::Stopping;
    pair.status[0].killing = Some(ExitCause::Hung);
    pair.obeys[0] = false;
    pair.beat();
    assert_eq!(pair.causes(), [Cause::Exited { exit: ExitCause::Hung }]);
    assert_eq!(pair.proofs(), []);
    let started = |(_, order): &(Member, Down)| matches!(order, Down::Start { .. });
    assert!(!pair.orders.iter().any(started), "nobody may start yet: {:?}", pair.orders);
}

#[test]
fn silence_is_waited_out_and_not_a_moment_longer() {
    let mut pair = Pair::serving(quick());
    pair.heard[0] = false;
    let end = pair.decider.lease_end(Member::A);
    while pair.orders.is_empty() {
        assert!(at(pair.now) < end + Duration::from_millis(50), "no failover");
        pair.run(10);
        assert!(pair.orders.is_empty() || at(pair.now) >= end, "started before the lease had certainly ended");
    }
    assert!(matches!(pair.orders[..], [(Member::B, Down::Start { .. })]), "{:?}", pair.orders);
    assert_eq!(pair.causes(), [Cause::LeaseExpired]);
    assert_eq!(pair.proofs(), [Proof::LeaseExpired]);
}

#[test]
fn a_restarted_controller_adopts_and_orders_nothing() {
    let mut pair = Pair::serving(quick());
    pair.restart_controller();
    assert_eq!(pair.decider.state(), StateName::Recovering);
    pair.connect();
    pair.run(5_000);
    assert_eq!(pair.decider.active(), Some((Member::A, Epoch(1))));
    let to_the_active = pair.orders.iter().filter(|(m, _)| *m == Member::A).count();
    assert_eq!(to_the_active, 0, "{:?}", pair.orders);
    assert!(pair.events.contains(&EventKind::Adopted { member: Member::A, epoch: Epoch(1) }));
}

#[test]
fn a_switchover_parks_stops_starts_and_routes() {
    let mut pair = Pair::serving(quick());
    pair.switchover();
    assert_eq!(pair.decider.route(), Route::Park { reason: ParkReason::Switchover });
    pair.run(400);
    let expected = matches!(
        pair.orders[..],
        [(Member::A, Down::Fence { epoch: Epoch(1), .. }), (Member::B, Down::Start { epoch: Epoch(2), .. })]
    );
    assert!(expected, "{:?}", pair.orders);
    assert_eq!(pair.decider.route(), Route::To { member: Member::B, epoch: Epoch(2) });
    assert!(matches!(pair.answers[..], [(7, Ok(_))]), "{:?}", pair.answers);
    assert_eq!(pair.decider.view(at(pair.now)).failovers_last_hour, 0, "a planned change is no failover");
}

#[test]
fn a_switchover_whose_start_fails_goes_back() {
    let mut pair = Pair::serving(quick());
    pair.fails[1] = true;
    pair.switchover();
    pair.run(1_000);
    let (active, epoch) = pair.decider.active().unwrap();
    assert_eq!(active, Member::A);
    assert!(epoch > Epoch(2), "the way back has an epoch of its own: {epoch}");
    assert!(matches!(&pair.answers[..], [(7, Err(why))] if why[0].contains("types missing")), "{:?}", pair.answers);
}

#[test]
fn a_controller_killed_in_the_middle_of_a_switchover_goes_on() {
    let mut pair = Pair::serving(quick());
    // B doesn't answer any more when the start is ordered; then the controller dies.
    pair.obeys[1] = false;
    pair.switchover();
    pair.run(400);
    assert_eq!(pair.decider.state(), StateName::Starting);
    pair.restart_controller();
    pair.obeys[1] = true;
    pair.connect();
    pair.run(8_000);
    assert_eq!(pair.decider.active().map(|(m, _)| m), Some(Member::B), "{:?}", pair.decider.view(at(pair.now)));
}

#[test]
fn a_rolling_restart_takes_the_spare_first() {
    let mut pair = Pair::serving(quick());
    pair.tell(Input::Operator { request: 8, command: Operator::Restart { reason: String::new() } });
    pair.run(2_000);
    let order: Vec<_> = pair.orders.iter().map(|(m, d)| (*m, std::mem::discriminant(d))).collect();
    let restart = std::mem::discriminant(&Down::Restart { op: OpId(0) });
    let fence = std::mem::discriminant(&Down::Fence { op: OpId(0), epoch: Epoch(0), grace_ms: 0 });
    let start = std::mem::discriminant(&Down::Start { op: OpId(0), epoch: Epoch(0), seq: 0, ttl_ms: 0 });
    assert_eq!(
        order,
        [(Member::B, restart), (Member::A, fence), (Member::B, start), (Member::A, restart)],
        "{:?}",
        pair.orders
    );
    assert!(matches!(pair.answers[..], [(8, Ok(_))]), "{:?}", pair.answers);
}

#[test]
fn a_controller_killed_in_a_rolling_restart_goes_on_with_the_rest() {
    // Killed after so many milliseconds: before, in and after each of the steps.
    for after in [0, 50, 150, 250, 350, 500] {
        let mut pair = Pair::serving(quick());
        pair.tell(Input::Operator { request: 8, command: Operator::Restart { reason: String::new() } });
        pair.run(after);
        pair.restart_controller();
        pair.connect();
        pair.run(8_000);
        let restarted: Vec<Member> =
            pair.orders.iter().filter(|(_, d)| matches!(d, Down::Restart { .. })).map(|(m, _)| *m).collect();
        for member in Member::BOTH {
            assert!(restarted.contains(&member), "killed after {after} ms: {:?}", pair.orders);
        }
        assert_eq!(pair.disk.as_ref().unwrap().rolling, None, "killed after {after} ms");
        let done = pair.events.iter().any(|e| matches!(e, EventKind::PlanEnded { done: true, .. }));
        assert!(done, "killed after {after} ms, nobody was told: {:?}", pair.events);
        assert!(pair.decider.active().is_some());
    }
}

#[test]
fn both_silent_at_once_changes_nothing() {
    let mut pair = Pair::serving(quick());
    pair.heard = [false; 2];
    pair.run(10_000);
    assert!(pair.orders.is_empty(), "{:?}", pair.orders);
    assert_eq!(pair.decider.route(), Route::To { member: Member::A, epoch: Epoch(1) });
    assert!(pair.decider.view(at(pair.now)).blind);
}

#[test]
fn a_refused_client_parks_and_asks_and_the_look_decides() {
    let mut settings = quick();
    settings.health.checks = 1;
    let mut pair = Pair::serving(settings);
    let (member, check) = (Member::A, 0);
    let trouble = Input::Trouble { member, epoch: Epoch(1), trouble: ConnectTrouble::Refused };
    pair.tell(trouble.clone());
    assert_eq!(pair.decider.route(), Route::Park { reason: ParkReason::Suspect });
    pair.tell(Input::Probe { member, check, outcome: ProbeOutcome::Pass, flows: None });
    assert_eq!(pair.decider.route(), Route::To { member, epoch: Epoch(1) }, "the look found it well");
    assert!(pair.orders.is_empty());

    pair.run(3_000);
    pair.obeys[0] = false;
    pair.tell(trouble);
    pair.tell(Input::Probe { member, check, outcome: ProbeOutcome::Fail { reason: "refused".into() }, flows: None });
    assert!(matches!(pair.orders[..], [(Member::A, Down::Fence { .. })]), "fenced first: {:?}", pair.orders);
}

#[test]
fn flows_stopped_by_hand_are_an_alarm_and_no_failover() {
    let mut settings = quick();
    settings.health.checks = 1;
    let mut pair = Pair::serving(settings);
    let stands = |pair: &mut Pair, why: Option<&str>| {
        let status = &mut pair.status[0];
        status.flows = if why.is_some() { FlowState::Stopped } else { FlowState::Running };
        status.halted = why.map(Into::into);
        pair.run(200);
    };
    stands(&mut pair, Some("they were stopped in the editor"));
    let halted =
        |why: Option<&str>| EventKind::Halted { member: Member::A, tenure: Epoch(1), why: why.map(Into::into) };
    assert!(pair.events.contains(&halted(Some("they were stopped in the editor"))), "{:?}", pair.events);
    for _ in 0..20 {
        let outcome = ProbeOutcome::Fail { reason: "the active's flows are stopped".into() };
        pair.tell(Input::Probe { member: Member::A, check: 0, outcome, flows: Some(FlowState::Stopped) });
    }
    assert_eq!(pair.decider.active(), Some((Member::A, Epoch(1))), "it keeps its tenure");
    assert!(pair.orders.is_empty(), "{:?}", pair.orders);
    // A restart of the controller finds it as it is, and starts nothing either.
    pair.restart_controller();
    pair.connect();
    pair.run(5_000);
    assert_eq!(pair.decider.active(), Some((Member::A, Epoch(1))));
    assert!(pair.orders.iter().all(|(member, _)| *member == Member::B), "{:?}", pair.orders);
    stands(&mut pair, None);
    assert!(pair.events.contains(&halted(None)), "{:?}", pair.events);
    // Its process is another matter.
    pair.dies(Member::A);
    pair.run(100);
    assert_eq!(pair.decider.active().map(|(m, _)| m), Some(Member::B));
}

#[test]
fn too_many_failovers_freeze() {
    let mut settings = quick();
    settings.damping.max_per_hour = 2;
    let mut pair = Pair::serving(settings);
    for member in [Member::A, Member::B] {
        pair.dies(member);
        pair.run(4_000);
        (pair.status[member.index()].flows, pair.status[member.index()].not_ready) = (FlowState::Stopped, None);
        pair.run(4_000);
    }
    let active = pair.decider.active().unwrap().0;
    pair.dies(active);
    pair.run(4_000);
    assert!(pair.decider.view(at(pair.now)).frozen);
    assert_eq!(pair.decider.active(), None, "no third failover by itself");
    pair.tell(Input::Operator { request: 9, command: Operator::Unfreeze });
    pair.run(500);
    assert_eq!(pair.decider.active().map(|(m, _)| m), Some(active.other()));
}

#[test]
fn the_hold_down_doubles_with_each_failover() {
    let mut settings = quick();
    settings.damping.hold_down = Duration::from_secs(2);
    let mut pair = Pair::serving(settings);
    // Seconds from one failover to the next, if the next death follows at once.
    let mut last = pair.now;
    for expected in [0, 2, 4, 8] {
        let (active, _) = pair.decider.active().unwrap();
        pair.orders.clear();
        pair.dies(active);
        while pair.orders.is_empty() {
            assert!(pair.now < last + 20_000, "no failover after {expected} s");
            pair.run(10);
        }
        let waited = pair.now - last;
        last = pair.now;
        assert!((expected * 1_000..expected * 1_000 + 500).contains(&waited), "{waited} ms instead of {expected} s");
        let status = &mut pair.status[active.index()];
        (status.flows, status.not_ready) = (FlowState::Stopped, None);
        // Long enough for the other to be a ready spare again, and for nothing else.
        pair.run(100);
    }
}

#[test]
fn a_member_that_returns_stays_a_standby_unless_fail_back_is_configured() {
    for after in [None, Some(Duration::from_secs(10))] {
        let mut settings = quick();
        settings.auto_failback = after;
        let mut pair = Pair::serving(settings);
        pair.dies(Member::A);
        pair.run(100);
        (pair.status[0].flows, pair.status[0].not_ready) = (FlowState::Stopped, None);
        pair.run(9_000);
        assert_eq!(pair.decider.active().map(|(m, _)| m), Some(Member::B), "too soon, with {after:?}");
        pair.run(20_000);
        let expected = if after.is_some() { Member::A } else { Member::B };
        assert_eq!(pair.decider.active().map(|(m, _)| m), Some(expected), "with {after:?}");
    }
}

#[test]
fn a_short_pause_of_its_own_delays_a_failover_and_hides_no_controller() {
    let mut pair = Pair::serving(quick());
    pair.heard[0] = false;
    // A machine that is always busy: its process stands still for half a second, again and again.
    let gap = Duration::from_millis(500);
    let died = pair.now;
    while pair.orders.is_empty() {
        assert!(pair.now < died + 5_000, "it looks afresh for ever, and never acts");
        pair.run(700);
        if pair.orders.is_empty() {
            pair.tell(Input::Stalled { gap });
        }
    }
    assert!(matches!(pair.orders[..], [(Member::B, Down::Start { .. })]), "{:?}", pair.orders);
}

#[test]
fn a_pause_ends_by_itself() {
    let mut pair = Pair::serving(quick());
    let command = Operator::Pause { duration: Duration::from_secs(5), reason: "maintenance".into() };
    pair.tell(Input::Operator { request: 9, command });
    pair.dies(Member::A);
    pair.run(4_000);
    assert!(pair.orders.is_empty(), "paused: {:?}", pair.orders);
    pair.run(2_000);
    assert_eq!(pair.decider.active().map(|(m, _)| m), Some(Member::B), "the pause is over");
}

/// pg_auto_failover's issue 1025, in both orders: the spare is in maintenance while the active is cut off.
#[test]
fn a_held_spare_is_never_started_and_is_once_it_is_released() {
    for cut_first in [true, false] {
        let mut pair = Pair::serving(quick());
        let hold = Input::Operator { request: 9, command: Operator::Fence { member: Member::B } };
        if cut_first {
            pair.heard[0] = false;
            pair.run(300);
            pair.tell(hold);
        } else {
            pair.tell(hold);
            pair.run(300);
            pair.heard[0] = false;
        }
        pair.run(30_000);
        let started = pair.orders.iter().any(|(_, order)| matches!(order, Down::Start { .. }));
        assert!(!started, "a member in maintenance was started, cut first {cut_first}: {:?}", pair.orders);
        assert_eq!(pair.decider.active().map(|(m, _)| m), Some(Member::A), "nobody else could: cut first {cut_first}");
        pair.tell(Input::Operator { request: 10, command: Operator::Release { member: Member::B } });
        pair.run(5_000);
        assert_eq!(pair.decider.active().map(|(m, _)| m), Some(Member::B), "cut first {cut_first}");
    }
}

/// The same with the active back before the maintenance ends: it goes on, and there is nothing to fail over from.
#[test]
fn an_active_that_comes_back_goes_on_although_its_spare_is_held() {
    let mut pair = Pair::serving(quick());
    pair.tell(Input::Operator { request: 9, command: Operator::Fence { member: Member::B } });
    pair.heard[0] = false;
    pair.run(30_000);
    // Its lease has ended: its launcher has stopped the flows.
    (pair.status[0].flows, pair.status[0].tenure, pair.status[0].not_ready) = (FlowState::Stopped, None, None);
    pair.heard[0] = true;
    pair.run(5_000);
    assert_eq!(pair.decider.active().map(|(m, _)| m), Some(Member::A));
    pair.tell(Input::Operator { request: 10, command: Operator::Release { member: Member::B } });
    pair.run(5_000);
    assert_eq!(pair.decider.active().map(|(m, _)| m), Some(Member::A), "a spare that is released moves nothing");
}

#[test]
fn an_unreachable_member_without_a_lease_is_waited_for() {
    let wait = Fencing::Confirmed(OnUnreachable::Wait);
    let mut settings = Settings { fencing: PerMember::new(wait, wait), ..quick() };
    settings.health = hotspare_decide::HealthSettings { checks: 1, rise: 1, fall: 2, ..settings.health };
    let mut pair = Pair::new(settings);
    let seen = |pair: &mut Pair, member, flows| {
        pair.tell(Input::Probe { member, check: 0, outcome: ProbeOutcome::Pass, flows: Some(flows) });
    };
    pair.heard = [false; 2];
    for _ in 0..50 {
        for member in Member::BOTH {
            let flows = pair.status[member.index()].flows;
            seen(&mut pair, member, flows);
        }
        pair.run(100);
    }
    assert_eq!(pair.decider.active().map(|(m, _)| m), Some(Member::A), "{:?}", pair.decider.view(at(pair.now)));
    pair.orders.clear();
    pair.obeys[0] = false;
    for _ in 0..200 {
        let mute = ProbeOutcome::Unknown { reason: "no answer".into() };
        pair.tell(Input::Probe { member: Member::A, check: 0, outcome: mute, flows: None });
        seen(&mut pair, Member::B, FlowState::Stopped);
        pair.run(100);
    }
    let started = pair.orders.iter().any(|(_, order)| matches!(order, Down::Start { .. }));
    assert!(!started, "silence was taken for a fence: {:?}", pair.orders);
    assert!(pair.events.iter().any(|e| matches!(e, EventKind::Stuck { .. })), "nobody was told");
    // It is reachable again, and stops as ordered.
    pair.obeys[0] = true;
    for _ in 0..30 {
        let flows = pair.status[1].flows;
        seen(&mut pair, Member::B, flows);
        pair.run(100);
    }
    assert_eq!(pair.decider.active().map(|(m, _)| m), Some(Member::B));
}

#[test]
fn a_spare_that_differs_is_kept_from_planned_changes_and_is_an_alarm_when_that_lasts() {
    let mut pair = Pair::serving(quick());
    let told = |pair: &Pair| pair.events.iter().any(|e| matches!(e, EventKind::OutOfSync { member: Member::B, .. }));
    for (member, nodes) in Member::BOTH.into_iter().zip(["one", "other"]) {
        let status = &mut pair.status[member.index()];
        (status.revision, status.nodes) = (Some("same".into()), Some(nodes.into()));
    }
    pair.status[1].nodes_problem = Some("npm failed".into());
    pair.run(200);
    let refused = pair.decider.check_switchover(at(pair.now), None).unwrap_err();
    assert_eq!(refused, ["member b: other nodes are installed there: npm failed"]);
    pair.switchover();
    assert!(matches!(&pair.answers[..], [(7, Err(_))]), "{:?}", pair.answers);
    pair.run(9_000);
    assert!(!told(&pair), "it may still be installing: {:?}", pair.events);
    pair.run(1_000);
    assert!(told(&pair), "{:?}", pair.events);
    // What nobody planned can't be chosen.
    pair.dies(Member::A);
    pair.run(200);
    assert_eq!(pair.decider.active().map(|(m, _)| m), Some(Member::B));
    let loud = |e: &EventKind| matches!(e, EventKind::StartOrdered { stale: true, .. });
    assert!(pair.events.iter().any(|e| loud(e) && e.severity() == hotspare_decide::Severity::Alarm));
}

#[test]
fn only_a_rolling_restart_brings_another_node_red() {
    let mut pair = Pair::serving(quick());
    for (member, version) in Member::BOTH.into_iter().zip(["4.1.15", "5.0.7"]) {
        pair.status[member.index()].node_red = Some(version.into());
    }
    pair.run(200);
    assert_eq!(
        pair.decider.check_switchover(at(pair.now), None),
        Err(vec!["member b: Node-RED 5.0.7 here, 4.1.15 there".into()])
    );
    pair.tell(Input::Operator { request: 8, command: Operator::Restart { reason: String::new() } });
    pair.run(2_000);
    assert!(matches!(pair.answers[..], [(8, Ok(_))]), "{:?}", pair.answers);
    assert_eq!(pair.decider.active().map(|(m, _)| m), Some(Member::B));
}
