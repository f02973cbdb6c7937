//! The record that each decision leaves: what was seen, which timers ran, which proof there was.

use crate::ids::{Epoch, Member, OpId};
use crate::message::{ExitCause, FenceHow, FlowState};
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// Something worth knowing, with what was known at that moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, on this controller's clock.
    pub at: Time,
    /// The state the instance was in, by name.
    pub state: crate::view::StateName,
    /// The highest epoch reserved by then.
    pub epoch: Epoch,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
    /// What was seen of both members; for decisions, not for mere notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observations: Option<Box<Observations>>,
}

/// How loud an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// All is as it should be.
    Info,
    /// Someone should look.
    Warning,
    /// Someone should look now.
    Alarm,
}

/// What was seen of both members when something was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observations {
    /// Of the first member.
    pub a: Observation,
    /// Of the second member.
    pub b: Observation,
    /// Milliseconds that the hold-down still ran.
    pub hold_down_left_ms: u64,
    /// Milliseconds that we still wanted to look before acting.
    pub observe_left_ms: u64,
}

/// What was seen of one member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// A launcher (or driver) is connected.
    pub linked: bool,
    /// Milliseconds since its last message.
    pub heard_ms_ago: Option<u64>,
    /// What its flows do.
    pub flows: Option<FlowState>,
    /// The tenure it reports.
    pub tenure: Option<Epoch>,
    /// The highest epoch durable there.
    pub max_epoch: Epoch,
    /// Event-loop lag in milliseconds.
    pub lag_ms: u64,
    /// Milliseconds until every lease given to it has certainly ended.
    pub lease_left_ms: u64,
    /// Why it can't take over; `None` means it can.
    pub not_ready: Option<String>,
    /// Verdict of the health checks.
    pub healthy: bool,
}

/// Why the active changed without being asked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// Its process ended.
    Exited {
        /// Why.
        exit: ExitCause,
    },
    /// Its launcher says that the flows are stopped and the tenure is over.
    StoppedItself,
    /// Nothing was heard of it until its lease had certainly ended.
    LeaseExpired,
    /// Its health checks failed.
    Unhealthy {
        /// Which and how.
        reason: String,
    },
    /// Clients could not reach it, and a check agreed.
    Unreachable {
        /// How.
        reason: String,
    },
    /// It could not be started, or did not run in time.
    StartFailed {
        /// Why.
        reason: String,
    },
    /// A person asked for it.
    Operator {
        /// Why.
        reason: String,
    },
    /// After a restart of the controller nobody was found active.
    FoundNoActive,
}

