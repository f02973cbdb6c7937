//! What if: how often the active would have changed with other settings.

use std::fmt;
use std::time::Duration;

use hotspare_decide::{Cause, EventKind, Fencing, Member, OnUnreachable, Settings};
use serde::Serialize;

use super::Stretch;
use crate::config::parse_duration;

/// One setting with another value, as given on the command line: `ttl=3s`.
#[derive(Clone, Debug)]
pub struct Change {
    text: String,
    key: String,
    value: Value,
}

#[derive(Clone, Copy, Debug)]
enum Value {
    Time(Duration),
    Count(u32),
    Flag(bool),
    Never,
}

/// The keys that can be changed in a replay, by their names in the configuration.
const KEYS: &str = "ttl, drift_ppm, kill_budget, hold_down, hold_down_max, max_per_hour, rise, fall, auto_failback, \
                    promote_stale, on_unreachable";

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Change {
    /// Reads `KEY=VALUE`.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE, such as ttl=3s"))?;
        // The table that a key stands in may be named, as in lease.ttl.
        let key = key.trim().rsplit('.').next().unwrap_or_default();
        let value = match value.trim() {
            "true" => Value::Flag(true),
            "false" => Value::Flag(false),
            "off" | "never" | "wait" => Value::Never,
            value => match (value.parse(), parse_duration(value)) {
                (Ok(count), _) => Value::Count(count),
                (_, Some(time)) => Value::Time(time),
                _ => return Err(format!("{value:?} is neither a time such as 3s, nor a number, true, false or off")),
            },
        };
        let change = Self { text: text.to_owned(), key: key.to_owned(), value };
        change.apply(&mut Settings::default())?;
        Ok(change)
    }

    /// Sets it.
    ///
    /// # Errors
    /// In words, why it can't be.
    pub fn apply(&self, settings: &mut Settings) -> Result<(), String> {
        let (lease, damping, health) = (&mut settings.lease, &mut settings.damping, &mut settings.health);
        match (self.key.as_str(), self.value) {
            ("ttl", Value::Time(time)) => lease.ttl = time,
            ("kill_budget", Value::Time(time)) => lease.kill_budget = time,
            ("drift_ppm", Value::Count(ppm)) => lease.drift_ppm = ppm,
            ("hold_down", Value::Time(time)) => damping.hold_down = time,
            ("hold_down_max", Value::Time(time)) => damping.hold_down_max = time,
            ("max_per_hour", Value::Count(count)) => damping.max_per_hour = count,
            ("rise", Value::Count(count)) => health.rise = count,
            ("fall", Value::Count(count)) => health.fall = count,
            ("promote_stale", Value::Flag(on)) => settings.promote_stale = on,
            ("auto_failback", Value::Time(time)) => settings.auto_failback = Some(time),
            ("auto_failback", Value::Never) => settings.auto_failback = None,
            ("on_unreachable", Value::Time(time)) => set_unreachable(settings, OnUnreachable::After(time)),
            ("on_unreachable", Value::Never) => set_unreachable(settings, OnUnreachable::Wait),
            ("heartbeat" | "hang_after" | "interval" | "timeout" | "park" | "start" | "stop" | "boot", _) => {
                return Err(format!(
                    "{} can't be played again: what would have been seen with another value was not recorded; there are: {KEYS}",
                    self.key
                ));
            }
            (key, _) if KEYS.split(", ").any(|known| known == key) => {
                return Err(format!("{key} takes another kind of value"));
            }
            (key, _) => return Err(format!("there is no setting {key:?} to play with; there are: {KEYS}")),
        }
        let faults = settings.lease.validate();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
    }
}

fn set_unreachable(settings: &mut Settings, rule: OnUnreachable) {
    for fencing in &mut settings.fencing.0 {
        if let Fencing::Confirmed(old) = fencing {
            *old = rule;
        }
    }
}

/// A failover, real or played.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moment {
    /// Wall clock, milliseconds since 1970.
    pub at_ms: u64,
    /// The member that was to be replaced, by name.
    pub from: String,
    /// Why.
    pub why: Cause,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    /// The earliest time that was looked at, wall clock in milliseconds.
    pub from_ms: u64,
    /// The latest.
    pub until_ms: u64,
    /// How much between the two was recorded, in milliseconds.
    pub observed_ms: u64,
    /// The failovers that there were.
    pub real: Vec<Moment>,
    /// Those that a replay with the settings of then gives: how far the replay is to be trusted.
    pub played: Vec<Moment>,
    /// Those with the settings changed.
    pub what_if: Vec<Moment>,
}

/// Plays `stretches` since `since_ms` (wall clock) as it was, and with `changes`.
///
/// # Errors
/// In words, why the changes don't fit the settings that were in force.
pub fn compare(stretches: &[Stretch], changes: &[Change], since_ms: u64) -> Result<Outcome, String> {
    let mut outcome = Outcome { from_ms: u64::MAX, ..Outcome::default() };
    for stretch in stretches {
        let (from, until) = (stretch.wall_ms(stretch.begin.at).max(since_ms), stretch.wall_ms(stretch.until));
        if until <= from {
            continue;
        }
        outcome.from_ms = outcome.from_ms.min(from);
        outcome.until_ms = outcome.until_ms.max(until);
        outcome.observed_ms += until - from;
        let mut settings = stretch.begin.settings.clone();
        let moment = |at, from: Member, why: &Cause| {
            let from = stretch.begin.members[from.index()].clone();
            Some(Moment { at_ms: stretch.wall_ms(at), from, why: why.clone() }).filter(|it| it.at_ms >= since_ms)
        };
        outcome.real.extend(stretch.failovers.iter().filter_map(|moved| moment(moved.at, moved.from, &moved.why)));
        let play = |settings: &Settings| -> Vec<Moment> {
            let events = stretch.play(settings.clone()).into_iter();
            let began = events.filter_map(|event| match event.kind {
                EventKind::FailoverBegan { from, why, .. } => moment(event.at, from, &why),
                _ => None,
            });
            began.collect()
        };
        outcome.played.extend(play(&settings));
        for change in changes {
            change.apply(&mut settings)?;
        }
        outcome.what_if.extend(play(&settings));
    }
    outcome.from_ms = outcome.from_ms.min(outcome.until_ms);
    Ok(outcome)
}
