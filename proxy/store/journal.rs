//! The journal: what must be durable before its first effect, in one append-only file.
//!
//! Owns the file's format, its lock and its repair. Knows nothing of what a record means. Above it stands
//! `store/file.rs`, which runs it on a thread of its own.
//!
//! Format: a header line, then one line an entry, `CRC32 JSON`, the CRC (IEEE, 8 hexadecimal digits) over the
//! JSON text. A line is durable before [`Journal::append`] returns, so a last line without its newline was
//! never acknowledged and had no effect: it is dropped, and reported. Anything else that does not
//! check is corruption, and an error that says where: an epoch is never guessed.
//!
//! After any failed write the file's end is unknown, so the next append writes a whole new file and renames it
//! into place. While that fails too (a full disk), every append fails and nothing new is decided.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

const HEADER: &str = "hotspare-journal 1";
const FILE: &str = "journal";
/// Rewrite once the file is this large and mostly history. 4 MiB holds some ten thousand decisions.
const COMPACT_AT_BYTES: u64 = 4 << 20;

/// Why a journal cannot be used. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The directory or file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process holds the journal.
    #[error(
        "{path}: another hotspare is running with this state directory; give each its own [store] dir, or stop the other"
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The content does not check.
    #[error(
        "{path}:{line}: {what}. The journal is damaged, and an epoch is never guessed. Restore it from a backup, or, \
         when you are sure that no other controller runs, move it away: the epochs are then taken from what the launchers report"
    )]
    Corrupt {
        /// The journal.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}

/// What was found when a journal was opened.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The newest record of each instance.
    pub records: BTreeMap<String, T>,
    /// Bytes of a last write that was never acknowledged, and was dropped. 0 after an orderly stop.
    pub dropped_tail_bytes: usize,
}

#[derive(Serialize, Deserialize)]
struct Entry<T> {
    instance: String,
    /// `None` when the instance was removed from the configuration.
    record: Option<T>,
}

/// An open journal; it owns the file and a lock on its directory until it is dropped.
#[derive(Debug)]
pub struct Journal<T> {
    path: PathBuf,
    file: File,
    _lock: File,
    live: BTreeMap<String, T>,
    bytes: u64,
    live_bytes_at_rewrite: u64,
    end_is_known: bool,
}

