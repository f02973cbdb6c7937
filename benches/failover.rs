//! What a fault costs a client, with real Node-REDs: `benches/failover [--runs N] [--node-red-5] [FAULT...]`.
//!
//! Without a fault named: `crash` (kill -9 of the active's Node-RED), 30 times, beside the time Node-RED takes to start
//! cold on this machine. A fault is any name of `tests/run fault list` that makes the spare take over, or one that must
//! cost nothing: then the longest pause of the flows' timer is given. The gap is what one client saw that asks again and
//! again, each time on a new connection: from its last good answer before to its first good one after.

use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use hotspare_test_support::address::LoopbackBlock;
use hotspare_test_support::client::who;
use hotspare_test_support::environment::NodeRed;
use hotspare_test_support::flows::{Flows, TICK};
use hotspare_test_support::node_red;
use hotspare_test_support::pair::{PATIENCE, Setup};
use hotspare_test_support::process::Process;
use hotspare_test_support::scenario::{self, Expect, Fault};
use hotspare_test_support::wait::wait_until;
use hotspare_test_support::witness::judge;

const USAGE: &str = "usage: benches/failover [--runs N] [--node-red-5] [FAULT...]";
const RUNS: usize = 30;
const COLD_STARTS: usize = 10;

fn main() -> ExitCode {
    let mut runs = RUNS;
    let mut version = NodeRed::V4;
    let mut faults: Vec<&Fault> = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            // Cargo adds it.
            "--bench" => {}
            "--node-red-5" => version = NodeRed::V5,
            "--runs" => match words.next().and_then(|number| number.parse().ok()) {
                Some(number) => runs = number,
                None => return usage(),
            },
            name => match scenario::named(name) {
                Some(fault) => faults.push(fault),
                None => return usage(),
            },
        }
    }
    if faults.is_empty() {
        faults.extend(scenario::named("crash"));
    }
    println!("| {:28} | runs | median ms | p99 ms | worst ms | failed requests |", "fault");
    println!("|{}|-----:|----------:|-------:|---------:|----------------:|", "-".repeat(30));
    let clean = faults.into_iter().all(|fault| measure(fault, runs, version));
    let cold: Vec<Duration> = (0..COLD_STARTS).map(|_| cold_start(version)).collect();
    row("Node-RED's own cold start", cold, 0);
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// Prints a row. False if two members were ever active at once: then its numbers are worth nothing.
fn measure(fault: &Fault, runs: usize, version: NodeRed) -> bool {
    let mut pair = Setup { node_red: version, lab: fault.lab, ..Setup::default() }.start();
    let (mut gaps, mut failed) = (Vec::new(), 0);
    for run in 1..=runs {
        let outcome = scenario::run(&mut pair, fault);
        if let Some(outage) = outcome.outage {
            eprintln!("{} {run}/{runs}: {} ms", fault.name, outage.gap.as_millis());
            failed += outage.failed.len();
            gaps.push(outage.gap);
        }
    }
    let verdict = judge(&pair.sink.history(), TICK);
    if !verdict.is_clean() {
        eprintln!("{}: {verdict}", fault.name);
        return false;
    }
    if fault.expect == Expect::Takeover {
        row(fault.name, gaps, failed);
    } else {
        row(&format!("{} (pause of the timer)", fault.name), vec![verdict.longest_gap()], failed);
    }
    true
}

fn row(name: &str, mut times: Vec<Duration>, failed: usize) {
    times.sort_unstable();
    let ms = |time: Option<&Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    println!(
        "| {name:28} | {:4} | {:9.1} | {:6.1} | {:8.1} | {failed:15} |",
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
