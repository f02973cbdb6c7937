//! Each safety rule is broken once, and the simulation must notice: a rule that can be broken unnoticed is not tested.
//!
//! Needs `--features mutants`.

mod world;

use std::time::Duration;

use hotspare_group::Rule;
use world::{Plan, World};

/// Seeds that may pass before a mutant must be caught.
const SEEDS: u64 = 400;

#[test]
fn every_broken_rule_is_noticed() {
    let mut survivors = Vec::new();
    for rule in Rule::ALL {
        let caught = (0..SEEDS).find_map(|seed| {
            let mut world = World::new(seed, Plan { broken: Some(rule), ..Plan::default() });
            world.run(Duration::from_secs(60)).err().map(|violation| (seed, violation))
        });
        match caught {
            Some((seed, violation)) => println!("{rule:?}: seed {seed}: {}", violation.0),
            None => survivors.push(rule),
        }
    }
    assert!(survivors.is_empty(), "these rules can be broken unnoticed in {SEEDS} seeds: {survivors:?}");
}
