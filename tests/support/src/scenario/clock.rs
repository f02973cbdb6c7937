//! Faults of the wall clock (libfaketime): leases are counted on clocks that nobody can set.

use std::time::Duration;

use super::{Expect, Fault, Needs};
use crate::client::Who;
use crate::pair::Pair;

/// A few leases long.
const LONG: Duration = Duration::from_secs(4);

/// Every process of the pair reads the same wall clock; none of these may move anything.
pub(super) static FAULTS: &[Fault] = &[
    Fault {
        name: "clock-steps-ahead",
        needs: Needs::Clock,
        expect: Expect::Stays(LONG),
        inflict: |pair, _| pair.set_clock("+1h"),
        recover: right,
    },
    Fault {
        name: "clock-steps-back",
        needs: Needs::Clock,
        expect: Expect::Stays(LONG),
        inflict: |pair, _| pair.set_clock("-1h"),
        recover: right,
    },
    Fault {
        name: "clock-runs-fast",
        needs: Needs::Clock,
        expect: Expect::Stays(LONG),
        inflict: |pair, _| pair.set_clock("+0 x3"),
        recover: right,
    },
    Fault {
        name: "clock-runs-slow",
        needs: Needs::Clock,
        expect: Expect::Stays(LONG),
        inflict: |pair, _| pair.set_clock("+0 x0.3"),
        recover: right,
    },
];

fn right(pair: &mut Pair, _: &Who) {
    pair.set_clock("+0");
}