impl<T: Serialize + DeserializeOwned + Clone> Journal<T> {
    /// Opens the journal in `dir`, which is made (mode 0700) if it is missing.
    ///
    /// # Errors
    /// [`JournalError::Locked`] if another process has it, [`JournalError::Corrupt`] if it does not check.
    pub fn open(dir: &Path) -> Result<(Self, Loaded<T>), JournalError> {
        let io_at = |path: &Path| {
            let path = path.to_path_buf();
            move |source| JournalError::Io { path, source }
        };
        make_private_dir(dir).map_err(io_at(dir))?;
        let lock_path = dir.join("lock");
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(io_at(&lock_path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| JournalError::Locked { path: lock_path })?;

        let path = dir.join(FILE);
        let (records, dropped_tail_bytes) = match fs::read(&path) {
            Ok(content) => parse(&path, &content)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => (BTreeMap::new(), 0),
            Err(e) => return Err(io_at(&path)(e)),
        };
        let (file, bytes) = write_anew(&path, &records).map_err(io_at(&path))?;
        let journal = Self {
            path,
            file,
            _lock: lock,
            live: records.clone(),
            bytes,
            live_bytes_at_rewrite: bytes,
            end_is_known: true,
        };
        Ok((journal, Loaded { records, dropped_tail_bytes }))
    }

    /// Makes `entries` durable; `None` forgets an instance. They are durable when this returns `Ok`.
    ///
    /// # Errors
    /// What the system said. Then none of the entries counts as written, and a later append repairs the file.
    pub fn append(&mut self, entries: &[(String, Option<T>)]) -> io::Result<()> {
        let overgrown = self.bytes > COMPACT_AT_BYTES && self.bytes > 4 * self.live_bytes_at_rewrite;
        if !self.end_is_known || overgrown {
            let mut live = self.live.clone();
            apply(&mut live, entries);
            (self.file, self.bytes) = write_anew(&self.path, &live)?;
            self.live_bytes_at_rewrite = self.bytes;
            self.live = live;
        } else {
            let mut text = String::new();
            for (instance, record) in entries {
                push_line(&mut text, instance, record.as_ref())?;
            }
            self.end_is_known = false;
            self.file.write_all(text.as_bytes())?;
            self.file.sync_data()?;
            self.bytes += text.len() as u64;
            apply(&mut self.live, entries);
        }
        self.end_is_known = true;
        Ok(())
    }
}

fn apply<T: Clone>(live: &mut BTreeMap<String, T>, entries: &[(String, Option<T>)]) {
    for (instance, record) in entries {
        match record {
            Some(record) => live.insert(instance.clone(), record.clone()),
            None => live.remove(instance),
        };
    }
}

fn make_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn push_line<T: Serialize>(text: &mut String, instance: &str, record: Option<&T>) -> io::Result<()> {
    use std::fmt::Write;
    let json = serde_json::to_string(&Entry { instance: instance.to_owned(), record })?;
    writeln!(text, "{:08x} {json}", crc32fast::hash(json.as_bytes())).map_err(io::Error::other)
}

fn write_anew<T: Serialize>(path: &Path, records: &BTreeMap<String, T>) -> io::Result<(File, u64)> {
    let mut text = format!("{HEADER}\n");
    for (instance, record) in records {
        push_line(&mut text, instance, Some(record))?;
    }
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    Ok((file, text.len() as u64))
}

fn parse<T: DeserializeOwned>(path: &Path, content: &[u8]) -> Result<(BTreeMap<String, T>, usize), JournalError> {
    let corrupt =
        |line: usize, what: &str| JournalError::Corrupt { path: path.to_path_buf(), line, what: what.to_owned() };
    let whole = content.iter().rposition(|&b| b == b'\n').map_or(0, |last| last + 1);
    let text = std::str::from_utf8(&content[..whole]).map_err(|_| corrupt(1, "it holds bytes that are not text"))?;
    let mut lines = text.lines().enumerate();
    match lines.next() {
        Some((_, HEADER)) => {}
        Some((_, other)) if other.starts_with("hotspare-journal ") => {
            return Err(corrupt(
                1,
                &format!("'{other}' is a format that this version does not know (it knows '{HEADER}')"),
            ));
        }
        _ => return Err(corrupt(1, &format!("the first line is not '{HEADER}'"))),
    }
    let mut records = BTreeMap::new();
    for (index, line) in lines {
        let number = index + 1;
        let (crc, json) = line.split_once(' ').ok_or_else(|| corrupt(number, "no checksum"))?;
        let crc = u32::from_str_radix(crc, 16).map_err(|_| corrupt(number, "the checksum is not a number"))?;
        if crc != crc32fast::hash(json.as_bytes()) {
            return Err(corrupt(number, "the checksum does not match"));
        }
        let entry: Entry<T> = serde_json::from_str(json).map_err(|e| corrupt(number, &e.to_string()))?;
        match entry.record {
            Some(record) => records.insert(entry.instance, record),
            None => records.remove(&entry.instance),
        };
    }
    Ok((records, content.len() - whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    type J = Journal<u64>;

    fn entry(name: &str, value: u64) -> Vec<(String, Option<u64>)> {
        vec![(name.to_owned(), Some(value))]
    }

    #[test]
    fn what_was_appended_is_there_after_a_restart() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (mut journal, loaded) = J::open(dir.path()).expect("opens");
        assert!(loaded.records.is_empty());
        journal.append(&entry("line-1", 4)).expect("appends");
        journal.append(&entry("line-1", 5)).expect("appends");
        journal.append(&entry("line-2", 9)).expect("appends");
        journal.append(&[("line-2".to_owned(), None)]).expect("appends");
        drop(journal);
        let (_, loaded) = J::open(dir.path()).expect("opens again");
        assert_eq!(loaded.records, BTreeMap::from([("line-1".to_owned(), 5)]));
    }

    #[test]
    fn a_second_process_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let _first = J::open(dir.path()).expect("opens");
        assert!(matches!(J::open(dir.path()), Err(JournalError::Locked { .. })));
    }

    #[test]
    fn a_cut_at_any_byte_loses_at_most_the_entry_that_was_never_acknowledged() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (mut journal, _) = J::open(dir.path()).expect("opens");
        journal.append(&entry("line-1", 1)).expect("appends");
        let acknowledged = fs::read(dir.path().join(FILE)).expect("reads").len();
        journal.append(&entry("line-1", 2)).expect("appends");
        drop(journal);
        let whole = fs::read(dir.path().join(FILE)).expect("reads");
        for cut in acknowledged..whole.len() {
            fs::write(dir.path().join(FILE), &whole[..cut]).expect("writes");
            let (_, loaded) = J::open(dir.path()).expect("a torn tail is dropped");
            assert_eq!(loaded.records["line-1"], 1, "cut at byte {cut}");
            assert_eq!(loaded.dropped_tail_bytes, cut - acknowledged);
        }
    }

    #[test]
    fn any_changed_byte_is_an_error_that_names_the_line() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (mut journal, _) = J::open(dir.path()).expect("opens");
        journal.append(&entry("line-1", 1)).expect("appends");
        drop(journal);
        let whole = fs::read(dir.path().join(FILE)).expect("reads");
        for at in 0..whole.len() - 1 {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x01;
            fs::write(dir.path().join(FILE), &damaged).expect("writes");
            let error = J::open(dir.path()).expect_err("damage is never accepted").to_string();
            assert!(error.contains("journal:") && error.contains("damaged"), "byte {at}: {error}");
        }
    }

    #[test]
    fn a_full_disk_fails_the_append_and_the_next_one_repairs() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (mut journal, _) = J::open(dir.path()).expect("opens");
        journal.append(&entry("line-1", 1)).expect("appends");
        journal.file = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full opens");
        let error = journal.append(&entry("line-1", 2)).expect_err("the disk is full");
        assert_eq!(error.raw_os_error(), Some(28), "ENOSPC expected: {error}");
        journal.append(&entry("line-1", 3)).expect("space is back");
        drop(journal);
        let (_, loaded) = J::open(dir.path()).expect("opens");
        assert_eq!(loaded.records["line-1"], 3);
    }
}
