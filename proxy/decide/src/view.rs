//! What a decider shows of itself: for status, metrics and explanations. Read-only.

use crate::effect::Route;
use crate::event::{Cause, Proof};
use crate::ids::{Epoch, Member};
use crate::message::{FlowState, MemberStatus};
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// The states of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    /// Another controller decides.
    Follower,
    /// Just started: looks who is active.
    Recovering,
    /// Nobody is active, for certain, and nobody can be started yet.
    Idle,
    /// A member was told to start.
    Starting,
    /// A member is active.
    Active,
    /// A tenure is being brought to its certain end.
    Fencing,
    /// A planned change: what is in flight finishes, then the old active is stopped.
    Draining,
    /// A planned change: the new active was started and is being looked at.
    Verifying,
}

/// One instance at a glance, and in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Its name.
    pub name: String,
    /// The state.
    pub state: StateName,
    /// Milliseconds in that state.
    pub state_for_ms: u64,
    /// Who is active, if anyone.
    pub active: Option<Member>,
    /// Under which epoch.
    pub active_epoch: Option<Epoch>,
    /// Milliseconds that it has been active.
    pub active_for_ms: Option<u64>,
    /// The highest epoch reserved.
    pub epoch: Epoch,
    /// Where connections go.
    pub route: Route,
    /// Whether this controller decides.
    pub leader: bool,
    /// Milliseconds of pause left.
    pub paused_left_ms: Option<u64>,
    /// Why it is paused.
    pub paused_reason: Option<String>,
    /// Too many failovers.
    pub frozen: bool,
    /// Both members silent.
    pub blind: bool,
    /// The journal fails.
    pub journal_failing: bool,
    /// Milliseconds of hold-down left.
    pub hold_down_left_ms: u64,
    /// Unplanned failovers in the last hour.
    pub failovers_last_hour: u32,
    /// What a planned change is doing.
    pub plan: Option<String>,
    /// Why a wanted start cannot happen.
    pub stuck: Option<String>,
    /// The members, in configured order.
    pub members: [MemberView; 2],
    /// The last change of the active.
    pub last_failover: Option<LastFailover>,
    /// Inputs ignored as late, stale or illegal.
    pub ignored: u64,
}

/// What is known of one member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberView {
    /// Its launcher or driver is connected.
    pub linked: bool,
    /// Milliseconds since its last message.
    pub heard_ms_ago: Option<u64>,
    /// It could take over right now.
    pub ready: bool,
    /// If not, why not.
    pub why_not: Option<String>,
    /// Verdict of the health checks.
    pub healthy: bool,
    /// What its flows do, as last seen.
    pub flows: Option<FlowState>,
    /// Same flows, nodes and version as the active; `None` if that can't be told.
    pub in_sync: Option<bool>,
    /// What differs.
    pub sync_reason: Option<String>,
    /// An operator fenced it.
    pub held: bool,
    /// Milliseconds until every lease given to it has certainly ended.
    pub lease_left_ms: u64,
    /// Its last status.
    pub status: Option<MemberStatus>,
}

/// The last change of the active.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastFailover {
    /// When it was complete, on this controller's clock.
    pub at: Time,
    /// The active before.
    pub from: Option<Member>,
    /// The active after.
    pub to: Member,
    /// Under which epoch.
    pub epoch: Epoch,
    /// Planned or not.
    pub planned: bool,
    /// Why.
    pub why: Option<Cause>,
    /// The proof that the old one was over.
    pub proof: Option<Proof>,
    /// Milliseconds from the decision to the new active.
    pub took_ms: u64,
}

/// What would happen if the active died at this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// Who would take over; `None`: nobody.
    pub to: Option<Member>,
    /// Milliseconds from a seen exit until the order to start.
    pub after_exit_ms: Option<u64>,
    /// Milliseconds from the last heartbeat until the order to start, if the machine vanished.
    pub after_silence_ms: Option<u64>,
    /// The same in sentences, with everything that stands in the way.
    pub sentences: Vec<String>,
}
