//! What a fault costs a client of a FlowFuse instance: `benches/flowfuse [--runs N] [crash|hang]...`.
//!
//! Real nr-launchers as they come (their health check every 7.5 s); the platform is the tests' stand-in. Three set-ups: one
//! launcher alone; a pair of them, whose spare is cold; a pair with `hotspare launcher --attach` beside each, whose spare is
//! hot. A crash is kill -9 of Node-RED, a hang is SIGSTOP. The outage is from the last good answer of that Node-RED to the
//! first of another, for a client that asks again and again, each time on a new connection. The pairs' acts are judged afterwards: two active at once make the numbers worthless.

#![allow(dead_code, clippy::unwrap_used)]

#[path = "../tests/flowfuse/attached_pair.rs"]
mod attached_pair;
#[path = "../tests/flowfuse/launched.rs"]
mod launched;
#[path = "../tests/flowfuse/pair.rs"]
mod pair;
#[path = "../tests/flowfuse/platform_stand_in.rs"]
mod platform_stand_in;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hotspare_test_support::fault::{self, Pid};
use hotspare_test_support::flows::{Flows, WHO};
use hotspare_test_support::http;
use serde_json::Value;

use attached_pair::AttachedPair;
use launched::{Launched, PATIENCE};
use pair::Pair;
use platform_stand_in::PlatformStandIn;

const USAGE: &str = "usage: benches/flowfuse [--runs N] [crash|hang]...";
const RUNS: usize = 5;

fn main() -> ExitCode {
    let mut runs = RUNS;
    let mut faults = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            // Cargo adds it.
            "--bench" => {}
            "crash" | "hang" => faults.push(word),
            "--runs" => match words.next().and_then(|number| number.parse().ok()) {
                Some(number) => runs = number,
                None => return usage(),
            },
            _ => return usage(),
        }
    }
    if faults.is_empty() {
        faults = vec!["crash".to_owned(), "hang".to_owned()];
    }
    println!("| fault | set-up                      | runs | median s | best s | worst s |");
    println!("|-------|-----------------------------|-----:|---------:|-------:|--------:|");
    for name in faults {
        let fault = if name == "crash" { fault::kill } else { fault::freeze };
        row(&name, "nr-launcher alone", (0..runs).map(|_| alone(fault)).collect());
        row(&name, "pair, cold spare", (0..runs).map(|_| cold(fault)).collect());
        row(&name, "pair, hot spare (--attach)", (0..runs).map(|_| hot(fault)).collect());
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn row(fault: &str, what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |index: usize| times.get(index).map_or(f64::NAN, Duration::as_secs_f64);
    let last = times.len().saturating_sub(1);
    let (median, best, worst) = (at(last / 2), at(0), at(last));
    println!("| {fault:5} | {what:27} | {:4} | {median:8.3} | {best:6.3} | {worst:7.3} |", times.len());
}

/// From the last good answer of the Node-RED that gets the fault to the first of another one. `ask` says who answered.
fn outage(ask: impl Fn() -> Option<String>, fault: impl FnOnce()) -> Duration {
    let before = ask().expect("an answer before the fault");
    let mut last = Instant::now();
    fault();
    let deadline = last + PATIENCE * 2;
    while Instant::now() < deadline {
        match ask() {
            Some(who) if who != before => return last.elapsed(),
            Some(_) => last = Instant::now(),
            None => {}
        }
    }
    panic!("not served again within {:?}", PATIENCE * 2);
}

fn answer(client: SocketAddr) -> Option<String> {
    let answer = http::get(client, WHO).within(Duration::from_millis(300)).send().ok()?;
    (answer.status == 200).then_some(answer.body)
}

fn alone(fault: impl Fn(Pid)) -> Duration {
    let platform = PlatformStandIn::start();
    let mut launched = Launched::prepare(&platform, "a", &Flows::new(), "running");
    platform.change_settings("a", as_shipped);
    launched.run();
    launched.wait_until_serving();
    launched.wait_for_state("running");
    let node_red = launched.node_red_pid();
    // The same member answers again: by another process.
    let ask = || answer(launched.node_red).map(|_| format!("{:?}", launched.node_red_pid()));
    outage(ask, || fault(node_red))
}

fn cold(fault: impl Fn(Pid)) -> Duration {
    let pair = Pair::start("");
    let node_red = pair.member(&pair.wait_until_steady()).node_red_pid();
    let took = outage(|| pair.who().ok(), || fault(node_red));
    pair.assert_never_two();
    took
}

fn hot(fault: impl Fn(Pid)) -> Duration {
    let pair = AttachedPair::start();
    let node_red = pair.member(&pair.wait_until_steady().member).node_red_pid();
    let took = outage(|| answer(pair.front()), || fault(node_red));
    pair.wait_until_steady();
    pair.assert_clean();
    took
}

/// The interval of the launcher's health check that the platform sends unless somebody changes it.
fn as_shipped(settings: &mut Value) {
    settings["healthCheckInterval"] = Value::Null;
}
