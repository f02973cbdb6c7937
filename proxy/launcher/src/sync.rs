//! A deploy on the active reaches the standby: flows and credentials, stored and loaded there, with the flows stopped.
//! So do the nodes installed in its user folder (`nodes` installs them).
//!
//! Owns: when to send, the file in between, and what happens after a crash half-way. The active sends, on a deploy and
//! whenever its peer has another revision or other nodes; the standby takes it from a peer of its own epoch or a newer
//! one only.
//! Never decides who is active. Credentials travel and are kept sealed with a key of the pair; each Node-RED stores
//! them under its own `credentialSecret`.
//!
//! A crash in between leaves the old flows or the new, never half: what arrived is one file, durable before Node-RED
//! stores anything of it, and taken again after a restart until Node-RED has said that it is stored.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hotspare_decide::Epoch;
use hotspare_decide::message::{FlowState, Peer};
use hotspare_tls::stream::Expected;
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, oneshot};

use crate::nodes::{self, Installer, Nodes};
use crate::peer;
use crate::record::write_durably;
use crate::shell::{Input, Shell, Transfer, View};

/// Where a launcher takes its peer's flows, and tells which it has.
pub(crate) const PATH: &str = "/hotspare/v1/flows";
/// Largest flows that are sent, credentials included. Node-RED's own limit for a deploy is 5 MB unless raised.
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// How often the active compares, besides after each deploy.
const COMPARE_EVERY: Duration = Duration::from_secs(2);
const LOOK_WITHIN: Duration = Duration::from_secs(1);
/// How long what is sent to the peer may take, and be waited for there.
pub(crate) const SEND_WITHIN: Duration = Duration::from_secs(30);
/// After a failed send, until the next one of the same revision.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// After a failed installation, until the next one of the same nodes.
const INSTALL_AGAIN_AFTER: Duration = Duration::from_secs(60);

const OUTGOING: &str = "flows-outgoing.json";
const INCOMING: &str = "flows-incoming.json";

/// What Node-RED has stored, as the module exports it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Flows {
    /// The sender's tenure; added by its launcher.
    #[serde(default)]
    pub(crate) epoch: Epoch,
    revision: String,
    /// As they are, to the byte: the order of keys is part of the revision.
    flows: Box<RawValue>,
    credentials: Box<RawValue>,
}

/// What a launcher tells its peer of its own.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// Of the flows that are loaded.
    revision: Option<String>,
    /// Whether Node-RED is up and could take others.
    takes: bool,
    /// Stands for the nodes installed there.
    #[serde(default)]
    nodes: Option<String>,
    /// Others are being installed.
    #[serde(default)]
    installing: bool,
    /// Which could not be installed.
    #[serde(default)]
    failed: Option<String>,
}

impl Stored {
    pub(crate) fn of(view: &View, installer: &Installer) -> Self {
        let status = &view.status;
        Self {
            revision: status.revision.clone(),
            takes: Shell::runs_nothing(status) && status.flows == FlowState::Stopped,
            nodes: status.nodes.clone(),
            installing: installer.is_busy(),
            failed: installer.failed(),
        }
    }
}

/// Keeps the peer's flows like this member's as long as this one is active; ends with the shell.
pub(crate) async fn keep(
    state_dir: PathBuf,
    inputs: Sender<Input>,
    deployed: Arc<Notify>,
    installer: Installer,
    tls: Expected,
) {
    // Credentials are not part of a revision: after a deploy, and at the begin of a tenure, everything is sent.
    let mut sent_under = None;
    let mut failed_at: Option<tokio::time::Instant> = None;
    let mut nodes_sent_at: Option<tokio::time::Instant> = None;
    loop {
        let is_deploy = tokio::time::timeout(COMPARE_EVERY, deployed.notified()).await.is_ok();
        let Some(view) = look(&inputs).await else { return };
        let installed = note_nodes(&view, &installer, &inputs).await;
        let epoch = view.status.tenure.filter(|_| view.status.flows == FlowState::Running);
        let (Some(epoch), Some(peer)) = (epoch, &view.peer) else {
            sent_under = None;
            if view.status.flows == FlowState::Stopped && state_dir.join(INCOMING).exists() {
                finish(&state_dir, &inputs).await;
            }
            continue;
        };
        if is_deploy {
            (sent_under, failed_at) = (None, None);
        }
        if failed_at.is_some_and(|at| at.elapsed() < AGAIN_AFTER) {
            continue;
        }
        let theirs = match ask(peer, &tls).await {
            Ok(theirs) if theirs.takes => theirs,
            // Not up, or not there: compared again soon.
            _ => continue,
        };
        let wait = if theirs.failed == installed { INSTALL_AGAIN_AFTER } else { COMPARE_EVERY };
        if installed != theirs.nodes && !theirs.installing && nodes_sent_at.is_none_or(|at| at.elapsed() >= wait) {
            nodes_sent_at = Some(tokio::time::Instant::now());
            if let (Some(user_dir), Some(installed)) = (&view.user_dir, installed)
                && let Err(why) = send_nodes(user_dir, installed, peer, &tls, epoch).await
            {
                tracing::warn!(peer = peer.member, why, "the installed nodes could not be sent to the peer");
            }
        }
        if sent_under == Some(epoch) && theirs.revision == view.status.revision {
            continue;
        }
        match send(&state_dir, &inputs, peer, &tls, epoch).await {
            Ok(()) => {
                tracing::info!(peer = peer.member, "the peer has these flows");
                (sent_under, failed_at) = (Some(epoch), None);
            }
            Err(why) => {
                tracing::warn!(peer = peer.member, why, "the flows could not be sent to the peer");
                failed_at = Some(tokio::time::Instant::now());
            }
        }
    }
}

