//! What is asked of FlowFuse's nr-launcher when it is the one that starts this member's Node-RED.
//!
//! Owns: its words and our patience. Never takes an answer for a fact: what becomes of Node-RED is seen by `node_red`.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;

use crate::peer::exchange;

const COMMAND: &str = "/flowforge/command";
/// It kills a Node-RED that has not ended ten seconds after it was told to.
pub(crate) const RESTARTS_WITHIN: Duration = Duration::from_secs(15);
/// It answers once Node-RED is started again, which may take an installation of nodes.
const RESTART_ANSWERED_WITHIN: Duration = Duration::from_secs(120);
/// Whoever asked us waits about as long.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Asks it to restart Node-RED, with settings that it gets anew from its platform.
pub(crate) async fn restart(url: String) {
    let order = Bytes::from_static(br#"{"cmd":"restart"}"#);
    if let Err(why) = exchange(&url, None, None, Method::POST, COMMAND, order, RESTART_ANSWERED_WITHIN).await {
        tracing::warn!(url, why, "FlowFuse's launcher does not restart Node-RED");
    }
}

/// Gives it somebody else's command.
pub(crate) async fn pass_on(url: &str, body: &[u8]) -> Result<Bytes, String> {
    exchange(url, None, None, Method::POST, COMMAND, Bytes::copy_from_slice(body), ANSWERS_WITHIN).await
}

/// What it answers to a question that only it can answer.
pub(crate) async fn get(url: &str, path: &str, query: &str) -> Result<Bytes, String> {
    let path = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    exchange(url, None, None, Method::GET, &path, Bytes::new(), ANSWERS_WITHIN).await
}
