//! Everything a decider can be told. Serde, so that what was seen can be recorded and played back.

use crate::ids::{Epoch, LinkId, Member};
use crate::message::{FlowState, Up};
use crate::record::Record;
use crate::time::millis;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Something that happened. Illegal or late input is a counted no-op.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "snake_case")]
pub enum Input {
    /// A launcher (or a driver that stands for one) has connected. An earlier link of this member is void from now on.
    LinkUp {
        /// Whose.
        member: Member,
        /// A new number.
        link: LinkId,
        /// The launcher's session: another one means that the launcher was started anew.
        session: u64,
    },
    /// A connection has closed.
    LinkDown {
        /// Whose.
        member: Member,
        /// Which.
        link: LinkId,
    },
    /// A message of a launcher. Drivers of other kinds answer with `Started`, `Fenced` and `Restarted` likewise.
    Up {
        /// From whom.
        member: Member,
        /// Over which connection. A receipt that came by another way (the undertaker's) is [`Input::Receipt`].
        link: LinkId,
        /// The message.
        msg: Up,
    },
    /// An exit receipt that came outside of a link.
    Receipt {
        /// From whom.
        member: Member,
        /// The receipt.
        receipt: crate::message::ExitReceipt,
    },
    /// A health check has an outcome.
    Probe {
        /// Of whom.
        member: Member,
        /// Which of the configured checks, from 0.
        check: usize,
        /// What it found.
        outcome: ProbeOutcome,
        /// What the flows do, where the check can tell (`/flows/state`, the launcher's API).
        flows: Option<FlowState>,
    },
    /// The data path could not reach a member.
    Trouble {
        /// Whom.
        member: Member,
        /// Under which epoch it was routed; another than the current one is ignored.
        epoch: Epoch,
        /// What happened.
        trouble: ConnectTrouble,
    },
    /// Nothing is under way any more on any connection of this epoch.
    Drained {
        /// The epoch that was being drained.
        epoch: Epoch,
    },
    /// A record is durable.
    Persisted {
        /// As in the effect.
        id: u64,
    },
    /// A record could not be made durable. It is tried again; until then nothing new is decided.
    PersistFailed {
        /// As in the effect.
        id: u64,
        /// For people.
        reason: String,
    },
    /// A person asks for something.
    Operator {
        /// Names the request; the answer repeats it.
        request: u64,
        /// What is asked for.
        command: Operator,
    },
    /// Leadership in a group of controllers was won (with the record the store has) or lost.
    Leadership {
        /// Won or lost.
        leader: bool,
        /// What the store has.
        record: Option<Record>,
        /// Wall clock, milliseconds since 1970: only to read times in the record.
        wall_ms: u64,
    },
    /// While following: what the store has. Nothing is decided by it; it tells under which epoch a member was started
    /// that can't say so itself.
    Seen {
        /// The record as it was read.
        record: Record,
    },
    /// This process was itself paused (suspended machine, stopped process, starved): look afresh before acting.
    Stalled {
        /// How long. Serde: milliseconds.
        #[serde(with = "millis", rename = "gap_ms")]
        gap: Duration,
    },
}

/// What a health check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ProbeOutcome {
    /// As expected.
    Pass,
    /// An answer, and a wrong one; or a refused connection.
    Fail {
        /// For people.
        reason: String,
    },
    /// No answer in time. Counts as a failure of health; never as proof of anything.
    Unknown {
        /// For people.
        reason: String,
    },
}

/// What went wrong when the data path connected to the active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectTrouble {
    /// Nobody listens.
    Refused,
    /// Reset before the first byte.
    Reset,
    /// No answer in time.
    Timeout,
}

/// What a person can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Operator {
    /// Planned change of the active.
    Switchover {
        /// To whom; the spare if not said.
        to: Option<Member>,
        /// Why.
        reason: String,
    },
    /// Unplanned change of the active, by hand.
    Failover {
        /// Do it without proof that the old active is fenced. Gives up "never two active".
        force: bool,
        /// Why.
        reason: String,
    },
    /// Rolling restart of both Node-REDs: spare, switchover, the other.
    Restart {
        /// Why.
        reason: String,
    },
    /// Maintenance: no automatic decision for this long.
    Pause {
        /// It ends by itself. Serde: milliseconds.
        #[serde(with = "millis", rename = "for_ms")]
        duration: Duration,
        /// Why.
        reason: String,
    },
    /// End the pause.
    Resume,
    /// Fence a member, and don't start it until it is released. Fencing the active fails over.
    Fence {
        /// Whom.
        member: Member,
    },
    /// Undo [`Operator::Fence`].
    Release {
        /// Whom.
        member: Member,
    },
    /// Allow failovers again after there were too many.
    Unfreeze,
}
