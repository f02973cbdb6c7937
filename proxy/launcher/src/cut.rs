//! A drill's partition: for a while this launcher reaches neither controllers nor its peer.
//!
//! Owns the one number that says until when. It ends by itself, whatever becomes of the drill.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hotspare_decide::Time;

use crate::shell::now;

/// Until when, shared by all that reaches out; in the past as a rule.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cut(Arc<AtomicU64>);

impl Cut {
    /// Cut off from now on until `end`.
    pub(crate) fn until(&self, end: Time) {
        self.0.store(end.as_nanos(), Ordering::Relaxed);
    }

    /// Whether it holds now.
    pub(crate) fn holds(&self) -> bool {
        now() < Time::from_nanos(self.0.load(Ordering::Relaxed))
    }
}
