//! The embedded store of a single proxy: the journal, on a thread of its own.
//!
//! Writes that arrive while one is being synced go to the disk together, so a hundred failovers at once cost a few
//! syncs and not a hundred.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::journal::{Journal, JournalError, Loaded};
use super::{Kept, Store, Write};
use crate::engine::{Handle, Input};

/// Writes that may wait for the disk; one is in flight per instance as a rule.
const QUEUE: usize = 4096;

/// The store of `[store] kind = "file"`. Clones share it; its thread ends with the last one, once all that was queued is
/// written.
#[derive(Clone)]
pub struct FileStore {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    engine: Handle,
    open: Mutex<Option<Open>>,
}

struct Open {
    writes: SyncSender<Write>,
    thread: JoinHandle<()>,
}

impl FileStore {
    /// Opens the journal in `dir` and starts the thread; answers go to `engine`.
    ///
    /// # Errors
    /// [`JournalError`], whose message says what to do.
    pub fn open(dir: &Path, engine: Handle) -> Result<(Self, Loaded<Kept>), JournalError> {
        let shared = Arc::new(Shared { dir: dir.to_path_buf(), engine, open: Mutex::default() });
        let store = Self { shared };
        let loaded = store.reopen()?;
        Ok((store, loaded))
    }

    /// Writes what is queued and closes the journal, so that another process can open it. What comes later fails.
    /// Blocks.
    pub fn close(&self) {
        let open = self.lock().take();
        if let Some(Open { writes, thread }) = open {
            drop(writes);
            // One that panicked has written nothing more either.
            let _ = thread.join();
        }
    }

    /// Opens the journal again after [`FileStore::close`].
    ///
    /// # Errors
    /// [`JournalError`]; then it stays closed.
    pub fn reopen(&self) -> Result<Loaded<Kept>, JournalError> {
        let (journal, loaded) = Journal::open(&self.shared.dir)?;
        let (writes, queue) = sync_channel(QUEUE);
        let answers = self.shared.engine.clone();
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write(journal, &queue, &answers))
            .map_err(|source| JournalError::Io { path: self.shared.dir.clone(), source })?;
        *self.lock() = Some(Open { writes, thread });
        Ok(loaded)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.shared.open.lock().unwrap_or_else(PoisonError::into_inner)
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
        let (instance, id) = (write.instance, write.id);
        let why = match self.lock().as_ref().map(|open| open.writes.try_send(write).is_ok()) {
            Some(true) => return,
            Some(false) => "the journal's queue is full: the disk does not keep up",
            None => "another process has the journal",
        };
        self.shared.engine.report(Input::Stored { instance, id, result: Err(why.to_owned()) });
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
