//! A leader that hears no member of any instance gives leadership up: it can decide nothing, and another proxy may see
//! more. It joins again as one that follows.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::config::Config;
use crate::engine::Handle;
use crate::engine::status::Status;
use crate::store::group::GroupStore;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Should nobody else lead, it comes back to us; then the next attempt waits longer, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Watches until the engine has stopped.
pub(super) async fn watch(config: Config, engine: Handle, group: GroupStore) {
    let patience = config.store.lead_for;
    let mut pause = patience;
    let mut unseen_since = None;
    loop {
        sleep(LOOK_EVERY).await;
        let Some(status) = engine.status().await else { return };
        if sees(&status, patience) {
            (pause, unseen_since) = (patience, None);
            continue;
        }
        let since: Instant = *unseen_since.get_or_insert_with(Instant::now);
        if !status.controller.leader || since.elapsed() < patience {
            continue;
        }
        tracing::warn!("this proxy hears no member at all, and lets another decide");
        group.release().await;
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        unseen_since = None;
        if let Err(error) = group.rejoin(&config, engine.clone()).await {
            tracing::error!(error, "this proxy can't lead any more: restart it");
            return;
        }
    }
}

/// Some member was heard of late, or there is none.
fn sees(status: &Status, patience: Duration) -> bool {
    let mut members = status.instances.iter().flat_map(|instance| &instance.members).peekable();
    let limit = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    members.peek().is_none() || members.any(|member| member.heard_ms.is_some_and(|ago| ago < limit))
}
