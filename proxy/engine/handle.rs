//! How the rest of the process speaks with the engine: bounded messages in, answers by a one-shot.

use std::fmt;

use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::input::Input;
use super::status::Status;
use crate::store::Leader;

/// What a person or a platform asks of an instance, with the fields of all verbs; each uses its own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Order {
    /// The member to switch to, or to fence.
    pub to: Option<String>,
    /// Why, for the record.
    pub reason: Option<String>,
    /// Only say whether it would work now.
    pub check: bool,
    /// Yes, with all that it risks.
    pub force: bool,
    /// How long a pause lasts, in milliseconds.
    pub for_ms: Option<u64>,
    /// Who asked, as far as the listener knows; never taken from the request's body.
    #[serde(skip)]
    pub by: String,
}

/// The verbs of the admin API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// A planned change of the active.
    Switchover,
    /// A rolling restart of both members.
    Restart,
    /// An unplanned change on request, without the proof of a fence if forced.
    Failover,
    /// No automatic decisions for a while.
    Pause,
    /// Automatic decisions again.
    Resume,
    /// Makes certain that a member runs no flows.
    Fence,
    /// Lets a member that was fenced on request be started again.
    Release,
    /// Ends the freeze after too many failovers.
    Unfreeze,
}

impl Verb {
    /// The verb of a path segment.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "switchover" => Self::Switchover,
            "restart" => Self::Restart,
            "failover" => Self::Failover,
            "pause" => Self::Pause,
            "resume" => Self::Resume,
            "fence" => Self::Fence,
            "release" => Self::Release,
            "unfreeze" => Self::Unfreeze,
            _ => return None,
        })
    }

    /// The path segment of the verb.
    pub fn word(self) -> &'static str {
        match self {
            Self::Switchover => "switchover",
            Self::Restart => "restart",
            Self::Failover => "failover",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Fence => "fence",
            Self::Release => "release",
            Self::Unfreeze => "unfreeze",
        }
    }
}

/// It was taken, and done where doing is a matter of moments.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// One sentence.
    pub message: String,
}

/// It was not taken, or not done.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// There is no such instance or member.
    Unknown(String),
    /// It cannot be done now; every reason there is.
    Not(Vec<String>),
    /// Another proxy decides; `None` while nobody is known to.
    Elsewhere(Option<Leader>),
    /// The engine is stopping.
    Stopping,
}

impl Refusal {
    /// One sentence for whoever gave the order to a proxy that follows.
    pub fn elsewhere(leader: Option<&Leader>) -> String {
        match leader {
            Some(Leader { name, .. }) => format!("this proxy follows: '{name}' decides, give it the order"),
            None => "this proxy follows, and no proxy is known to decide at the moment".to_owned(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(what) => write!(f, "refused: {what}"),
            Self::Not(reasons) => write!(f, "refused: {}", reasons.join("; ")),
            Self::Elsewhere(leader) => write!(f, "refused: {}", Self::elsewhere(leader.as_ref())),
            Self::Stopping => f.write_str("refused: this proxy is stopping"),
        }
    }
}

/// A handle on the engine; clones share it.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) inputs: mpsc::Sender<Input>,
}

impl Handle {
    /// Hands in something that happened; from outside of async code, and never waits. `false` if it was dropped, since
    /// the queue is full or the engine has stopped.
    pub fn report(&self, input: Input) -> bool {
        self.inputs.try_send(input).is_ok()
    }

    /// The same from a thread that may wait for room. `false` once the engine has stopped.
    pub fn report_waiting(&self, input: Input) -> bool {
        self.inputs.blocking_send(input).is_ok()
    }

    /// The same from async code that may wait for room. `false` once the engine has stopped.
    pub async fn send(&self, input: Input) -> bool {
        self.inputs.send(input).await.is_ok()
    }

    /// The state of everything now, or `None` if the engine has stopped.
    pub async fn status(&self) -> Option<Status> {
        let (reply, answer) = oneshot::channel();
        self.inputs.send(Input::Status(reply)).await.ok()?;
        answer.await.ok()
    }

    /// What would happen if the active of `instance` died this moment, and the story of the last change.
    pub async fn explain(&self, instance: &str) -> Option<serde_json::Value> {
        let (reply, answer) = oneshot::channel();
        self.inputs.send(Input::Explain { instance: instance.to_owned(), reply }).await.ok()?;
        answer.await.ok()?
    }

    /// Hands over to the recorder all that was observed of `instance` until now; `None` if there is none.
    pub async fn checkpoint(&self, instance: &str) -> Option<()> {
        let (done, handed_over) = oneshot::channel();
        self.inputs.send(Input::Checkpoint { instance: instance.to_owned(), done }).await.ok()?;
        handed_over.await.ok()?.then_some(())
    }

    /// Carries out `order`; returns when it is done or has failed.
    ///
    /// # Errors
    /// [`Refusal`], with every reason.
    pub async fn order(&self, instance: &str, verb: Verb, order: Order) -> Result<Accepted, Refusal> {
        let (reply, answer) = oneshot::channel();
        let input = Input::Order { instance: instance.to_owned(), verb, order, reply };
        self.inputs.send(input).await.map_err(|_| Refusal::Stopping)?;
        answer.await.unwrap_or(Err(Refusal::Stopping))
    }
}
