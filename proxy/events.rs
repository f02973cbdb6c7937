//! The event log: what was observed, decided and done, for people, `explain` and the live page.
//!
//! Owns a bounded ring in memory, a broadcast to whoever watches, and a rotated file of JSON lines. Writing never
//! delays a decision: the file has a thread and a bounded queue of its own, and what does not fit is counted, not
//! waited for. It is no journal: nothing is decided from it.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::broadcast;

const FILE: &str = "events.jsonl";
/// A file is rotated at this size; with [`KEEP_FILES`] old ones the log stays below 80 MiB.
const ROTATE_AT_BYTES: u64 = 16 << 20;
const KEEP_FILES: usize = 4;
/// Events kept in memory: some days of a calm site, and enough for a page that was just opened.
const RING: usize = 4096;
const QUEUE: usize = 1024;

/// One entry of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Rises by one an event; continues after a restart.
    pub id: u64,
    /// Wall clock, milliseconds since the Unix epoch: for people only.
    pub at_ms: u64,
    /// The instance, or empty for the controller itself.
    pub instance: String,
    /// One sentence.
    pub text: String,
    /// `info`, `notice`, `alarm`.
    pub level: Level,
    /// The structured record, by which `explain` tells the story: as text, which takes a part of the memory that a tree does.
    pub event: Box<RawValue>,
}

impl Entry {
    /// The structured record, to be looked into.
    pub fn event(&self) -> serde_json::Value {
        serde_json::from_str(self.event.get()).unwrap_or_default()
    }
}

/// How much an event asks of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For the record.
    Info,
    /// Something changed.
    Notice,
    /// Somebody should look now.
    Alarm,
}

/// A handle on the log; clones share it.
#[derive(Clone)]
pub struct EventLog(Arc<Shared>);

struct Shared {
    ring: Mutex<VecDeque<Arc<Entry>>>,
    next_id: AtomicU64,
    watchers: broadcast::Sender<Arc<Entry>>,
    file: SyncSender<Line>,
    not_written: AtomicU64,
    /// When the last drill of each instance ended before this start; the ring may have forgotten it since.
    drilled: HashMap<String, u64>,
}

/// What the writing thread is given.
enum Line {
    Entry(Arc<Entry>),
    End,
}

/// The thread that writes the file.
pub struct Writer {
    thread: JoinHandle<()>,
    file: SyncSender<Line>,
}

impl Writer {
    /// Ends the thread once all that was recorded until now is written. Blocks.
    pub fn finish(self) {
        if self.file.send(Line::End).is_ok() {
            let _ = self.thread.join();
        }
    }
}

impl EventLog {
    /// Opens the log in `dir`, reading back what the ring holds.
    ///
    /// # Errors
    /// What the system said when the file could not be opened. A damaged line is passed over: this is no journal.
    pub fn open(dir: &Path) -> io::Result<(Self, Writer)> {
        // A file store has made it by now; the stores of several proxies keep nothing here themselves.
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let path = dir.join(FILE);
        let (ring, drilled) = (read_back(&path), last_drills(&path));
        let next_id = ring.back().map_or(1, |e| e.id + 1);
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let (sender, receiver) = sync_channel(QUEUE);
        let thread =
            std::thread::Builder::new().name("events".to_owned()).spawn(move || write(path, file, &receiver))?;
        let writer = Writer { thread, file: sender.clone() };
        let shared = Shared {
            ring: Mutex::new(ring),
            next_id: AtomicU64::new(next_id),
            watchers: broadcast::channel(QUEUE).0,
            file: sender,
            not_written: AtomicU64::new(0),
            drilled,
        };
        Ok((Self(Arc::new(shared)), writer))
    }

    /// Records an event; never blocks. Also logs it.
    pub fn record(&self, instance: &str, level: Level, text: String, event: &impl Serialize) {
        match level {
            Level::Alarm => tracing::warn!(instance, alarm = true, "{text}"),
            Level::Notice | Level::Info => tracing::info!(instance, "{text}"),
        }
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let at_ms = crate::clock::wall_ms();
        let event = to_raw_value(event).unwrap_or_default();
        let entry = Arc::new(Entry { id, at_ms, instance: instance.to_owned(), text, level, event });
        {
            let mut ring = self.0.ring.lock().expect("no holder of this lock panics");
            if ring.len() == RING {
                ring.pop_front();
            }
            ring.push_back(entry.clone());
        }
        if self.0.file.try_send(Line::Entry(entry.clone())).is_err() {
            self.0.not_written.fetch_add(1, Ordering::Relaxed);
        }
        let _ = self.0.watchers.send(entry);
    }

    /// Events after `after`, oldest first, of `instance` or of all.
    pub fn since(&self, after: u64, instance: Option<&str>) -> Vec<Arc<Entry>> {
        let ring = self.0.ring.lock().expect("no holder of this lock panics");
        ring.iter().filter(|e| e.id > after && instance.is_none_or(|i| i == e.instance)).cloned().collect()
    }

