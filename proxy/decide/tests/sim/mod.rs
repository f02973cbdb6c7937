//! A world in which the shipping decider and two shipping guards live: hosts with clocks of their own, Node-REDs,
//! disks, links, faults. Ground truth is known here, so the invariants can be checked after every step.
//!
//! Reads in this order: `world` (the events and who handles them), `node` (a member's host: launcher and Node-RED),
//! `net` (links, delays, cuts), `control` (the controller's host), `faults` (what goes wrong), `run` (one seed:
//! set-up, faults, healing, liveness), `clock`, `rng`.

pub mod clock;
pub mod control;
pub mod faults;
pub mod net;
pub mod node;
pub mod rng;
pub mod run;
pub mod world;
