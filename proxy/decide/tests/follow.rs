//! A proxy that follows: where it sends connections by what members show and what the store has, however old that is.

#![allow(missing_docs, clippy::unwrap_used)]

use hotspare_decide::message::{FlowState, Heartbeat, MemberStatus, Up};
use hotspare_decide::{
    Decider, Effect, Epoch, Fencing, HealthSettings, Input, Intent, LeaseSettings, LinkId, Member, OnUnreachable,
    ParkReason, PerMember, ProbeOutcome, Record, Route, Settings, Tenure, Time,
};
use std::time::Duration;

const WALL: u64 = 1_800_000_000_000;
const A: Route = Route::To { member: Member::A, epoch: Epoch(4) };
const B: Route = Route::To { member: Member::B, epoch: Epoch(5) };

fn at(ms: u64) -> Time {
    Time::from_nanos(ms * 1_000_000)
}

fn park(reason: ParkReason) -> Route {
    Route::Park { reason }
}

fn follower(fencing: Fencing) -> Decider {
    let health = HealthSettings { checks: 1, ..HealthSettings::default() };
    let settings = Settings { fencing: PerMember::new(fencing, fencing), health, ..Settings::default() };
    Decider::follower(at(0), WALL, "line-1".into(), settings)
}

/// A active under 4, with 5 reserved for B.
fn record() -> Record {
    let tenure = |member, epoch| Tenure { member, epoch: Epoch(epoch) };
    Record {
        version: Record::VERSION,
        epoch: Epoch(5),
        tenures: vec![tenure(Member::A, 4), tenure(Member::B, 5)],
        last_active: Some(Member::A),
        intent: None,
        rolling: None,
        lease: LeaseSettings::default(),
        failovers_unix_ms: Vec::new(),
        paused: None,
        frozen: false,
        held: [false; 2],
    }
}

/// B active under 5, with 6 reserved for A.
fn later() -> Record {
    let tenures = vec![Tenure { member: Member::B, epoch: Epoch(5) }, Tenure { member: Member::A, epoch: Epoch(6) }];
    Record { epoch: Epoch(6), tenures, last_active: Some(Member::B), ..record() }
}

fn seen(decider: &mut Decider, ms: u64, record: Record) {
    decider.handle(at(ms), Input::Seen { record });
}

fn probed(decider: &mut Decider, ms: u64, member: Member, flows: Option<FlowState>) {
    let outcome = match flows {
        Some(_) => ProbeOutcome::Pass,
        None => ProbeOutcome::Unknown { reason: "no answer".into() },
    };
    decider.handle(at(ms), Input::Probe { member, check: 0, outcome, flows });
}

#[test]
fn without_a_lease_record_and_probe_must_agree() {
    let d = &mut follower(Fencing::Confirmed(OnUnreachable::Wait));
    probed(d, 10, Member::A, Some(FlowState::Running));
    assert_eq!(d.route(), park(ParkReason::Recovering), "flows that run prove no epoch");
    seen(d, 20, record());
    assert_eq!(d.route(), A);
    // The store is cut off from here on: whatever happens, nobody who isn't active gets a connection.
    probed(d, 30, Member::A, None);
    assert_eq!(d.route(), A, "no answer is no end");
    probed(d, 40, Member::A, Some(FlowState::Stopped));
    assert_eq!(d.route(), park(ParkReason::NoActive), "flows that were seen stopped get no client");
    probed(d, 50, Member::B, Some(FlowState::Running));
    assert_eq!(d.route(), park(ParkReason::NoActive), "by this record B was never started");
    seen(d, 60, later());
    assert_eq!(d.route(), B);
    // A look at A that is older than the change.
    probed(d, 70, Member::A, Some(FlowState::Running));
    assert_eq!(d.route(), B);
}

#[test]
fn a_member_that_answers_wrong_gets_no_new_client_until_it_answers_well() {
    let d = &mut follower(Fencing::Confirmed(OnUnreachable::Wait));
    seen(d, 10, record());
    probed(d, 20, Member::A, Some(FlowState::Running));
    assert_eq!(d.route(), A);
    let outcome = ProbeOutcome::Fail { reason: "stopped by somebody else".into() };
    d.handle(at(30), Input::Probe { member: Member::A, check: 0, outcome, flows: None });
    assert_eq!(d.route(), park(ParkReason::Suspect));
    probed(d, 40, Member::A, Some(FlowState::Running));
    assert_eq!(d.route(), A);
}

