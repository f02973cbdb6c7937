//! The launcher's own standard output, which must never make the launcher wait.
//!
//! Owns: a thread that writes. A terminal or log collector that stops reading would otherwise stop the renewals of
//! the lease with it; lines that find no room are dropped and counted.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

/// Lines that may wait for a slow reader.
const WAITING_LINES: usize = 1024;

/// Where Node-RED's lines are passed on to. Clones write to the same thread.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    lines: SyncSender<String>,
    dropped: Arc<AtomicU64>,
}

impl Output {
    /// Starts the thread that writes to standard output; it ends with the last clone.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (lines, waiting) = sync_channel::<String>(WAITING_LINES);
        std::thread::Builder::new().name("output".to_owned()).spawn(move || {
            let mut stdout = std::io::stdout();
            for line in waiting {
                // Nobody can be told that standard output is closed.
                let _ = writeln!(stdout, "{line}");
            }
        })?;
        Ok(Self { lines, dropped: Arc::default() })
    }

    /// Passes a line on, or drops it when too many wait.
    pub(crate) fn line(&self, text: &str) {
        if self.lines.try_send(text.to_owned()).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
