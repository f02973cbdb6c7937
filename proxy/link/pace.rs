//! How much one launcher may say.

use std::time::Duration;

use tokio::time::Instant;

/// Messages a launcher may send in a second: ten times what the fastest heartbeat (10 ms) asks for.
pub(super) const PACE: u32 = 1000;
const WINDOW: Duration = Duration::from_secs(1);

/// Counts them, in windows of a second.
#[derive(Default)]
pub(super) struct Pace {
    ends: Option<Instant>,
    messages: u32,
}

impl Pace {
    /// Counts one more; false if that was too many.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        if self.ends.is_none_or(|ends| now >= ends) {
            (self.ends, self.messages) = (Some(now + WINDOW), 0);
        }
        self.messages += 1;
        self.messages <= PACE
    }
}
