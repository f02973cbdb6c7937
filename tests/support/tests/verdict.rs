//! The judge is judged: it must find every kind of wrong history guilty, and no right one.

use std::time::Duration;

use hotspare_test_support::witness::{Entry, History, Record, Verdict, Violation, judge};

const TICK: Duration = Duration::from_millis(50);

/// Ticks of `member` under `epoch` from `from` to `to` milliseconds, each on the tick.
fn ticks(member: &str, epoch: u64, from: u64, to: u64) -> Vec<Entry> {
    let acts = (from..=to).step_by(50).enumerate();
    acts.map(|(index, at)| act(member, epoch, at, index as u64 + 1)).collect()
}

fn act(member: &str, epoch: u64, at_ms: u64, seq: u64) -> Entry {
    let at = at_ms * 1_000_000;
    Entry::Act(Record { at, sent: Some(at), member: member.into(), epoch, kind: "udp".into(), seq })
}

fn judged(parts: Vec<Vec<Entry>>) -> Verdict {
    judge(&History { entries: parts.concat() }, TICK)
}

#[test]
fn a_failover_with_a_gap_is_clean() {
    let verdict = judged(vec![ticks("a", 1, 0, 1000), ticks("b", 2, 1200, 2000), ticks("a", 3, 2100, 3000)]);
    verdict.assert_clean();
    assert_eq!(verdict.tenures.len(), 3, "{verdict}");
    assert_eq!(verdict.longest_gap(), Duration::from_millis(200), "{verdict}");
    assert_eq!((verdict.lost, verdict.duplicated), (0, 0), "{verdict}");
}

#[test]
fn a_takeover_within_one_tick_is_clean() {
    judged(vec![ticks("a", 1, 0, 1000), ticks("b", 2, 1001, 2000)]).assert_clean();
}

#[test]
fn two_active_at_once_is_guilty() {
    let verdict = judged(vec![ticks("a", 1, 0, 1000), ticks("b", 2, 800, 2000)]);
    let overlap = verdict.violations.iter().find_map(|violation| match violation {
        Violation::Overlap { at_least, .. } => Some(*at_least),
        _ => None,
    });
    assert_eq!(overlap, Some(Duration::from_millis(200)), "{verdict}");
}

#[test]
fn one_act_of_the_old_active_after_the_new_ones_first_is_guilty() {
    let verdict = judged(vec![ticks("a", 1, 0, 1000), ticks("b", 2, 1100, 2000), vec![act("a", 1, 1500, 22)]]);
    assert!(
        verdict.violations.iter().any(|violation| matches!(violation, Violation::DeadEpoch { seen: 2, .. })),
        "{verdict}"
    );
    assert!(verdict.violations.iter().any(|violation| matches!(violation, Violation::Overlap { .. })), "{verdict}");
}

#[test]
fn two_members_under_one_epoch_are_guilty_even_one_after_the_other() {
    let verdict = judged(vec![ticks("a", 1, 0, 1000), ticks("b", 1, 1500, 2000)]);
    let expected = Violation::SharedEpoch { epoch: 1, members: vec!["a".into(), "b".into()] };
    assert_eq!(verdict.violations, vec![expected], "{verdict}");
}

#[test]
fn a_lower_epoch_after_a_higher_one_is_guilty_even_one_after_the_other() {
    let verdict = judged(vec![ticks("a", 5, 0, 1000), ticks("b", 4, 1500, 1500)]);
    assert!(matches!(verdict.violations[..], [Violation::DeadEpoch { seen: 5, .. }]), "{verdict}");
}

#[test]
fn two_processes_of_one_member_at_once_are_guilty() {
    let verdict = judged(vec![ticks("a", 1, 0, 1000), ticks("a", 2, 900, 2000)]);
    assert!(verdict.violations.iter().any(|violation| matches!(violation, Violation::Overlap { .. })), "{verdict}");
}

#[test]
fn acts_under_no_epoch_are_guilty() {
    let verdict = judged(vec![ticks("a", 0, 0, 1000)]);
    assert!(matches!(verdict.violations[..], [Violation::NoEpoch { .. }]), "{verdict}");
}

#[test]
fn an_act_after_the_thaw_is_guilty_and_one_before_or_under_a_new_epoch_is_not() {
    let silence =
        Entry::MustBeSilent { at: 1_000_000_000, silent: "a".into(), up_to_epoch: 1, why: "frozen for 3 x ttl".into() };
    let clean = judged(vec![ticks("a", 1, 0, 1000), vec![silence.clone()], ticks("a", 2, 1300, 1600)]);
    clean.assert_clean();
    let guilty = judged(vec![ticks("a", 1, 0, 1000), vec![silence, act("a", 1, 1001, 22)]]);
    assert!(matches!(guilty.violations[..], [Violation::NotSilent { .. }]), "{guilty}");
}

#[test]
fn lost_and_duplicated_acts_are_counted() {
    let mut entries = ticks("a", 1, 0, 1000);
    entries.remove(3);
    entries.remove(3);
    entries.push(act("a", 1, 1010, 21));
    let verdict = judged(vec![entries]);
    assert_eq!((verdict.lost, verdict.duplicated), (2, 1), "{verdict}");
}

#[test]
fn a_message_that_tcp_delivers_late_counts_when_it_was_sent() {
    let late = |kind: &str| {
        let act = Record { at: 1_500_000_000, sent: Some(990_000_000), kind: kind.into(), ..record("a", 1) };
        judged(vec![ticks("a", 1, 0, 950), ticks("b", 2, 1100, 2000), vec![Entry::Act(act)]])
    };
    late("mqtt").assert_clean();
    // UDP doesn't hold back: the sender did, while it was frozen, and sent under a dead lease.
    let guilty = late("udp");
    assert!(guilty.violations.iter().any(|violation| matches!(violation, Violation::DeadEpoch { .. })), "{guilty}");
}

#[test]
fn a_late_thread_of_the_sink_accuses_nobody() {
    let slow = Record { at: 1_130_000_000, sent: Some(999_000_000), kind: "http".into(), ..record("a", 1) };
    judged(vec![ticks("a", 1, 0, 1000), ticks("b", 2, 1020, 2000), vec![Entry::Act(slow)]]).assert_clean();
}

#[test]
fn nothing_seen_proves_nothing() {
    assert!(!judged(vec![]).is_clean());
}

#[test]
fn a_history_survives_its_file() {
    let silence = Entry::MustBeSilent { at: 7, silent: "a".into(), up_to_epoch: 1, why: "test".into() };
    let history = History { entries: [ticks("a", 1, 0, 200), vec![silence]].concat() };
    let mut file = Vec::new();
    history.write(&mut file).expect("write to memory");
    assert_eq!(History::read(file.as_slice()).expect("read back"), history);
    let error = History::read(&b"{\"at\": 1}\n"[..]).expect_err("no entry");
    assert!(error.to_string().starts_with("line 1:"), "{error}");
}

fn record(member: &str, epoch: u64) -> Record {
    Record { at: 0, sent: None, member: member.into(), epoch, kind: "udp".into(), seq: 21 }
}
