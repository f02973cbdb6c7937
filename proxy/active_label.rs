//! The active's pod carries a label, if one is configured: selectors of Services find it by that.
//!
//! Follows what the leader has decided, and is no part of deciding: a label that can't be set delays nothing. Only
//! members with a launcher of ours are pods of that name.

use std::collections::BTreeMap;
use std::time::Duration;

use hotspare_group::Pods;
use tokio::sync::broadcast::error::RecvError;

use crate::config::{Config, StoreKind};
use crate::engine::Handle;
use crate::engine::status::Status;
use crate::events::EventLog;

/// What was not told is noticed after this long.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A pod that was made anew has lost its label: all are set again this often.
const AGAIN_EVERY: u32 = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// For one request.
const PATIENCE: Duration = Duration::from_secs(3);

/// The pods to label, if `config` asks for it.
///
/// # Errors
/// In words: why the API server can't be asked.
pub async fn pods(config: &Config) -> Result<Option<Pods>, String> {
    match &config.store.kind {
        StoreKind::Kubernetes { namespace, active_label: Some(label), .. } => {
            let namespace = namespace.as_ref().map(|name| name.as_str().to_owned());
            Pods::find(label.0.clone(), namespace, CONNECT_TIMEOUT).await.map(Some)
        }
        _ => Ok(None),
    }
}

/// Keeps the labels right for as long as this process leads, until the event log is dropped.
pub async fn run(pods: Pods, engine: Handle, events: EventLog) {
    let mut changes = events.watch();
    let mut set = BTreeMap::new();
    for look in 0_u32.. {
        let Some(status) = engine.status().await else { return };
        if !status.controller.leader || look.is_multiple_of(AGAIN_EVERY) {
            set.clear();
        }
        for (pod, active) in wanted(&status, &set) {
            let outcome = tokio::time::timeout(PATIENCE, pods.set(&pod, active)).await;
            match outcome.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}"))) {
                Ok(()) => drop(set.insert(pod, active)),
                Err(error) => tracing::warn!(pod, active, error, "the label of the active can't be set"),
            }
        }
        // Whatever happened, the status says what came of it.
        if let Ok(Err(RecvError::Closed)) = tokio::time::timeout(LOOK_EVERY, changes.recv()).await {
            return;
        }
    }
}

/// What is to be set and is not yet, labels that are taken away first.
fn wanted(status: &Status, set: &BTreeMap<String, bool>) -> Vec<(String, bool)> {
    if !status.controller.leader {
        return Vec::new();
    }
    let members = status.instances.iter().flat_map(|instance| {
        let ours = instance.members.iter().filter(|member| member.kind == "hotspare");
        ours.map(|member| (member.name.clone(), instance.active.as_ref() == Some(&member.name)))
    });
    let mut all: Vec<_> = members.filter(|(pod, active)| set.get(pod) != Some(active)).collect();
    all.sort_by_key(|(_, active)| *active);
    all
}
