//! Faults of processes: Node-REDs, launchers, the proxy.

use std::time::Duration;

use super::{Expect, Fault, Needs, nothing};
use crate::client::Who;
use crate::fault;
use crate::http;
use crate::pair::Pair;

/// The lease's time to live, by default.
const TTL: Duration = Duration::from_secs(1);
/// Well below the lease.
const SHORT: Duration = Duration::from_millis(300);
/// Three times the lease.
const LONG: Duration = Duration::from_secs(3);
/// How long an event loop may stand still before it counts as hung, by default.
const HANG_AFTER: Duration = Duration::from_secs(2);

/// Crashes, hangs, freezes.
pub(super) static FAULTS: &[Fault] = &[
    Fault { name: "crash", needs: Needs::Nothing, expect: Expect::Takeover, inflict: crash, recover: nothing },
    Fault { name: "exit", needs: Needs::Nothing, expect: Expect::Takeover, inflict: exit, recover: nothing },
    Fault { name: "hang", needs: Needs::Nothing, expect: Expect::Takeover, inflict: hang, recover: nothing },
    Fault { name: "busy", needs: Needs::Nothing, expect: Expect::Stays(LONG), inflict: busy, recover: nothing },
    Fault {
        name: "hang-and-free",
        needs: Needs::Nothing,
        expect: Expect::Takeover,
        inflict: hang_and_free,
        recover: nothing,
    },
    Fault {
        name: "freeze-node-red-briefly",
        needs: Needs::Nothing,
        expect: Expect::Stays(TTL),
        inflict: |pair, active| freeze(pair, active, Parts { node_red: true, launcher: false }, SHORT),
        recover: nothing,
    },
    Fault {
        name: "freeze-node-red",
        needs: Needs::Nothing,
        expect: Expect::Takeover,
        inflict: |pair, active| freeze(pair, active, Parts { node_red: true, launcher: false }, HANG_AFTER + LONG),
        recover: nothing,
    },
    Fault {
        name: "freeze-launcher-briefly",
        needs: Needs::Nothing,
        expect: Expect::Stays(TTL),
        inflict: |pair, active| freeze(pair, active, Parts { node_red: false, launcher: true }, SHORT),
        recover: nothing,
    },
    Fault {
        name: "freeze-launcher",
        needs: Needs::Nothing,
        expect: Expect::Takeover,
        inflict: |pair, active| freeze(pair, active, Parts { node_red: false, launcher: true }, LONG),
        recover: nothing,
    },
    Fault {
        name: "freeze-both",
        needs: Needs::Nothing,
        expect: Expect::Takeover,
        inflict: |pair, active| freeze(pair, active, Parts { node_red: true, launcher: true }, LONG),
        recover: nothing,
    },
    Fault {
        name: "freeze-both-briefly",
        needs: Needs::Nothing,
        expect: Expect::Stays(TTL),
        inflict: |pair, active| freeze(pair, active, Parts { node_red: true, launcher: true }, SHORT),
        recover: nothing,
    },
    Fault {
        name: "kill-launcher",
        needs: Needs::Nothing,
        expect: Expect::Takeover,
        inflict: |pair, active| pair.launcher(&active.member).kill(),
        recover: |pair, active| pair.start_launcher(&active.member),
    },
    Fault {
        name: "kill-launcher-and-node-red",
        needs: Needs::Nothing,
        expect: Expect::Takeover,
        inflict: |pair, active| {
            let node_red = pair.node_red_pid(&active.member);
            pair.launcher(&active.member).kill();
            fault::kill(node_red);
        },
        recover: |pair, active| pair.start_launcher(&active.member),
    },
    Fault {
        name: "stop-launcher",
        needs: Needs::Nothing,
        expect: Expect::Takeover,
        inflict: |pair, active| {
            pair.launcher(&active.member).terminate(crate::pair::PATIENCE);
        },
        recover: |pair, active| pair.start_launcher(&active.member),
    },
    Fault {
        name: "standby-crash",
        needs: Needs::Nothing,
        expect: Expect::Stays(TTL),
        inflict: |pair, active| fault::kill(pair.node_red_pid(pair.other(&active.member).name)),
        recover: nothing,
    },
    Fault {
        name: "standby-kill-launcher",
        needs: Needs::Nothing,
        expect: Expect::Stays(TTL),
        inflict: |pair, active| {
            let standby = pair.other(&active.member).name;
            pair.launcher(standby).kill();
        },
        recover: |pair, active| {
            let standby = pair.other(&active.member).name;
            pair.start_launcher(standby);
        },
    },
    Fault {
        name: "kill-proxy",
        needs: Needs::Nothing,
        expect: Expect::Stays(LONG),
        inflict: |pair, _| pair.proxy().kill(),
        recover: |pair, _| pair.start_proxy(),
    },
    Fault {
        name: "kill-proxy-for-a-moment",
        needs: Needs::Nothing,
        expect: Expect::Stays(TTL),
        inflict: |pair, _| {
            pair.proxy().kill();
            pair.start_proxy();
        },
        recover: nothing,
    },
    Fault {
        name: "freeze-proxy-briefly",
        needs: Needs::Nothing,
        expect: Expect::Stays(TTL),
        inflict: |pair, _| freeze_proxy(pair, SHORT),
        recover: nothing,
    },
    Fault {
        name: "freeze-proxy",
        needs: Needs::Nothing,
        expect: Expect::Stays(TTL),
        inflict: |pair, _| freeze_proxy(pair, LONG),
        recover: nothing,
    },
];