    /// Everything recorded from now on. A watcher that is too slow misses events and is told so.
    pub fn watch(&self) -> broadcast::Receiver<Arc<Entry>> {
        self.0.watchers.subscribe()
    }

    /// When the last drill of each instance ended that is in the files since before this start: wall clock in milliseconds.
    pub fn drilled(&self) -> &HashMap<String, u64> {
        &self.0.drilled
    }

    /// Events that did not reach the file, since the disk was full or too slow.
    pub fn not_written(&self) -> u64 {
        self.0.not_written.load(Ordering::Relaxed)
    }
}

fn read_back(path: &Path) -> VecDeque<Arc<Entry>> {
    let mut ring = VecDeque::new();
    for path in [rotated(path, 1), path.to_path_buf()] {
        let Ok(file) = File::open(path) else { continue };
        for line in BufReader::new(file).lines().map_while(Result::ok) {
            if let Ok(entry) = serde_json::from_str(&line) {
                if ring.len() == RING {
                    ring.pop_front();
                }
                ring.push_back(Arc::new(entry));
            }
        }
    }
    ring
}

fn last_drills(path: &Path) -> HashMap<String, u64> {
    let files = (1..=KEEP_FILES).rev().map(|number| rotated(path, number)).chain([path.to_path_buf()]);
    let lines = files.filter_map(|file| File::open(file).ok()).flat_map(|file| {
        // Most lines are no drill: only those that may be one are read as JSON.
        BufReader::new(file).lines().map_while(Result::ok).filter(|line| line.contains("\"drill\""))
    });
    let entries = lines.filter_map(|line| serde_json::from_str::<Entry>(&line).ok());
    entries.filter(|entry| entry.event()["event"] == "drill").map(|entry| (entry.instance, entry.at_ms)).collect()
}

fn rotated(path: &Path, number: usize) -> PathBuf {
    path.with_extension(format!("jsonl.{number}"))
}

fn write(path: PathBuf, mut file: File, lines: &Receiver<Line>) {
    let mut bytes = file.metadata().map_or(0, |m| m.len());
    while let Ok(Line::Entry(entry)) = lines.recv() {
        let Ok(mut line) = serde_json::to_vec(&*entry) else { continue };
        line.push(b'\n');
        if bytes > ROTATE_AT_BYTES {
            for number in (1..KEEP_FILES).rev() {
                let _ = fs::rename(rotated(&path, number), rotated(&path, number + 1));
            }
            let _ = fs::rename(&path, rotated(&path, 1));
            match OpenOptions::new().create(true).append(true).open(&path) {
                Ok(fresh) => (file, bytes) = (fresh, 0),
                Err(error) => tracing::warn!(%error, "events: the file could not be rotated"),
            }
        }
        match file.write_all(&line) {
            Ok(()) => bytes += line.len() as u64,
            Err(error) => tracing::warn!(%error, id = entry.id, "events: an event could not be written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drill_that_the_ring_has_forgotten_is_still_known() {
        let dir = tempfile::tempdir().expect("temp dir");
        let event = serde_json::json!({"event": "drill"});
        let entry = |id, at_ms, event: &serde_json::Value| {
            let (instance, text) = ("line-1".to_owned(), "x".to_owned());
            let event = to_raw_value(event).expect("JSON");
            let entry = Entry { id, at_ms, instance, text, level: Level::Info, event };
            serde_json::to_string(&entry).expect("JSON") + "\n"
        };
        fs::write(dir.path().join("events.jsonl.3"), entry(1, 77, &event)).expect("writes");
        fs::write(dir.path().join(FILE), entry(9, 99, &serde_json::json!({"event": "drill_began"}))).expect("writes");
        let (log, _writer) = EventLog::open(dir.path()).expect("opens");
        assert_eq!(log.drilled().get("line-1"), Some(&77));
    }

    #[test]
    fn events_outlive_a_restart_and_a_damaged_line() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (log, writer) = EventLog::open(dir.path()).expect("opens");
        log.record("line-1", Level::Notice, "first".to_owned(), &serde_json::json!({}));
        log.record("line-2", Level::Alarm, "second".to_owned(), &serde_json::json!({"n": 2}));
        drop(log);
        writer.finish();
        let path = dir.path().join(FILE);
        let mut content = fs::read_to_string(&path).expect("reads");
        content.push_str("{\"id\": 3, \"torn");
        fs::write(&path, content + "\n").expect("writes");

        let (log, _writer) = EventLog::open(dir.path()).expect("opens again");
        log.record("line-1", Level::Info, "third".to_owned(), &serde_json::json!({}));
        let texts: Vec<_> = log.since(0, None).iter().map(|e| (e.id, e.text.clone())).collect();
        assert_eq!(texts, [(1, "first".to_owned()), (2, "second".to_owned()), (3, "third".to_owned())]);
        assert_eq!(log.since(1, Some("line-1")).len(), 1);
    }
}
