//! Named faults of a running [`Pair`], and what has to come of each: one list for the tests, the benches and the
//! random runs.

mod clock;
mod disk;
mod links;
mod members;
mod network;
mod steps;

use std::time::Duration;

use crate::client::{Client, Outage, Who, outage};
use crate::pair::{PATIENCE, Pair};
use crate::wait::{holds_for, wait_until};
use crate::witness::record::{Nanos, now};

/// A named fault.
#[derive(Debug)]
pub struct Fault {
    /// Its name on the command line.
    pub name: &'static str,
    /// What kind of pair it takes.
    pub needs: Needs,
    /// What has to come of it.
    pub expect: Expect,
    /// Does it to the pair, whose active is given.
    pub inflict: fn(&mut Pair, &Who),
    /// Undoes what doesn't heal by itself.
    pub recover: fn(&mut Pair, &Who),
}

/// What kind of pair a fault takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Any.
    Nothing,
    /// One in a lab: it cuts networks, fills disks, takes machines away.
    Lab,
    /// One whose processes read a clock that can be set: `Setup::clock`.
    Clock,
    /// One with relays between launchers and proxy: `Setup::relays`.
    Relays,
}

/// What has to come of a fault. That flows never run twice is expected of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The spare takes over.
    Takeover,
    /// The active stays active, and its flows go on, for this long.
    Stays(Duration),
    /// Either is right, for this long.
    Either(Duration),
}

/// What came of a fault.
#[derive(Debug)]
pub struct Outcome {
    /// Who was active before.
    pub before: Who,
    /// Who was active when the pair was steady again.
    pub after: Who,
    /// What it cost a client, if the active changed under a running proxy.
    pub outage: Option<Outage>,
    /// When it began.
    pub began: Nanos,
    /// When the service was back: the first good answer that was asked for after it was over and undone.
    pub served: Nanos,
}

/// Every named fault.
pub fn all() -> impl Iterator<Item = &'static Fault> {
    let parts = [members::FAULTS, steps::FAULTS, network::FAULTS, disk::FAULTS, clock::FAULTS, links::FAULTS];
    parts.into_iter().flatten()
}

/// The fault of this name.
pub fn named(name: &str) -> Option<&'static Fault> {
    all().find(|fault| fault.name == name)
}

/// Inflicts one fault on a steady pair, waits for what has to come of it, undoes it, and waits until the pair is steady
/// again.
///
/// # Panics
/// If something else comes of it, with what was seen.
pub fn run(pair: &mut Pair, fault: &Fault) -> Outcome {
    let before = pair.wait_until_steady();
    pair.wait_for_act(&before);
    let client = Client::start(pair.front());
    wait_until(Duration::from_secs(10), "a first answer to the client", || {
        client.answers().iter().find(|answer| answer.result.is_ok()).map(drop).ok_or("none")
    });
    let began = now();
    (fault.inflict)(pair, &before);
    match fault.expect {
        Expect::Takeover => {
            let new = pair.wait_for_takeover(&before);
            pair.wait_for_act(&new);
        }
        Expect::Stays(time) => stays(pair, &before, time),
        Expect::Either(time) => std::thread::sleep(time),
    }
    (fault.recover)(pair, &before);
    let undone = now();
    let served = wait_until(PATIENCE, "an answer to the client after the fault", || {
        let answers = client.answers();
        let good = answers.iter().find(|answer| answer.asked >= undone && answer.result.is_ok());
        good.map(|answer| answer.done).ok_or_else(|| answers.last().cloned())
    });
    let after = pair.wait_until_steady();
    pair.wait_for_act(&after);
    if let Expect::Stays(_) = fault.expect {
        assert_eq!(after, before, "{} must not move the active", fault.name);
    }
    Outcome { outage: outage(&client.answers(), began, &before), before, after, began, served }
}

/// For `time`, nobody acts but the active; at the end it has acted again.
fn stays(pair: &Pair, active: &Who, time: Duration) {
    let strangers = || {
        let history = pair.sink.history();
        let stranger = history.acts().find(|act| act.epoch > active.epoch).cloned();
        stranger.map_or(Ok(()), Err)
    };
    holds_for(time, &format!("nobody but {active:?} acts"), strangers);
    let from = now();
    wait_until(Duration::from_secs(10), &format!("another act of {active:?}"), || {
        match pair.sink.last_act(&active.member) {
            Some(act) if act.at > from && act.epoch == active.epoch => Ok(()),
            other => Err(other),
        }
    });
}

/// For faults that heal by themselves.
fn nothing(_: &mut Pair, _: &Who) {}

/// The next random number of a sequence. SplitMix64 (Steele, Lea, Flood, 2014): small, and the same on every machine.
pub fn roll(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
