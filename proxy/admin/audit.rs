//! The audit record: who did what, when, why, and what came of it.
//!
//! One entry of the event log for each order, taken or refused, given here or by a platform, so that it outlives the
//! process and reaches whoever follows events. What was not allowed at all is a log line only: a stranger must not be able to fill the event log.

use std::net::SocketAddr;

use hyper::Method;
use serde_json::json;

use super::auth::{Denied, Role};
use crate::events::{EventLog, Level};

/// Longest reason that is taken, in characters: a few sentences.
const MAX_REASON: usize = 500;

/// Records an order and what came of it.
pub(crate) fn record(events: &EventLog, instance: &str, what: &str, by: &str, why: Option<&str>, result: &str) {
    let reason = why.unwrap_or("no reason given");
    let text = format!("{what} asked for by {by} ({reason}): {result}");
    let event = json!({"event": "audit", "what": what, "by": by, "why": why, "result": result});
    events.record(instance, Level::Info, text, &event);
}

/// Logs an attempt to change something that was not allowed.
pub(super) fn denied(from: SocketAddr, method: &Method, path: &str, needs: Role, why: Denied) {
    if needs >= Role::Operate {
        let path: String = path.chars().take(200).filter(|c| !c.is_control()).collect();
        tracing::warn!(target: "audit", %from, %method, path, needs = needs.word(), "denied: {}", why.sentence());
    }
}

/// Whether a reason can stand in a log line and in a record: of bounded length, and on one line.
pub(super) fn is_plain(reason: &str) -> bool {
    reason.chars().count() <= MAX_REASON && !reason.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_can_forge_no_line_of_a_log() {
        assert!(is_plain("new switch, Schaltschrank 3 – Müller"));
        assert!(!is_plain("x\n2026-01-01 INFO audit: nothing happened"));
        assert!(!is_plain("\u{1b}[2Kgone") && !is_plain(&"x".repeat(501)));
    }
}
