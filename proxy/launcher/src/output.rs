//! The launcher's own output, which must never make the launcher wait.
//!
//! Owns: one thread for each of standard output and standard error. A terminal or log collector that stops reading
//! would otherwise stop the renewals of the lease with it; what finds no room is dropped and counted.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that may wait for a slow reader.
const WAITING_LINES: usize = 1024;
const FINISH_WITHIN: Duration = Duration::from_millis(500);

#[derive(Debug)]
enum Line {
    Text(Vec<u8>),
    /// Everything before this was written.
    Mark(SyncSender<()>),
}

/// A stream that is written by a thread. Clones write to the same one.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    lines: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

impl Output {
    /// Starts the thread that writes to `stream`; it ends with the last clone.
    pub(crate) fn start(mut stream: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(WAITING_LINES);
        std::thread::Builder::new().name("output".to_owned()).spawn(move || {
            for line in waiting {
                // Nobody can be told that the stream is closed, or that who waited has gone.
                let _ = match line {
                    Line::Text(text) => stream.write_all(&text).and_then(|()| stream.flush()),
                    Line::Mark(reached) => reached.send(()).map_err(io::Error::other),
                };
            }
        })?;
        Ok(Self { lines, dropped: Arc::default() })
    }

    /// Passes a line on, or drops it when too many wait.
    pub(crate) fn line(&self, text: &str) {
        self.send(format!("{text}\n").into_bytes());
    }

    /// Lines dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything sent so far was written, or for a moment: at the end of the process.
    pub(crate) fn finish(&self) {
        let (mark, reached) = sync_channel(1);
        if self.lines.try_send(Line::Mark(mark)).is_ok() {
            let _ = reached.recv_timeout(FINISH_WITHIN);
        }
    }

    fn send(&self, bytes: Vec<u8>) {
        if self.lines.try_send(Line::Text(bytes)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Whether a line may be logged at all, whatever the level asked for: what goes over a link holds the pair's secret, and
/// the websocket library writes every frame out at its lowest level.
pub fn may_be_logged(line: &Metadata<'_>) -> bool {
    !line.target().starts_with("tungstenite") || *line.level() <= Level::INFO
}

/// Sends the log to standard error, as `RUST_LOG` says (`info` without), unless a log was set up before.
pub(crate) fn start_log() -> io::Result<Output> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = io::stderr().is_terminal();
    let output = Output::start(io::stderr())?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(output.clone()).with_ansi(ansi);
    let _ = lines.finish().with(filter_fn(may_be_logged)).try_init();
    Ok(output)
}
