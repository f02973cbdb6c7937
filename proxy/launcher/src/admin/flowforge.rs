//! The API of FlowFuse's launcher, with honest answers: a `stop` answers when the process is gone, a `start` fails
//! when it failed, and `health-check` is about the event loop, not about a process number.

use std::fmt::Write;
use std::sync::PoisonError;
use std::time::Duration;

use hotspare_decide::message::FlowState;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::{Admin, Reply, plain, refuse, reply};
use crate::nr_launcher;
use crate::shell::{Command, View};

/// How long a start, stop or restart may take before the answer is that it was not done.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// `/flowforge/…` by GET.
pub(super) async fn get(admin: &Admin, path: &str, query: &str) -> Reply {
    let parameter = |name: &str| {
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    if let Some(url) = &admin.nr_launcher
        && ["/flowforge/logs", "/flowforge/logs/entries", "/flowforge/resources", "/flowforge/startup"].contains(&path)
    {
        return match nr_launcher::get(url, path, query).await {
            Ok(body) if path == "/flowforge/startup" => plain(StatusCode::OK, "application/openmetrics-text", body),
            Ok(body) => plain(StatusCode::OK, "application/json", body),
            Err(why) => refuse(StatusCode::BAD_GATEWAY, &format!("FlowFuse's launcher: {why}")),
        };
    }
    match path {
        "/flowforge/logs" => {
            let logs = admin.logs.lock().unwrap_or_else(PoisonError::into_inner);
            return reply(StatusCode::OK, logs.all());
        }
        "/flowforge/logs/entries" => {
            let limit = parameter("limit").and_then(|limit| limit.parse().ok());
            let logs = admin.logs.lock().unwrap_or_else(PoisonError::into_inner);
            return reply(StatusCode::OK, &logs.page(parameter("cursor"), limit));
        }
        _ => {}
    }
    let view = match admin.view().await {
        Ok(view) => view,
        Err(gone) => return gone.into(),
    };
    match path {
        "/flowforge/info" => info(admin, &view),
        "/flowforge/health-check" if view.alive => plain(StatusCode::OK, "text/plain", "OK"),
        "/flowforge/health-check" => {
            let why = if view.pid.is_some() { "the event loop does not turn" } else { "there is no Node-RED process" };
            plain(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", why)
        }
        "/flowforge/ready" => ready(&view),
        "/flowforge/startup" => startup(admin, &view),
        "/flowforge/resources" => {
            let samples = view.resources.lock().unwrap_or_else(PoisonError::into_inner);
            let resources = samples.all();
            reply(StatusCode::OK, &json!({"meta": {}, "resources": resources, "count": resources.len()}))
        }
        _ => refuse(StatusCode::NOT_FOUND, "no such page"),
    }
}

fn info(admin: &Admin, view: &View) -> Reply {
    reply(
        StatusCode::OK,
        &json!({
            "id": admin.member,
            "state": state(view),
            "lastStartTime": view.started_ms,
            "versions": {
                "node": view.node.as_deref().map(|v| v.trim_start_matches('v')),
                "launcher": env!("CARGO_PKG_VERSION"),
                "node-red": view.status.node_red,
            },
            "flows": view.status.flows,
            "epoch": view.status.tenure,
        }),
    )
}

/// In the words of FlowFuse's launcher, which speaks of the process; `flows` beside it speaks of the flows.
fn state(view: &View) -> &'static str {
    match view.status.flows {
        FlowState::Down if view.down_by_request => "stopped",
        FlowState::Down => "crashed",
        FlowState::Booting => "starting",
        _ if view.down_by_request => "stopping",
        _ if view.safe => "safe",
        _ => "running",
    }
}

/// Ready: the flows run and the event loop turns, or a start would work.
fn ready(view: &View) -> Reply {
    let why = match &view.status.not_ready {
        _ if !view.alive => Some("the event loop does not turn".to_owned()),
        _ if view.status.flows == FlowState::Running => None,
        why => why.as_ref().map(ToString::to_string),
    };
    match why {
        None => plain(StatusCode::OK, "text/plain", "OK"),
        Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, "text/plain", why),
    }
}

fn startup(admin: &Admin, view: &View) -> Reply {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, value: u64| {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
    };
    gauge("nr_created_timestamp", "Unix timestamp when the launcher was started, in milliseconds", admin.created_ms);
    if let Some(boot_ms) = view.boot_ms {
        gauge("nr_startup_duration_ms", "Time from the start of Node-RED until its flows were loaded", boot_ms);
    }
    text.push_str("# EOF\n");
    plain(StatusCode::OK, "application/openmetrics-text", text)
}

#[derive(Deserialize)]
struct Order {
    cmd: String,
    #[serde(default)]
    safe: bool,
}

/// `POST /flowforge/command`.
pub(super) async fn command(admin: &Admin, body: &[u8]) -> Reply {
    let order: Order = match serde_json::from_slice(body) {
        Ok(order) => order,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("not a command: {error}")),
    };
    if admin.attached {
        return match (&admin.nr_launcher, order.cmd.as_str()) {
            (Some(url), "logout") => {
                // A user has logged out; whether Node-RED knew of it is not told.
                let _ = nr_launcher::pass_on(url, body).await;
                reply(StatusCode::OK, &json!({}))
            }
            (_, "start" | "stop" | "restart" | "shutdown") => {
                refuse(StatusCode::CONFLICT, "another launcher starts this Node-RED: give the order to that")
            }
            _ => reply(StatusCode::NOT_FOUND, &json!({})),
        };
    }
    let safe = order.safe;
    let outcome = match order.cmd.as_str() {
        "start" => {
            let view = match admin.view().await {
                Ok(view) => view,
                Err(gone) => return gone.into(),
            };
            if view.pid.is_some() {
                return refuse(StatusCode::CONFLICT, "Already running");
            }
            admin.command(Command::StartProcess { safe }, COMMAND_LIMIT).await
        }
        "stop" => admin.command(Command::StopProcess, COMMAND_LIMIT).await,
        "restart" => admin.command(Command::RestartProcess { safe }, COMMAND_LIMIT).await,
        "shutdown" => {
            let outcome = admin.command(Command::StopProcess, COMMAND_LIMIT).await;
            if outcome.is_ok() {
                let _ = admin.shutdown.try_send(());
            }
            outcome
        }
        _ => return reply(StatusCode::NOT_FOUND, &json!({})),
    };
    match outcome {
        Ok(()) => reply(StatusCode::OK, &json!({})),
        Err(why) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &why),
    }
}
