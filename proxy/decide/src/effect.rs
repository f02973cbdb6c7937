//! What a decider wants done. Carried out in order, by the engine.

use crate::event::Event;
use crate::ids::{Epoch, LinkId, Member};
use crate::message::Down;
use crate::record::Record;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make the record durable, then report [`crate::Input::Persisted`] or [`crate::Input::PersistFailed`] with the same id.
    Persist {
        /// Rises.
        id: u64,
        /// The whole record.
        record: Record,
    },
    /// Where connections go from now on.
    Route {
        /// Where to.
        route: Route,
        /// Connections of any other epoch than the route's must have ended after this long. `None`: leave them be.
        drain: Option<Duration>,
    },
    /// Tell a launcher (or the driver that stands for it). Dropped if that link has closed.
    Send {
        /// Whom.
        member: Member,
        /// Over which connection.
        link: LinkId,
        /// What.
        msg: Down,
    },
    /// Run all checks of a member now; the outcomes come back as [`crate::Input::Probe`].
    Probe {
        /// Of whom.
        member: Member,
    },
    /// Something worth knowing was decided or seen.
    Event(Event),
    /// An operator's request has come to its end.
    Answer {
        /// The request.
        request: u64,
        /// Done (in words), or every reason why not.
        result: Result<String, Vec<String>>,
    },
}

/// Where connections go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "route", rename_all = "snake_case")]
pub enum Route {
    /// To the active.
    To {
        /// Who.
        member: Member,
        /// Under which epoch.
        epoch: Epoch,
    },
    /// Nowhere yet: they wait.
    Park {
        /// Why.
        reason: ParkReason,
    },
}

/// Why connections wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParkReason {
    /// The controller has just started and looks who is active.
    Recovering,
    /// Nobody is active.
    NoActive,
    /// The active refused a connection and is being looked at.
    Suspect,
    /// The active is being fenced.
    Fencing,
    /// A member is being started.
    Starting,
    /// A planned change is under way.
    Switchover,
}