/// Stores and loads what a peer sent.
pub(crate) async fn take(state_dir: &Path, flows: &Flows, inputs: &Sender<Input>) -> Result<(), String> {
    let text = serde_json::to_vec(flows).map_err(|e| e.to_string())?;
    write_durably(&state_dir.join(INCOMING), &text).map_err(|e| format!("the flows could not be kept: {e}"))?;
    import(state_dir, inputs).await
}

/// What was left by a crash between arrival and storing.
async fn finish(state_dir: &Path, inputs: &Sender<Input>) {
    if let Err(why) = import(state_dir, inputs).await {
        tracing::warn!(why, "flows that arrived before could not be loaded");
    }
}

async fn import(state_dir: &Path, inputs: &Sender<Input>) -> Result<(), String> {
    let path = state_dir.join(INCOMING);
    transfer(inputs, Transfer::Import, path.clone()).await?;
    fs::remove_file(path).map_err(|e| e.to_string())
}

async fn send(
    state_dir: &Path,
    inputs: &Sender<Input>,
    peer: &Peer,
    tls: &Expected,
    epoch: Epoch,
) -> Result<(), String> {
    let path = state_dir.join(OUTGOING);
    transfer(inputs, Transfer::Export, path.clone()).await?;
    let text = fs::read(&path).map_err(|e| e.to_string())?;
    fs::remove_file(&path).map_err(|e| e.to_string())?;
    let mut flows: Flows = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    flows.epoch = epoch;
    let body = serde_json::to_vec(&flows).map_err(|e| e.to_string())?;
    if body.len() > MAX_BYTES {
        return Err(format!("the flows are {} bytes; {MAX_BYTES} is the most that is sent", body.len()));
    }
    peer::request(peer, tls, Method::POST, PATH, body.into(), SEND_WITHIN).await.map(drop)
}

/// Looks which nodes are installed here and tells the guard. Not while they change.
async fn note_nodes(view: &View, installer: &Installer, inputs: &Sender<Input>) -> Option<String> {
    let (Some(user_dir), Some(run)) = (view.user_dir.clone(), view.run) else { return None };
    if installer.is_busy() {
        return None;
    }
    let installed = tokio::task::spawn_blocking(move || nodes::installed(&user_dir)).await.ok()?;
    // Begun meanwhile, or done and not restarted: what was read counts for nothing.
    if !installer.is_busy() {
        let _ = inputs.send(Input::Nodes { run, installed: installed.clone(), problem: installer.problem() }).await;
    }
    installed
}

async fn send_nodes(
    user_dir: &Path,
    installed: String,
    peer: &Peer,
    tls: &Expected,
    epoch: Epoch,
) -> Result<(), String> {
    let nodes = Nodes::read(user_dir, epoch, installed).map_err(|e| e.to_string())?;
    let body = serde_json::to_vec(&nodes).map_err(|e| e.to_string())?;
    if body.len() > nodes::MAX_BYTES {
        return Err(format!("package.json and its lock are {} bytes; {} is the most", body.len(), nodes::MAX_BYTES));
    }
    peer::request(peer, tls, Method::POST, nodes::PATH, body.into(), SEND_WITHIN).await?;
    tracing::info!(peer = peer.member, "the peer installs these nodes");
    Ok(())
}

async fn ask(peer: &Peer, tls: &Expected) -> Result<Stored, String> {
    let body = peer::request(peer, tls, Method::GET, PATH, bytes::Bytes::new(), LOOK_WITHIN).await?;
    serde_json::from_slice(&body).map_err(|e| e.to_string())
}

pub(crate) async fn look(inputs: &Sender<Input>) -> Option<View> {
    let (answer, view) = oneshot::channel();
    inputs.send(Input::Look { answer }).await.ok()?;
    view.await.ok()
}

/// Has the module carry a transfer out.
pub(crate) async fn transfer(inputs: &Sender<Input>, transfer: Transfer, path: PathBuf) -> Result<(), String> {
    let (answer, outcome) = oneshot::channel();
    let ended = || "the launcher is ending".to_owned();
    inputs.send(Input::Transfer { transfer, path, answer }).await.map_err(|_| ended())?;
    match tokio::time::timeout(SEND_WITHIN, outcome).await {
        Ok(outcome) => outcome.unwrap_or_else(|_| Err("Node-RED ended meanwhile".to_owned())),
        Err(_) => Err("Node-RED did not answer in time".to_owned()),
    }
}
