//! A journal as found on disk: it is refused, or read; and what was read is what a second reading finds. Records that
//! were read start a decider.
//!
//! A fuzzer does not guess checksums. An input that begins with `+` gets the right one before each of its lines.
#![no_main]

use std::cell::LazyCell;
use std::fmt::Write as _;
use std::fs;

use hotspare_fuzz::journal::Journal;
use hotspare_fuzz::kept::Kept;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

thread_local! {
    static FOLDER: LazyCell<TempDir> = LazyCell::new(|| {
        let memory = std::path::Path::new("/dev/shm");
        if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.expect("a folder")
    });
}

fuzz_target!(|bytes: &[u8]| {
    FOLDER.with(|folder| {
        fs::write(folder.path().join("journal"), content(bytes)).expect("a file to write");
        let Ok((journal, loaded)) = Journal::<Kept>::open(folder.path()) else { return };
        drop(journal);
        let (_, again) = Journal::<Kept>::open(folder.path()).expect("what was just written opens");
        assert_eq!(again.dropped_tail_bytes, 0);
        let as_json = |records| serde_json::to_string(records).expect("records have a JSON form");
        assert_eq!(as_json(&loaded.records), as_json(&again.records));
        for kept in loaded.records.into_values() {
            hotspare_fuzz::decide_from(kept.for_members(["a", "b"]));
        }
    });
});

fn content(bytes: &[u8]) -> Vec<u8> {
    let Some(text) = bytes.strip_prefix(b"+").and_then(|rest| std::str::from_utf8(rest).ok()) else {
        return bytes.to_vec();
    };
    let mut content = "hotspare-journal 1\n".to_owned();
    for line in text.lines() {
        let _ = writeln!(content, "{:08x} {line}", crc32fast::hash(line.as_bytes()));
    }
    content.into_bytes()
}
