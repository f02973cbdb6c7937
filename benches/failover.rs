//! What a fault costs a client, with real Node-REDs: `benches/failover [--runs N] [--node-red-5] [FAULT...|flowfuse]`.
//!
//! Without a fault named: the table in README, 20 runs of each of its faults, and beside them FlowFuse's launcher alone
//! (`flowfuse`: nothing but that) and the time Node-RED takes to start cold on this machine. A fault is any name of `tests/run fault list` that makes the
//! spare take over, or one that must move nothing: then it is the longest pause of the flows' timer, which ticks every
//! 50 ms. The gap is what one client saw that asks again and again, each time on a new connection: from its last good
//! answer before to its first good one after.

#[path = "../tests/flowfuse/launched.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod launched;
#[path = "../tests/flowfuse/platform_stand_in.rs"]
#[allow(dead_code)]
mod platform_stand_in;

use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use hotspare_test_support::address::LoopbackBlock;
use hotspare_test_support::client::who;
use hotspare_test_support::environment::NodeRed;
use hotspare_test_support::fault;
use hotspare_test_support::flows::{Flows, TICK};
use hotspare_test_support::http;
use hotspare_test_support::node_red;
use hotspare_test_support::pair::{PATIENCE, Pair, Setup};
use hotspare_test_support::process::Process;
use hotspare_test_support::scenario::{self, Expect, Fault, Needs};
use hotspare_test_support::wait::wait_until;
use hotspare_test_support::witness::judge;
use hotspare_test_support::witness::record::{Nanos, now};

use launched::Launched;
use platform_stand_in::PlatformStandIn;

const USAGE: &str = "usage: benches/failover [--runs N] [--node-red-5] [FAULT...|flowfuse]";
const RUNS: usize = 20;
const COLD_STARTS: usize = 10;
/// The table in README: a fault of `tests/run fault list`, and what it is called there.
const TABLE: [(&str, &str); 6] = [
    ("crash", "Node-RED crashes (kill -9)"),
    ("hang", "its event loop hangs"),
    ("kill-launcher", "its launcher is killed"),
    ("cut-active", "its machine is cut off"),
    ("lose-machine", "its machine is lost"),
    ("kill-proxy", "the proxy is killed (pause of the flows)"),
];
/// A hang is noticed by FlowFuse's launcher after half a minute: more runs than these tell nothing new.
const FLOWFUSE_HANGS: usize = 5;
/// Its default, in milliseconds.
const FLOWFUSE_HEALTH_CHECK_MS: u64 = 7499;

fn main() -> ExitCode {
    let mut runs = RUNS;
    let mut version = NodeRed::V4;
    let mut faults: Vec<(&Fault, &str)> = Vec::new();
    let mut flowfuse = false;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            // Cargo adds it.
            "--bench" => {}
            "--node-red-5" => version = NodeRed::V5,
            "flowfuse" => flowfuse = true,
            "--runs" => match words.next().and_then(|number| number.parse().ok()) {
                Some(number) => runs = number,
                None => return usage(),
            },
            name => match scenario::named(name) {
                Some(fault) => faults.push((fault, fault.name)),
                None => return usage(),
            },
        }
    }
    let table = faults.is_empty() && !flowfuse;
    if table {
        faults.extend(TABLE.iter().filter_map(|(fault, name)| Some((scenario::named(fault)?, *name))));
    }
    println!("| {:45} | runs | median ms | p99 ms | worst ms | failed requests |", "what happens");
    println!("|{}|-----:|----------:|-------:|---------:|----------------:|", "-".repeat(47));
    let clean = faults.into_iter().all(|(fault, name)| measure(fault, name, runs, version));
    if table || flowfuse {
        flowfuse_alone(runs);
    }
    let cold: Vec<Duration> = (0..COLD_STARTS).map(|_| cold_start(version)).collect();
    row("Node-RED's own cold start", cold, 0);
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// Prints a row. False if two members were ever active at once: then its numbers are worth nothing.
fn measure(fault: &Fault, name: &str, runs: usize, version: NodeRed) -> bool {
    let needs = |what| fault.needs == what;
    let (lab, clock, relays) = (needs(Needs::Lab), needs(Needs::Clock), needs(Needs::Relays));
    let mut pair = Setup { node_red: version, lab, clock, relays, ..Setup::default() }.start();
    let (mut gaps, mut failed) = (Vec::new(), 0);
    for run in 1..=runs {
        let began = now();
        let outcome = scenario::run(&mut pair, fault);
        let gap = match (fault.expect, outcome.outage) {
            (Expect::Stays(_), _) => longest_pause(&pair, began),
            (_, Some(outage)) => {
                failed += outage.failed.len();
                outage.gap
            }
            (_, None) => continue,
        };
        eprintln!("{} {run}/{runs}: {} ms", fault.name, gap.as_millis());
        gaps.push(gap);
    }
    let verdict = judge(&pair.sink.history(), TICK);
    if !verdict.is_clean() {
        eprintln!("{}: {verdict}", fault.name);
        return false;
    }
    row(name, gaps, failed);
    true
}

