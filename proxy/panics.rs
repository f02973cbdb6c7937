//! Panics, made visible: each is a line of the log like any other, and counted.
//!
//! What a panic ends is not decided here. In a connection it ends that connection; in the engine the process, which
//! then leaves no half of itself behind that nobody decides for.

use std::any::Any;
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Panics of this process until now.
pub fn count() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Logs and counts every panic from now on.
pub fn watch() {
    panic::set_hook(Box::new(|info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        tracing::error!(thread, place, "panicked at {place}: {}", message(info.payload()));
    }));
}

fn message(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// For tests of debug builds alone: panics where this is called once the file that `HOTSPARE_PANIC` names is there.
#[cfg(debug_assertions)]
pub(crate) fn on_request() {
    if std::env::var_os("HOTSPARE_PANIC").is_some_and(|file| std::path::Path::new(&file).exists()) {
        panic!("a panic that a test asked for");
    }
}
