//! Observations: what the decider of each instance was told, kept so that it can be played again with other settings.
//!
//! Owns recording (`tape`: in the engine, a few comparisons for a heartbeat), the files (`files`: a thread of its
//! own), and playing (`play` and `what_if`: in the command that asks, never in the proxy). Never decides, and never
//! delays a decision: what finds no room is lost and counted, and the stretch that it belonged to ends there.
//!
//! What repeats itself is one line: a launcher that is heard every 100 ms and always says the same is a *run*, from when
//! until when and how often. So a calm pair writes a few lines every half hour, and the files of an instance, never more than
//! 3.5 MiB, hold weeks of calm.

mod files;
mod play;
mod tape;
#[cfg(test)]
mod tests;
mod what_if;

use hotspare_decide::{Cause, Input, Member, Record, Settings, Time};
use serde::{Deserialize, Serialize};

pub use files::{Recorder, Writer};
pub use play::{Stretch, stretches};
pub use tape::Tape;
pub use what_if::{Change, Moment, Outcome, compare};

/// One line of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// From here on everything is known that a replay needs.
    Begin(Box<Begin>),
    /// Something that happened, once or several times alike.
    Seen(Box<Seen>),
    /// What was really decided: the active was to be replaced.
    FailedOver(Moved),
    /// All that happened until then is written.
    Whole {
        /// Until when.
        at: Time,
    },
}

/// The begin of a stretch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Begin {
    /// When.
    pub at: Time,
    /// The same moment on the wall clock, milliseconds since 1970: to name times for people.
    pub wall_ms: u64,
    /// The stretch before it goes on without a gap: this one is only needed where that is gone.
    pub continued: bool,
    /// The members' names.
    pub members: [String; 2],
    /// The settings in force.
    pub settings: Settings,
    /// The newest durable record.
    pub record: Option<Record>,
    /// The links that are open, as they were reported.
    pub links: Vec<Input>,
}

/// Something that happened `count` times alike, evenly between `from` and `until`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The first time.
    pub from: Time,
    /// The last time.
    pub until: Time,
    /// How often.
    pub count: u32,
    /// What it was, the first time.
    pub what: Input,
}

/// A failover that began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// When.
    pub at: Time,
    /// Who was to be replaced.
    pub from: Member,
    /// Why.
    pub why: Cause,
}
