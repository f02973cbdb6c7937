//! What reaches the engine from the shells around it, all over one bounded queue, in order.

use hotspare_decide::message::Up;
use hotspare_decide::{ConnectTrouble, Member, ProbeOutcome, message::FlowState};
use tokio::sync::oneshot;

use super::handle::{Accepted, Order, Refusal, Verb};
use super::instance::InstanceSpec;
use super::status::Status;
use crate::link::LinkEvent;
use crate::store::Kept;

/// One thing that happened or was asked.
#[derive(Debug)]
pub enum Input {
    /// From the link server.
    Link(LinkEvent),
    /// A message of the driver that stands for a launcher; `generation` tells an old driver's from the present one's.
    Driver {
        /// Index of the instance.
        instance: u32,
        /// Whose.
        member: Member,
        /// What it says.
        event: DriverEvent,
    },
    /// A health check has an outcome.
    Probe {
        /// Index of the instance.
        instance: u32,
        /// Of whom.
        member: Member,
        /// Which of the configured checks.
        check: usize,
        /// What it found.
        outcome: ProbeOutcome,
        /// What the flows do, where the check can tell.
        flows: Option<FlowState>,
    },
    /// The data path could not reach the member that it was sent to.
    Trouble {
        /// Index of the instance.
        instance: u32,
        /// Whom.
        member: Member,
        /// Under which epoch.
        epoch: u64,
        /// What happened.
        trouble: ConnectTrouble,
    },
    /// No connection of this epoch is left.
    Drained {
        /// Index of the instance.
        instance: u32,
        /// The epoch that was being drained.
        epoch: u64,
    },
    /// The store answered.
    Stored {
        /// Index of the instance.
        instance: u32,
        /// As in the effect.
        id: u64,
        /// Durable, or why not.
        result: Result<(), String>,
    },
    /// Leadership of this process changed.
    Leadership {
        /// Won or lost.
        leader: bool,
        /// What the store has, by the name of the instance.
        records: Vec<(String, Kept)>,
    },
    /// While this process follows: what the store has now, by the name of the instance.
    Seen(Vec<(String, Kept)>),
    /// A store that several share began or ceased to answer.
    StoreHealth {
        /// Whether it answers.
        up: bool,
        /// In words, why not; empty when up.
        why: String,
    },
    /// A person or a platform asks for something.
    Order {
        /// Name of the instance.
        instance: String,
        /// What.
        verb: Verb,
        /// How.
        order: Order,
        /// Answered when it is done or has failed.
        reply: oneshot::Sender<Result<Accepted, Refusal>>,
    },
    /// The state of everything.
    Status(oneshot::Sender<Status>),
    /// What would happen now, and why what happened did.
    Explain {
        /// Name of the instance.
        instance: String,
        /// `None` if there is no such instance.
        reply: oneshot::Sender<Option<serde_json::Value>>,
    },
    /// Hand over all that was observed of an instance until now.
    Checkpoint {
        /// Name of the instance.
        instance: String,
        /// `false` if there is no such instance.
        done: oneshot::Sender<bool>,
    },
    /// A reload changed one instance.
    Reload {
        /// How.
        change: Reload,
        /// Answered when it is in force.
        done: oneshot::Sender<()>,
    },
    /// Stop: answered once nothing more will be decided.
    Stop(oneshot::Sender<()>),
}

/// What a reload does to one instance. Numbers are given by whoever reloads, and never twice.
#[derive(Debug)]
pub enum Reload {
    /// It is new.
    Add {
        /// Its number.
        number: u32,
        /// What the configuration says of it.
        spec: Box<InstanceSpec>,
    },
    /// It is gone.
    Remove {
        /// Its number.
        number: u32,
    },
    /// Times, rules, tokens or places changed; members and their kinds are the same.
    Change {
        /// Its number.
        number: u32,
        /// What the configuration says of it now.
        spec: Box<InstanceSpec>,
    },
}

/// What a driver tells.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are the large one")]
pub enum DriverEvent {
    /// The member answers: as if a launcher had connected.
    Up,
    /// It no longer does.
    Down,
    /// What a launcher would have said.
    Says(Up),
}
