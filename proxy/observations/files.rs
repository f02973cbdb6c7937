//! The files: `observations/INSTANCE.jsonl` in the store's folder, rotated, written by a thread of their own.
//!
//! Owns a bounded queue; whoever hands lines over never waits.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::Line;

/// A file is rotated at this size; with the old ones, an instance keeps 3.5 MiB at most.
const ROTATE_AT_BYTES: u64 = 512 << 10;
const KEEP_FILES: usize = 6;
/// Handovers that may wait: several for each of 1,000 instances.
const QUEUE: usize = 8192;

/// Takes lines; clones share one thread.
#[derive(Clone, Debug)]
pub struct Recorder {
    folder: Arc<Path>,
    queue: SyncSender<Job>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Job {
    Write(Arc<str>, Vec<Line>),
    Flush(oneshot::Sender<()>),
    End,
}

/// The thread that writes.
pub struct Writer {
    thread: JoinHandle<()>,
    queue: SyncSender<Job>,
}

impl Writer {
    /// Ends the thread once all that was handed over until now is written. Blocks.
    pub fn finish(self) {
        if self.queue.send(Job::End).is_ok() {
            let _ = self.thread.join();
        }
    }
}

impl Recorder {
    /// Records into `dir`.
    ///
    /// # Errors
    /// What the system said when the folder or the thread could not be made.
    pub fn open(dir: &Path) -> io::Result<(Self, Writer)> {
        let folder = dir.join("observations");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let (queue, jobs) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let recorder = Self { folder: folder.into(), queue: queue.clone(), lost };
        let (folder, lost) = (recorder.folder.clone(), recorder.lost.clone());
        let thread = std::thread::Builder::new().name("observations".to_owned());
        let thread = thread.spawn(move || work(&folder, &lost, &jobs))?;
        Ok((recorder, Writer { thread, queue }))
    }

    /// One whose queue is full and stays so for as long as the other part is kept.
    #[cfg(test)]
    pub(super) fn without_room() -> (Self, impl Sized) {
        let (queue, full) = sync_channel(0);
        (Self { folder: Path::new("/nonexistent").into(), queue, lost: Arc::default() }, full)
    }

    /// Takes lines of an instance, all or none; never waits. `false` if there was no room for them.
    pub(super) fn take(&self, instance: &Arc<str>, lines: Vec<Line>) -> bool {
        let count = lines.len() as u64;
        let taken = self.queue.try_send(Job::Write(instance.clone(), lines)).is_ok();
        if !taken {
            self.lost.fetch_add(count, Ordering::Relaxed);
        }
        taken
    }

    /// Lines that did not reach a file, since the disk was full or too slow.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// All that is kept of an instance, oldest first: once everything that was handed over until now is written.
    ///
    /// # Errors
    /// In words, why it can't be had now.
    pub async fn read(&self, instance: &str) -> Result<String, String> {
        let (done, written) = oneshot::channel();
        let flush = self.queue.try_send(Job::Flush(done));
        flush.map_err(|_| "the disk does not keep up: ask again later".to_owned())?;
        written.await.map_err(|_| "this proxy is stopping".to_owned())?;
        let newest = path(&self.folder, instance);
        let read = move || -> String {
            let files = (1..=KEEP_FILES).rev().map(|number| rotated(&newest, number)).chain([newest.clone()]);
            files.filter_map(|file| fs::read_to_string(file).ok()).collect()
        };
        tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())
    }
}

/// Names of instances are letters, digits, dots and dashes: the configuration sees to that.
fn path(folder: &Path, instance: &str) -> PathBuf {
    folder.join(format!("{instance}.jsonl"))
}

fn rotated(path: &Path, number: usize) -> PathBuf {
    path.with_added_extension(number.to_string())
}

fn work(folder: &Path, lost: &AtomicU64, jobs: &Receiver<Job>) {
    // Instances with lines missing: nothing more is written of them before a stretch begins anew.
    let mut holed = HashSet::new();
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Write(instance, lines) if holed.contains(&instance) && !begins(&lines) => {
                lost.fetch_add(lines.len() as u64, Ordering::Relaxed);
            }
            Job::Write(instance, lines) => match write(&path(folder, &instance), &lines) {
                Ok(()) => drop(holed.remove(&instance)),
                Err(error) => {
                    lost.fetch_add(lines.len() as u64, Ordering::Relaxed);
                    if holed.insert(instance.clone()) {
                        tracing::warn!(%error, instance = &*instance, "observations could not be written; a what-if will have a gap");
                    }
                }
            },
            Job::Flush(done) => drop(done.send(())),
            Job::End => return,
        }
    }
}

fn begins(lines: &[Line]) -> bool {
    matches!(lines.first(), Some(Line::Begin(begin)) if !begin.continued)
}

fn write(path: &Path, lines: &[Line]) -> io::Result<()> {
    let mut text = Vec::new();
    if begins(lines) {
        // What was written last may have been cut off in the middle of its line.
        text.push(b'\n');
    }
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    if fs::metadata(path).is_ok_and(|file| file.len() + text.len() as u64 > ROTATE_AT_BYTES) {
        for number in (1..KEEP_FILES).rev() {
            let _ = fs::rename(rotated(path, number), rotated(path, number + 1));
        }
        fs::rename(path, rotated(path, 1))?;
    }
    OpenOptions::new().create(true).append(true).open(path)?.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotspare_decide::Time;

    #[tokio::test]
    async fn the_files_are_bounded_and_the_newest_lines_are_kept() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (recorder, writer) = Recorder::open(dir.path()).expect("opens");
        let name: Arc<str> = "line-1".into();
        let many: u64 = 5 << 20;
        let mut at = 0;
        let mut bytes = 0;
        while bytes < many {
            let lines: Vec<Line> = (0..1000).map(|n| Line::Whole { at: Time::from_nanos(at + n) }).collect();
            (at, bytes) = (at + 1000, bytes + 30_000);
            assert!(recorder.take(&name, lines), "there is room for so few");
        }
        let text = recorder.read("line-1").await.expect("it is written");
        assert!(text.len() as u64 <= ROTATE_AT_BYTES * (KEEP_FILES as u64 + 1), "{} bytes", text.len());
        let last: Line = serde_json::from_str(text.lines().last().expect("lines")).expect("a line");
        assert_eq!(last, Line::Whole { at: Time::from_nanos(at - 1) });
        assert_eq!(recorder.lost(), 0);
        writer.finish();
    }
}