#[test]
fn a_newer_record_ends_a_route_before_any_probe_does() {
    let d = &mut follower(Fencing::Confirmed(OnUnreachable::Wait));
    seen(d, 10, record());
    probed(d, 20, Member::A, Some(FlowState::Running));
    assert_eq!(d.route(), A);
    seen(d, 30, Record { tenures: later().tenures, last_active: Some(Member::B), ..later() });
    assert_eq!(d.route(), park(ParkReason::NoActive), "A was fenced, and B not seen to run yet");
    probed(d, 40, Member::B, Some(FlowState::Running));
    assert_eq!(d.route(), B);
}

#[test]
fn a_reservation_for_the_way_back_is_no_tenure_to_follow() {
    let d = &mut follower(Fencing::Confirmed(OnUnreachable::Wait));
    seen(d, 10, record());
    probed(d, 20, Member::A, Some(FlowState::Running));
    assert_eq!(d.route(), A);
    // A switchover: A's flows are fenced, B is told to start under 5, and 6 would be A's again.
    let intent = Intent::Switchover { from: Member::A, to: Member::B, reason: "test".into() };
    seen(d, 30, Record { intent: Some(intent), tenures: later().tenures, epoch: Epoch(6), ..record() });
    probed(d, 40, Member::A, Some(FlowState::Running));
    assert_eq!(d.route(), park(ParkReason::NoActive), "this look at A is older than its fence");
    seen(d, 50, later());
    probed(d, 60, Member::B, Some(FlowState::Running));
    assert_eq!(d.route(), B);
}

#[test]
fn plain_servers_are_followed_by_the_record_alone() {
    let d = &mut follower(Fencing::Plain);
    seen(d, 10, record());
    assert_eq!(d.route(), A);
    seen(d, 20, later());
    assert_eq!(d.route(), B);
}

#[test]
fn a_switchover_on_record_lets_connections_wait_but_not_for_ever() {
    let d = &mut follower(Fencing::Confirmed(OnUnreachable::Wait));
    seen(d, 10, record());
    probed(d, 20, Member::A, Some(FlowState::Running));
    let intent = Intent::Switchover { from: Member::A, to: Member::B, reason: "test".into() };
    seen(d, 30, Record { intent: Some(intent.clone()), ..record() });
    assert_eq!(d.route(), park(ParkReason::Switchover));
    // Nothing more is heard of it: the store is away, and A goes on.
    let given_up = d.poll_timeout().unwrap();
    d.handle_timeout(given_up);
    assert_eq!(d.route(), A, "at {given_up:?}");
}

/// A under a lease says that it runs its flows under this epoch.
fn beat(decider: &mut Decider, ms: u64, link: u64, seq: u64, epoch: u64) {
    let epoch = Epoch(epoch);
    let status =
        MemberStatus { flows: FlowState::Running, tenure: Some(epoch), max_epoch: epoch, ..MemberStatus::default() };
    let msg = Up::Heartbeat(Heartbeat { seq, echo: None, status });
    decider.handle(at(ms), Input::Up { member: Member::A, link: LinkId(link), msg });
}

/// How long what is under way may go on, as the routes since the last call said.
fn drains(decider: &mut Decider) -> Vec<Option<Duration>> {
    let drain = |effect| match effect {
        Effect::Route { drain, .. } => Some(drain),
        _ => None,
    };
    std::iter::from_fn(|| decider.poll_effect()).filter_map(drain).collect()
}

#[test]
fn after_a_pause_of_its_own_it_waits_for_a_fresh_word() {
    let d = &mut follower(Fencing::Leased);
    d.handle(at(10), Input::LinkUp { member: Member::A, link: LinkId(1), session: 1 });
    beat(d, 20, 1, 1, 4);
    assert_eq!(d.route(), A);
    drains(d);
    d.handle(at(2_000), Input::Stalled { gap: Duration::from_secs(2) });
    assert_eq!(d.route(), park(ParkReason::Recovering));
    assert_eq!(drains(d), [None], "open connections are left alone");
    beat(d, 2_010, 1, 2, 4);
    assert_eq!(d.route(), A);
}

#[test]
fn what_is_under_way_may_be_of_an_epoch_that_it_hears_of_late() {
    let d = &mut follower(Fencing::Leased);
    d.handle(at(10), Input::LinkUp { member: Member::A, link: LinkId(1), session: 1 });
    beat(d, 20, 1, 1, 4);
    assert_eq!(drains(d), [Some(Duration::ZERO)]);
    // Cut off from the members, it missed that A ended and was started again; clients came through to the new one.
    d.handle(at(100), Input::LinkDown { member: Member::A, link: LinkId(1) });
    d.handle(at(200), Input::LinkUp { member: Member::A, link: LinkId(2), session: 1 });
    beat(d, 210, 2, 9, 6);
    assert_eq!(d.route(), Route::To { member: Member::A, epoch: Epoch(6) });
    assert_eq!(drains(d), [Some(Settings::default().deadlines.drain)]);
}
