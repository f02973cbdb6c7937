//! A client of the instance's own listener that looks at the service all the while: what a drill reports is what it saw.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::http::{Ask, HttpError};

/// From the end of one look to the begin of the next.
const PAUSE: Duration = Duration::from_millis(10);
/// A client that waits longer than this has given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Requests made.
    pub(super) looks: u64,
    /// Requests without an answer.
    pub(super) failed: u64,
    /// The longest time that a request took.
    pub(super) longest: Duration,
}

pub(super) struct Looker {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Seen>,
}

/// Looks at `address` (an address listened on) until stopped.
pub(super) fn start(address: Option<String>) -> Looker {
    let (stop, stopped) = oneshot::channel();
    let url = address.map(|a| format!("http://{}/", a.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")));
    Looker { stop, task: tokio::spawn(look(url, stopped)) }
}

impl Looker {
    pub(super) async fn stop(self) -> Seen {
        let _ = self.stop.send(());
        self.task.await.unwrap_or_default()
    }
}

async fn look(url: Option<String>, mut stopped: oneshot::Receiver<()>) -> Seen {
    let mut seen = Seen::default();
    let Some(url) = url else { return seen };
    loop {
        let began = Instant::now();
        // Any answer is an answer: what the path is worth is not this client's business.
        let answered = match Ask::get(&url, PATIENCE).send().await {
            Ok(answer) => !answer.status.is_server_error(),
            Err(HttpError::Address(_)) => return seen,
            Err(_) => false,
        };
        seen.looks += 1;
        seen.failed += u64::from(!answered);
        seen.longest = seen.longest.max(began.elapsed());
        tokio::select! {
            _ = &mut stopped => return seen,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}
