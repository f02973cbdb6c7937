//! `fault NAME...`: inflicts named faults on real pairs, one after the other, and lets the witness judge.
//! `fault random --seed N --minutes M`: a random sequence of them on one pair; the same seed gives the same sequence.
//! `fault steady --minutes M`: load, loss and stalls that must move nothing (`--without-load` on a machine that is busy).
//! `fault list`: the names.
//!
//! Run it through `tests/run fault …`, which sets up Node-RED and network namespaces. Exit code 0 if each fault had the
//! outcome it must have and flows never ran twice.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hotspare_test_support::environment::NodeRed;
use hotspare_test_support::flows::{Flows, TICK};
use hotspare_test_support::pair::{Pair, Setup};
use hotspare_test_support::scenario::{self, Expect, Fault, Needs};
use hotspare_test_support::steady;
use hotspare_test_support::witness::judge;

const USAGE: &str = "usage: fault list | fault NAME... [--node-red-5]
       fault random --seed N --minutes M [--loopback] [--node-red-5]
       fault steady --minutes M [--without-load] [--node-red-5]";
/// Too long for a random run.
const BY_NAME_ONLY: [&str; 1] = ["flap-for-two-minutes"];
/// A client that waits longer than this wants an explanation: what the proxy decided is printed with it.
const LONG_OUTAGE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((names, options)) = Options::parse(&words) else { return usage() };
    let clean = match names[..] {
        ["list"] => {
            scenario::all().for_each(|fault| println!("{:28} {:?}", fault.name, fault.expect));
            true
        }
        ["random"] => random(&options),
        ["steady"] => steady::run(options.time, options.node_red, options.load),
        [] => return usage(),
        _ => {
            let faults: Option<Vec<&Fault>> = names.iter().map(|name| scenario::named(name)).collect();
            let Some(faults) = faults else { return usage() };
            let need = |needs| faults.iter().any(|fault| fault.needs == needs);
            if need(Needs::Lab) && need(Needs::Relays) {
                eprintln!("a fault of relays cannot be had together with one of a lab");
                return usage();
            }
            let mut pair = start(need(Needs::Lab), need(Needs::Clock), need(Needs::Relays), options.node_red);
            faults.into_iter().for_each(|fault| one(&mut pair, fault));
            verdict(&pair, "last-fault-run.jsonl")
        }
    };
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

struct Options {
    seed: u64,
    time: Duration,
    lab: bool,
    load: bool,
    node_red: NodeRed,
}

impl Options {
    /// What isn't an option, and the options.
    fn parse(words: &[String]) -> Option<(Vec<&str>, Self)> {
        let mut options =
            Options { seed: 1, time: Duration::from_secs(300), lab: true, load: true, node_red: NodeRed::V4 };
        let mut names = Vec::new();
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "--seed" => options.seed = words.next()?.parse().ok()?,
                "--minutes" => options.time = Duration::from_secs_f64(words.next()?.parse::<f64>().ok()? * 60.0),
                "--without-load" => options.load = false,
                "--loopback" => options.lab = false,
                "--node-red-5" => options.node_red = NodeRed::V5,
                _ if word.starts_with('-') => return None,
                _ => names.push(word),
            }
        }
        Some((names, options))
    }
}

fn start(lab: bool, clock: bool, relays: bool, node_red: NodeRed) -> Pair {
    let flows = Flows::new().hang().exit();
    Setup { lab, clock, relays, node_red, all_senders: true, flows, ..Setup::default() }.start()
}

fn random(options: &Options) -> bool {
    let may = |fault: &&Fault| match fault.needs {
        Needs::Nothing | Needs::Clock => !BY_NAME_ONLY.contains(&fault.name),
        Needs::Lab => options.lab && !BY_NAME_ONLY.contains(&fault.name),
        Needs::Relays => false,
    };
    let faults: Vec<&Fault> = scenario::all().filter(may).collect();
    let mut pair = start(options.lab, true, false, options.node_red);
    let began = Instant::now();
    let mut dice = options.seed;
    let (mut count, mut all_well) = (0, true);
    while all_well && began.elapsed() < options.time {
        let index = scenario::roll(&mut dice) % faults.len() as u64;
        let fault = faults[usize::try_from(index).unwrap_or(0)];
        count += 1;
        print!("{count:4} {:7.1} s  ", began.elapsed().as_secs_f64());
        all_well = catch_unwind(AssertUnwindSafe(|| one(&mut pair, fault))).is_ok();
    }
    if !all_well {
        println!("fault {count} did not have the outcome it must have (see above)");
        tell_events(&pair, began.elapsed());
    }
    println!("{count} faults from seed {} in {:.0} s", options.seed, began.elapsed().as_secs_f64());
    verdict(&pair, &format!("fault-random-{}.jsonl", options.seed)) && all_well
}

fn one(pair: &mut Pair, fault: &Fault) {
    let began = Instant::now();
    let outcome = scenario::run(pair, fault);
    let cost = match &outcome.outage {
        Some(outage) => format!("client without an answer for {} ms", outage.gap.as_millis()),
        None if fault.expect == Expect::Takeover => "taken over".to_owned(),
        None => "active stayed".to_owned(),
    };
    println!(
        "{:28} {} (epoch {}) -> {} (epoch {}): {cost}",
        fault.name, outcome.before.member, outcome.before.epoch, outcome.after.member, outcome.after.epoch
    );
    if outcome.outage.is_some_and(|outage| outage.gap > LONG_OUTAGE) {
        tell_events(pair, began.elapsed());
    }
}

/// What the proxy decided in the last while.
fn tell_events(pair: &Pair, last: Duration) {
    let events = pair.get("/v1/events").within(Duration::from_secs(30)).send().map(|answer| answer.json());
    let Ok(serde_json::Value::Array(events)) = events else { return println!("  the proxy tells no events") };
    let newest = events.iter().filter_map(|event| event["at_ms"].as_u64()).max().unwrap_or(0);
    let from = newest.saturating_sub(u64::try_from(last.as_millis()).unwrap_or(u64::MAX));
    for event in events.iter().filter(|event| event["at_ms"].as_u64().is_some_and(|at| at >= from)) {
        let at = event["at_ms"].as_u64().unwrap_or(0);
        println!("  {:9.3} s  {}", (at - from) as f64 / 1e3, event["text"].as_str().unwrap_or_default());
    }
}

/// Keeps the history, so that it can be judged again, and judges it.
fn verdict(pair: &Pair, file: &str) -> bool {
    let history = pair.sink.history();
    let path = Path::new("target").join(file);
    match File::create(&path).and_then(|file| history.write(std::io::BufWriter::new(file))) {
        Ok(()) => println!("history: {} (judge it again with witness-check)", path.display()),
        Err(error) => eprintln!("can't write {}: {error}", path.display()),
    }
    let verdict = judge(&history, TICK);
    println!("{verdict}");
    verdict.is_clean()
}
