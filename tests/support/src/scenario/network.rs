//! Faults of links between hosts.

use std::time::Duration;

use super::{Expect, Fault, Needs};
use crate::client::Who;
use crate::pair::Pair;

const PROXY: &str = "proxy";
/// Long enough for any lease, promise and hold-down of the defaults.
const LONG: Duration = Duration::from_secs(8);

/// Cuts, losses, resets.
pub(super) static FAULTS: &[Fault] = &[
    Fault {
        name: "cut-active",
        needs: Needs::Lab,
        expect: Expect::Takeover,
        inflict: |pair, active| pair.lab().cut(&active.member),
        recover: heal,
    },
    Fault {
        name: "deafen-active",
        needs: Needs::Lab,
        expect: Expect::Takeover,
        inflict: |pair, active| pair.lab().deafen(&active.member),
        recover: heal,
    },
    Fault {
        name: "mute-active",
        needs: Needs::Lab,
        expect: Expect::Takeover,
        inflict: |pair, active| pair.lab().mute(&active.member),
        recover: heal,
    },
    // The standby hears the controller and declines to promise: a member cut off from the controller alone fails over.
    Fault {
        name: "separate-active-from-proxy",
        needs: Needs::Lab,
        expect: Expect::Takeover,
        inflict: |pair, active| pair.lab().separate(&active.member, PROXY),
        recover: heal,
    },
    Fault {
        name: "active-does-not-hear-proxy",
        needs: Needs::Lab,
        expect: Expect::Takeover,
        inflict: |pair, active| pair.lab().block(&active.member, PROXY),
        recover: heal,
    },
    Fault {
        name: "proxy-does-not-hear-active",
        needs: Needs::Lab,
        expect: Expect::Takeover,
        inflict: |pair, active| pair.lab().block(PROXY, &active.member),
        recover: heal,
    },
    Fault {
        name: "separate-members",
        needs: Needs::Lab,
        expect: Expect::Stays(LONG),
        inflict: |pair, _| pair.lab().separate("a", "b"),
        recover: heal,
    },
    Fault {
        name: "cut-standby",
        needs: Needs::Lab,
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
        needs: Needs::Lab,
        expect: Expect::Stays(LONG),
        inflict: |pair, _| pair.lab().cut(PROXY),
        recover: heal,
    },
    // The power goes: everything on the host ends at once, and nothing of it can say so.
    Fault {
        name: "lose-machine",
        needs: Needs::Lab,
        expect: Expect::Takeover,
        inflict: |pair, active| {
            pair.lab().cut(&active.member);
            pair.lab().kill_all(&active.member);
        },
        recover: |pair, active| {
            heal(pair, active);
            pair.start_launcher(&active.member);
        },
    },
    // As long as a partition that is known for the clean-up it took.
    Fault {
        name: "cut-active-for-43s",
        needs: Needs::Lab,
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
        needs: Needs::Lab,
        expect: Expect::Takeover,
        inflict: |pair, active| pair.lab().reset(&active.member, 1880),
        recover: heal,
    },
    Fault {
        name: "reset-links",
        needs: Needs::Lab,
        expect: Expect::Either(LONG),
        inflict: |pair, _| pair.lab().reset(PROXY, 9481),
        recover: heal,
    },
    Fault {
        name: "lose-90-percent",
        needs: Needs::Lab,
        expect: Expect::Either(LONG),
        inflict: |pair, active| pair.lab().lose(&active.member, 90),
        recover: heal,
    },
    Fault {
        name: "lose-20-percent",
        needs: Needs::Lab,
        expect: Expect::Either(LONG),
        inflict: |pair, active| pair.lab().lose(&active.member, 20),
        recover: heal,
    },
    Fault {
        name: "flap",
        needs: Needs::Lab,
        expect: Expect::Either(Duration::ZERO),
        inflict: |pair, active| flap(pair, active, 10),
        recover: heal,
    },
    Fault {
        name: "flap-for-two-minutes",
        needs: Needs::Lab,
        expect: Expect::Either(Duration::ZERO),
        inflict: |pair, active| flap(pair, active, 120),
        recover: heal,
    },
];

/// The active's cable is pulled and put back once a second.
fn flap(pair: &mut Pair, active: &Who, seconds: usize) {
    for _ in 0..seconds {
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
