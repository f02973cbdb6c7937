//! Each safety rule is needed: with one of them broken, the simulation finds a violation within some seeds.
//! A rule whose absence nobody notices is either not needed or not tested; the test fails then.
//!
//! `cargo test --release -p hotspare-decide --features mutants --test mutants`; `HOTSPARE_MUTANT_SEEDS` sets how many
//! seeds each may take, `HOTSPARE_MUTANT` picks one by name, with the trace of the seed that caught it.

#![cfg(feature = "mutants")]
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod sim;

use hotspare_decide::Rule;
use sim::run::run;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// The first seed that finds the broken rule, and what it saw.
fn caught(rule: Rule, seeds: u64) -> Option<(u64, String)> {
    let next = AtomicU64::new(0);
    let found: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || found.lock().unwrap().is_some() {
                        break;
                    }
                    if let Some(what) = run(seed, Some(rule), false).violation {
                        found.lock().unwrap().get_or_insert((seed, what));
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

#[test]
fn every_broken_rule_is_caught() {
    let seeds = std::env::var("HOTSPARE_MUTANT_SEEDS").map_or(40_000, |text| text.parse().unwrap());
    let only = std::env::var("HOTSPARE_MUTANT").ok();
    let mut survivors = Vec::new();
    for rule in Rule::ALL {
        if only.as_ref().is_some_and(|name| *name != format!("{rule:?}")) {
            continue;
        }
        match caught(rule, seeds) {
            Some((seed, what)) => {
                let short: String = what.chars().take(100).collect();
                println!("{rule:?}: caught by seed {seed}: {short}");
                if only.is_some() {
                    run(seed, Some(rule), true);
                }
            }
            None => {
                println!("{rule:?}: SURVIVED {seeds} seeds");
                survivors.push(rule);
            }
        }
    }
    assert!(survivors.is_empty(), "nobody noticed that these rules were broken: {survivors:?}");
}
