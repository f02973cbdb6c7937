//! The judge. It sees only acts with their times and asks: could two members have been running flows at once?
//!
//! A *tenure* is everything one member did under one epoch, from its first act to its last. A tenure may really have
//! begun up to one tick before its first act and ended one tick after its last; that margin is not claimed, so a
//! verdict of guilty is always a fact.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::record::{Entry, History, Nanos, Record};

/// The flows whose messages arrive in the order in which they were sent, whoever sent them: one UDP socket takes them all.
/// Other messages are dated by when the flow says it acted, since each has a connection, and a thread of the sink, of
/// its own.
pub const IN_ORDER: &str = "udp";

/// What must never happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// Two members acted, each between two acts of the other.
    Overlap {
        /// The one that began first.
        first: Tenure,
        /// The one that began before the other had ended.
        second: Tenure,
        /// For how long both acted, at least.
        at_least: Duration,
    },
    /// Two members acted under the same epoch.
    SharedEpoch {
        /// The epoch.
        epoch: u64,
        /// The members.
        members: Vec<String>,
    },
    /// A member acted under an epoch after another had acted under a higher one.
    DeadEpoch {
        /// The act.
        act: Record,
        /// The higher epoch seen before.
        seen: u64,
    },
    /// A member acted without naming an epoch: its flows ran outside any tenure.
    NoEpoch {
        /// The first such act.
        act: Record,
    },
    /// A member acted when the test knew that it must not (for example after a freeze longer than its lease).
    NotSilent {
        /// The act.
        act: Record,
        /// Why it should have been silent.
        why: String,
    },
}

/// What one member did under one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenure {
    /// The member.
    pub member: String,
    /// The epoch.
    pub epoch: u64,
    /// The time of its first act.
    pub first: Nanos,
    /// The time of its last act.
    pub last: Nanos,
}

/// A time in which no member acted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The last act before it.
    pub from: Nanos,
    /// How long.
    pub length: Duration,
}

/// What the judge found.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Empty if nothing forbidden was seen.
    pub violations: Vec<Violation>,
    /// The tenures, by their first act.
    pub tenures: Vec<Tenure>,
    /// Times without service of more than two ticks, by their start.
    pub gaps: Vec<Gap>,
    /// Acts judged.
    pub acts: usize,
    /// Acts that never arrived although a later one of the same flow and tenure did.
    pub lost: u64,
    /// Acts that arrived more than once.
    pub duplicated: u64,
}

/// At most this many violations are listed one by one.
const LISTED: usize = 50;
/// The longest gaps that are told one by one.
const GAPS_TOLD: usize = 10;

/// Judges a history of flows that tick once per `period`.
///
/// It is judged twice: all acts by the time the flows say they acted, and those of [`IN_ORDER`] by their arrival, since a
/// flow that was frozen between saying and sending sends late. Times of the two kinds are never mixed.
pub fn judge(history: &History, period: Duration) -> Verdict {
    let said = sorted(history.acts().map(|act| (act.sent.unwrap_or(act.at), act)));
    let arrived = sorted(history.acts().filter(|act| act.kind == IN_ORDER).map(|act| (act.at, act)));
    let tenures = tenures(&said);
    let mut violations = crossings(&said);
    violations.extend(crossings(&arrived).into_iter().filter(|late| !violations.contains(late)).collect::<Vec<_>>());
    violations.extend(shared_epochs(&tenures));
    violations
        .extend(said.iter().find(|(_, act)| act.epoch == 0).map(|(_, act)| Violation::NoEpoch { act: (*act).clone() }));
    violations.extend(broken_silences(history));
    violations.truncate(LISTED);
    let (lost, duplicated) = count_ticks(&said);
    Verdict { violations, gaps: gaps(&said, period * 2), acts: said.len(), lost, duplicated, tenures }
}

type Act<'a> = (Nanos, &'a Record);

fn sorted<'a>(acts: impl Iterator<Item = Act<'a>>) -> Vec<Act<'a>> {
    let mut acts: Vec<Act<'_>> = acts.collect();
    acts.sort_by_key(|(time, _)| *time);
    acts
}

