//! Several controllers, each a real election and the real decision core, over one store and two members: a store that is slow, cut
//! off, loses watch events and answers late after having written; controllers that freeze, crash, are stopped and lose
//! members; members that crash and freeze.
//!
//! After every step: no two members run flows at one true instant; no epoch is started that is not in the store; one
//! controller leads at most. In the end all is healed, and one member runs, to which every controller sends.
//!
//! The members are models that keep the launcher's side of the lease and nothing else (no promise): simpler than the real
//! one, whose own simulation is in `proxy/decide`. `HOTSPARE_SIM_SEEDS=100000` runs that many; `HOTSPARE_SIM_SEED=17` runs
//! that one and prints every step.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "pair/controller.rs"]
mod controller;
#[path = "pair/member.rs"]
mod member;
#[path = "world/random.rs"]
mod random;
#[path = "world/store.rs"]
#[allow(dead_code)]
mod store;
#[path = "pair/world.rs"]
mod world;

use world::{Tally, World};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn never_two_members_run_whoever_of_several_controllers_leads() {
    let (seeds, trace) = match number("HOTSPARE_SIM_SEED") {
        Some(seed) => (seed..seed + 1, true),
        None => (0..number("HOTSPARE_SIM_SEEDS").unwrap_or(300), false),
    };
    let mut all = Tally::default();
    for seed in seeds.clone() {
        let mut world = World::new(seed, trace);
        if let Err(violation) = world.run() {
            panic!("seed {seed}: {violation}\nsee it with HOTSPARE_SIM_SEED={seed}");
        }
        all.add(world.tally);
    }
    println!("{seeds:?}: {all:?}");
    // A world in which nothing happens would prove nothing.
    assert!(trace || (all.led > 0 && all.lost > 0 && all.starts > 0 && all.expired > 0), "too little: {all:?}");
}
