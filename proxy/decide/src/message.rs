//! What a launcher and a controller say to each other, and the launchers of a pair among themselves.
//!
//! Owns the meaning of each message. The wire format (text frames, version check, size limits, tokens) is
//! `hotspare-protocol`'s. Unknown fields are ignored, an unknown version is refused.

use crate::ids::{Epoch, OpId};
use crate::lease::LeaseSettings;
use crate::time::millis;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// The version of these messages.
pub const VERSION: u32 = 1;

/// From a launcher to a controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Up {
    /// First on each connection.
    Hello(Hello),
    /// Every `heartbeat`, and at once on any change of status.
    Heartbeat(Heartbeat),
    /// Answer to [`Down::Start`].
    Started {
        /// The operation of the start.
        op: OpId,
        /// The epoch of the start.
        epoch: Epoch,
        /// `None`: the flows run. Otherwise why not; that is no proof that nothing runs.
        failure: Option<StartFailure>,
    },
    /// Answer to [`Down::Fence`], given only when it is a fact.
    Fenced {
        /// The operation of the fence.
        op: OpId,
        /// No tenure up to and including this epoch runs here, or ever will again.
        epoch: Epoch,
        /// How it became a fact.
        how: FenceHow,
    },
    /// Answer to [`Down::Restart`], once Node-RED is up again, or can't be.
    Restarted {
        /// The operation of the restart.
        op: OpId,
        /// Why it didn't work.
        failure: Option<String>,
    },
    /// Node-RED's process is certainly gone.
    Exited(ExitReceipt),
    /// The flows were deployed through the editor.
    Deploy {
        /// The revision now stored.
        revision: String,
    },
}

/// Who speaks. First on each connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Must be [`VERSION`].
    pub version: u32,
    /// Name of the instance in the configuration.
    pub instance: String,
    /// Name of the member in the configuration.
    pub member: String,
    /// A random number per start of the launcher.
    pub session: u64,
    /// Name and version of the launcher.
    pub software: String,
    /// Version of Node-RED, once known.
    pub node_red: Option<String>,
    /// The highest epoch this launcher has made durable.
    pub max_epoch: Epoch,
}

/// A sign of life, and the holder's request for a renewal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Rises by one; starts at a random point per session. The same to all controllers.
    pub seq: u64,
    /// The last of this launcher's own numbers that this controller has answered.
    pub echo: Option<u64>,
    /// What the launcher sees of its member.
    pub status: MemberStatus,
}

/// What a launcher knows of its member. `Default` is a member that is down and was never active.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemberStatus {
    /// What the flows do.
    pub flows: FlowState,
    /// The tenure under which flows run, start or stop.
    pub tenure: Option<Epoch>,
    /// The highest epoch that is durable at this launcher: nothing up to it can be started here again.
    pub max_epoch: Epoch,
    /// Why this member could not be started right now; `None` means it could.
    pub not_ready: Option<NotReady>,
    /// Event-loop lag of Node-RED, in milliseconds.
    pub lag_ms: u64,
    /// Revision of the flows stored.
    pub revision: Option<String>,
    /// Stands for the nodes installed in its user folder, name and version of each. `None`: not known.
    pub nodes: Option<String>,
    /// Why its peer's nodes could not be installed here.
    pub nodes_problem: Option<String>,
    /// What is left of the lease, in milliseconds.
    pub lease_left_ms: Option<u64>,
    /// What is left of a promise given to the peer, or of the wait after boot (it may have promised and forgotten),
    /// in milliseconds.
    pub promise_given_left_ms: Option<u64>,
    /// What is left of a promise the peer gave, in milliseconds.
    pub promise_held_left_ms: Option<u64>,
    /// Version of Node-RED.
    pub node_red: Option<String>,
    /// How often Node-RED was started again since the launcher started.
    pub restarts: u64,
    /// Node-RED keeps dying soon after its start.
    pub crash_loop: bool,
    /// Why the flows of a tenure stand still although it goes on: someone stopped them in the editor, or a deploy could
    /// not start them.
    pub halted: Option<String>,
    /// Why the launcher is killing its Node-RED; `None`: it isn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub killing: Option<ExitCause>,
    /// Of the controllers linked here that follow: each has left every tenure up to this one (as [`Down::Ack`] has it).
    /// `None`: there is none that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub followers_left: Option<Epoch>,
}

impl MemberStatus {
    /// The tenure under which flows run, are being started, or stand still by someone's hand and may go on any moment.
    pub fn may_act(&self) -> Option<Epoch> {
        let acts = matches!(self.flows, FlowState::Starting | FlowState::Running) || self.halted.is_some();
        self.tenure.filter(|_| acts)
    }
}

