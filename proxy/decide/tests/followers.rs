//! A planned change waits for what is under way through proxies that follow: they say to the member that is left when
//! they have ended, and its launcher says so to the one that leads.

#![allow(missing_docs, clippy::unwrap_used)]

use hotspare_decide::message::{Down, FlowState, Heartbeat, MemberStatus, NotReady, Up};
use hotspare_decide::{
    Decider, Effect, Epoch, Guard, GuardConfig, GuardEffect, GuardInput, GuardRecord, Input, Intent, LinkId, Member,
    Operator, ParkReason, Record, Route, Settings, StateName, Time,
};

const WALL: u64 = 1_800_000_000_000;
const LINKS: [LinkId; 2] = [LinkId(1), LinkId(2)];

fn at(ms: u64) -> Time {
    Time::from_nanos(ms * 1_000_000)
}

/// A runs under this epoch, B stands by.
fn beats(decider: &mut Decider, ms: u64, epoch: Option<Epoch>, followers_left: Option<Epoch>) {
    let flows = if epoch.is_some() { FlowState::Running } else { FlowState::Stopped };
    let not_ready = epoch.map(|_| NotReady::Busy);
    let max_epoch = epoch.unwrap_or_default();
    let a = MemberStatus { flows, tenure: epoch, max_epoch, not_ready, followers_left, ..MemberStatus::default() };
    let b = MemberStatus { flows: FlowState::Stopped, ..MemberStatus::default() };
    for (member, status) in [(Member::A, a), (Member::B, b)] {
        let msg = Up::Heartbeat(Heartbeat { seq: ms, echo: None, status });
        decider.handle(at(ms), Input::Up { member, link: LINKS[member.index()], msg });
    }
}

fn connect(decider: &mut Decider) {
    for member in Member::BOTH {
        decider.handle(at(1), Input::LinkUp { member, link: LINKS[member.index()], session: 1 });
    }
}

/// What it does next, with every record stored at once; the start that it orders is confirmed.
fn effects(decider: &mut Decider, ms: u64) -> Vec<Effect> {
    let mut done = Vec::new();
    while let Some(effect) = decider.poll_effect() {
        match &effect {
            Effect::Persist { id, .. } => decider.handle(at(ms), Input::Persisted { id: *id }),
            Effect::Send { member, link, msg: Down::Start { op, epoch, .. } } => {
                let msg = Up::Started { op: *op, epoch: *epoch, failure: None };
                decider.handle(at(ms), Input::Up { member: *member, link: *link, msg });
            }
            _ => {}
        }
        done.push(effect);
    }
    done
}

/// One that leads, A active under epoch 1, in a switchover to B whose own connections are done at 5.1 s.
fn draining(followers_left: Option<Epoch>) -> Decider {
    let mut leader = Decider::new(at(0), WALL, "line-1".into(), Settings::default(), None);
    connect(&mut leader);
    let mut ms = 0;
    while ms < 5_000 {
        ms += 100;
        let epoch = leader.active().map(|(_, epoch)| epoch);
        beats(&mut leader, ms, epoch, followers_left);
        effects(&mut leader, ms);
    }
    assert_eq!(leader.active(), Some((Member::A, Epoch(1))));
    let command = Operator::Switchover { to: None, reason: "test".into() };
    leader.handle(at(5_050), Input::Operator { request: 1, command });
    effects(&mut leader, 5_050);
    assert_eq!(leader.route(), Route::Park { reason: ParkReason::Switchover });
    leader.handle(at(5_100), Input::Drained { epoch: Epoch(1) });
    effects(&mut leader, 5_100);
    leader
}

fn state(decider: &Decider) -> StateName {
    decider.view(at(5_200)).state
}

#[test]
fn the_leader_stops_nothing_before_those_that_follow_have_left() {
    assert_eq!(state(&draining(None)), StateName::Fencing, "alone it waits for nobody");

    let mut leader = draining(Some(Epoch::NONE));
    assert_eq!(state(&leader), StateName::Draining);
    beats(&mut leader, 5_200, Some(Epoch(1)), Some(Epoch::NONE));
    assert_eq!(state(&leader), StateName::Draining);
    beats(&mut leader, 5_300, Some(Epoch(1)), Some(Epoch(1)));
    assert_eq!(state(&leader), StateName::Fencing);

    // One that never says so is waited for no longer than any connection.
    let mut leader = draining(Some(Epoch::NONE));
    let deadline = leader.poll_timeout().unwrap();
    assert!(deadline > at(5_200), "{deadline:?}");
    let mut ms = 5_200;
    while state(&leader) == StateName::Draining && ms < 20_000 {
        beats(&mut leader, ms, Some(Epoch(1)), Some(Epoch::NONE));
        ms += 100;
    }
    let drain = Settings::default().deadlines.drain;
    assert!(at(ms) <= at(5_050 + 200) + drain, "given up at {ms} ms only");
}

