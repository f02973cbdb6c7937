//! What the tests of backends share: a real etcd of three nodes on this machine, and waiting with a deadline.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod etcd;

use std::time::{Duration, Instant};

/// Long enough for anything here on a busy machine; a test that gets there has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Looks again and again until there is something; says what it waited for if there never is.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "within {DEADLINE:?} this did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
