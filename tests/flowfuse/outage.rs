//! Measures, asserts nothing: how long a client is without service, with nr-launcher alone and with a pair behind
//! hotspare. Run it on a machine that is otherwise idle:
//!
//!     cargo test --release --test flowfuse -- --ignored --nocapture outage
//!
//! (with the environment that `tests/run` sets). The figures are in docs/flowfuse.md.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hotspare_test_support::fault;
use hotspare_test_support::flows::{Flows, WHO};
use hotspare_test_support::http;
use hotspare_test_support::wait::wait_until;
use serde_json::Value;

use crate::launched::{Launched, PATIENCE};
use crate::pair::Pair;
use crate::platform_stand_in::PlatformStandIn;

const RUNS: usize = 3;

/// From the fault until a client is served again; each try has a connection of its own.
fn outage(client: SocketAddr, fault: impl FnOnce()) -> Duration {
    let began = Instant::now();
    fault();
    // What was answered before the fault took effect is no recovery.
    wait_until(PATIENCE, "the service is gone", || match serves(client) {
        false => Ok(()),
        true => Err("still served"),
    });
    wait_until(PATIENCE * 2, "the service is back", || if serves(client) { Ok(()) } else { Err("not served") });
    began.elapsed()
}

fn serves(client: SocketAddr) -> bool {
    let answer = http::get(client, WHO).within(Duration::from_millis(300)).send();
    answer.is_ok_and(|answer| answer.status == 200)
}

fn say(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let of = |d: Duration| format!("{:.2} s", d.as_secs_f64());
    let median = times[times.len() / 2];
    println!("{what}: median {}, {} to {}, {RUNS} runs", of(median), of(times[0]), of(times[times.len() - 1]));
}

fn alone(fault_of: impl Fn(&Launched)) -> Duration {
    let platform = PlatformStandIn::start();
    let mut launched = Launched::prepare(&platform, "a", &Flows::new(), "running");
    platform.change_settings("a", |settings| settings["healthCheckInterval"] = Value::Null);
    launched.run();
    launched.wait_until_serving();
    launched.wait_for_state("running");
    outage(launched.node_red, || fault_of(&launched))
}

fn pair(fault_of: impl Fn(&Launched)) -> Duration {
    let pair = Pair::start("");
    let active = pair.wait_until_steady();
    let took = outage(pair.front(), || fault_of(pair.member(&active)));
    pair.assert_never_two();
    took
}

#[test]
#[ignore = "measures"]
fn outage_of_a_crash_and_of_a_hang() {
    let crash = |launched: &Launched| fault::kill(launched.node_red_pid());
    let hang = |launched: &Launched| fault::freeze(launched.node_red_pid());
    say("crash, nr-launcher alone", (0..RUNS).map(|_| alone(crash)).collect());
    say("crash, pair behind hotspare", (0..RUNS).map(|_| pair(crash)).collect());
    say("hang, nr-launcher alone", (0..RUNS).map(|_| alone(hang)).collect());
    say("hang, pair behind hotspare", (0..RUNS).map(|_| pair(hang)).collect());
}
