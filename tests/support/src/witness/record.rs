//! What a witness saw, and its file format: one JSON object per line.

use std::io::{self, BufRead, Write};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Nanoseconds of CLOCK_MONOTONIC of the machine all parts of a test share.
pub type Nanos = u64;

/// The time now, on the clock of all records.
pub fn now() -> Nanos {
    let now = clock_gettime(ClockId::Monotonic);
    let duration = Duration::try_from(now).unwrap_or_default();
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One act of a flow, as it arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When it arrived at the sink.
    pub at: Nanos,
    /// When the flow says it acted, on the same clock; absent if it didn't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Nanos>,
    /// The member that acted.
    pub member: String,
    /// The epoch it acted under; 0 if it named none.
    pub epoch: u64,
    /// Which of its flows acted: each numbers its acts by itself.
    pub kind: String,
    /// The number of the act, from 1, within the life of the process.
    pub seq: u64,
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Entry {
    /// A flow acted.
    Act(Record),
    /// The test knows that from `at` on this member must not act under this epoch or one below it.
    MustBeSilent {
        /// From when on.
        at: Nanos,
        /// The member.
        silent: String,
        /// The highest epoch this holds for.
        up_to_epoch: u64,
        /// Why, in words for the verdict.
        why: String,
    },
}

/// Everything a witness saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// In order of arrival.
    pub entries: Vec<Entry>,
}

impl History {
    /// All acts, in order of arrival.
    pub fn acts(&self) -> impl Iterator<Item = &Record> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Act(record) => Some(record),
            Entry::MustBeSilent { .. } => None,
        })
    }

    /// Writes one line per entry.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        for entry in &self.entries {
            serde_json::to_writer(&mut to, entry)?;
            to.write_all(b"\n")?;
        }
        to.flush()
    }

    /// Reads what [`History::write`] wrote.
    ///
    /// # Errors
    /// Those of `from`, and `InvalidData` with the number of the first line that isn't an entry.
    pub fn read(from: impl BufRead) -> io::Result<Self> {
        let mut entries = Vec::new();
        for (number, line) in from.lines().enumerate() {
            let entry = serde_json::from_str(&line?)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {error}", number + 1)))?;
            entries.push(entry);
        }
        Ok(History { entries })
    }
}
