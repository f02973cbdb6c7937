//! Delay on the links between launchers and proxy, by relays of the test (this kernel has no netem).

use std::time::Duration;

use super::{Expect, Fault, Needs};
use crate::client::Who;
use crate::pair::Pair;

/// A few leases long.
const LONG: Duration = Duration::from_secs(5);

/// Each way, so that a round trip takes twice as long.
pub(super) static FAULTS: &[Fault] = &[
    // A renewal that takes half a lease is a renewal.
    Fault {
        name: "delay-links-250ms",
        needs: Needs::Relays,
        expect: Expect::Stays(LONG),
        inflict: |pair, _| delay(pair, ["a", "b"].as_slice(), 250),
        recover: right,
    },
    // One that comes after a whole lease is none: the spare, which is heard in time, takes over.
    Fault {
        name: "delay-active-500ms",
        needs: Needs::Relays,
        expect: Expect::Takeover,
        inflict: |pair, active| delay(pair, &[&active.member], 500),
        recover: right,
    },
    Fault {
        name: "delay-standby-500ms",
        needs: Needs::Relays,
        expect: Expect::Stays(LONG),
        inflict: |pair, active| {
            let standby = pair.other(&active.member).name;
            delay(pair, &[standby], 500);
        },
        recover: right,
    },
    // Nobody can hold a lease: whatever comes of it, never two.
    Fault {
        name: "delay-links-500ms",
        needs: Needs::Relays,
        expect: Expect::Either(LONG),
        inflict: |pair, _| delay(pair, ["a", "b"].as_slice(), 500),
        recover: right,
    },
];

fn delay(pair: &Pair, members: &[&str], ms: u64) {
    for member in members {
        pair.relay(member).delay(Duration::from_millis(ms));
    }
}

fn right(pair: &mut Pair, _: &Who) {
    delay(pair, ["a", "b"].as_slice(), 0);
}
