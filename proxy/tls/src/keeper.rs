//! Files that change: what was made from them is made again, and replaces the old for connections that come later.
//!
//! The content is compared, not the file: an editor's rename, an atomic replace and the symlink swap of a Kubernetes
//! Secret are all noticed. New content that is not good changes nothing and says why, once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::{ClientConfig, ServerConfig};
use sha2::{Digest, Sha256};

use crate::files::{Bad, ClientFiles, ServerFiles};

/// A listener's configuration as it is now.
pub type Server = Arc<ArcSwap<ServerConfig>>;
/// A client's configuration as it is now.
pub type Client = Arc<ArcSwap<ClientConfig>>;

/// Time between two looks at the files: what `hotspare run` takes for its configuration too.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Keeps everything that was made from files current. Copies are the same keeper.
#[derive(Debug, Clone, Default)]
pub struct Keeper {
    kept: Arc<Mutex<Vec<Kept>>>,
}

#[derive(Debug)]
struct Kept {
    what: Made,
    paths: Vec<PathBuf>,
    seen: [u8; 32],
}

#[derive(Debug)]
enum Made {
    Server(ServerFiles, Server),
    Client(ClientFiles, Client),
}

impl Made {
    fn is_used(&self) -> bool {
        match self {
            Self::Server(_, made) => Arc::strong_count(made) > 1,
            Self::Client(_, made) => Arc::strong_count(made) > 1,
        }
    }

    fn again(&self) -> Result<(), Bad> {
        match self {
            Self::Server(files, made) => made.store(Arc::new(files.load()?)),
            Self::Client(files, made) => made.store(Arc::new(files.load()?)),
        }
        Ok(())
    }
}

impl Keeper {
    /// A listener's configuration, kept current for as long as somebody holds it.
    ///
    /// # Errors
    /// What is wrong with the files now.
    pub fn server(&self, files: ServerFiles) -> Result<Server, Bad> {
        let seen = digest(&files.paths());
        let made = Arc::new(ArcSwap::from_pointee(files.load()?));
        let paths = files.paths().into_iter().map(Path::to_path_buf).collect();
        self.keep(Kept { paths, seen, what: Made::Server(files, Arc::clone(&made)) });
        Ok(made)
    }

    /// A client's configuration, kept current for as long as somebody holds it.
    ///
    /// # Errors
    /// What is wrong with the files now.
    pub fn client(&self, files: ClientFiles) -> Result<Client, Bad> {
        let seen = digest(&files.paths());
        let made = Arc::new(ArcSwap::from_pointee(files.load()?));
        let paths = files.paths().into_iter().map(Path::to_path_buf).collect();
        self.keep(Kept { paths, seen, what: Made::Client(files, Arc::clone(&made)) });
        Ok(made)
    }

    /// A client's configuration that verifies nobody for as long as its files are not good: for files that were good
    /// a moment ago.
    pub fn client_anyway(&self, files: ClientFiles) -> Client {
        match self.client(files.clone()) {
            Ok(made) => made,
            Err(bad) => {
                tracing::error!(%bad, "nobody is trusted until this is mended");
                let made = Arc::new(ArcSwap::from_pointee(ClientFiles::trusting_nobody()));
                let paths = files.paths().into_iter().map(Path::to_path_buf).collect();
                self.keep(Kept { paths, seen: [0; 32], what: Made::Client(files, Arc::clone(&made)) });
                made
            }
        }
    }

    fn keep(&self, kept: Kept) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
    }

    /// Reads what has changed since the last look. One result for each configuration that had: the files it is made
    /// of, and why they were not taken if they were not.
    pub fn look(&self) -> Vec<(Vec<PathBuf>, Result<(), Bad>)> {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|kept| kept.what.is_used());
        let mut changes = Vec::new();
        for kept in all.iter_mut() {
            let now = digest(&kept.paths);
            if now != kept.seen {
                kept.seen = now;
                changes.push((kept.paths.clone(), kept.what.again()));
            }
        }
        changes
    }

    /// Looks again and again, for ever, and hands each result to `tell`.
    pub async fn watch(self, tell: impl Fn(&[PathBuf], Result<(), Bad>)) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let keeper = self.clone();
            // Reading is for a thread that may wait.
            let Ok(changes) = tokio::task::spawn_blocking(move || keeper.look()).await else { continue };
            for (paths, outcome) in changes {
                tell(&paths, outcome);
            }
        }
    }
}

/// What all these files say; one that cannot be read counts as empty.
fn digest(paths: &[impl AsRef<Path>]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for path in paths {
        let text = std::fs::read(path).unwrap_or_default();
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}
