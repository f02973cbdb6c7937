//! Orders that outlive the patience of whoever gave them.
//!
//! A Node-RED that hangs executes the requests in its socket when it comes back, also if the client has long gone;
//! nr-launcher goes on with a command whose caller has gone. So an order is never dropped: it runs as a task of
//! its own until it is answered or its connection ends, and no further one is given before that.

use std::time::Duration;

use hotspare_protocol::Secret;
use hotspare_tls::stream::Expected;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::http::{Answer, Ask, HttpError};

/// An order is given up after this long without an answer: its host has gone without a word.
const LIFE: Duration = Duration::from_secs(120);

/// What came of waiting for an order.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    /// No answer yet; the order is still under way.
    #[error("not answered within {0:?}, and still under way")]
    UnderWay(Duration),
    /// It will get no answer any more; whether it was executed is not known.
    #[error(transparent)]
    Ended(#[from] HttpError),
}

/// At most one order under way.
#[derive(Debug, Default)]
pub(super) struct Orders {
    task: Option<JoinHandle<Result<Answer, HttpError>>>,
}

impl Orders {
    /// Whether one has neither been answered nor lost.
    pub(super) fn under_way(&self) -> bool {
        self.task.as_ref().is_some_and(|task| !task.is_finished())
    }

    /// Posts `body` to `url`, which must show what `tls` expects if it is https, and waits for the answer; call [`Orders::wait`] first.
    pub(super) async fn give(
        &mut self,
        url: String,
        body: Value,
        bearer: Option<Secret>,
        tls: Option<Expected>,
        patience: Duration,
    ) -> Result<Answer, OrderError> {
        debug_assert!(self.task.is_none(), "an order is given only when none is under way");
        self.task = Some(tokio::spawn(async move {
            let ask = Ask::post(&url, &body, LIFE).bearer(bearer.as_ref().map(Secret::expose));
            ask.tls(tls.as_ref()).send().await
        }));
        match self.wait(patience).await? {
            Some(answer) => Ok(answer),
            None => Err(HttpError::Failed("the order was lost".to_owned()).into()),
        }
    }

    /// Waits until no order is under way. `Ok(None)`: there was none.
    pub(super) async fn wait(&mut self, patience: Duration) -> Result<Option<Answer>, OrderError> {
        let Some(task) = self.task.as_mut() else { return Ok(None) };
        let Ok(joined) = tokio::time::timeout(patience, task).await else {
            return Err(OrderError::UnderWay(patience));
        };
        self.task = None;
        let answer = joined.map_err(|e| HttpError::Failed(format!("the order's task failed: {e}")))?;
        Ok(Some(answer?))
    }
}
