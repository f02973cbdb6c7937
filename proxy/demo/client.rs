//! The client: asks `/who` again and again, each time on a new connection, and knows how long it had no answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::http::Ask;

/// Pause between the end of a request and the next one.
const PAUSE: Duration = Duration::from_millis(5);
/// How long the client waits for one answer: like a patient browser.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What `/who` says.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Who {
    /// The member that answers.
    pub(super) member: String,
    /// The epoch it is active under.
    pub(super) epoch: u64,
    /// The process id of its Node-RED.
    pub(super) pid: i32,
}

/// What a fault cost the client.
#[derive(Debug, Clone)]
pub(super) struct Outage {
    /// From the last good answer of the old active to the first good one of the new.
    pub(super) gap: Duration,
    /// When that first answer came.
    pub(super) over: Instant,
    /// Requests that failed in between.
    pub(super) failed: u32,
    /// The longest any request waited for its answer.
    pub(super) waited: Duration,
    /// Who answered.
    pub(super) by: Who,
}

/// A running client; it stops when dropped.
#[derive(Debug)]
pub(super) struct Client {
    url: String,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The epoch of the active that is about to be broken.
    before: u64,
    last_good: Option<Instant>,
    failed: u32,
    waited: Duration,
    outage: Option<Outage>,
}

impl Client {
    pub(super) fn start(front: std::net::SocketAddr) -> Self {
        let url = format!("http://{front}/who");
        let seen = Arc::new(Mutex::new(Seen { before: u64::MAX, ..Seen::default() }));
        let (address, shared) = (url.clone(), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            loop {
                let asked = Instant::now();
                let answer = ask(&address).await;
                lock(&shared).take(asked, answer);
                sleep(PAUSE).await;
            }
        });
        Client { url, seen, task }
    }

    /// Who answers now.
    pub(super) async fn who(&self) -> Result<Who, String> {
        ask(&self.url).await
    }

    /// From now on, an answer under an epoch above `before` is the end of an outage.
    pub(super) fn mark(&self, before: u64) {
        let mut seen = lock(&self.seen);
        *seen = Seen { before, last_good: seen.last_good, ..Seen::default() };
    }

    /// The outage since the last mark, once it is over.
    pub(super) fn outage(&self) -> Option<Outage> {
        lock(&self.seen).outage.clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn take(&mut self, asked: Instant, answer: Result<Who, String>) {
        let now = Instant::now();
        if self.outage.is_none() {
            self.waited = self.waited.max(now - asked);
        }
        let Ok(who) = answer else {
            self.failed += 1;
            return;
        };
        if who.epoch > self.before && self.outage.is_none() {
            let gap = now - self.last_good.unwrap_or(asked);
            self.outage = Some(Outage { gap, over: now, failed: self.failed, waited: self.waited, by: who });
        }
        self.last_good = Some(now);
    }
}

async fn ask(url: &str) -> Result<Who, String> {
    let answer = Ask::get(url, TIMEOUT).send().await.map_err(|error| error.to_string())?;
    answer.json().map_err(|error| format!("{}: {error}", answer.status))
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
