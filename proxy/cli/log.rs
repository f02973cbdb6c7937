//! Log lines on standard error, as the configuration has them.

use hotspare_launcher::may_be_logged;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};

/// Sets up logging for the whole process; once.
pub fn log_to_stderr(log: &Log) {
    let filter = EnvFilter::new(&log.level.0);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let quiet = filter_fn(may_be_logged);
    match log.format {
        LogFormat::Text => lines.with_ansi(anstream::stderr().is_terminal()).finish().with(quiet).init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().with(quiet).init(),
    }
}