/// What the flows of a member do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowState {
    /// There is no Node-RED process.
    #[default]
    Down,
    /// Node-RED is starting up, flows stopped.
    Booting,
    /// Node-RED is up, flows loaded and stopped.
    Stopped,
    /// Flows are being started.
    Starting,
    /// Flows run.
    Running,
    /// Flows are being stopped.
    Stopping,
}

/// Why a member can't be started right now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum NotReady {
    /// The launcher has not yet heard from a controller since its boot.
    NoWelcome,
    /// The launcher has just booted and may have promised its peer not to start anything.
    Quarantine {
        /// Milliseconds left.
        left_ms: u64,
    },
    /// The launcher promised its peer not to start anything.
    PromiseGiven {
        /// Milliseconds left.
        left_ms: u64,
    },
    /// There is no Node-RED process.
    Down,
    /// Node-RED is starting up.
    Booting,
    /// Flows run, start or stop.
    Busy,
    /// Node types are missing: a start would run nothing.
    MissingTypes {
        /// Their names.
        types: Vec<String>,
    },
    /// Node-RED keeps dying soon after its start.
    CrashLoop,
    /// The launcher can't write its own record.
    NotDurable,
    /// Anything else, in words.
    Other {
        /// The words.
        text: String,
    },
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWelcome => f.write_str("its launcher has not heard from a controller yet"),
            Self::Quarantine { left_ms } => {
                write!(f, "its launcher has just started and waits {left_ms}ms")
            }
            Self::PromiseGiven { left_ms } => {
                write!(f, "it promised its peer not to start for {left_ms}ms")
            }
            Self::Down => f.write_str("Node-RED is down"),
            Self::Booting => f.write_str("Node-RED is starting up"),
            Self::Busy => f.write_str("flows are running, starting or stopping"),
            Self::MissingTypes { types } => write!(f, "node types missing: {}", types.join(", ")),
            Self::CrashLoop => f.write_str("Node-RED keeps crashing"),
            Self::NotDurable => f.write_str("its launcher cannot write its state directory"),
            Self::Other { text } => f.write_str(text),
        }
    }
}

/// Why a start failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFailure {
    /// What kind of failure.
    pub kind: StartFailureKind,
    /// The same for people.
    pub text: String,
}

/// The kinds of failed starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartFailureKind {
    /// The epoch is not above the highest this launcher knows.
    StaleEpoch,
    /// The lease in the start had ended before it arrived.
    TooLate,
    /// The member is not ready (see the text).
    NotReady,
    /// A promise to the peer, or the wait after boot, forbids it.
    Promised,
    /// The launcher could not make the epoch durable.
    NotDurable,
    /// Node types are missing: Node-RED says "start" and runs nothing.
    MissingTypes,
    /// Node-RED or its driver refused or failed.
    Failed,
    /// A fence came in between.
    Fenced,
}

/// How a fence became a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FenceHow {
    /// Node-RED confirmed that all nodes are closed.
    FlowsStopped,
    /// The process is gone.
    ProcessExited,
    /// Nothing up to that epoch was running.
    NeverRan,
}

/// "Node-RED's process is gone (reaped), and no epoch up to `epoch` will run again here."
///
/// The launcher sends it when Node-RED exits. The undertaker sends it when the launcher itself was killed; it must
/// use the epoch it was told while that launcher lived, never one read from disk afterwards (a new launcher may
/// have written a newer one).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitReceipt {
    /// The highest epoch the receipt speaks for.
    pub epoch: Epoch,
    /// The tenure that ended with the process, if one ran.
    pub tenure: Option<Epoch>,
    /// Why it is gone.
    pub cause: ExitCause,
}

/// Why a Node-RED process is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum ExitCause {
    /// It ended by itself.
    Crash {
        /// Exit code.
        code: Option<i32>,
        /// Signal number.
        signal: Option<i32>,
    },
    /// Its event loop hung and the launcher killed it.
    Hung,
    /// The lease ended before the flows had stopped.
    LeaseEnded,
    /// A fence's grace was over.
    Fenced,
    /// A restart or a stop was asked for.
    Requested,
    /// It never came up.
    BootFailed,
    /// Its launcher died.
    LauncherDied,
}

