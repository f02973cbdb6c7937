//! FlowFuse's nr-launcher, unchanged, by its admin API.
//!
//! It starts and stops the Node-RED *process*; it has no call for flows alone. So a standby is cold, and a stop is a
//! fact only when three witnesses agree: its `state` is `stopped` (or `crashed`), its health-check is no longer
//! 200, and Node-RED's own port refuses. Each alone lies: the state changes before the process has gone, the
//! health-check stays 200 after a SIGKILL, and an orphan of a killed launcher serves on unknown to its successor.
//!
//! - A stop is lost while it loads settings or installs (it then starts), and in a hang it has itself noticed (it
//!   then restarts): the driver waits, looks, and orders again.
//! - One that it has found hung, and that ended well after all, looks stopped until its end has been reported to the
//!   platform, however long that takes, and is then started again: only the log tells.
//! - A stop to a Node-RED that ended by itself wedges the launcher for good: the driver looks before it orders.
//! - In a restart by somebody else `stopped` lasts two seconds: a stop not ordered here has to last longer.
//! - `running`, `ready` and the health-check say nothing about flows: they are asked themselves, by a probe where
//!   one is configured, else by Node-RED's own log.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use hotspare_tls::stream::Expected;
use hyper::StatusCode;
use serde_json::json;

use super::belief::{Belief, Operation, locked};
use super::flowfuse_look::{Looker, Process};
use super::order::{OrderError, Orders};
use super::serve::ServeProbe;
use super::{BoxFuture, Certain, Driver, DriverError, Flows, Seen};
use crate::http::HttpError;

/// Its `restart` stops, waits two seconds, and starts: for that long it looks like a stop.
const RESTART_GAP: Duration = Duration::from_millis(2500);
/// Between two looks of an operation that waits.
const AGAIN: Duration = Duration::from_millis(25);
/// Looks in a row without the launcher's answer after which a fence is given up: nobody is there to confirm it.
const UNANSWERED: u32 = 3;
/// Between two stops of one fence: a stop that was lost is given again, but not as fast as we look.
const ORDER_AGAIN: Duration = Duration::from_millis(500);

/// How an nr-launcher is reached, and how long things may take.
#[derive(Debug, Clone)]
pub struct FlowFuseSettings {
    /// `http://host:port` of the launcher's admin API, or `https://` where something in front of it speaks that.
    pub launcher: String,
    /// What that must show, if it is https.
    pub launcher_tls: Option<Expected>,
    /// `host:port` of its Node-RED.
    pub address: String,
    /// A request that only running flows answer well. Without one, Node-RED's log is believed.
    pub probe: Option<ServeProbe>,
    /// For one look.
    pub look_timeout: Duration,
    /// For a start, until the flows were seen to serve.
    pub start_timeout: Duration,
    /// For a stop, until it is a fact; above the 10 s after which the launcher kills a hung Node-RED.
    pub stop_timeout: Duration,
}

