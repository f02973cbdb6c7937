//! When to read the configuration again: on SIGHUP, and when the file says something else than before.
//!
//! The content is compared, not the file: so an editor's rename, an atomic replace and the symlink swap of a Kubernetes
//! ConfigMap are all noticed, and a touch is not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Between two looks at the file. A ConfigMap itself takes up to a minute to arrive.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Waits for a reason to reload.
pub(super) struct Watch {
    path: PathBuf,
    seen: Option<Vec<u8>>,
    hangup: Signal,
}

impl Watch {
    /// Remembers what the file says now.
    ///
    /// # Errors
    /// If SIGHUP cannot be listened for.
    pub(super) fn new(path: &Path) -> std::io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        Ok(Self { path: path.to_path_buf(), seen: std::fs::read(path).ok(), hangup })
    }

    /// Returns when the configuration should be read again. Safe to drop and call anew.
    pub(super) async fn changed(&mut self) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    self.seen = tokio::fs::read(&self.path).await.ok();
                    return;
                }
                () = tokio::time::sleep(LOOK_EVERY) => {
                    let now = tokio::fs::read(&self.path).await.ok();
                    if now.is_some() && now != self.seen {
                        self.seen = now;
                        return;
                    }
                }
            }
        }
    }
}