fn acks(decider: &mut Decider) -> Vec<(Member, Option<Epoch>)> {
    let ack = |effect| match effect {
        Effect::Send { member, msg: Down::Ack { left, .. }, .. } => Some((member, left)),
        _ => None,
    };
    std::iter::from_fn(|| decider.poll_effect()).filter_map(ack).collect()
}

fn on_record(intent: Option<Intent>) -> Record {
    let tenure = |member, epoch| hotspare_decide::Tenure { member, epoch: Epoch(epoch) };
    Record {
        version: Record::VERSION,
        epoch: Epoch(6),
        tenures: vec![tenure(Member::A, 4), tenure(Member::B, 5), tenure(Member::A, 6)],
        last_active: Some(Member::A),
        intent,
        rolling: None,
        lease: Settings::default().lease,
        failovers_unix_ms: Vec::new(),
        paused: None,
        frozen: false,
        held: [false; 2],
    }
}

#[test]
fn a_follower_says_at_once_that_it_has_left_and_takes_it_back_when_the_switch_is_off() {
    let mut follower = Decider::follower(at(0), WALL, "line-1".into(), Settings::default());
    connect(&mut follower);
    beats(&mut follower, 10, Some(Epoch(4)), None);
    assert_eq!(follower.route(), Route::To { member: Member::A, epoch: Epoch(4) });
    assert_eq!(acks(&mut follower), [(Member::A, Some(Epoch::NONE)), (Member::B, Some(Epoch::NONE))]);

    let intent = Intent::Switchover { from: Member::A, to: Member::B, reason: "test".into() };
    follower.handle(at(20), Input::Seen { record: on_record(Some(intent)) });
    assert_eq!(follower.route(), Route::Park { reason: ParkReason::Switchover });
    beats(&mut follower, 30, Some(Epoch(4)), None);
    assert_eq!(acks(&mut follower)[0], (Member::A, Some(Epoch::NONE)), "a request is still under way");

    follower.handle(at(40), Input::Drained { epoch: Epoch(4) });
    let done: Vec<Effect> = std::iter::from_fn(|| follower.poll_effect()).collect();
    let now = Some(std::time::Duration::ZERO);
    assert!(matches!(done[0], Effect::Route { drain, .. } if drain == now), "what is quiet ends first: {done:?}");
    let said = matches!(done[1], Effect::Send { member: Member::A, msg: Down::Ack { left: Some(Epoch(4)), .. }, .. });
    assert!(said, "{done:?}");
    beats(&mut follower, 50, Some(Epoch(4)), None);
    assert_eq!(acks(&mut follower)[0], (Member::A, Some(Epoch(4))), "and with every answer");

    follower.handle(at(60), Input::Seen { record: on_record(None) });
    assert_eq!(follower.route(), Route::To { member: Member::A, epoch: Epoch(4) });
    beats(&mut follower, 70, Some(Epoch(4)), None);
    assert_eq!(acks(&mut follower)[0], (Member::A, Some(Epoch::NONE)));
}

#[test]
fn a_launcher_passes_on_what_all_that_follow_have_left() {
    let mut guard = Guard::new(at(0), GuardConfig { session: 7, controllers: 3 }, GuardRecord::default());
    let mut now = 10;
    let mut told = |guard: &mut Guard, input| {
        now += 1;
        guard.handle(at(now), input);
        let beat = |effect| match effect {
            GuardEffect::Send { controller: 0, msg: Up::Heartbeat(beat) } => Some(beat.status.followers_left),
            _ => None,
        };
        std::iter::from_fn(|| guard.poll_effect()).filter_map(beat).last()
    };
    let ack = |controller, leader, left| {
        let msg = Down::Ack { seq: 8, leader, left };
        GuardInput::Down { controller, msg }
    };
    for controller in 0..3 {
        told(&mut guard, GuardInput::LinkUp { controller });
    }
    assert_eq!(told(&mut guard, ack(0, true, None)), None, "one that leads changes nothing");
    assert_eq!(told(&mut guard, ack(1, false, Some(Epoch(4)))), Some(Some(Epoch(4))), "passed on at once");
    assert_eq!(told(&mut guard, ack(2, false, Some(Epoch::NONE))), Some(Some(Epoch::NONE)), "the other has not");
    assert_eq!(told(&mut guard, GuardInput::LinkDown { controller: 2 }), Some(Some(Epoch(4))), "nor is it waited for");
    assert_eq!(told(&mut guard, ack(1, true, None)), Some(None), "it leads now");
}
