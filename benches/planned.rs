//! What a planned change costs clients: `benches/planned [WHAT...] [--times N] [--rate N] [--kept N] [--node-red-5]`.
//!
//! WHAT is `switchover` (20 times), `restart` (a rolling restart, 3 times) and `nr-launcher` (the restart of a real
//! nr-launcher with nothing of ours, 3 times; a stand-in for the platform's HTTP endpoints, see tests/flowfuse); without
//! any, all three. The load is 500 new connections a second and 64 clients that keep theirs, half GET and half POST, each
//! asking twice a second: directly at the proxy, then the same through an nginx that keeps connections to the proxy.
//!
//! A pause is the longest that any request waited of those under way during the change, or the longest time without an
//! answer to anybody. A request counts as lost if its answer was anything but 200 with its own number in it. Exits with 1 if one of ours was.
//! Beside it stands how long requests took that had nothing to do with a change: where that is long, the machine or
//! Node-RED is at its end, and so are the pauses.

#[allow(dead_code, clippy::unwrap_used)]
#[path = "../tests/flowfuse/launched.rs"]
mod launched;
#[allow(dead_code, clippy::unwrap_used)]
#[path = "../tests/flowfuse/platform_stand_in.rs"]
mod platform_stand_in;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use hotspare_test_support::environment::NodeRed;
use hotspare_test_support::flows::{Flows, TICK};
use hotspare_test_support::load::{Load, Plan, Took};
use hotspare_test_support::nginx::Nginx;
use hotspare_test_support::pair::{PATIENCE, Pair, Setup};
use hotspare_test_support::wait::wait_until;
use hotspare_test_support::witness::judge;
use hotspare_test_support::witness::record::now;
use serde_json::json;

use launched::Launched;
use platform_stand_in::PlatformStandIn;

const USAGE: &str =
    "usage: benches/planned [switchover] [restart] [nr-launcher] [--times N] [--rate N] [--kept N] [--node-red-5]";
const PAUSE: Duration = Duration::from_millis(500);
/// Load before the first change, between two, and after the last.
const BETWEEN: Duration = Duration::from_secs(1);

struct Options {
    what: Vec<String>,
    times: Option<usize>,
    plan: Plan,
    node_red: NodeRed,
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    println!(
        "| {:32} | times | requests | lost | pause p50 ms | p99 ms | max ms | without p50 ms | p99 ms |",
        "change"
    );
    println!(
        "|{}|------:|---------:|-----:|-------------:|-------:|-------:|---------------:|-------:|",
        "-".repeat(34)
    );
    let mut lost = 0;
    for what in &options.what {
        lost += match what.as_str() {
            "switchover" => ours(&options, "switchover", options.times.unwrap_or(20)),
            "restart" => ours(&options, "restart", options.times.unwrap_or(3)),
            _ => theirs(&options, options.times.unwrap_or(3)),
        };
    }
    if lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn options() -> Option<Options> {
    let plan = Plan { new_per_second: 500, kept: 64, pause: PAUSE };
    let mut options = Options { what: Vec::new(), times: None, plan, node_red: NodeRed::V4 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|number| number.parse::<u32>().ok());
        match word.as_str() {
            // Cargo adds it.
            "--bench" => {}
            "--times" => options.times = Some(number()? as usize),
            "--rate" => options.plan.new_per_second = number()?,
            "--kept" => options.plan.kept = number()?,
            "--node-red-5" => options.node_red = NodeRed::V5,
            "switchover" | "restart" | "nr-launcher" => options.what.push(word),
            _ => return None,
        }
    }
    if options.what.is_empty() {
        options.what = ["switchover", "restart", "nr-launcher"].map(str::to_owned).to_vec();
    }
    Some(options)
}

/// An order to a pair of ours, directly and through nginx; gives the requests lost.
fn ours(options: &Options, order: &str, times: usize) -> usize {
    let flows = Flows::new().echo();
    let pair = Setup { node_red: options.node_red, flows, http: true, ..Setup::default() }.start();
    let change = || {
        let answer = pair.order(order, &json!({}));
        assert_eq!(answer.status, 200, "{order}: {answer:?}");
    };
    let mut lost = measure(&format!("{order}, direct"), pair.front(), options.plan, times, change, || steady(&pair));
    let nginx = Nginx::start(pair.spare_address(8080), pair.front());
    lost += measure(&format!("{order}, nginx before it"), nginx.address, options.plan, times, change, || steady(&pair));
    eprint!("{}", nginx.complaints());
    let verdict = judge(&pair.sink.history(), TICK);
    assert!(verdict.is_clean(), "two were active at once, so these numbers are worth nothing: {verdict}");
    lost
}

fn steady(pair: &Pair) {
    pair.wait_until_steady();
}

/// The same of nr-launcher's own restart. What it loses is no failure of ours: it counts as none.
fn theirs(options: &Options, times: usize) -> usize {
    let platform = PlatformStandIn::start();
    let launched = Launched::start(&platform, "a", &Flows::new().echo(), "running");
    let change = || {
        let began = now();
        // Answered before Node-RED serves again.
        let answer = launched.command(&json!({"cmd": "restart"}));
        assert!(answer.is_ok(), "{answer:?}");
        launched.wait_until_serving();
        eprintln!("nr-launcher's restart took {} ms", (now() - began) / 1_000_000);
    };
    // It does nothing in "starting", which it leaves at its first check of health.
    let settled = || launched.wait_for_state("running");
    settled();
    measure("nr-launcher's own restart", launched.node_red, options.plan, times, change, settled);
    0
}

/// Makes `times` changes under load and prints a row; gives the requests lost.
fn measure(
    name: &str,
    to: SocketAddr,
    plan: Plan,
    times: usize,
    mut change: impl FnMut(),
    mut settled: impl FnMut(),
) -> usize {
    let load = Load::start(to, plan);
    wait_until(PATIENCE, "the load to run", || if load.count() > 0 { Ok(()) } else { Err("nothing answered") });
    std::thread::sleep(BETWEEN);
    let mut changes = Vec::new();
    for time in 1..=times {
        let from = now();
        change();
        changes.push((from, now()));
        settled();
        std::thread::sleep(BETWEEN);
        eprintln!("{name}: {time}/{times}");
    }
    let outcome = load.finish();
    for failure in outcome.failed.iter().take(10) {
        eprintln!("{name}: {failure}");
    }
    let pauses = Sorted::new(changes.iter().map(|&(from, to)| outcome.pause(from, to)));
    let during = |took: &&Took| changes.iter().any(|&(from, to)| took.done >= from && took.asked <= to);
    let calm = outcome.answered.iter().filter(|took| !during(took));
    let calm = Sorted::new(calm.map(|took| Duration::from_nanos(took.done - took.asked)));
    let lost = outcome.failed.len();
    println!(
        "| {name:32} | {times:5} | {:8} | {lost:4} | {:12.1} | {:6.1} | {:6.1} | {:14.1} | {:6.1} |",
        outcome.answered.len() + lost,
        pauses.ms(50),
        pauses.ms(99),
        pauses.ms(100),
        calm.ms(50),
        calm.ms(99),
    );
    lost
}

struct Sorted(Vec<Duration>);

impl Sorted {
    fn new(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<Duration> = times.collect();
        times.sort_unstable();
        Sorted(times)
    }

    /// A percentile by nearest rank, in milliseconds.
    fn ms(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(rank).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}