/// Why a tenure is known to be over. There is no variant for "no answer".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "proof", rename_all = "snake_case")]
pub enum Proof {
    /// The launcher answered the fence.
    StopConfirmed {
        /// How it was done.
        how: FenceHow,
    },
    /// The process is gone, by a receipt for this epoch or a later one.
    ExitReceipt,
    /// Every lease that was given has ended on the slowest clock allowed, and the spare has promised nothing.
    LeaseExpired,
    /// A heartbeat says: no tenure, flows stopped, and this epoch is used up.
    HeartbeatSaysFenced,
    /// It was reserved, and no order to start was ever sent.
    NeverStarted,
    /// This kind of member runs no flows.
    NothingToFence,
    /// The configuration says to take it for fenced after so much silence.
    UnreachableRule {
        /// Milliseconds of silence.
        silent_ms: u64,
    },
    /// A person took the responsibility.
    OperatorForced,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// The controller has started, or won leadership, and looks who is active.
    Recovering,
    /// A running active was found and left undisturbed.
    Adopted {
        /// Who.
        member: Member,
        /// Under which epoch.
        epoch: Epoch,
    },
    /// Leadership was lost: nothing is decided here.
    LeadershipLost,
    /// A link came or went.
    Link {
        /// Whose.
        member: Member,
        /// Came or went.
        up: bool,
        /// The launcher was started anew since the last link.
        new_session: bool,
    },
    /// The active is to be replaced.
    FailoverBegan {
        /// The active until now.
        from: Member,
        /// Under which epoch.
        from_epoch: Epoch,
        /// Why.
        why: Cause,
    },
    /// A fence was ordered.
    FenceOrdered {
        /// Of whom.
        member: Member,
        /// Up to which epoch.
        fence_epoch: Epoch,
        /// The operation.
        op: OpId,
    },
    /// A tenure is over for certain.
    Fenced {
        /// Whose.
        member: Member,
        /// Which.
        tenure: Epoch,
        /// The proof.
        by: Proof,
    },
    /// A start was ordered.
    StartOrdered {
        /// Of whom.
        member: Member,
        /// Under which epoch.
        tenure: Epoch,
        /// The operation.
        op: OpId,
        /// Its flows differ from those of the last active.
        stale: bool,
    },
    /// A start failed.
    StartFailed {
        /// Of whom.
        member: Member,
        /// Under which epoch.
        tenure: Epoch,
        /// Why.
        reason: String,
    },
    /// A member is active.
    Active {
        /// Who.
        member: Member,
        /// Under which epoch.
        tenure: Epoch,
        /// Milliseconds from the decision to here.
        took_ms: u64,
        /// Milliseconds since something was last heard of the active before.
        detect_ms: Option<u64>,
        /// Planned or not.
        planned: bool,
        /// Why it became active.
        why: Option<Cause>,
    },
    /// The flows of the active stand still although nobody asked hotspare for it; `why` is `None`: they run again.
    Halted {
        /// Who.
        member: Member,
        /// Under which epoch.
        tenure: Epoch,
        /// Why, in words.
        why: Option<String>,
    },
    /// The active refused a connection; new ones wait while it is looked at.
    Suspected {
        /// Who.
        member: Member,
        /// What happened.
        trouble: crate::input::ConnectTrouble,
    },
    /// It was looked at and is well.
    Cleared {
        /// Who.
        member: Member,
    },
    /// A step of a switchover or a rolling restart.
    Step {
        /// The request.
        request: u64,
        /// For people.
        text: String,
    },
    /// A plan has ended.
    PlanEnded {
        /// The request.
        request: u64,
        /// It did what was asked.
        done: bool,
        /// For people.
        text: String,
    },
    /// A request was refused.
    Refused {
        /// The request.
        request: u64,
        /// Every reason.
        reasons: Vec<String>,
    },
    /// The spare could not take over.
    SpareNotReady {
        /// Who.
        member: Member,
        /// Why not.
        reason: String,
    },
    /// The spare could take over.
    SpareReady {
        /// Who.
        member: Member,
    },
    /// The spare's flows, nodes or version differ from the active's.
    OutOfSync {
        /// Who.
        member: Member,
        /// What differs.
        reason: String,
    },
    /// They are the same again.
    InSync {
        /// Who.
        member: Member,
    },
    /// A failover is wanted and nothing can take over, or may.
    Stuck {
        /// Why.
        reason: String,
    },
    /// Both members fell silent at once: we suspect ourselves and change nothing.
    Blind,
    /// At least one of them is heard again.
    Seeing,
    /// We were paused ourselves, and look afresh.
    Stalled {
        /// Milliseconds.
        gap_ms: u64,
    },
    /// The journal (or store) does not take our records: nothing new is decided.
    JournalFailing {
        /// Why.
        reason: String,
    },
    /// It does again.
    JournalRecovered,
    /// Too many failovers in an hour: none happens by itself until an operator says so.
    Frozen {
        /// How many.
        failovers: u32,
    },
    /// An operator allowed failovers again.
    Unfrozen,
    /// Maintenance began.
    Paused {
        /// Milliseconds.
        for_ms: u64,
        /// Why.
        reason: String,
    },
    /// Maintenance ended.
    Resumed {
        /// By itself.
        expired: bool,
    },
    /// An operator fenced a member, or released it.
    Held {
        /// Who.
        member: Member,
        /// Fenced or released.
        held: bool,
    },
    /// A member that must not run flows says that it does. It is being fenced.
    Intruder {
        /// Who.
        member: Member,
        /// Under which epoch.
        tenure: Option<Epoch>,
    },
}

impl EventKind {
    /// How loud this is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Intruder { .. }
            | Self::Frozen { .. }
            | Self::Stuck { .. }
            | Self::Blind
            | Self::Halted { why: Some(_), .. }
            | Self::JournalFailing { .. }
            | Self::SpareNotReady { .. }
            | Self::OutOfSync { .. }
            | Self::StartOrdered { stale: true, .. } => Severity::Alarm,
            Self::FailoverBegan { .. }
            | Self::StartFailed { .. }
            | Self::Suspected { .. }
            | Self::Stalled { .. }
            | Self::PlanEnded { done: false, .. } => Severity::Warning,
            _ => Severity::Info,
        }
    }
}
