//! The playing end: lines back to stretches without gaps, and a stretch back to what its decider was told.
//!
//! Long times in which nothing but the same was heard are left out, since a month of heartbeats would take minutes:
//! of each, so much stays that every timer and the hour that failovers are counted over run out as they did.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use hotspare_decide::message::Up;
use hotspare_decide::{Event, Fencing, Input, OnUnreachable, Operator, Settings, Time, replay};

use super::tape::{same_source, says_the_same};
use super::{Begin, Line, Moved, Seen};

/// Failovers are counted over an hour; with some minutes for what follows one.
const AN_HOUR: Duration = Duration::from_secs(65 * 60);
/// So much of the end of a calm time stays.
const BEFORE: Duration = Duration::from_secs(60);

/// A time without gaps in which one proxy decided under the same settings.
#[derive(Debug)]
pub struct Stretch {
    /// How it began.
    pub begin: Begin,
    /// The failovers that there were.
    pub failovers: Vec<Moved>,
    /// Until when it is whole.
    pub until: Time,
    seen: Vec<Seen>,
}

/// The stretches in the text of an instance's files, oldest first. What can't be read ends a stretch.
pub fn stretches(text: &str) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let (mut seen, mut failovers, mut open) = (Vec::new(), Vec::new(), false);
    for line in text.lines().filter(|line| !line.is_empty()) {
        match serde_json::from_str(line) {
            Ok(Line::Begin(begin)) if !(begin.continued && open) => {
                (seen, failovers, open) = (Vec::new(), Vec::new(), true);
                let until = begin.at;
                stretches.push(Stretch { begin: *begin, failovers: Vec::new(), until, seen: Vec::new() });
            }
            Ok(Line::Begin(_)) => {}
            Ok(Line::Seen(line)) => seen.push(*line),
            Ok(Line::FailedOver(moved)) => failovers.push(moved),
            Ok(Line::Whole { at }) => {
                if let Some(stretch) = stretches.last_mut().filter(|_| open) {
                    stretch.seen.append(&mut seen);
                    stretch.failovers.append(&mut failovers);
                    stretch.until = at;
                }
            }
            Err(_) => open = false,
        }
    }
    for stretch in &mut stretches {
        stretch.seen = joined(std::mem::take(&mut stretch.seen));
    }
    stretches
}

/// In order of time, with runs that were only cut to be written made one again.
fn joined(mut seen: Vec<Seen>) -> Vec<Seen> {
    seen.sort_by_key(|run| run.from);
    let mut joined: Vec<Seen> = Vec::with_capacity(seen.len());
    let mut newest: Vec<usize> = Vec::new();
    for run in seen {
        let place = newest.iter().position(|index| same_source(&joined[*index].what, &run.what));
        if let Some(place) = place {
            let before = &mut joined[newest[place]];
            let pace = before.until.since(before.from) / before.count.max(2).saturating_sub(1);
            if says_the_same(&before.what, &run.what) && run.from.since(before.until) <= pace * 2 {
                (before.until, before.count) = (run.until, before.count.saturating_add(run.count));
                continue;
            }
            newest.swap_remove(place);
        }
        newest.push(joined.len());
        joined.push(run);
    }
    joined
}

impl Stretch {
    /// Wall clock of a time of this stretch, milliseconds since 1970.
    pub fn wall_ms(&self, at: Time) -> u64 {
        self.begin.wall_ms + u64::try_from(at.since(self.begin.at).as_millis()).unwrap_or(u64::MAX)
    }

    /// What the decider would have said with these settings, at the times of the recording.
    pub fn play(&self, settings: Settings) -> Vec<Event> {
        let calm = Calm::of(self, &settings);
        let told = self.begin.links.iter().map(|link| (self.begin.at, link.clone())).chain(self.told(&calm));
        let (begin, record) = (&self.begin, self.begin.record.clone());
        let mut events = replay(begin.at, begin.wall_ms, &begin.settings, settings, record, told);
        events.iter_mut().for_each(|event| event.at = calm.real(event.at));
        events
    }

