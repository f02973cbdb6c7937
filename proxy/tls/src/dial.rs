//! Connecting where a packet may be lost.
//!
//! The kernel sends a lost SYN again after a second: as long as a health check may take, and a lease. Here another
//! attempt begins beside the first one much sooner. The first outcome counts, a refusal too: it is an answer.

use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpStream, ToSocketAddrs};

/// Long for a network, short for a health check.
const ANOTHER_AFTER: Duration = Duration::from_millis(200);
/// Attempts under way at once.
const MOST: usize = 5;

/// Connects; how long that may take is for the caller to say.
///
/// # Errors
/// As the first attempt that has an outcome.
pub async fn dial(to: impl ToSocketAddrs + Clone) -> io::Result<TcpStream> {
    let mut attempts = FuturesUnordered::new();
    attempts.push(TcpStream::connect(to.clone()));
    loop {
        tokio::select! {
            Some(outcome) = attempts.next() => return outcome,
            () = tokio::time::sleep(ANOTHER_AFTER), if attempts.len() < MOST => {
                attempts.push(TcpStream::connect(to.clone()));
            }
        }
    }
}