impl FlowFuseSettings {
    /// Defaults for everything but the two addresses.
    pub fn new(launcher: impl Into<String>, address: impl Into<String>) -> Self {
        Self {
            launcher: launcher.into(),
            launcher_tls: None,
            address: address.into(),
            probe: None,
            look_timeout: Duration::from_secs(1),
            start_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(15),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct FlowFuse {
    settings: FlowFuseSettings,
    looker: Looker,
    belief: Mutex<Belief>,
    /// Held for the length of an operation: one at a time.
    orders: tokio::sync::Mutex<Orders>,
}

impl FlowFuse {
    /// Nothing is asked of the launcher yet.
    pub fn new(settings: FlowFuseSettings) -> Self {
        let looker = Looker::new(&settings);
        let belief = Mutex::new(Belief::new(RESTART_GAP));
        Self { settings, looker, belief, orders: tokio::sync::Mutex::default() }
    }

    async fn observe_now(&self) -> Seen {
        let turn = locked(&self.belief).turn();
        let look = self.looker.look().await;
        let node_red = look.node_red_version.clone();
        let under_way = self.orders.try_lock().is_ok_and(|orders| orders.under_way());
        let (flows, ready) = match look.process() {
            Process::Down { .. } if under_way => {
                locked(&self.belief).forget();
                (Flows::Unknown("an order of before is not answered yet".to_owned()), Ok(()))
            }
            Process::Down { crashed: true } if !locked(&self.belief).is_confirmed() => {
                locked(&self.belief).forget();
                let why = "Node-RED has crashed: its launcher will start it again, with its flows on".to_owned();
                (Flows::Unknown(why.clone()), Err(why))
            }
            Process::Down { .. } => {
                let believed = locked(&self.belief).saw_stopped(turn, Instant::now());
                (believed.map_or_else(Flows::Unknown, |()| Flows::Stopped), Ok(()))
            }
            Process::Serves(launcher_is_well) => {
                locked(&self.belief).forget();
                let runs = self.looker.runs(&look).await;
                let flows = runs.clone().map_or_else(Flows::Unknown, |()| Flows::Running);
                (flows, launcher_is_well.and(runs))
            }
            Process::Unclear(why) => {
                locked(&self.belief).forget();
                (Flows::Unknown(why.clone()), Err(why))
            }
        };
        Seen { flows, up: look.port_answers(), reachable: look.launcher_answers(), ready, node_red, revision: None }
    }

    async fn command(&self, orders: &mut Orders, cmd: &str, patience: Duration) -> Result<StatusCode, OrderError> {
        if let Err(OrderError::UnderWay(waited)) = orders.wait(patience).await {
            return Err(OrderError::UnderWay(waited));
        }
        let url = format!("{}/flowforge/command", self.settings.launcher.trim_end_matches('/'));
        let answer =
            orders.give(url, json!({ "cmd": cmd }), None, self.settings.launcher_tls.clone(), patience).await?;
        match answer.status.as_u16() {
            200 | 409 => Ok(answer.status),
            _ => Err(HttpError::Failed(format!("'{cmd}' answered {}", answer.status)).into()),
        }
    }

    async fn start_process(&self) -> Result<(), DriverError> {
        let mut orders = self.orders.lock().await;
        let _operation = Operation::begin(&self.belief, "a start");
        locked(&self.belief).forget();
        let deadline = Instant::now() + self.settings.start_timeout;
        let before = self.looker.look().await;
        if let Process::Serves(Err(why)) = before.process() {
            return Err(DriverError(format!("not started: {why}")));
        }
        let already = matches!(before.process(), Process::Serves(Ok(())));
        if !already {
            match self.command(&mut orders, "start", self.settings.start_timeout).await {
                Ok(_) => {}
                Err(e) => return Err(DriverError(format!("start: {e}; a launcher that answers nothing is wedged"))),
            }
        }
        loop {
            let look = self.looker.look().await;
            let why = match look.process() {
                Process::Serves(Ok(())) => match self.looker.runs_now(&look).await {
                    Ok(()) => return Ok(()),
                    Err(why) => why,
                },
                Process::Serves(Err(why)) | Process::Unclear(why) => why,
                Process::Down { crashed: true } => "Node-RED has crashed".to_owned(),
                // It answers `{}` also when it could not load its settings, and then it has started nothing.
                Process::Down { crashed: false } => {
                    return Err(DriverError(format!(
                        "the start was answered, but the launcher says '{}' and nothing serves: does it reach its platform?",
                        look.state()
                    )));
                }
            };
            if Instant::now() >= deadline {
                return Err(DriverError(format!("started, but its flows do not serve: {why}")));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn stop_process(&self) -> Result<Certain, DriverError> {
        let mut orders = self.orders.lock().await;
        let _operation = Operation::begin(&self.belief, "a stop");
        let deadline = Instant::now() + self.settings.stop_timeout;
        let mut ordered: Option<Instant> = None;
        let mut unanswered = 0;
        loop {
            let look = self.looker.look().await;
            let now = Instant::now();
            unanswered = if look.launcher_answers() { 0 } else { unanswered + 1 };
            let why = match look.process() {
                Process::Down { crashed: true } if ordered.is_none() => "Node-RED has crashed".to_owned(),
                Process::Down { .. } => {
                    if ordered.is_some() {
                        locked(&self.belief).confirm(now);
                    }
                    match locked(&self.belief).left(now) {
                        Duration::ZERO => return Ok(Certain::ProcessGone),
                        left => format!("stopped by somebody else; believed in {} ms", left.as_millis()),
                    }
                }
                Process::Serves(Err(why)) | Process::Unclear(why) => why,
                Process::Serves(Ok(())) => "it serves".to_owned(),
            };
            if look.may_be_ordered_to_stop() && ordered.is_none_or(|at| at.elapsed() >= ORDER_AGAIN) {
                locked(&self.belief).forget();
                let patience = deadline.saturating_duration_since(now).max(AGAIN);
                match self.command(&mut orders, "stop", patience).await {
                    Ok(_) => ordered = Some(Instant::now()),
                    Err(e) => return Err(DriverError(format!("stop: {e}"))),
                }
                continue;
            }
            if now >= deadline || unanswered >= UNANSWERED {
                return Err(DriverError(format!("not confirmed: {why}")));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl Driver for FlowFuse {
    fn kind(&self) -> &'static str {
        "flowfuse"
    }

    fn observe(&self) -> BoxFuture<'_, Seen> {
        Box::pin(self.observe_now())
    }

    fn start(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        Box::pin(self.start_process())
    }

    fn fence(&self) -> BoxFuture<'_, Result<Certain, DriverError>> {
        Box::pin(self.stop_process())
    }

    /// Its standby is cold: there is nothing to restart, and the next start is a fresh one.
    fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        Box::pin(async { self.stop_process().await.map(|_| ()) })
    }
}