/// Everything that is forbidden in the order of these acts.
fn crossings(acts: &[Act<'_>]) -> Vec<Violation> {
    let mut found = overlaps(&tenures(acts));
    found.extend(dead_epochs(acts));
    found
}

fn tenures(acts: &[Act<'_>]) -> Vec<Tenure> {
    let mut found: BTreeMap<(&str, u64), Tenure> = BTreeMap::new();
    for (time, act) in acts {
        found.entry((&act.member, act.epoch)).and_modify(|tenure| tenure.last = *time).or_insert_with(|| Tenure {
            member: act.member.clone(),
            epoch: act.epoch,
            first: *time,
            last: *time,
        });
    }
    let mut found: Vec<Tenure> = found.into_values().collect();
    found.sort_by_key(|tenure| tenure.first);
    found
}

/// Tenures that overlap in time, of two members or of one (two processes of one member at once are no better).
fn overlaps(tenures: &[Tenure]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (index, first) in tenures.iter().enumerate() {
        for second in tenures[index + 1..].iter().filter(|second| second.first <= first.last) {
            let at_least = Duration::from_nanos(first.last.min(second.last) - second.first);
            found.push(Violation::Overlap { first: first.clone(), second: second.clone(), at_least });
        }
    }
    found
}

fn shared_epochs(tenures: &[Tenure]) -> Vec<Violation> {
    let mut members: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for tenure in tenures {
        members.entry(tenure.epoch).or_default().push(tenure.member.clone());
    }
    let shared = members.into_iter().filter(|(_, members)| members.len() > 1);
    shared.map(|(epoch, members)| Violation::SharedEpoch { epoch, members }).collect()
}

fn dead_epochs(acts: &[Act<'_>]) -> Vec<Violation> {
    let mut highest = 0;
    let mut found = Vec::new();
    for (_, act) in acts {
        if act.epoch < highest {
            found.push(Violation::DeadEpoch { act: (*act).clone(), seen: highest });
        }
        highest = highest.max(act.epoch);
    }
    found
}

/// Judged by arrival: what was sent before a freeze has arrived long before the thaw.
fn broken_silences(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    for entry in &history.entries {
        let Entry::MustBeSilent { at, silent, up_to_epoch, why } = entry else { continue };
        let loud = history.acts().filter(|act| act.at > *at && act.member == *silent && act.epoch <= *up_to_epoch);
        found.extend(loud.map(|act| Violation::NotSilent { act: act.clone(), why: why.clone() }));
    }
    found
}

fn gaps(acts: &[Act<'_>], longest: Duration) -> Vec<Gap> {
    let pairs =
        acts.windows(2).map(|pair| Gap { from: pair[0].0, length: Duration::from_nanos(pair[1].0 - pair[0].0) });
    pairs.filter(|gap| gap.length > longest).collect()
}

/// Lost and duplicated acts: within one tenure each flow numbers its acts without a hole.
fn count_ticks(acts: &[Act<'_>]) -> (u64, u64) {
    let mut numbers: BTreeMap<(&str, u64, &str), Vec<u64>> = BTreeMap::new();
    for (_, act) in acts {
        numbers.entry((&act.member, act.epoch, &act.kind)).or_default().push(act.seq);
    }
    let (mut lost, mut duplicated) = (0, 0);
    for mut seen in numbers.into_values() {
        seen.sort_unstable();
        let arrived = seen.len() as u64;
        seen.dedup();
        let distinct = seen.len() as u64;
        duplicated += arrived - distinct;
        if let (Some(first), Some(last)) = (seen.first(), seen.last()) {
            lost += last - first + 1 - distinct;
        }
    }
    (lost, duplicated)
}

impl Verdict {
    /// Whether nothing forbidden was seen. A history without any act is no proof of anything and isn't clean.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.acts > 0
    }

    /// The longest time without service.
    pub fn longest_gap(&self) -> Duration {
        self.gaps.iter().map(|gap| gap.length).max().unwrap_or_default()
    }

    /// # Panics
    /// If it isn't clean, with the whole verdict.
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.tenures.first().map_or(0, |tenure| tenure.first);
        let since = |time: Nanos| time.saturating_sub(origin) as f64 / 1e9;
        writeln!(f, "{} acts, {} lost, {} duplicated", self.acts, self.lost, self.duplicated)?;
        for tenure in &self.tenures {
            let Tenure { member, epoch, first, last } = tenure;
            writeln!(f, "  {:>9.3} s to {:>9.3} s: {member} under epoch {epoch}", since(*first), since(*last))?;
        }
        let mut longest: Vec<&Gap> = self.gaps.iter().collect();
        longest.sort_by_key(|gap| std::cmp::Reverse(gap.length));
        for gap in longest.into_iter().take(GAPS_TOLD) {
            writeln!(f, "  {:>9.3} s: no member acted for {:.3} s", since(gap.from), gap.length.as_secs_f64())?;
        }
        for violation in &self.violations {
            writeln!(f, "  VIOLATION: {violation}")?;
        }
        match (self.acts, self.violations.len()) {
            (0, _) => write!(f, "nothing was seen: no verdict"),
            (_, 0) => write!(f, "never two active"),
            (_, count) => write!(f, "GUILTY: {count} violations"),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Overlap { first, second, at_least } => write!(
                f,
                "{} (epoch {}) acted while {} (epoch {}) did, for at least {at_least:?}",
                second.member, second.epoch, first.member, first.epoch
            ),
            Violation::SharedEpoch { epoch, members } => {
                write!(f, "epoch {epoch} was used by {}", members.join(" and "))
            }
            Violation::DeadEpoch { act, seen } => {
                write!(
                    f,
                    "{} acted under epoch {} (act {} of {}) after epoch {seen}",
                    act.member, act.epoch, act.seq, act.kind
                )
            }
            Violation::NoEpoch { act } => {
                write!(f, "{} acted under no epoch (act {} of {})", act.member, act.seq, act.kind)
            }
            Violation::NotSilent { act, why } => {
                write!(f, "{} acted under epoch {} (act {} of {}): {why}", act.member, act.epoch, act.seq, act.kind)
            }
        }
    }
}
