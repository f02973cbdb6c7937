//! Health checks: one task a member, every check at its pace, the standby as hard as the active.
//!
//! Owns the questions and their deadlines. What the answers mean (rise, fall, grace) is the decision core's; an
//! answer that does not come is `Unknown` and never a proof of anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use hotspare_decide::message::FlowState;
use hotspare_decide::{Member, ProbeOutcome};
use hotspare_tls::dial::dial;
use hotspare_tls::stream::{self, Expected};
use tokio::sync::Notify;

use crate::config::{CheckKind, Health, HostPort, StatusRange};
use crate::engine::{Handle, Input};
use crate::http::{Ask, HttpError};

/// Which member of an instance is active, as the route says: 0 nobody, 1 the first, 2 the second.
pub type ActiveMark = Arc<AtomicU8>;

/// What the checks of one member need to know.
pub struct Checked {
    /// Index of the instance.
    pub instance: u32,
    /// Which member.
    pub member: Member,
    /// Where it serves.
    pub address: HostPort,
    /// TLS to the port of that address, if it speaks that.
    pub tls: Option<Expected>,
    /// For `/flows/state` of a Node-RED with `adminAuth`.
    pub token: Option<hotspare_protocol::Secret>,
    /// The instance's checks.
    pub health: Health,
    /// Its spare is cold, a process that is stopped: checks ask only the active.
    pub cold: bool,
    /// The number of the check that a driver's looks count as, of an instance with a driver, for a member without.
    pub in_place_of_driver: Option<usize>,
    /// Some checks ask only the active.
    pub active: ActiveMark,
    /// Asks for all checks at once.
    pub now: Arc<Notify>,
}

/// Checks until the engine has stopped.
pub async fn run(checked: Checked, engine: Handle) {
    let mut ticks = tokio::time::interval(checked.health.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // It was asked whether this member serves, while nobody is routed to: what only an active answers counts.
    let mut asked_for = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = checked.now.notified() => asked_for = true,
        }
        for (index, check) in checked.health.checks.iter().enumerate() {
            let routed = usize::from(checked.active.load(Ordering::Relaxed));
            asked_for &= routed == 0;
            let is_active = asked_for || routed == checked.member.index() + 1;
            let (outcome, flows) = if (check.active_only || checked.cold) && !is_active {
                (ProbeOutcome::Pass, None)
            } else {
                let port = check.port.unwrap_or(checked.address.port);
                let host = &checked.address.host;
                let timeout = checked.health.timeout;
                let tls = checked.tls.as_ref().filter(|_| port == checked.address.port);
                let url = |path: &str| url(host, port, path, tls.is_some());
                match check.kind {
                    CheckKind::Tcp => (tcp(host, port, tls, timeout).await, None),
                    CheckKind::Http => (http(&url(&check.path), tls, &check.status, timeout).await, None),
                    CheckKind::FlowsState => flows_state(&checked, &url("/flows/state"), tls, is_active).await,
                }
            };
            let (instance, member) = (checked.instance, checked.member);
            if !engine.send(Input::Probe { instance, member, check: index, outcome, flows }).await {
                return;
            }
        }
        if let Some(check) = checked.in_place_of_driver {
            let (instance, member) = (checked.instance, checked.member);
            let outcome = ProbeOutcome::Pass;
            if !engine.send(Input::Probe { instance, member, check, outcome, flows: None }).await {
                return;
            }
        }
    }
}

fn url(host: &str, port: u16, path: &str, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
    format!("{scheme}://{open}{host}{close}:{port}{path}")
}

/// A connection, and its TLS handshake where there is one.
async fn tcp(host: &str, port: u16, tls: Option<&Expected>, timeout: Duration) -> ProbeOutcome {
    let open = async { stream::connect(dial((host, port)).await?, tls, host).await };
    match tokio::time::timeout(timeout, open).await {
        Ok(Ok(_)) => ProbeOutcome::Pass,
        Ok(Err(error)) => ProbeOutcome::Fail { reason: format!("{host}:{port}: {error}") },
        Err(_) => ProbeOutcome::Unknown { reason: format!("{host}:{port}: no connection within {timeout:?}") },
    }
}

async fn http(url: &str, tls: Option<&Expected>, expected: &[StatusRange], timeout: Duration) -> ProbeOutcome {
    match Ask::get(url, timeout).tls(tls).send().await {
        Ok(answer) => {
            let status = answer.status.as_u16();
            if expected.iter().any(|range| (range.first..=range.last).contains(&status)) {
                ProbeOutcome::Pass
            } else {
                ProbeOutcome::Fail { reason: format!("{url}: status {status}") }
            }
        }
        Err(error) => unanswered(url, &error),
    }
}

fn unanswered(url: &str, error: &HttpError) -> ProbeOutcome {
    let reason = format!("{url}: {error}");
    match error {
        HttpError::Timeout(_) => ProbeOutcome::Unknown { reason },
        _ => ProbeOutcome::Fail { reason },
    }
}

/// A 200 is no proof: the body must say what this member's role asks for.
async fn flows_state(
    checked: &Checked,
    url: &str,
    tls: Option<&Expected>,
    is_active: bool,
) -> (ProbeOutcome, Option<FlowState>) {
    #[derive(serde::Deserialize)]
    struct State {
        state: String,
    }
    let token = checked.token.as_ref().map(hotspare_protocol::Secret::expose);
    let answer = match Ask::get(url, checked.health.timeout).bearer(token).tls(tls).send().await {
        Ok(answer) => answer,
        Err(error) => return (unanswered(url, &error), None),
    };
    if !answer.status.is_success() {
        return (ProbeOutcome::Fail { reason: format!("{url}: status {}", answer.status) }, None);
    }
    match answer.json::<State>() {
        Ok(State { state }) if state == "start" => (ProbeOutcome::Pass, Some(FlowState::Running)),
        Ok(State { state }) if state == "stop" && is_active => {
            let reason = format!("{url}: the active's flows are stopped");
            (ProbeOutcome::Fail { reason }, Some(FlowState::Stopped))
        }
        Ok(State { state }) if state == "stop" => (ProbeOutcome::Pass, Some(FlowState::Stopped)),
        Ok(State { state }) => (ProbeOutcome::Fail { reason: format!("{url}: state '{state}'") }, None),
        Err(error) => (ProbeOutcome::Fail { reason: format!("{url}: {error}") }, None),
    }
}
