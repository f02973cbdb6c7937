//! Our own API: the flows of this member under an epoch, and the peer's question.

use std::time::Duration;

use hotspare_decide::Epoch;
use hotspare_decide::message::PromiseAsk;
use hyper::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Admin, Refusal, Reply, refuse, reply};
use crate::context::{self, Context};
use crate::nodes::Nodes;
use crate::shell::{Command, Fault, Input, Shell, View};
use crate::sync::{self, Flows, Stored};

/// How long flows may take to start.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Beyond the grace of a fence: the kill, and the certainty that the process is gone.
const KILL_LIMIT: Duration = Duration::from_secs(30);
const DEFAULT_GRACE_MS: u64 = 5_000;
/// A drill's partition heals by itself after this at the latest.
const LONGEST_PARTITION: Duration = Duration::from_secs(60);
const MAX_GRACE_MS: u64 = 600_000;

/// `GET /hotspare/v1/status`: what a heartbeat would say, and what only people want to know.
pub(super) async fn status(admin: &Admin) -> Reply {
    match admin.view().await {
        Ok(view) => reply(StatusCode::OK, &describe(admin, &view)),
        Err(gone) => gone.into(),
    }
}

fn describe(admin: &Admin, view: &View) -> Value {
    let links: Vec<Value> = view.links.iter().map(|(url, up)| json!({"controller": url, "up": up})).collect();
    json!({
        "instance": admin.instance,
        "member": admin.member,
        "status": view.status,
        "not_ready": view.status.not_ready.as_ref().map(ToString::to_string),
        "alive": view.alive,
        "pid": view.pid,
        "port": view.port,
        "last_ending": view.last_ending,
        "links": links,
        "peer": view.peer.as_ref().map(|peer| &peer.member),
        "ignored": view.ignored,
        "dropped_log_lines": view.dropped_lines,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    epoch: u64,
}

/// `POST /hotspare/v1/start {"epoch": n}`: 200 once the flows run.
pub(super) async fn start(admin: &Admin, body: &[u8]) -> Reply {
    let Start { epoch } = match read(body) {
        Ok(start) => start,
        Err(refusal) => return refusal.into(),
    };
    if admin.view().await.is_ok_and(|view| !view.links.is_empty()) {
        return refuse(StatusCode::CONFLICT, "this launcher has a controller: ask that for a switchover");
    }
    done(admin, Command::StartFlows { epoch: Epoch(epoch) }, START_LIMIT).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fence {
    epoch: Option<u64>,
    grace_ms: Option<u64>,
}

/// `POST /hotspare/v1/fence {"epoch": n, "grace_ms": t}`: 200 once no tenure up to that epoch runs or ever will.
pub(super) async fn fence(admin: &Admin, body: &[u8]) -> Reply {
    let Fence { epoch, grace_ms } = match read(body) {
        Ok(fence) => fence,
        Err(refusal) => return refusal.into(),
    };
    let grace = Duration::from_millis(grace_ms.unwrap_or(DEFAULT_GRACE_MS).min(MAX_GRACE_MS));
    done(admin, Command::Fence { epoch: epoch.map(Epoch), grace }, grace + KILL_LIMIT).await
}

#[derive(Deserialize)]
struct Drill {
    fault: Fault,
    #[serde(default)]
    for_ms: u64,
}

/// `POST /hotspare/v1/drill {"fault": "crash" | "hang" | "partition", "for_ms": t}`: a fault as it would come by itself.
pub(super) async fn drill(admin: &Admin, body: &[u8]) -> Reply {
    let Drill { fault, for_ms } = match read(body) {
        Ok(drill) => drill,
        Err(refusal) => return refusal.into(),
    };
    let lasts = Duration::from_millis(for_ms).min(LONGEST_PARTITION);
    match admin.inputs.send(Input::Drill { fault, lasts }).await {
        Ok(()) => reply(StatusCode::OK, &json!({})),
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the launcher is ending"),
    }
}

/// `POST /hotspare/v1/promise`: the peer's launcher asks this one to start nothing for a while.
pub(super) async fn promise(admin: &Admin, body: &[u8]) -> Reply {
    let ask: PromiseAsk = match read(body) {
        Ok(ask) => ask,
        Err(refusal) => return refusal.into(),
    };
    let (answer, verdict) = oneshot::channel();
    if admin.inputs.send(Input::PromiseAsked { ask, answer }).await.is_err() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the launcher is ending");
    }
    match verdict.await {
        Ok(verdict) => reply(StatusCode::OK, &verdict),
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "no verdict"),
    }
}

/// `GET /hotspare/v1/flows`: what the peer needs to know before it sends its flows.
pub(super) async fn revision(admin: &Admin) -> Reply {
    match admin.view().await {
        Ok(view) => reply(StatusCode::OK, &Stored::of(&view, &admin.installer)),
        Err(gone) => gone.into(),
    }
}

/// `POST /hotspare/v1/flows`: the active's flows, to be stored here and loaded, stopped.
pub(super) async fn take_flows(admin: &Admin, body: &[u8]) -> Reply {
    let flows: Flows = match read(body) {
        Ok(flows) => flows,
        Err(refusal) => return refusal.into(),
    };
    if let Err(refusal) = may_take(admin, flows.epoch).await {
        return refusal.into();
    }
    match sync::take(&admin.state_dir, &flows, &admin.inputs).await {
        Ok(()) => reply(StatusCode::OK, &json!({})),
        Err(why) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &why),
    }
}

