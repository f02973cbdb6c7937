//! What bad networks do to the links between launchers and proxy, by relays of the test (this kernel has no netem).

use std::time::Duration;

use super::{Expect, Fault, Needs};
use crate::client::Who;
use crate::pair::Pair;
use crate::relay::{Toxic, Way};

/// A few leases long.
const LONG: Duration = Duration::from_secs(5);
const BOTH_WAYS: &[Way] = &[Way::Up, Way::Down];

const fn delay(ms: u64) -> Toxic {
    Toxic::Delay(Duration::from_millis(ms))
}

const fn fault(name: &'static str, expect: Expect, inflict: fn(&mut Pair, &Who)) -> Fault {
    Fault { name, needs: Needs::Relays, expect, inflict, recover: right }
}

pub(super) static FAULTS: &[Fault] = &[
    // A renewal that takes half a lease is a renewal.
    fault("delay-links-250ms", Expect::Stays(LONG), |pair, _| on_both(pair, BOTH_WAYS, delay(250))),
    // One that comes after a whole lease is none: the spare, which is heard in time, takes over.
    fault("delay-active-500ms", Expect::Takeover, |pair, active| on(pair, &active.member, BOTH_WAYS, delay(500))),
    fault("delay-standby-500ms", Expect::Stays(LONG), |pair, active| {
        let standby = pair.other(&active.member).name;
        on(pair, standby, BOTH_WAYS, delay(500));
    }),
    // Nobody can hold a lease: whatever comes of it, never two.
    fault("delay-links-500ms", Expect::Either(LONG), |pair, _| on_both(pair, BOTH_WAYS, delay(500))),
    fault("links-in-single-bytes", Expect::Stays(LONG), |pair, _| on_both(pair, BOTH_WAYS, Toxic::Slices(1))),
    // Several times what heartbeats and their answers take.
    fault("links-at-20-kbytes", Expect::Stays(LONG), |pair, _| on_both(pair, BOTH_WAYS, Toxic::Rate(20_000))),
    // Not enough for them.
    fault("links-at-1-kbyte", Expect::Either(LONG), |pair, _| on_both(pair, BOTH_WAYS, Toxic::Rate(1_000))),
    // Opened again and again, each for a part of a second.
    fault("links-end-after-4-kbytes", Expect::Either(LONG), |pair, _| on_both(pair, BOTH_WAYS, Toxic::Limit(4_000))),
    // Both connections stay open, and one end hears nothing more.
    fault("swallow-what-active-says", Expect::Takeover, |pair, active| {
        on(pair, &active.member, &[Way::Up], Toxic::Swallow);
    }),
    fault("swallow-what-active-hears", Expect::Takeover, |pair, active| {
        on(pair, &active.member, &[Way::Down], Toxic::Swallow);
    }),
    // The proxy goes on to hold for open what has long been closed.
    Fault {
        name: "kill-launcher-whose-link-closes-late",
        needs: Needs::Relays,
        expect: Expect::Takeover,
        inflict: |pair, active| {
            on(pair, &active.member, BOTH_WAYS, Toxic::SlowClose(LONG));
            pair.launcher(&active.member).kill();
        },
        recover: |pair, active| {
            right(pair, active);
            pair.start_launcher(&active.member);
        },
    },
];

fn on(pair: &Pair, member: &str, ways: &[Way], toxic: Toxic) {
    for way in ways {
        pair.relay(member).set(*way, toxic);
    }
}

fn on_both(pair: &Pair, ways: &[Way], toxic: Toxic) {
    for member in ["a", "b"] {
        on(pair, member, ways, toxic);
    }
}

fn right(pair: &mut Pair, _: &Who) {
    on_both(pair, BOTH_WAYS, Toxic::None);
}
