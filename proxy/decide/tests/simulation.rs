//! The shipping decider and two shipping guards against a simulated world, seed by seed.
//!
//! `HOTSPARE_SIM_SEEDS=20000 cargo test --release -p hotspare-decide --test simulation` runs that many seeds;
//! `HOTSPARE_SIM_SEED=17 cargo test -p hotspare-decide --test simulation one_seed -- --nocapture` replays one with its
//! trace. `HOTSPARE_SIM_FIRST` moves the range.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod sim;

use sim::run::run;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn never_two_active() {
    let seeds = number("HOTSPARE_SIM_SEEDS").unwrap_or(2_000);
    let first = number("HOTSPARE_SIM_FIRST").unwrap_or(0);
    let next = AtomicU64::new(first);
    let (steps, starts) = (AtomicU64::new(0), AtomicU64::new(0));
    let failures: Mutex<Vec<(u64, String)>> = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds || failures.lock().unwrap().len() >= 10 {
                        break;
                    }
                    let outcome = run(seed, None, false);
                    steps.fetch_add(outcome.steps, Ordering::Relaxed);
                    starts.fetch_add(outcome.starts, Ordering::Relaxed);
                    if let Some(what) = outcome.violation {
                        failures.lock().unwrap().push((seed, what));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    println!("{seeds} seeds, {} steps, {} starts of flows", steps.into_inner(), starts.into_inner());
    for (seed, what) in &failures {
        println!("seed {seed}: {what}");
        println!(
            "  replay: HOTSPARE_SIM_SEED={seed} cargo test -p hotspare-decide --test simulation one_seed -- --nocapture"
        );
    }
    assert!(failures.is_empty(), "{} seeds failed, see above", failures.len());
}

#[test]
fn one_seed() {
    let Some(seed) = number("HOTSPARE_SIM_SEED") else { return };
    let outcome = run(seed, None, true);
    assert_eq!(outcome.violation, None, "seed {seed}");
}