/// `POST /hotspare/v1/nodes`: the active's nodes, to be installed here. 202: npm is at work.
pub(super) async fn take_nodes(admin: &Admin, body: &[u8]) -> Reply {
    let nodes: Nodes = match read(body) {
        Ok(nodes) => nodes,
        Err(refusal) => return refusal.into(),
    };
    let view = match may_take(admin, nodes.epoch).await {
        Ok(view) => view,
        Err(refusal) => return refusal.into(),
    };
    let Some(user_dir) = view.user_dir else {
        return refuse(StatusCode::CONFLICT, "Node-RED has not said yet where its user folder is");
    };
    admin.installer.begin(user_dir, nodes, admin.inputs.clone());
    reply(StatusCode::ACCEPTED, &json!({}))
}

/// `POST /hotspare/v1/context`: the active's context files, in place of this member's.
pub(super) async fn take_context(admin: &Admin, body: &[u8]) -> Reply {
    let context: Context = match read(body) {
        Ok(context) => context,
        Err(refusal) => return refusal.into(),
    };
    if let Err(refusal) = may_take(admin, context.epoch).await {
        return refusal.into();
    }
    match context::take(&admin.state_dir, &context, &admin.inputs).await {
        Ok(()) => reply(StatusCode::OK, &json!({})),
        Err(why) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &why),
    }
}

/// Whether this member may be made like a sender of this epoch.
async fn may_take(admin: &Admin, epoch: Epoch) -> Result<View, Refusal> {
    let view = admin.view().await?;
    if !Shell::runs_nothing(&view.status) {
        return Err(Refusal(StatusCode::CONFLICT, "this member is active itself".to_owned()));
    }
    if epoch < view.status.max_epoch {
        return Err(Refusal(StatusCode::CONFLICT, "an epoch above the sender's has been here".to_owned()));
    }
    Ok(view)
}

async fn done(admin: &Admin, command: Command, limit: Duration) -> Reply {
    match admin.command(command, limit).await {
        Ok(()) => match admin.view().await {
            Ok(view) => reply(StatusCode::OK, &view.status),
            Err(gone) => gone.into(),
        },
        Err(why) => refuse(StatusCode::CONFLICT, &why),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal(StatusCode::BAD_REQUEST, format!("not understood: {error}")))
}
