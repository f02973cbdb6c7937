//! The shipping decider against a simulated pair whose members hold no lease (`node-red`, `flowfuse`): only a confirmed
//! stop fences them, and every order may be late, lost on the way back, or carried out long after whoever gave it has gone.
//!
//! `HOTSPARE_SIM_SEEDS=20000 cargo test --release -p hotspare-decide --test confirmed` runs that many seeds;
//! `HOTSPARE_SIM_SEED=17 cargo test -p hotspare-decide --test confirmed one_seed -- --nocapture` replays one with its
//! trace. `HOTSPARE_SIM_FIRST` moves the range.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "confirmed/driver.rs"]
mod driver;
#[path = "confirmed/follower.rs"]
mod follower;
#[path = "confirmed/member.rs"]
mod member;
#[path = "sim/rng.rs"]
#[allow(dead_code)]
mod rng;
#[path = "confirmed/world.rs"]
mod world;

use world::World;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn never_two_run() {
    let seeds = number("HOTSPARE_SIM_SEEDS").unwrap_or(2_000);
    let first = number("HOTSPARE_SIM_FIRST").unwrap_or(0);
    let (mut starts, mut failed) = (0, Vec::new());
    for seed in first..first + seeds {
        let mut world = World::new(seed, false);
        world.play();
        starts += world.starts;
        failed.extend(world.violation.map(|what| format!("seed {seed}: {what}")));
        if failed.len() >= 10 {
            break;
        }
    }
    println!("{seeds} seeds, {starts} starts of flows");
    let replay = "replay: HOTSPARE_SIM_SEED=N cargo test -p hotspare-decide --test confirmed one_seed -- --nocapture";
    assert!(failed.is_empty(), "{}\n{replay}", failed.join("\n"));
    assert!(starts > seeds, "too little happened to prove anything: {starts} starts of flows");
}

#[test]
fn one_seed() {
    let Some(seed) = number("HOTSPARE_SIM_SEED") else { return };
    let mut world = World::new(seed, true);
    world.play();
    assert_eq!(world.violation, None, "seed {seed}");
}
