//! Files of context stores (`localfilesystem`) are copied from the active to its spare, at an interval, where that is
//! configured. Best effort: a failover loses what changed since the last copy, and since Node-RED last wrote.
//!
//! Owns: when, and the file in between. The module reads and writes the stores; the text is sealed with the pair's key.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hotspare_decide::Epoch;
use hotspare_decide::message::FlowState;
use hotspare_tls::stream::Expected;
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep};

use crate::peer;
use crate::record::write_durably;
use crate::shell::{Input, Transfer};
use crate::sync::{look, transfer};

/// Where a launcher takes its peer's context.
pub(crate) const PATH: &str = "/hotspare/v1/context";
/// Largest context that is copied.
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// How often it is looked whether a copy is due: the shortest interval that can be configured.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const SEND_WITHIN: Duration = Duration::from_secs(30);

const OUTGOING: &str = "context-outgoing.json";
const INCOMING: &str = "context-incoming.json";

/// The stores of the active.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Context {
    /// The sender's tenure.
    pub(crate) epoch: Epoch,
    sealed: Box<RawValue>,
}

/// Copies as long as this member is active; ends with the shell.
pub(crate) async fn keep(state_dir: PathBuf, inputs: Sender<Input>, tls: Expected) {
    let mut copied = Instant::now();
    loop {
        sleep(LOOK_EVERY).await;
        let Some(view) = look(&inputs).await else { return };
        let runs = view.status.flows == FlowState::Running;
        let (Some(every), Some(peer), Some(epoch)) =
            (view.context_every, &view.peer, view.status.tenure.filter(|_| runs))
        else {
            continue;
        };
        if copied.elapsed() < every {
            continue;
        }
        copied = Instant::now();
        if let Err(why) = send(&state_dir, &inputs, peer, &tls, epoch).await {
            tracing::warn!(peer = peer.member, why, "the context could not be copied to the peer");
        }
    }
}

async fn send(
    state_dir: &Path,
    inputs: &Sender<Input>,
    peer: &hotspare_decide::message::Peer,
    tls: &Expected,
    epoch: Epoch,
) -> Result<(), String> {
    let path = state_dir.join(OUTGOING);
    transfer(inputs, Transfer::ExportContext, path.clone()).await?;
    let text = fs::read_to_string(&path).map_err(|e| e.to_string())?;
    fs::remove_file(&path).map_err(|e| e.to_string())?;
    let sealed = RawValue::from_string(text).map_err(|e| e.to_string())?;
    let body = serde_json::to_vec(&Context { epoch, sealed }).map_err(|e| e.to_string())?;
    if body.len() > MAX_BYTES {
        return Err(format!("it is {} bytes; {MAX_BYTES} is the most that is copied", body.len()));
    }
    peer::request(peer, tls, Method::POST, PATH, body.into(), SEND_WITHIN).await.map(drop)
}

/// Puts the peer's context in place of this member's. The caller has seen that no flows run here.
pub(crate) async fn take(state_dir: &Path, context: &Context, inputs: &Sender<Input>) -> Result<(), String> {
    let path = state_dir.join(INCOMING);
    write_durably(&path, context.sealed.get().as_bytes()).map_err(|e| e.to_string())?;
    let outcome = transfer(inputs, Transfer::ImportContext, path.clone()).await;
    fs::remove_file(path).map_err(|e| e.to_string())?;
    outcome
}
