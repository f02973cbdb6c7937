//! What the admin API shows.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hotspare_decide::message::{MemberStatus, Peer};

use super::{Current, Shell, now};
use crate::resources::Samples;

/// What is so, for the admin API.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) status: MemberStatus,
    pub(crate) pid: Option<i32>,
    pub(crate) port: Option<u16>,
    /// Which process it is, counted from the launcher's start; `None` while there is none.
    pub(crate) run: Option<u64>,
    pub(crate) user_dir: Option<PathBuf>,
    pub(crate) node: Option<String>,
    /// Wall clock in milliseconds.
    pub(crate) started_ms: Option<u64>,
    pub(crate) boot_ms: Option<u64>,
    pub(crate) safe: bool,
    /// Node-RED was told to stop and stays down.
    pub(crate) down_by_request: bool,
    /// The event loop turns: the last beat is fresh and its lag below the limit.
    pub(crate) alive: bool,
    pub(crate) last_ending: Option<String>,
    pub(crate) links: Vec<(String, bool)>,
    pub(crate) peer: Option<Peer>,
    /// How often files of context stores go to the peer, if they do.
    pub(crate) context_every: Option<Duration>,
    pub(crate) ignored: u64,
    pub(crate) dropped_lines: u64,
    pub(crate) resources: Arc<Mutex<Samples>>,
}

impl Shell {
    pub(super) fn view(&self) -> View {
        let status = self.guard.status(now());
        let current = self.current.as_ref();
        let hang_after = self.guard.record().settings.unwrap_or_default().hang_after;
        let fresh = |c: &Current| {
            c.beat.is_some_and(|(_, at)| at.until(now()) < hang_after)
                && Duration::from_millis(c.lag_ms.into()) < hang_after
        };
        View {
            pid: current.map(|c| c.red.pid().as_raw_nonzero().get()),
            port: current.and_then(|c| c.port),
            run: current.map(|c| c.run),
            user_dir: current.and_then(|c| c.user_dir.clone()),
            node: current.and_then(|c| c.node.clone()),
            started_ms: current.map(|c| c.started_ms),
            boot_ms: current.and_then(|c| c.boot_ms),
            safe: current.is_some_and(|c| c.safe),
            down_by_request: self.down_by_request,
            alive: current.is_some_and(fresh),
            last_ending: self.last_ending.clone(),
            links: self.parts.args.controllers.iter().cloned().zip(self.outboxes.iter().map(Option::is_some)).collect(),
            peer: self.guard.record().peer.clone(),
            context_every: self
                .guard
                .record()
                .settings
                .and_then(|settings| settings.context_every_s.map(|seconds| Duration::from_secs(seconds.get().into()))),
            ignored: self.guard.ignored(),
            dropped_lines: self.parts.output.dropped(),
            resources: Arc::clone(&self.resources),
            status,
        }
    }
}
