//! The decision core of hotspare: which member of a pair may run its flows, and when.
//!
//! Owns: the [`Decider`] (controller side, one per instance), the [`Guard`] (launcher side, one per member),
//! the lease arithmetic both ends share ([`lease`]), the messages they exchange ([`message`]) and what is durable
//! ([`Record`], [`GuardRecord`]).
//!
//! Never does: I/O, reading a clock, waiting, choosing at random. Time is an argument; everything that happened
//! comes in through `handle(now, input)`, everything to be done goes out through `poll_effect()`.
//! A shell around it calls, in this order and from one task:
//!
//! 1. `handle(now, input)` for each thing that happened, or `handle_timeout(now)` once `poll_timeout()` has passed;
//! 2. `poll_effect()` until it gives `None`, carrying out each effect in the order given;
//! 3. sleep until `poll_timeout()` or the next input.
//!
//! Where to go next: `decider/mod.rs` for the states of an instance, `guard/mod.rs` for the holder of a lease,
//! `tests/simulation.rs` for the simulation that shows both keep the promise together, `tests/mutants.rs` for the proof
//! that each rule is needed, `tests/invariants.rs` for the properties.

mod decider;
mod effect;
mod event;
mod guard;
mod ids;
mod input;
pub mod lease;
pub mod message;
mod record;
mod replay;
mod rules;
mod settings;
mod time;
mod view;

pub use decider::Decider;
pub use decider::table::{TRANSITIONS, Transition};
pub use effect::{Effect, ParkReason, Route};
pub use event::{Cause, Event, EventKind, Observation, Observations, Proof, Severity};
pub use guard::{Guard, GuardConfig, GuardEffect, GuardEvent, GuardInput, GuardRecord, ModuleEvent};
pub use ids::{Epoch, LinkId, Member, OpId, PerMember};
pub use input::{ConnectTrouble, Input, Operator, ProbeOutcome};
pub use lease::LeaseSettings;
pub use record::{Intent, PauseRecord, Record, RollingRecord, Tenure};
pub use replay::replay;
pub use rules::{Rule, Rules};
pub use settings::{Damping, Deadlines, Fencing, HealthSettings, OnUnreachable, Settings};
pub use time::Time;
pub use view::{Forecast, LastFailover, MemberView, StateName, View};