    /// All that the decider was told, in order, without the calm.
    fn told<'s>(&'s self, calm: &'s Calm) -> impl Iterator<Item = (Time, Input)> + 's {
        let mut next: BinaryHeap<_> = self.seen.iter().enumerate().map(|(n, run)| Reverse((run.from, n, 0))).collect();
        std::iter::from_fn(move || {
            loop {
                let Reverse((at, n, nth)) = next.pop()?;
                let run = &self.seen[n];
                let after = calm.end_of(at).map_or(nth + 1, |end| run.first_from(end).max(nth + 1));
                if after < run.count {
                    next.push(Reverse((run.time_of(after), n, after)));
                }
                if let Some(short) = calm.short(at) {
                    return Some((short, run.nth(nth)));
                }
            }
        })
    }
}

impl Seen {
    fn time_of(&self, nth: u32) -> Time {
        let steps = u64::from(self.count.saturating_sub(1).max(1));
        let span = u128::from(self.until.as_nanos() - self.from.as_nanos());
        let part = span * u128::from(nth) / u128::from(steps);
        self.from + Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
    }

    /// The first of the run that came at `at` or later; beyond its last if none did.
    fn first_from(&self, at: Time) -> u32 {
        let span = u128::from(self.until.as_nanos() - self.from.as_nanos()).max(1);
        let passed = u128::from(at.since(self.from).as_nanos() as u64);
        let nth = (passed * u128::from(self.count.saturating_sub(1))).div_ceil(span);
        u32::try_from(nth).unwrap_or(u32::MAX)
    }

    fn nth(&self, nth: u32) -> Input {
        let mut what = self.what.clone();
        if let Input::Up { msg: Up::Heartbeat(beat), .. } = &mut what {
            beat.seq += u64::from(nth);
        }
        what
    }
}

/// Times that are left out: from when, and until when.
struct Calm(Vec<(Time, Time)>);

impl Calm {
    fn of(stretch: &Stretch, settings: &Settings) -> Self {
        let keep = longest_timer(stretch, settings).max(AN_HOUR);
        let mut edges = vec![stretch.begin.at];
        edges.extend(stretch.seen.iter().flat_map(|run| [run.from, run.until]));
        edges.sort_unstable();
        let between = edges.windows(2).map(|pair| (pair[0] + keep, pair[1] - BEFORE));
        Self(between.filter(|(from, until)| from < until).collect())
    }

    /// The end of the calm that `at` lies in.
    fn end_of(&self, at: Time) -> Option<Time> {
        let before = self.0.partition_point(|(from, _)| *from <= at);
        before.checked_sub(1).map(|last| self.0[last].1).filter(|end| at < *end)
    }

    /// The time at which `at` is played; `None` if it is left out.
    fn short(&self, at: Time) -> Option<Time> {
        if self.end_of(at).is_some() {
            return None;
        }
        let gone = self.0.iter().take_while(|(_, until)| *until <= at).map(|(from, until)| until.since(*from));
        Some(at - gone.sum())
    }

    /// The time of the recording at which something that is played at `short` happened.
    fn real(&self, short: Time) -> Time {
        let mut at = short;
        for (from, until) in &self.0 {
            if at > *from {
                at += until.since(*from);
            }
        }
        at
    }
}

/// The longest time after which something may happen although nothing new was seen.
fn longest_timer(stretch: &Stretch, settings: &Settings) -> Duration {
    let pauses = stretch.seen.iter().filter_map(|run| match &run.what {
        Input::Operator { command: Operator::Pause { duration, .. }, .. } => Some(*duration),
        _ => None,
    });
    let begun = stretch.begin.record.iter().filter_map(|record| record.paused.as_ref());
    let begun = begun.map(|pause| Duration::from_millis(pause.until_unix_ms.saturating_sub(stretch.begin.wall_ms)));
    let rules = settings.fencing.0.iter().filter_map(|fencing| match fencing {
        Fencing::Confirmed(OnUnreachable::After(silence)) => Some(*silence),
        _ => None,
    });
    let all = pauses.chain(begun).chain(rules).chain(settings.auto_failback);
    all.max().unwrap_or_default() + Duration::from_secs(300)
}
