//! What the launcher keeps on disk, and that only one launcher and one Node-RED use it.
//!
//! Owns: the durable write of the guard's record and reading it back, and two locks: one held by the launcher, one by Node-RED itself, so that a new launcher can be certain that no
//! Node-RED of an earlier one is left. A record that cannot be read is an error, never a guess.
//!
//! A failover waits for this write, so the file has two places of fixed size that are written in turn: one flush of
//! data to the disk, where a new file, its renaming and its folder take three. A write that a power cut tore is one that
//! nobody was told of yet, and the other place holds what was so before it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use hotspare_decide::GuardRecord;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Held by Node-RED as long as it lives; see `child`.
pub(crate) const NODE_RED_LOCK: &str = "node-red.lock";
const LAUNCHER_LOCK: &str = "launcher.lock";
const RECORD: &str = "guard.record";
/// Bytes of one place; a record with every field at its longest has less than half of it.
const PLACE: usize = 8192;
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

    /// The record as it was last written; the default one in a new folder.
    pub(crate) fn read(&self) -> io::Result<GuardRecord> {
        Places::open(&self.path).map(|places| places.record)
    }

    /// Starts the thread that writes records in the order given; `written` is told each one's number and success.
    pub(crate) fn start_writer(
        &self,
        written: impl Fn(u64, bool) + Send + 'static,
    ) -> io::Result<SyncSender<(u64, GuardRecord)>> {
        let (records, waiting) = sync_channel::<(u64, GuardRecord)>(16);
        let mut places = Places::open(&self.path)?;
        std::thread::Builder::new().name("record".to_owned()).spawn(move || {
            for (id, record) in waiting {
                let result = places.write(record);
                if let Err(error) = &result {
                    tracing::error!(%error, "the launcher's record cannot be written");
                }
                written(id, result.is_ok());
            }
        })?;
        Ok(records)
    }
}

/// The file with its two places, and what the newer one holds.
#[derive(Debug)]
struct Places {
    file: File,
    /// Writes so far; the next one goes to the place of this number's parity.
    count: u64,
    record: GuardRecord,
}

/// What one place holds, as one line of JSON; zeros follow.
#[derive(Serialize, Deserialize)]
struct Place {
    count: u64,
    /// SHA-256 of the record's JSON and the count, in hexadecimal digits.
    sum: String,
    /// The record as JSON.
    record: String,
}

impl Places {
    fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(RECORD);
        if !path.try_exists()? {
            create(&path)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        let mut bytes = Vec::new();
        (&mut file).take(2 * PLACE as u64).read_to_end(&mut bytes)?;
        let newest = bytes.chunks(PLACE).filter_map(Place::read).max_by_key(|(count, _)| *count);
        let (count, record) = newest.ok_or_else(|| {
            let path = path.display();
            io::Error::other(format!("{path} is damaged; its member must be known to be fenced before it is removed"))
        })?;
        Ok(Self { file, count, record })
    }

    /// Durable once this returns `Ok`; after an error the same place is written again.
    fn write(&mut self, record: GuardRecord) -> io::Result<()> {
        let count = self.count + 1;
        let at = (count % 2) * PLACE as u64;
        self.file.write_all_at(&Place::write(count, &record)?, at)?;
        self.file.sync_data()?;
        (self.count, self.record) = (count, record);
        Ok(())
    }
}

impl Place {
    fn read(bytes: &[u8]) -> Option<(u64, GuardRecord)> {
        let line = bytes.split(|byte| *byte == b'\n').next()?;
        let place: Self = serde_json::from_slice(line).ok()?;
        if sum(place.count, &place.record) != place.sum {
            return None;
        }
        Some((place.count, serde_json::from_str(&place.record).ok()?))
    }

    fn write(count: u64, record: &GuardRecord) -> io::Result<Vec<u8>> {
        let record = serde_json::to_string(record)?;
        let mut bytes = serde_json::to_vec(&Self { count, sum: sum(count, &record), record })?;
        bytes.push(b'\n');
        if bytes.len() > PLACE {
            return Err(io::Error::other(format!("the record has {} bytes; {PLACE} is the most", bytes.len())));
        }
        bytes.resize(PLACE, 0);
        Ok(bytes)
    }
}

fn sum(count: u64, record: &str) -> String {
    let digest = Sha256::new().chain_update(count.to_be_bytes()).chain_update(record).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes the file with both places in their full size.
fn create(path: &Path) -> io::Result<()> {
    let empty = GuardRecord::default();
    write_durably(path, &[Place::write(0, &empty)?, Place::write(1, &empty)?].concat())
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

    fn record(epoch: u64) -> GuardRecord {
        GuardRecord { max_epoch: Epoch(epoch), ..GuardRecord::default() }
    }

    #[test]
    fn what_was_written_last_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Places::open(dir.path()).unwrap().record, GuardRecord::default());
        for epoch in 1..6 {
            let mut places = Places::open(dir.path()).unwrap();
            places.write(record(epoch)).unwrap();
            assert_eq!(Places::open(dir.path()).unwrap().record, record(epoch));
        }
    }

    #[test]
    fn a_torn_write_leaves_what_was_before_it_wherever_it_tore() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RECORD);
        let mut places = Places::open(dir.path()).unwrap();
        places.write(record(1)).unwrap();
        let before = fs::read(&path).unwrap();
        places.write(record(2)).unwrap();
        let after = fs::read(&path).unwrap();
        let changed: Vec<usize> = (0..after.len()).filter(|i| before[*i] != after[*i]).collect();
        for torn in &changed[1..] {
            let mut mixed = after.clone();
            mixed[*torn..].copy_from_slice(&before[*torn..]);
            fs::write(&path, mixed).unwrap();
            assert_eq!(Places::open(dir.path()).unwrap().record, record(1), "torn at byte {torn}");
        }
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        for damage in ["", "{", "\n\n\n"] {
            fs::write(dir.path().join(RECORD), damage).unwrap();
            assert!(Places::open(dir.path()).unwrap_err().to_string().contains("damaged"), "{damage:?}");
        }
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
