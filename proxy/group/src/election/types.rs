//! What goes into an election and what comes out of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hotspare_decide::Time;
use serde_json::Value;

use crate::document::Document;

/// What one proxy brings into an election.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The proxy's name and a part that is unique to the start of its process.
    pub me: String,
    /// Where it takes orders, for others to pass them on; may be empty.
    pub admin: String,
    /// How long it leads after having sent a write.
    pub lead_for: Duration,
    /// How often a leader writes, and a follower reads.
    pub renew: Duration,
    /// After this long without an answer a request has failed; what it did is unknown.
    pub request_timeout: Duration,
    /// How far the rates of two machines' clocks may differ, in parts per million.
    pub drift_ppm: u32,
}

/// `d` on one clock lasts at most this long on another.
pub fn stretch(d: Duration, drift_ppm: u32) -> Duration {
    let extra = d.as_nanos() * u128::from(drift_ppm) / 1_000_000 + 1;
    d.saturating_add(Duration::from_nanos(u64::try_from(extra).unwrap_or(u64::MAX)))
}

/// Names one state of the object in the store; only ever compared for equality.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision(pub String);

/// What is asked of the store.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A linearizable read.
    Get,
    /// Write if there is no object.
    Create(Arc<Document>),
    /// Write if the object is at exactly this revision.
    CompareAndSet(Revision, Arc<Document>),
}

/// What the store answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To a read: what is there.
    Found(Revision, Arc<Document>),
    /// To a read: there is no object.
    Missing,
    /// To a read: there is something that must not be written over. In words.
    Foreign(Revision, String),
    /// To a write: done.
    Written(Revision),
    /// To a write: the precondition did not hold. A layer below may have tried twice, so even this does not prove
    /// that nothing was written.
    Conflict,
    /// Anything else, a timeout included: what a write did is unknown. In words.
    Failed(String),
}

/// Names one record to be written, for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Index of the instance at the asker.
    pub instance: u32,
    /// The asker's number of the write.
    pub id: u64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The store answered a request.
    Answer {
        /// As in [`Effect::Ask`]; the answer to any but the latest is late, and ignored.
        id: u64,
        /// What it said.
        answer: Answer,
    },
    /// The object may have changed: look now. Proves nothing.
    Hint,
    /// A record has to become durable. Answered by [`Event::Stored`].
    Persist {
        /// For the answer.
        ticket: Ticket,
        /// Name of the instance.
        instance: String,
        /// The record, whole.
        record: Value,
    },
    /// Give up leadership, and never take it again. Answered by [`Event::Resigned`].
    Resign,
}

/// What an election wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask the store. One request is under way at a time: a new one means that the one before has been given up.
    Ask {
        /// Repeated in the answer.
        id: u64,
        /// What to ask.
        request: Request,
    },
    /// Something to be told.
    Event(Event),
}

/// What the user of a group is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// This proxy leads from now on, until [`Event::Lost`].
    Led {
        /// Rises with every change of leadership.
        term: u64,
        /// What is on record.
        document: Arc<Document>,
    },
    /// This proxy leads no longer. Every write not yet answered has been answered with an error before.
    Lost {
        /// Why.
        why: LostWhy,
    },
    /// A record is durable, or could not be made durable.
    Stored {
        /// Which.
        ticket: Ticket,
        /// In words, why not.
        result: Result<(), String>,
    },
    /// While following: what the store has.
    Seen {
        /// When the read was sent: the knowledge is as old as this.
        as_of: Time,
        /// What was there.
        document: Arc<Document>,
    },
    /// The store began or ceased to answer.
    Health {
        /// Whether it answers.
        up: bool,
        /// In words, why not; empty when up.
        why: String,
    },
    /// This proxy has given up leadership for good, and the store knows.
    Resigned,
}

/// Why leadership ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LostWhy {
    /// No write was confirmed in time.
    NotRenewed,
    /// Another proxy leads.
    TakenOver(String),
    /// The object is gone, or something else is in its place.
    Vanished,
    /// The store has an older state than it had: it was restored from a backup.
    WentBack,
    /// It was given up.
    Resigned,
}

impl fmt::Display for LostWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRenewed => f.write_str("leadership could not be renewed in time"),
            Self::TakenOver(by) => write!(f, "{by} has taken over"),
            Self::Vanished => {
                f.write_str("the object that the proxies share is gone, or something else is in its place")
            }
            Self::WentBack => f.write_str("the store has an older state than it had before"),
            Self::Resigned => f.write_str("leadership was given up"),
        }
    }
}
