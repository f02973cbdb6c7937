//! An order that reached a proxy that follows is passed on to the one that decides, once: to its admin listener, with a
//! token that the leader judges by its own.

use std::time::Duration;

use serde_json::Value;

use crate::engine::Refusal;
use crate::http::{Answer, Ask, HttpError};
use crate::store::Leader;

/// Marks an order that was passed on, so that it is not passed on again.
pub const FORWARDED: &str = "x-hotspare-forwarded";
/// As long as an order may take: a rolling restart is the longest.
const ORDER: Duration = Duration::from_secs(15 * 60);

/// Why the leader was not asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum NotPassed {
    /// Nobody is known to lead, or the leader's admin listener is for its own host alone.
    #[error("{}", Refusal::elsewhere(.0.as_ref()))]
    Unknown(Option<Leader>),
    /// It did not answer.
    #[error("this proxy follows, and '{name}', which decides, does not answer at {admin}: {error}")]
    Silent {
        /// The leader's name.
        name: String,
        /// Where it takes orders.
        admin: String,
        /// What happened.
        error: HttpError,
    },
}

/// POSTs `order` to `path` of the leader's admin listener, and gives its answer, whatever that says.
///
/// # Errors
/// [`NotPassed`].
pub async fn pass_on(
    leader: Option<Leader>,
    path: &str,
    token: Option<&str>,
    order: &Value,
) -> Result<Answer, NotPassed> {
    let Some(Leader { name, admin: Some(admin) }) = leader else { return Err(NotPassed::Unknown(leader)) };
    let url = format!("{admin}{path}");
    let ask = Ask { headers: &[(FORWARDED, "1")], ..Ask::post(&url, order, ORDER) };
    match ask.bearer(token).send().await {
        Ok(answer) => {
            tracing::info!(target: "audit", leader = name, path, status = %answer.status, "passed on");
            Ok(answer)
        }
        Err(error) => Err(NotPassed::Silent { name, admin, error }),
    }
}
