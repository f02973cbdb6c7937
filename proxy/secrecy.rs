//! Keeps what the process knows from being written to disk by others.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// No core dump of this process, however it ends: its memory holds tokens and clients' traffic. Programs that it
/// starts are not concerned.
pub fn no_core_dump() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        eprintln!("hotspare: core dumps could not be switched off: {error}");
    }
}
