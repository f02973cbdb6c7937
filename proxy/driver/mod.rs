//! Drivers: how a member is observed, started and fenced when it has no lease and no link of its own.
//!
//! One file a kind: `node_red.rs` (bare Node-RED), `flowfuse.rs` (FlowFuse's nr-launcher, unchanged), `plain.rs`
//! (other software, no flows). A member with `hotspare launcher` needs none: its link (`proxy/link`) speaks.
//! What they share: `belief.rs` (when a stop can be believed), `order.rs` (orders that outlive their caller),
//! `serve.rs` (does the member's port answer), `inventory.rs` (missing node types), `place.rs` (is it this host).
//! `shell.rs` and `shell_act.rs` stand between a driver and the engine; `off.rs` runs an operator's fence command.
//!
//! A driver compares what it is told with what is so. It returns `Ok` only for a fact, and an error for all
//! else: "no answer" is [`Flows::Unknown`], and never counts as stopped.

mod belief;
mod flowfuse;
mod flowfuse_look;
mod inventory;
mod node_red;
mod off;
mod order;
mod place;
mod plain;
mod serve;
pub mod shell;
mod shell_act;

use std::future::Future;
use std::pin::Pin;

pub use flowfuse::{FlowFuse, FlowFuseSettings};
pub use node_red::{NodeRed, NodeRedSettings};
pub use off::PowerOff;
pub use plain::Plain;
pub use serve::ServeProbe;

/// What a member with a launcher of this kind (the configuration's word) can't promise, for whoever asks for the status; `None`
/// for `hotspare`, which holds a lease.
pub fn cannot_promise(kind: &str) -> Option<&'static str> {
    match kind {
        "flowfuse" => Some(
            "its spare is cold, and can't be started while the platform is down; an active that can't be reached, or whose \
             launcher is gone, can't be fenced; a Node-RED that crashes is started again unasked (docs/flowfuse.md)",
        ),
        "node-red" => Some(
            "an active that can't be reached can't be fenced; a Node-RED that its supervisor starts again must come up stopped \
             by itself (docs/node-red.md)",
        ),
        "none" => Some("nothing keeps two of them from working at once"),
        _ => None,
    }
}

/// A boxed future, so that drivers can be kept behind one trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whether a member's flows run, as far as can be known from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flows {
    /// They were seen to run.
    Running,
    /// Certainly none runs; Node-RED is up, or its process is gone (then `up` of [`Seen`] is false).
    Stopped,
    /// Not known, and why: no answer, or answers that contradict one another.
    Unknown(String),
}

/// One look at a member.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What its flows do.
    pub flows: Flows,
    /// Whether the Node-RED process answers.
    pub up: bool,
    /// Whether an order can be given: whoever carries it out (Node-RED itself, or its launcher) answers.
    pub reachable: bool,
    /// `Ok` if the member could take over now, else why not.
    pub ready: Result<(), String>,
    /// Node-RED's version, where the kind tells it.
    pub node_red: Option<String>,
    /// The flows' revision, where the kind tells it.
    pub revision: Option<String>,
}

/// How a fence was made certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certain {
    /// The flows were stopped and were seen to be stopped.
    FlowsStopped,
    /// The process is gone.
    ProcessGone,
    /// There are no flows to stop.
    NothingToFence,
}

/// Why a driver could not do, or could not confirm, what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct DriverError(pub String);

/// What the engine asks of a member that has no link.
pub trait Driver: Send + Sync {
    /// The word for it in the configuration.
    fn kind(&self) -> &'static str;

    /// Looks at the member now. Never changes anything.
    fn observe(&self) -> BoxFuture<'_, Seen>;

    /// Starts the flows; `Ok` only when they were seen to run.
    fn start(&self) -> BoxFuture<'_, Result<(), DriverError>>;

    /// Stops the flows; `Ok` only when it is a fact that none runs.
    fn fence(&self) -> BoxFuture<'_, Result<Certain, DriverError>>;

    /// Restarts Node-RED of a member that is not active; `Ok` when it is back, with flows stopped.
    fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>>;
}
