//! What the launcher keeps on disk, and that only one launcher and one Node-RED use it.
//!
//! Owns: the durable write of the guard's record (new file, fsync, rename, fsync of the folder), reading it back,
//! and two locks: one held by the launcher, one by Node-RED itself, so that a new launcher can be certain that no
//! Node-RED of an earlier one is left. A record that cannot be read is an error, never a guess.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use hotspare_decide::GuardRecord;
use rustix::fs::FlockOperation;

/// Held by Node-RED as long as it lives; see `child`.
pub(crate) const NODE_RED_LOCK: &str = "node-red.lock";
const LAUNCHER_LOCK: &str = "launcher.lock";
const RECORD: &str = "guard.json";
/// How long a Node-RED that was killed with its launcher may take to vanish.
const VANISHES_WITHIN: Duration = Duration::from_secs(10);

/// The state folder, held by this launcher alone.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Takes hold of the folder (made if missing), and waits until no Node-RED of an earlier launcher is left.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let path = fs::canonicalize(path)?;
        let lock = lock_file(&path.join(LAUNCHER_LOCK))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::other("another launcher uses this state folder"))?;
        let deadline = Instant::now() + VANISHES_WITHIN;
        let node_red = lock_file(&path.join(NODE_RED_LOCK))?;
        while rustix::fs::flock(&node_red, FlockOperation::NonBlockingLockExclusive).is_err() {
            if Instant::now() > deadline {
                return Err(io::Error::other("a Node-RED of an earlier launcher still runs: end it first"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The record; the default one if none was ever written.
    pub(crate) fn read(&self) -> io::Result<GuardRecord> {
        match fs::read(self.path.join(RECORD)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                io::Error::other(format!(
                    "{} is damaged ({error}); its member must be known to be fenced before it is removed",
                    self.path.join(RECORD).display()
                ))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(GuardRecord::default()),
            Err(error) => Err(error),
        }
    }

    /// Starts the thread that writes records in the order given; `written` is told each one's number and success.
    pub(crate) fn start_writer(
        &self,
        written: impl Fn(u64, bool) + Send + 'static,
    ) -> io::Result<SyncSender<(u64, GuardRecord)>> {
        let (records, waiting) = sync_channel::<(u64, GuardRecord)>(16);
        let path = self.path.clone();
        std::thread::Builder::new().name("record".to_owned()).spawn(move || {
            for (id, record) in waiting {
                let result = write(&path, &record);
                if let Err(error) = &result {
                    tracing::error!(%error, "the launcher's record cannot be written");
                }
                written(id, result.is_ok());
            }
        })?;
        Ok(records)
    }
}

fn write(dir: &Path, record: &GuardRecord) -> io::Result<()> {
    write_durably(&dir.join(RECORD), &serde_json::to_vec_pretty(record)?)
}

/// Replaces `path`: new file, fsync, rename, fsync of the folder. Readable by its owner only, since what a launcher
/// keeps holds the secret of the pair, or credentials.
pub(crate) fn write_durably(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hotspare_decide::Epoch;

    #[test]
    fn a_record_survives_and_a_damaged_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        assert_eq!(state.read().unwrap(), GuardRecord::default());
        let record = GuardRecord { max_epoch: Epoch(7), ..GuardRecord::default() };
        write(state.path(), &record).unwrap();
        assert_eq!(state.read().unwrap(), record);
        fs::write(dir.path().join(RECORD), "{").unwrap();
        assert!(state.read().unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn a_second_launcher_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::open(dir.path()).unwrap();
        assert!(StateDir::open(dir.path()).unwrap_err().to_string().contains("another launcher"));
        drop(first);
        StateDir::open(dir.path()).unwrap();
    }
}
