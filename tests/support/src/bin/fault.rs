//! `fault NAME...`: inflicts named faults on real pairs, one after the other, and lets the witness judge.
//! `fault random --seed N --minutes M`: a random sequence of them on one pair; the same seed gives the same sequence.
//! `fault list`: the names.
//!
//! Run it through `tests/run fault …`, which sets up Node-RED and network namespaces. Exit code 0 if each fault had the
//! outcome it must have and flows never ran twice.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hotspare_test_support::environment::NodeRed;
use hotspare_test_support::flows::{Flows, TICK};
use hotspare_test_support::pair::{Pair, Setup};
use hotspare_test_support::scenario::{self, Expect, Fault};
use hotspare_test_support::witness::judge;

const USAGE: &str = "usage: fault list | fault NAME... | fault random --seed N --minutes M [--loopback] [--node-red-5]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let clean = match words.as_slice() {
        ["list"] => {
            scenario::all().for_each(|fault| println!("{:28} {:?}", fault.name, fault.expect));
            true
        }
        ["random", options @ ..] => match Options::parse(options) {
            Some(options) => random(&options),
            None => return usage(),
        },
        [_, ..] => {
            let faults: Option<Vec<&Fault>> = words.iter().map(|name| scenario::named(name)).collect();
            let Some(faults) = faults else { return usage() };
            let lab = faults.iter().any(|fault| fault.lab);
            let mut pair = start(lab, NodeRed::V4);
            for fault in faults {
                one(&mut pair, fault);
            }
            verdict(&pair)
        }
        [] => return usage(),
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
    node_red: NodeRed,
}

impl Options {
    fn parse(mut words: &[&str]) -> Option<Self> {
        let mut options = Options { seed: 1, time: Duration::from_secs(300), lab: true, node_red: NodeRed::V4 };
        loop {
            words = match words {
                [] => return Some(options),
                ["--seed", seed, rest @ ..] => {
                    options.seed = seed.parse().ok()?;
                    rest
                }
                ["--minutes", minutes, rest @ ..] => {
                    options.time = Duration::from_secs_f64(minutes.parse::<f64>().ok()? * 60.0);
                    rest
                }
                ["--loopback", rest @ ..] => {
                    options.lab = false;
                    rest
                }
                ["--node-red-5", rest @ ..] => {
                    options.node_red = NodeRed::V5;
                    rest
                }
                _ => return None,
            };
        }
    }
}

fn start(lab: bool, node_red: NodeRed) -> Pair {
    Setup { lab, node_red, all_senders: true, flows: Flows::new().hang().exit(), ..Setup::default() }.start()
}

fn random(options: &Options) -> bool {
    let faults: Vec<&Fault> = scenario::all().filter(|fault| options.lab || !fault.lab).collect();
    let mut pair = start(options.lab, options.node_red);
    let began = Instant::now();
    let mut dice = options.seed;
    let mut count = 0;
    while began.elapsed() < options.time {
        let index = next(&mut dice) % faults.len() as u64;
        one(&mut pair, faults[usize::try_from(index).unwrap_or(0)]);
        count += 1;
    }
    println!("{count} faults from seed {} in {:.0} s", options.seed, began.elapsed().as_secs_f64());
    verdict(&pair)
}

/// SplitMix64 (Steele, Lea, Flood, 2014): small, and the same on every machine.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

fn one(pair: &mut Pair, fault: &Fault) {
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
}

/// Keeps the history, so that it can be judged again, and judges it.
fn verdict(pair: &Pair) -> bool {
    let history = pair.sink.history();
    let path = Path::new("target").join("last-fault-run.jsonl");
    match File::create(&path).and_then(|file| history.write(std::io::BufWriter::new(file))) {
        Ok(()) => println!("history: {} (judge it again with witness-check)", path.display()),
        Err(error) => eprintln!("can't write {}: {error}", path.display()),
    }
    let verdict = judge(&history, TICK);
    println!("{verdict}");
    verdict.is_clean()
}