fn crash(pair: &mut Pair, active: &Who) {
    fault::kill(pair.node_red_pid(&active.member));
}

fn exit(pair: &mut Pair, active: &Who) {
    ask_and_forget(pair, active, "/exit?code=1");
}

fn hang(pair: &mut Pair, active: &Who) {
    ask_and_forget(pair, active, "/hang");
}

/// It would be free again after three times what counts as hung (on a machine that is busy half of it counts): by then it
/// must be gone, and nothing of it may be heard.
fn hang_and_free(pair: &mut Pair, active: &Who) {
    ask_and_forget(pair, active, &format!("/hang?ms={}", HANG_AFTER.as_millis() * 3));
    std::thread::sleep(HANG_AFTER * 3);
    pair.sink.must_be_silent(&active.member, active.epoch, "it hung for three times the limit, and was freed");
}

/// Half of what counts as hung.
fn busy(pair: &mut Pair, active: &Who) {
    ask_and_forget(pair, active, &format!("/hang?ms={}", HANG_AFTER.as_millis() / 2));
}

/// Sends a request to the active's Node-RED, past the proxy, and doesn't wait for more than its arrival.
fn ask_and_forget(pair: &Pair, active: &Who, path: &str) {
    let _ = http::get(pair.member(&active.member).node_red, path).within(SHORT).send();
}

#[derive(Clone, Copy)]
struct Parts {
    node_red: bool,
    launcher: bool,
}

/// Freezes the parts of a member together and thaws them together.
fn freeze(pair: &mut Pair, active: &Who, parts: Parts, time: Duration) {
    let launcher = pair.launcher(&active.member).pid();
    let node_red = pair.node_red_pid(&active.member);
    // The launcher first, or it could see the other one frozen.
    let frozen = [(launcher, parts.launcher), (node_red, parts.node_red)];
    let frozen: Vec<_> = frozen.into_iter().filter(|(_, yes)| *yes).map(|(pid, _)| pid).collect();
    frozen.iter().copied().for_each(fault::freeze);
    std::thread::sleep(time);
    if time >= LONG {
        pair.sink.must_be_silent(&active.member, active.epoch, "it was frozen for longer than its lease, and thawed");
    }
    frozen.into_iter().rev().for_each(fault::thaw);
}

fn freeze_proxy(pair: &mut Pair, time: Duration) {
    let proxy = pair.proxy().pid();
    fault::freeze(proxy);
    std::thread::sleep(time);
    fault::thaw(proxy);
}
