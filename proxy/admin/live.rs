//! The live page's stream: what changed, as server-sent events, a few times a second at the most.
//!
//! Without `instance=NAME` every instance in brief, and afterwards only those that changed; with it, that one
//! in full. The pace bounds the work: a thousand instances cost one status a quarter of a second, whoever watches.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::auth::Role;
use crate::engine::Handle;
use crate::engine::status::{InstanceStatus, Status};

/// From one look to the next; a failover is on the page well within a second.
const PACE: Duration = Duration::from_millis(250);
/// A comment line after this many looks without a change shows that the stream is alive.
const QUIET_LOOKS: u32 = 40;

/// Answers `GET /v1/live`.
pub(super) fn stream(engine: &Handle, instance: Option<String>, role: Role) -> Response<super::Body> {
    let (frames, receiver) = mpsc::channel(8);
    let engine = engine.clone();
    tokio::spawn(async move {
        match instance {
            Some(name) => one(&engine, &name, &frames).await,
            None => all(&engine, role, &frames).await,
        }
    });
    super::stream::response(receiver)
}

async fn one(engine: &Handle, name: &str, frames: &mpsc::Sender<Bytes>) {
    let mut ticks = tokio::time::interval(PACE);
    loop {
        ticks.tick().await;
        let Some(status) = engine.status().await else { return };
        let Some(instance) = status.instances.iter().find(|i| i.name == name) else { return };
        if frames.send(frame(&json!({"instance": instance}))).await.is_err() {
            return;
        }
    }
}

async fn all(engine: &Handle, role: Role, frames: &mpsc::Sender<Bytes>) {
    let mut ticks = tokio::time::interval(PACE);
    let mut known: HashMap<String, Value> = HashMap::new();
    let mut controller = Value::Null;
    let mut quiet = 0;
    loop {
        ticks.tick().await;
        let Some(status) = engine.status().await else { return };
        let change = change(&status, role, &mut known, &mut controller);
        let bytes = match change {
            Some(change) => frame(&change),
            None if quiet >= QUIET_LOOKS => Bytes::from_static(b": still here\n\n"),
            None => {
                quiet += 1;
                continue;
            }
        };
        quiet = 0;
        if frames.send(bytes).await.is_err() {
            return;
        }
    }
}

fn change(status: &Status, role: Role, known: &mut HashMap<String, Value>, before: &mut Value) -> Option<Value> {
    let c = &status.controller;
    let controller = json!({
        "name": c.name, "version": c.version, "leader": c.leader, "store": c.store, "store_ok": c.store_ok,
    });
    let mut changed = Vec::new();
    for instance in &status.instances {
        let brief = brief(instance);
        if known.get(&instance.name) != Some(&brief) {
            known.insert(instance.name.clone(), brief.clone());
            changed.push(brief);
        }
    }
    let gone = known.len() != status.instances.len();
    if gone {
        known.retain(|name, _| status.instances.iter().any(|i| i.name == *name));
    }
    if changed.is_empty() && !gone && *before == controller {
        return None;
    }
    let mut change = json!({"changed": changed});
    if *before != controller {
        change["controller"] = controller.clone();
        change["role"] = json!(role.word());
        *before = controller;
    }
    if gone {
        change["names"] = status.instances.iter().map(|i| i.name.as_str()).collect();
    }
    Some(change)
}

fn brief(i: &InstanceStatus) -> Value {
    json!({
        "name": i.name, "state": i.state, "detail": i.detail, "active": i.active, "epoch": i.epoch,
        "frozen": i.frozen, "paused": i.paused, "blind": i.blind, "in_sync": i.in_sync,
        "spare_ready": i.members.iter().any(|m| m.role != "active" && m.ready),
        "connections": i.traffic.connections, "parked": i.traffic.parked,
    })
}

fn frame(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}
