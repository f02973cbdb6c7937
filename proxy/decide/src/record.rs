//! What the controller keeps durable about an instance. Written before it has any effect.

use crate::ids::{Epoch, Member};
use crate::lease::LeaseSettings;
use serde::{Deserialize, Serialize};

/// The durable state of an instance. The journal (or the store) keeps the latest one whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this structure.
    pub version: u32,
    /// The highest epoch ever reserved.
    pub epoch: Epoch,
    /// Every tenure that may be running or may yet be started without another write: the active's, and the one
    /// reserved for its spare, so that a failover need not wait for the disk. One that was fenced is removed.
    pub tenures: Vec<Tenure>,
    /// The member that was active last.
    pub last_active: Option<Member>,
    /// What was under way.
    pub intent: Option<Intent>,
    /// The rolling restart that was under way.
    #[serde(default)]
    pub rolling: Option<RollingRecord>,
    /// The widest lease timings under which a grant may have gone out.
    pub lease: LeaseSettings,
    /// When the unplanned failovers of the last hour happened: milliseconds since 1970.
    pub failovers_unix_ms: Vec<u64>,
    /// Maintenance: no automatic decision.
    pub paused: Option<PauseRecord>,
    /// Too many failovers: none happens by itself until an operator says so.
    pub frozen: bool,
    /// Members an operator fenced: not started until released.
    pub held: [bool; 2],
}

impl Record {
    /// The version written by this code.
    pub const VERSION: u32 = 1;
}

/// One tenure: `member` may run flows under `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tenure {
    /// Who.
    pub member: Member,
    /// Under which epoch.
    pub epoch: Epoch,
}

/// What was under way when the record was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "intent", rename_all = "snake_case")]
pub enum Intent {
    /// A planned change of the active.
    Switchover {
        /// The active before.
        from: Member,
        /// The active after.
        to: Member,
        /// Why, in the operator's words.
        reason: String,
    },
}

/// A rolling restart that survives a restart of the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollingRecord {
    /// Which members have been restarted, in configured order.
    pub restarted: [bool; 2],
    /// Why, in the operator's words.
    pub reason: String,
}

/// A pause that survives a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseRecord {
    /// When it ends by itself: milliseconds since 1970.
    pub until_unix_ms: u64,
    /// Why, in the operator's words.
    pub reason: String,
}
