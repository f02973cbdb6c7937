//! Many random worlds, each from its seed: never two leaders, no durable record lost, and a leader once all has healed.
//!
//! `HOTSPARE_SIM_SEEDS=100000` runs that many; `HOTSPARE_SIM_SEED=17` runs that one and prints every step.

mod world;

use std::time::Duration;

use world::{Plan, Tally, World};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn never_two_leaders_no_record_lost_and_a_leader_in_the_end() {
    let (seeds, trace) = match number("HOTSPARE_SIM_SEED") {
        Some(seed) => (seed..seed + 1, true),
        None => (0..number("HOTSPARE_SIM_SEEDS").unwrap_or(500), false),
    };
    let mut all = Tally::default();
    for seed in seeds.clone() {
        let mut world = World::new(seed, Plan::keeping_all_rules(trace));
        if let Err(violation) = world.run(Duration::from_secs(60)) {
            panic!("seed {seed}: {}\nsee it with HOTSPARE_SIM_SEED={seed}", violation.0);
        }
        let Tally { steps, led, lost, stored, late_writes } = world.tally;
        all.steps += steps;
        all.led += led;
        all.lost += lost;
        all.stored += stored;
        all.late_writes += late_writes;
    }
    println!("{seeds:?}: {all:?}");
    // A world in which nothing happens would prove nothing.
    assert!(trace || (all.led > all.steps / 10_000 && all.lost > 0 && all.stored > 0), "too little happened: {all:?}");
}
