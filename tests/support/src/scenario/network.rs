//! Faults of links between hosts.

use std::time::Duration;

use super::{Expect, Fault};
use crate::client::Who;
use crate::pair::Pair;

const PROXY: &str = "proxy";
/// Long enough for any lease, promise and hold-down of the defaults.
const LONG: Duration = Duration::from_secs(8);

/// Cuts, losses, resets.
pub(super) static FAULTS: &[Fault] = &[
    Fault {
        name: "cut-active",
        lab: true,
        expect: Expect::Takeover,
        inflict: |pair, active| pair.lab().cut(&active.member),
        recover: heal,
    },
    Fault {
        name: "deafen-active",
        lab: true,
        expect: Expect::Takeover,
        inflict: |pair, active| pair.lab().deafen(&active.member),
        recover: heal,
    },
    Fault {
        name: "mute-active",
        lab: true,
        expect: Expect::Takeover,
        inflict: |pair, active| pair.lab().mute(&active.member),
        recover: heal,
    },
    // The standby hears the controller and declines to promise: a member cut off from the controller alone fails over.
    Fault {
        name: "separate-active-from-proxy",
        lab: true,
        expect: Expect::Takeover,
        inflict: |pair, active| pair.lab().separate(&active.member, PROXY),
        recover: heal,
    },
    Fault {
        name: "active-does-not-hear-proxy",
        lab: true,
        expect: Expect::Takeover,
        inflict: |pair, active| pair.lab().block(&active.member, PROXY),
        recover: heal,
    },
    Fault {
        name: "proxy-does-not-hear-active",
        lab: true,
        expect: Expect::Takeover,
        inflict: |pair, active| pair.lab().block(PROXY, &active.member),
        recover: heal,
    },
    Fault {
        name: "separate-members",
        lab: true,
        expect: Expect::Stays(LONG),
        inflict: |pair, _| pair.lab().separate("a", "b"),
        recover: heal,
    },
    Fault {
        name: "cut-standby",
        lab: true,
        expect: Expect::Stays(LONG),
        inflict: |pair, active| {
            let standby = pair.other(&active.member).name;
            pair.lab().cut(standby);
        },
        recover: heal,
    },
    // No controller at all: the flows go on by the peer's promise.
    Fault {
        name: "cut-proxy",
        lab: true,
        expect: Expect::Stays(LONG),
        inflict: |pair, _| pair.lab().cut(PROXY),
        recover: heal,
    },
    // As long as a partition that is known for the clean-up it took.
    Fault {
        name: "cut-active-for-43s",
        lab: true,
        expect: Expect::Takeover,
        inflict: |pair, active| pair.lab().cut(&active.member),
        recover: |pair, active| {
            std::thread::sleep(Duration::from_secs(43));
            heal(pair, active);
        },
    },
    // Clients are refused although the member itself is well.
    Fault {
        name: "refuse-clients",
        lab: true,
        expect: Expect::Takeover,
        inflict: |pair, active| pair.lab().reset(&active.member, 1880),
        recover: heal,
    },
    Fault {
        name: "reset-links",
        lab: true,
        expect: Expect::Either(LONG),
        inflict: |pair, _| pair.lab().reset(PROXY, 9481),
        recover: heal,
    },
    Fault {
        name: "lose-90-percent",
        lab: true,
        expect: Expect::Either(LONG),
        inflict: |pair, active| pair.lab().lose(&active.member, 90),
        recover: heal,
    },
    Fault {
        name: "lose-20-percent",
        lab: true,
        expect: Expect::Either(LONG),
        inflict: |pair, active| pair.lab().lose(&active.member, 20),
        recover: heal,
    },
    Fault { name: "flap", lab: true, expect: Expect::Either(Duration::ZERO), inflict: flap, recover: heal },
];

/// The active's cable is pulled and put back once a second.
fn flap(pair: &mut Pair, active: &Who) {
    for _ in 0..10 {
        pair.lab().cut(&active.member);
        std::thread::sleep(Duration::from_millis(500));
        pair.lab().heal(&active.member);
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn heal(pair: &mut Pair, _: &Who) {
    for host in ["a", "b", PROXY] {
        pair.lab().heal(host);
    }
}
