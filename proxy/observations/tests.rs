//! From the tape through the files to a replay.

use std::time::Duration;

use hotspare_decide::message::{ExitCause, ExitReceipt, FlowState, Heartbeat, MemberStatus, Up};
use hotspare_decide::{Cause, Epoch, Input, LinkId, Member, Settings, Time};

use super::{Change, Line, Moved, Recorder, Tape, compare, stretches};

const HOUR_MS: u64 = 3_600_000;

fn at(ms: u64) -> Time {
    Time::from_nanos(ms * 1_000_000)
}

fn heartbeat(member: Member, seq: u64) -> Input {
    let status = MemberStatus { flows: FlowState::Stopped, lag_ms: seq % 7, ..MemberStatus::default() };
    Input::Up { member, link: LinkId(1), msg: Up::Heartbeat(Heartbeat { seq, echo: None, status }) }
}

fn note(tape: &mut Tape, ms: u64, input: &Input) {
    tape.note(at(ms), input, true, &Settings::default(), None);
}

/// Both are heard every 100 ms for `hours`; half-way A is silent for 2 s; in the end it crashes.
fn record(tape: &mut Tape, hours: u64) {
    let (end, half) = (hours * HOUR_MS, hours * HOUR_MS / 2);
    for member in Member::BOTH {
        note(tape, 10, &Input::LinkUp { member, link: LinkId(1), session: 7 });
    }
    for ms in (100..end).step_by(100) {
        if !(half..half + 2_000).contains(&ms) {
            note(tape, ms, &heartbeat(Member::A, ms));
        }
        note(tape, ms, &heartbeat(Member::B, ms));
    }
    tape.failed_over(Moved { at: at(half + 1_300), from: Member::A, why: Cause::LeaseExpired });
    let cause = ExitCause::Crash { code: Some(1), signal: None };
    let receipt = ExitReceipt { epoch: Epoch(1), tenure: None, cause };
    note(tape, end, &Input::Up { member: Member::A, link: LinkId(1), msg: Up::Exited(receipt) });
    tape.checkpoint(at(end + 1));
}

#[tokio::test]
async fn hours_of_heartbeats_are_a_few_lines_and_play_as_they_were() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (recorder, writer) = Recorder::open(dir.path()).expect("opens");
    let mut tape = Tape::new(at(0), recorder.clone(), "line-1", ["plant-a".to_owned(), "plant-b".to_owned()]);
    record(&mut tape, 6);
    let text = recorder.read("line-1").await.expect("it is written");
    writer.finish();
    assert!(text.lines().count() < 100, "{} lines for six hours", text.lines().count());

    let played = stretches(&text);
    assert_eq!(played.len(), 1);
    let change = Change::parse("lease.ttl=3s").expect("a change");
    let outcome = compare(&played, &[change], 0).expect("it fits");
    assert_eq!(outcome.observed_ms, 6 * HOUR_MS + 1);
    let causes = |moments: &[super::Moment]| moments.iter().map(|m| m.why.clone()).collect::<Vec<_>>();
    assert_eq!(
        (causes(&outcome.real), causes(&outcome.played)),
        (vec![Cause::LeaseExpired], vec![Cause::LeaseExpired])
    );
    assert!(matches!(causes(&outcome.what_if)[..], [Cause::Exited { .. }]), "{:?}", outcome.what_if);
    // The times are those of the recording, although the calm was left out.
    let silent_at = played[0].wall_ms(at(3 * HOUR_MS));
    let late = outcome.played[0].at_ms - silent_at;
    assert!((1_000..2_000).contains(&late), "{late} ms after the silence began");
    assert_eq!(outcome.what_if[0].at_ms, played[0].wall_ms(at(6 * HOUR_MS)));
}

#[tokio::test]
async fn what_is_not_known_to_be_whole_is_not_played() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (recorder, writer) = Recorder::open(dir.path()).expect("opens");
    let mut tape = Tape::new(at(0), recorder.clone(), "line-1", ["a".to_owned(), "b".to_owned()]);
    for ms in (100..60_000).step_by(100) {
        note(&mut tape, ms, &heartbeat(Member::A, ms));
    }
    tape.checkpoint(at(60_000));
    // B is heard until the proxy is killed, but only a line of A's reached the file.
    note(&mut tape, 60_100, &heartbeat(Member::A, 60_100));
    note(&mut tape, 70_000, &heartbeat(Member::A, 70_000));
    let text = recorder.read("line-1").await.expect("it is written");
    writer.finish();
    let torn = format!("{text}{{\"line\":\"whole\",\"a");
    let played = stretches(&torn);
    assert_eq!((played.len(), played[0].until), (1, at(60_000)));
}

#[test]
fn what_finds_no_room_ends_the_stretch_and_waits_for_nobody() {
    let (recorder, full) = Recorder::without_room();
    let mut tape = Tape::new(at(0), recorder.clone(), "line-1", ["a".to_owned(), "b".to_owned()]);
    let began = std::time::Instant::now();
    for ms in (0..100_000).step_by(1_000) {
        note(&mut tape, ms, &heartbeat(Member::A, ms));
    }
    assert!(recorder.lost() > 90, "only {} lines were lost", recorder.lost());
    assert!(began.elapsed() < Duration::from_secs(5), "it waited");
    drop(full);
}

#[test]
fn a_change_that_cannot_be_played_is_refused_with_its_reason() {
    for (text, words) in [
        ("ttl", "KEY=VALUE"),
        ("ttl=soon", "neither a time"),
        ("ttl=3", "another kind"),
        ("ttl=100ms", "at least"),
        ("hang_after=5s", "was not recorded"),
        ("tll=3s", "there are: ttl"),
    ] {
        let refused = Change::parse(text).expect_err(text);
        assert!(refused.contains(words), "{text}: {refused}");
    }
}

#[test]
fn a_line_survives_being_written() {
    let seen = super::Seen { from: at(1), until: at(5), count: 3, what: heartbeat(Member::B, 9) };
    let line = Line::Seen(Box::new(seen));
    let text = serde_json::to_string(&line).expect("JSON");
    assert_eq!(serde_json::from_str::<Line>(&text).expect("a line"), line);
}
