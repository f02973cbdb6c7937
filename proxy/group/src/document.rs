//! What the proxies of a group share: one document, written whole.
//!
//! Owns its fields, its JSON and its limit of size. Leadership and records are one document so that one
//! compare-and-set proves both: whoever writes a record proves with the same write that nobody else led in between.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The largest document that is written. Kubernetes refuses annotations above 256 KiB in all, etcd requests above
/// 1.5 MiB; some room is left for the annotations of others. It holds about 400 instances.
pub const MAX_DOCUMENT_BYTES: usize = 240 << 10;

/// Who leads and what is on record, as of one write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Version of this structure. A document of a newer version is never written over.
    pub version: u32,
    /// Who wrote it: the proxy's name and a part that is unique to the start of its process.
    pub holder: String,
    /// Where the writer takes orders, for the others to pass them on; empty if it is not to be reached.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub admin: String,
    /// The number of the writer's attempt. With `holder` it names this very write, so a writer that had no answer
    /// knows its own work when it reads it; and no two writes are ever the same bytes.
    pub serial: u64,
    /// Rises by one with every write of the group.
    pub write: u64,
    /// Rises by one with every change of leadership.
    pub term: u64,
    /// How long the writer leads after having sent this. Others wait that long, whatever they have configured.
    pub lead_for_ms: u64,
    /// The writer leads no longer: anyone may take over at once.
    pub released: bool,
    /// The records, by the name of their instance.
    pub records: BTreeMap<String, Entry>,
}

/// One record on file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The [`Document::write`] that put it there: of two versions, the one with the higher number is newer.
    pub write: u64,
    /// The record; not understood here, so a newer proxy's fields survive an older leader.
    pub record: Value,
}

impl Document {
    /// The version written by this code.
    pub const VERSION: u32 = 1;

    /// The name of the proxy that leads by this document, as long as that is not proven to be over.
    pub fn leader(&self) -> Option<&str> {
        (!self.released).then(|| self.holder.rsplit_once('/').map_or(self.holder.as_str(), |(name, _)| name))
    }

    /// How long the writer leads after having sent this.
    pub fn lead_for(&self) -> Duration {
        Duration::from_millis(self.lead_for_ms)
    }

    /// As JSON, on one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a document has text keys only, so it always has a JSON form")
    }

    /// From JSON.
    ///
    /// # Errors
    /// In words: what was there instead of a document this version understands.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } =
            serde_json::from_slice(json).map_err(|e| format!("the object does not hold hotspare's document: {e}"))?;
        if version != Self::VERSION {
            return Err(format!(
                "the document has version {version}, and this hotspare knows version {}: it was written by another \
                 version of hotspare, and is left alone",
                Self::VERSION
            ));
        }
        serde_json::from_slice(json).map_err(|e| format!("the document is damaged: {e}"))
    }

    /// Whether everything `other` has is here, in the same or a newer version.
    pub(crate) fn covers(&self, other: &Document) -> bool {
        self.write >= other.write
            && self.term >= other.term
            && other
                .records
                .iter()
                .all(|(name, entry)| self.records.get(name).is_some_and(|mine| mine.write >= entry.write))
    }

    /// Takes over every record of which `other` knows a newer version.
    pub(crate) fn absorb(&mut self, other: &Document) {
        self.write = self.write.max(other.write);
        self.term = self.term.max(other.term);
        for (name, entry) in &other.records {
            match self.records.get(name) {
                Some(mine) if mine.write >= entry.write => {}
                _ => {
                    self.records.insert(name.clone(), entry.clone());
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn document() -> Document {
        let entry = |write, epoch| Entry { write, record: serde_json::json!({"epoch": epoch, "unknown": [1]}) };
        Document {
            version: 1,
            holder: "proxy-1/00ff".into(),
            admin: "http://10.0.0.11:9480".into(),
            serial: 7,
            write: 30,
            term: 2,
            lead_for_ms: 5000,
            released: false,
            records: [("line-1".to_owned(), entry(30, 4)), ("line-2".to_owned(), entry(12, 1))].into(),
        }
    }

    #[test]
    fn what_is_written_is_what_is_read_unknown_fields_of_records_included() {
        assert_eq!(Document::parse(document().to_json().as_bytes()).unwrap(), document());
    }

    #[test]
    fn a_newer_version_and_foreign_content_are_refused_in_words() {
        let mut newer = document();
        newer.version = 2;
        assert!(Document::parse(newer.to_json().as_bytes()).unwrap_err().contains("version 2"));
        assert!(Document::parse(b"hello").unwrap_err().contains("does not hold"));
        assert!(Document::parse(br#"{"version":1,"holder":3}"#).unwrap_err().contains("damaged"));
    }

    #[test]
    fn of_two_versions_of_a_record_the_one_written_later_stays() {
        let mut old = document();
        old.write = 20;
        old.records.insert("line-1".into(), Entry { write: 20, record: serde_json::json!({"epoch": 3}) });
        old.absorb(&document());
        assert_eq!(old.records, document().records);
        assert_eq!(old.write, 30);
    }
}
