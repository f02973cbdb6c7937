//! Recorded observations can be written down, read back, and played through a decider with other settings.

#![allow(missing_docs, clippy::unwrap_used)]

use hotspare_decide::message::{ExitCause, ExitReceipt, FlowState, Heartbeat, MemberStatus, Up};
use hotspare_decide::{Cause, Epoch, EventKind, Input, LinkId, Member, Settings, Time, replay};
use std::time::Duration;

fn at(ms: u64) -> Time {
    Time::from_nanos(ms * 1_000_000)
}

fn heartbeat(member: Member, seq: u64) -> Input {
    let status = MemberStatus { flows: FlowState::Stopped, ..MemberStatus::default() };
    Input::Up { member, link: LinkId(1), msg: Up::Heartbeat(Heartbeat { seq, echo: None, status }) }
}

/// The same from a member whose flows run under epoch 1, and from one whose process is not there.
fn with_flows(mut input: Input, flows: FlowState) -> Input {
    if let Input::Up { msg: Up::Heartbeat(beat), .. } = &mut input {
        beat.status.flows = flows;
        beat.status.tenure = (flows == FlowState::Running).then_some(Epoch(1));
    }
    input
}

/// Both launchers connect; member A is silent from 20.0 s for `gap` milliseconds; at 60 s the process of A crashes.
fn a_day(gap: u64) -> Vec<(Time, Input)> {
    let mut inputs = Vec::new();
    for member in Member::BOTH {
        inputs.push((at(10), Input::LinkUp { member, link: LinkId(1), session: 7 }));
    }
    for ms in (100..90_000).step_by(100) {
        let silent = (20_000..20_000 + gap).contains(&ms);
        if !silent {
            inputs.push((at(ms), heartbeat(Member::A, ms)));
        }
        inputs.push((at(ms), heartbeat(Member::B, ms)));
        if ms == 60_000 {
            let cause = ExitCause::Crash { code: None, signal: Some(9) };
            let receipt = ExitReceipt { epoch: Epoch(1), tenure: None, cause };
            inputs.push((at(ms + 1), Input::Up { member: Member::A, link: LinkId(1), msg: Up::Exited(receipt) }));
        }
    }
    inputs
}

fn causes(settings: Settings, inputs: &[(Time, Input)]) -> Vec<Cause> {
    let events = replay(at(0), 1_800_000_000_000, &with_ttl(1_000), settings, None, inputs.iter().cloned());
    let cause = |kind| if let EventKind::FailoverBegan { why, .. } = kind { Some(why) } else { None };
    events.into_iter().filter_map(|event| cause(event.kind)).collect()
}

fn with_ttl(ms: u64) -> Settings {
    let mut settings = Settings::default();
    settings.lease.ttl = Duration::from_millis(ms);
    settings
}

#[test]
fn inputs_survive_being_written_down() {
    for (time, input) in a_day(2_000) {
        let text = serde_json::to_string(&(time, &input)).unwrap();
        let back: (Time, Input) = serde_json::from_str(&text).unwrap();
        assert_eq!(back, (time, input));
    }
}

#[test]
fn a_longer_lease_would_have_ridden_out_the_silence() {
    let inputs = a_day(2_000);
    assert_eq!(causes(with_ttl(1_000), &inputs), [Cause::LeaseExpired]);
    // With a longer lease A stays active, so it is its crash that moves the service.
    let crash = Cause::Exited { exit: ExitCause::Crash { code: None, signal: Some(9) } };
    assert_eq!(causes(with_ttl(3_000), &inputs), [crash]);
}

#[test]
fn playing_twice_gives_the_same_events() {
    let inputs = a_day(2_000);
    let play = || replay(at(0), 1_800_000_000_000, &with_ttl(1_000), with_ttl(1_000), None, inputs.iter().cloned());
    assert_eq!(play(), play());
}

#[test]
fn a_process_that_ended_with_its_lease_ended_by_decision_only() {
    // As it really is: A runs, is cut off for 2 s, and has killed its own process when it is heard again.
    let recorded = |at: Time, input: Input| {
        let flows = match (&input, at.as_nanos() / 1_000_000) {
            (Input::Up { member: Member::B, .. }, _) | (_, ..1_000 | 24_000..) => return (at, input),
            (_, 1_000..22_000) => FlowState::Running,
            (_, 22_000..23_000) => FlowState::Down,
            _ => FlowState::Booting,
        };
        (at, with_flows(input, flows))
    };
    let inputs: Vec<_> = a_day(2_000).into_iter().map(|(at, input)| recorded(at, input)).collect();
    assert_eq!(causes(with_ttl(1_000), &inputs), [Cause::LeaseExpired]);
    let crash = Cause::Exited { exit: ExitCause::Crash { code: None, signal: Some(9) } };
    assert_eq!(causes(with_ttl(3_000), &inputs), [crash]);
}