/// From a controller to a launcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Down {
    /// First on each connection, and again when anything in it changes.
    Welcome(Welcome),
    /// Answer to a heartbeat that gets no grant.
    Ack {
        /// The heartbeat's number.
        seq: u64,
        /// Whether this controller decides for the instance, and has looked around since it started; only then does
        /// hearing it count.
        leader: bool,
        /// From one that follows and carries traffic: no connection of its clients goes to a tenure up to this one, and
        /// none will. `None` from others, and from those that know nothing of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<Epoch>,
    },
    /// Answer to a heartbeat of the active: go on until your own `sent(seq)` + ttl.
    Grant {
        /// The heartbeat's number.
        seq: u64,
        /// The tenure that is renewed.
        epoch: Epoch,
        /// Milliseconds, counted by the holder from when it sent `seq`.
        ttl_ms: u64,
    },
    /// Start the flows. Carries the first grant.
    Start {
        /// Names the command; the answer repeats it.
        op: OpId,
        /// The new tenure.
        epoch: Epoch,
        /// The latest heartbeat received from this launcher.
        seq: u64,
        /// Milliseconds, counted by the holder from when it sent `seq`.
        ttl_ms: u64,
    },
    /// From now on no tenure up to `epoch` may run here.
    Fence {
        /// Names the command; the answer repeats it.
        op: OpId,
        /// The highest epoch that is forbidden.
        epoch: Epoch,
        /// How long a graceful stop may take before the process is killed, in milliseconds.
        grace_ms: u64,
    },
    /// Restart the Node-RED process of a member that is not active.
    Restart {
        /// Names the command; the answer repeats it.
        op: OpId,
    },
    /// The connection will be closed, for this reason.
    Refused {
        /// For people.
        reason: String,
    },
}

/// What a launcher is told first. It keeps settings and peer on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Must be [`VERSION`].
    pub version: u32,
    /// Name of the controller.
    pub controller: String,
    /// Whether this controller decides for the instance.
    pub leader: bool,
    /// Timings the launcher works by.
    pub settings: LauncherSettings,
    /// The launcher of the other member.
    pub peer: Option<Peer>,
}

/// Timings a launcher works by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LauncherSettings {
    /// Lease and promise.
    pub lease: LeaseSettings,
    /// Event-loop lag from which Node-RED counts as hung. Below it is busy. Serde: milliseconds.
    #[serde(with = "millis", rename = "hang_after_ms")]
    pub hang_after: Duration,
    /// How long Node-RED may take to come up. Serde: milliseconds.
    #[serde(with = "millis", rename = "boot_deadline_ms")]
    pub boot_deadline: Duration,
    /// What an active does that reaches neither a controller nor its peer.
    pub on_isolated: OnIsolated,
    /// How often the files of context stores are copied to the spare, in seconds. `None`: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_every_s: Option<NonZeroU32>,
}

impl Default for LauncherSettings {
    fn default() -> Self {
        LauncherSettings {
            lease: LeaseSettings::default(),
            hang_after: Duration::from_secs(2),
            boot_deadline: Duration::from_secs(60),
            on_isolated: OnIsolated::Stop,
            context_every_s: None,
        }
    }
}

/// What an active does that reaches neither a controller nor its peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnIsolated {
    /// Stop the flows when the lease ends.
    #[default]
    Stop,
    /// Go on. Gives up "never two active": the other member may be started meanwhile.
    Run,
}

/// Where the other member's launcher is. The secret never shows in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Name of the member.
    pub member: String,
    /// Base address of its admin API.
    pub url: String,
    /// Authenticates the two launchers to each other.
    pub secret: String,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("member", &self.member).field("url", &self.url).finish_non_exhaustive()
    }
}

/// From the active's launcher to its peer: "promise to start nothing, so that I may go on".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseAsk {
    /// Names the question; the answer repeats it. Never used twice by one launcher session.
    pub ask: u64,
    /// The tenure of the asker.
    pub epoch: Epoch,
}

/// The peer's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseAnswer {
    /// The question answered.
    pub ask: u64,
    /// The tenure of the asker, repeated.
    pub epoch: Epoch,
    /// Given or not.
    pub verdict: PromiseVerdict,
}

/// What the peer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum PromiseVerdict {
    /// It starts nothing for this long, counted by the asker from when it sent the question.
    Given {
        /// Milliseconds.
        hold_ms: u64,
    },
    /// It hears a controller: a member cut off from the controller alone must fail over.
    HearsController,
    /// It is active itself, or about to be.
    Active,
    /// It knows of a higher epoch than the asker's.
    StaleEpoch,
    /// It was never told the settings, so it could not keep the promise over a restart.
    Unprepared,
}
