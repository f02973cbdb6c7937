//! A second fault in the middle of a change: at each step of a failover, and of a switchover, something else dies.
//!
//! A failover takes some tens of milliseconds; the moments below fall before, into and after each of its steps. (That
//! each step by itself survives a crash is for the simulation to show; here the crash is real.)

use std::time::Duration;

use serde_json::json;

use super::{Expect, Fault, Needs, nothing};
use crate::client::Who;
use crate::fault;
use crate::pair::Pair;

macro_rules! step {
    ($name:literal, $expect:expr, $do:ident, $ms:literal) => {
        Fault {
            name: $name,
            needs: Needs::Nothing,
            expect: $expect,
            inflict: |pair, active| $do(pair, active, Duration::from_millis($ms)),
            recover: nothing,
        }
    };
}

/// Long enough for what was begun to be resumed or rolled back.
const SETTLES: Expect = Expect::Either(Duration::from_secs(1));

/// Two faults each, the second so many milliseconds after the first.
pub(super) static FAULTS: &[Fault] = &[
    step!("crash-and-kill-proxy-0", Expect::Takeover, crash_and_kill_proxy, 0),
    step!("crash-and-kill-proxy-5", Expect::Takeover, crash_and_kill_proxy, 5),
    step!("crash-and-kill-proxy-15", Expect::Takeover, crash_and_kill_proxy, 15),
    step!("crash-and-kill-proxy-40", Expect::Takeover, crash_and_kill_proxy, 40),
    step!("crash-and-kill-proxy-100", Expect::Takeover, crash_and_kill_proxy, 100),
    step!("crash-both-5", Expect::Takeover, crash_both, 5),
    step!("crash-both-20", Expect::Takeover, crash_both, 20),
    step!("crash-both-60", Expect::Takeover, crash_both, 60),
    step!("crash-and-freeze-spare-10", Expect::Takeover, crash_and_freeze_spare, 10),
    step!("switch-and-kill-proxy-0", SETTLES, switch_and_kill_proxy, 0),
    step!("switch-and-kill-proxy-10", SETTLES, switch_and_kill_proxy, 10),
    step!("switch-and-kill-proxy-40", SETTLES, switch_and_kill_proxy, 40),
    step!("switch-and-crash-10", SETTLES, switch_and_crash, 10),
    step!("switch-and-crash-spare-20", SETTLES, switch_and_crash_spare, 20),
];

fn crash_and_kill_proxy(pair: &mut Pair, active: &Who, after: Duration) {
    fault::kill(pair.node_red_pid(&active.member));
    std::thread::sleep(after);
    pair.proxy().kill();
    pair.start_proxy();
}

fn crash_both(pair: &mut Pair, active: &Who, after: Duration) {
    let spare = pair.node_red_pid(pair.other(&active.member).name);
    fault::kill(pair.node_red_pid(&active.member));
    std::thread::sleep(after);
    fault::kill(spare);
}

/// The spare stands still, launcher and all, just when it is to take over, for longer than a lease.
fn crash_and_freeze_spare(pair: &mut Pair, active: &Who, after: Duration) {
    let name = pair.other(&active.member).name;
    let (launcher, node_red) = (pair.launcher(name).pid(), pair.node_red_pid(name));
    fault::kill(pair.node_red_pid(&active.member));
    std::thread::sleep(after);
    fault::freeze(launcher);
    fault::freeze(node_red);
    std::thread::sleep(Duration::from_secs(3));
    fault::thaw(node_red);
    fault::thaw(launcher);
}

fn switch_and_kill_proxy(pair: &mut Pair, _: &Who, after: Duration) {
    pair.order_and_forget("switchover", &json!({}));
    std::thread::sleep(after);
    pair.proxy().kill();
    pair.start_proxy();
}

fn switch_and_crash(pair: &mut Pair, active: &Who, after: Duration) {
    let old = pair.node_red_pid(&active.member);
    pair.order_and_forget("switchover", &json!({}));
    std::thread::sleep(after);
    fault::kill(old);
}

fn switch_and_crash_spare(pair: &mut Pair, active: &Who, after: Duration) {
    let spare = pair.node_red_pid(pair.other(&active.member).name);
    pair.order_and_forget("switchover", &json!({}));
    std::thread::sleep(after);
    fault::kill(spare);
}