/// The longest time since `began` between two acts of the flows' timer.
fn longest_pause(pair: &Pair, began: Nanos) -> Duration {
    let history = pair.sink.history();
    let acts: Vec<Nanos> = history.acts().map(|act| act.at).filter(|at| *at >= began).collect();
    let pauses = acts.windows(2).map(|two| two[1].saturating_sub(two[0]));
    Duration::from_nanos(pauses.max().unwrap_or_default())
}

/// The same client, and FlowFuse's launcher with its Node-RED and nothing else: it starts it again.
fn flowfuse_alone(runs: usize) {
    let platform = PlatformStandIn::start();
    let mut launched = Launched::prepare(&platform, "alone", &Flows::new().hang(), "running");
    platform.change_settings("alone", |settings| {
        settings["healthCheckInterval"] = FLOWFUSE_HEALTH_CHECK_MS.into();
        // Or it takes deaths in quick succession for a crash loop, and starts no flows any more.
        settings["disableAutoSafeMode"] = true.into();
    });
    launched.run();
    launched.wait_until_serving();
    let crash = || fault::kill(launched.node_red_pid());
    let crashes: Vec<Duration> = (1..=runs).map(|run| alone(&launched, "crash", run, runs, &crash)).collect();
    row("FlowFuse's launcher alone: Node-RED crashes", crashes, 0);
    let hang = || drop(http::get(launched.node_red, "/hang").within(TICK).send());
    let hangs = runs.min(FLOWFUSE_HANGS);
    let gaps = (1..=hangs).map(|run| alone(&launched, "hang", run, hangs, &hang)).collect();
    row("FlowFuse's launcher alone: event loop hangs", gaps, 0);
}

/// One gap.
fn alone(launched: &Launched, what: &str, run: usize, runs: usize, inflict: &dyn Fn()) -> Duration {
    let ask = || who(launched.node_red, Duration::from_millis(250));
    wait_until(PATIENCE, "Node-RED to answer", ask);
    // Until its own first check it is "starting", and gives a hang more than twice the time.
    launched.wait_for_state("running");
    let last = Instant::now();
    inflict();
    wait_until(Duration::from_secs(1), "an outage", || ask().map_or(Ok(()), Err));
    wait_until(PATIENCE * 2, "Node-RED to answer again", ask);
    let gap = last.elapsed();
    eprintln!("FlowFuse's launcher alone, {what} {run}/{runs}: {} ms", gap.as_millis());
    gap
}

fn row(name: &str, mut times: Vec<Duration>, failed: usize) {
    times.sort_unstable();
    let ms = |time: Option<&Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    println!(
        "| {name:45} | {:4} | {:9.1} | {:6.1} | {:8.1} | {failed:15} |",
        times.len(),
        ms(percentile(&times, 50)),
        ms(percentile(&times, 99)),
        ms(times.last()),
    );
}

/// By nearest rank, of sorted times.
fn percentile(times: &[Duration], percent: usize) -> Option<&Duration> {
    times.get((times.len() * percent).div_ceil(100).saturating_sub(1))
}

/// From the start of the process to the first answer of a flow, with no part of hotspare.
fn cold_start(version: NodeRed) -> Duration {
    let block = LoopbackBlock::take();
    let address: SocketAddr = block.socket(2, 1880);
    let folder = tempfile::tempdir().expect("a temporary folder");
    node_red::write_user_dir(folder.path(), address, &Flows::new());
    let words = node_red::command(version, folder.path());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("HOTSPARE_MEMBER", "a").env("HOTSPARE_EPOCH", "1");
    let began = Instant::now();
    let _process = Process::start("Node-RED", command);
    wait_until(PATIENCE, "Node-RED to answer", || who(address, PATIENCE));
    began.elapsed()
}
