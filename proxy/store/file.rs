//! The embedded store of a single proxy: the journal, on a thread of its own.
//!
//! Writes that arrive while one is being synced go to the disk together, so a hundred failovers at once cost a few
//! syncs and not a hundred.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::journal::{Journal, JournalError, Loaded};
use super::{Kept, Store, Write};
use crate::engine::{Handle, Input};

/// Writes that may wait for the disk; one is in flight per instance as a rule.
const QUEUE: usize = 4096;

/// The store of `[store] kind = "file"`. Dropping it ends its thread once all that was queued is written.
pub struct FileStore {
    writes: SyncSender<Write>,
    engine: Handle,
}

impl FileStore {
    /// Opens the journal in `dir` and starts the thread; answers go to `engine`.
    ///
    /// # Errors
    /// [`JournalError`], whose message says what to do.
    pub fn open(dir: &Path, engine: Handle) -> Result<(Self, Loaded<Kept>), JournalError> {
        let (journal, loaded) = Journal::open(dir)?;
        let (writes, queue) = sync_channel(QUEUE);
        let answers = engine.clone();
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write(journal, &queue, &answers))
            .map_err(|source| JournalError::Io { path: dir.to_path_buf(), source })?;
        Ok((Self { writes, engine }, loaded))
    }
}

impl Store for FileStore {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn leads_from_the_start(&self) -> bool {
        true
    }

    fn persist(&self, write: Write) {
        if let Err(TrySendError::Full(write) | TrySendError::Disconnected(write)) = self.writes.try_send(write) {
            let result = Err("the journal's queue is full: the disk does not keep up".to_owned());
            self.engine.report(Input::Stored { instance: write.instance, id: write.id, result });
        }
    }
}

fn write(mut journal: Journal<Kept>, queue: &Receiver<Write>, engine: &Handle) {
    while let Ok(first) = queue.recv() {
        let batch: Vec<Write> = std::iter::once(first).chain(queue.try_iter()).collect();
        let entries: Vec<_> = batch.iter().map(|w| (w.name.clone(), Some(w.kept.clone()))).collect();
        let result = journal.append(&entries).map_err(|e| format!("the journal could not be written: {e}"));
        for Write { instance, id, .. } in batch {
            if !engine.report_waiting(Input::Stored { instance, id, result: result.clone() }) {
                return;
            }
        }
    }
}
