//! One look at an nr-launcher and its Node-RED: three questions at once, and what the answers mean together.
//!
//! Changes nothing. What to do about it is `flowfuse.rs`'s.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hotspare_tls::stream::Expected;
use hyper::StatusCode;
use serde::Deserialize;

use super::FlowFuseSettings;
use super::serve::{self, Port, ServeProbe};
use crate::http::{Ask, HttpError};

/// How old a verdict read from the log may be: the log is up to a thousand entries long.
const LOG_KEEP: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Deserialize)]
struct Info {
    state: String,
    #[serde(rename = "lastStartTime", default)]
    last_start_time: i64,
    #[serde(default)]
    versions: std::collections::BTreeMap<String, serde_json::Value>,
    /// By its log no process is left and none will be started, whatever state and health-check say.
    #[serde(skip)]
    at_rest: bool,
    /// Why it will, or may, start Node-RED again by itself although it says `stopped`.
    #[serde(skip)]
    starts_again: Option<String>,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Look {
    info: Result<Info, String>,
    healthy: Result<bool, String>,
    port: Port,
    /// Node-RED's version as the launcher tells it.
    pub node_red_version: Option<String>,
}

/// What the answers mean together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// All three witnesses agree that no Node-RED process is left now. `crashed`: it will be started again unless
    /// the launcher has been told to stop.
    Down {
        /// The launcher's word is `crashed`, not `stopped`.
        crashed: bool,
    },
    /// Node-RED answers. `Err`: its launcher doesn't own it, doesn't answer, or is about to end it.
    Serves(Result<(), String>),
    /// Neither, and why.
    Unclear(String),
}

impl Look {
    /// The launcher's word for its state.
    pub(super) fn state(&self) -> &str {
        self.info.as_ref().map_or("(no answer)", |info| &info.state)
    }

    /// When the launcher last started Node-RED, ms since 1970 by its clock.
    fn start(&self) -> i64 {
        self.info.as_ref().map_or(0, |info| info.last_start_time)
    }

    pub(super) fn launcher_answers(&self) -> bool {
        self.info.is_ok()
    }

    pub(super) fn port_answers(&self) -> bool {
        matches!(self.port, Port::Answers(_))
    }

    pub(super) fn process(&self) -> Process {
        let info = match &self.info {
            Ok(info) => info,
            Err(why) if self.port_answers() => {
                return Process::Serves(Err(format!("Node-RED serves, its launcher does not answer ({why})")));
            }
            Err(why) => return Process::Unclear(format!("its launcher does not answer: {why}")),
        };
        let healthy = match &self.healthy {
            Ok(healthy) => *healthy && !info.at_rest,
            Err(why) => return Process::Unclear(format!("the launcher's health-check does not answer: {why}")),
        };
        let ended = matches!(info.state.as_str(), "stopped" | "crashed");
        match &self.port {
            Port::Refuses if ended && !healthy && info.starts_again.is_some() => {
                Process::Unclear(info.starts_again.clone().unwrap_or_default())
            }
            Port::Refuses if ended && !healthy => Process::Down { crashed: info.state == "crashed" },
            Port::Refuses => Process::Unclear(format!(
                "its port refuses, but the launcher says '{}' and its health-check is {}",
                info.state,
                if healthy { "200: ending, to be restarted, or wedged" } else { "500" }
            )),
            Port::Answers(_) if !healthy => Process::Serves(Err(format!(
                "a Node-RED serves that its launcher ('{}') does not own: an orphan, to be ended by hand",
                info.state
            ))),
            Port::Answers(_) if ended => {
                Process::Serves(Err(format!("Node-RED still serves while its launcher says '{}'", info.state)))
            }
            Port::Answers(_) => Process::Serves(Ok(())),
            Port::Silent(why) => {
                Process::Unclear(format!("the launcher says '{}', Node-RED does not answer: {why}", info.state))
            }
        }
    }

    /// Whether a stop would take effect now. In `loading` and `installing` it would be overridden by the start that
    /// follows; in `stopped` there is nothing to stop, and a launcher whose Node-RED ended by itself would wait for
    /// ever for an end that has been.
    pub(super) fn may_be_ordered_to_stop(&self) -> bool {
        matches!(self.state(), "starting" | "running" | "safe" | "crashed" | "stopping")
    }
}

/// What the log said, when, and about which start.
#[derive(Debug, Clone)]
struct LogRead {
    at: Instant,
    start: i64,
    verdict: Result<(), String>,
}

/// Asks the launcher and its Node-RED.
#[derive(Debug)]
pub(super) struct Looker {
    launcher: String,
    launcher_tls: Option<Expected>,
    address: String,
    probe: Option<ServeProbe>,
    timeout: Duration,
    log: Mutex<Option<LogRead>>,
    /// The start whose end was seen to be one that its launcher lets be.
    let_be: Mutex<Option<i64>>,
}

impl Looker {
    pub(super) fn new(settings: &FlowFuseSettings) -> Self {
        Self {
            launcher: settings.launcher.trim_end_matches('/').to_owned(),
            launcher_tls: settings.launcher_tls.clone(),
            address: settings.address.clone(),
            probe: settings.probe.clone(),
            timeout: settings.look_timeout,
            log: Mutex::default(),
            let_be: Mutex::default(),
        }
    }

    /// Asks all three at once.
    pub(super) async fn look(&self) -> Look {
        let port = serve::look(&self.address, None, self.probe.as_ref(), self.timeout);
        let (info, healthy, port) = tokio::join!(self.info(), self.healthy(), port);
        let version = info.as_ref().ok().and_then(|i| i.versions.get("node-red")).and_then(|v| v.as_str());
        Look { node_red_version: version.map(str::to_owned), info, healthy, port }
    }

    async fn info(&self) -> Result<Info, String> {
        let answer = self.get("/flowforge/info").await.map_err(|e| e.to_string())?;
        let mut info: Info = answer.json().map_err(|e| e.to_string())?;
        // Two states that are left standing where they should be 'stopped'; only the log tells.
        if matches!(info.state.as_str(), "loading" | "crashed")
            && self.entries().await.is_ok_and(|entries| is_at_rest(&entries))
        {
            "stopped".clone_into(&mut info.state);
            info.at_rest = true;
        } else if info.state == "stopped" {
            info.starts_again = self.starts_again(info.last_start_time).await;
        }
        Ok(info)
    }

    /// Whether a launcher that says `stopped` has found its Node-RED hung: it then forgets every stop and starts it again as
    /// soon as it has reported the end, however long that takes. Only the log tells; asked once for each start.
    async fn starts_again(&self, start: i64) -> Option<String> {
        if *self.let_be.lock().unwrap_or_else(PoisonError::into_inner) == Some(start) {
            return None;
        }
        match self.entries().await {
            Ok(entries) if found_hung(&entries) => {
                Some("its launcher has found it hung, and will start it again when it has reported its end".to_owned())
            }
            Ok(_) => {
                *self.let_be.lock().unwrap_or_else(PoisonError::into_inner) = Some(start);
                None
            }
            Err(why) => Some(format!("whether its launcher starts it again is not known: its log: {why}")),
        }
    }

    async fn healthy(&self) -> Result<bool, String> {
        let answer = self.get("/flowforge/health-check").await.map_err(|e| e.to_string())?;
        Ok(answer.status == StatusCode::OK)
    }

    async fn get(&self, path: &str) -> Result<crate::http::Answer, HttpError> {
        let url = format!("{}{path}", self.launcher);
        Ask::get(&url, self.timeout).tls(self.launcher_tls.as_ref()).send().await
    }

    /// Whether the flows of a Node-RED that answers do run; the log's word may be [`LOG_KEEP`] old.
    pub(super) async fn runs(&self, look: &Look) -> Result<(), String> {
        match self.known(look.start()) {
            Some(known) if self.probe.is_none() && known.at.elapsed() < LOG_KEEP => known.verdict,
            _ => self.runs_now(look).await,
        }
    }

    /// As [`Looker::runs`], with the log as it is now.
    pub(super) async fn runs_now(&self, look: &Look) -> Result<(), String> {
        match (&self.probe, &look.port) {
            (Some(probe), Port::Answers(status)) if probe.accepts(*status) => Ok(()),
            (Some(probe), Port::Answers(status)) => {
                let log = self.read_log(look.start()).await.err().map_or_else(String::new, |why| format!(" ({why})"));
                Err(format!("GET {} answers {status}{log}", probe.path))
            }
            (None, Port::Answers(_)) => self.read_log(look.start()).await,
            (_, Port::Refuses | Port::Silent(_)) => Err("its port does not answer".to_owned()),
        }
    }

    fn known(&self, start: i64) -> Option<LogRead> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(|known| known.start == start)
    }

    async fn entries(&self) -> Result<Vec<LogEntry>, HttpError> {
        self.get("/flowforge/logs").await?.json()
    }

    async fn read_log(&self, start: i64) -> Result<(), String> {
        let entries =
            self.entries().await.map_err(|e| format!("whether its flows run is not known: the launcher's log: {e}"))?;
        let said = verdict(&entries, start);
        let before = self.known(start).map(|known| known.verdict);
        let verdict =
            said.or(before).unwrap_or_else(|| Err("its log does not say yet whether its flows run".to_owned()));
        let read = LogRead { at: Instant::now(), start, verdict: verdict.clone() };
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
        verdict
    }
}

#[derive(Debug, Deserialize)]
struct LogEntry {
    /// Milliseconds since 1970, then four digits that number the entries of one millisecond.
    #[serde(default)]
    ts: serde_json::Value,
    #[serde(default)]
    msg: serde_json::Value,
}

impl LogEntry {
    /// Milliseconds since 1970.
    fn at(&self) -> Option<i64> {
        let ts = self.ts.as_str().map_or_else(|| self.ts.to_string(), str::to_owned);
        ts.get(..ts.len().saturating_sub(4))?.parse().ok()
    }
}

/// Whether the launcher does nothing until its next command: it has loaded its settings and found that nothing is to be
/// started, or it has given up a Node-RED that crashed in safe mode too.
fn is_at_rest(entries: &[LogEntry]) -> bool {
    let told = entries.iter().rev().filter_map(|entry| entry.msg.as_str()).find(|text| {
        ["Loading project settings", "Target state is ", "Starting Node-RED", GIVEN_UP]
            .iter()
            .any(|t| text.starts_with(t))
    });
    told.is_some_and(|text| text == "Target state is 'stopped'" || text == GIVEN_UP)
}

/// Whether the launcher has found its Node-RED hung and has not started it again since. It kills one within ten seconds:
/// a log that reaches back no further than that may have lost the line.
fn found_hung(entries: &[LogEntry]) -> bool {
    const KILLS_WITHIN_MS: i64 = 15_000;
    let last = entries.iter().rev().filter_map(|entry| entry.msg.as_str()).find(|text| {
        ["Starting Node-RED", "Node-RED unexpectedly stopped", "Loading project settings", HUNG]
            .iter()
            .any(|told| text.starts_with(told))
    });
    let reach = || Some(entries.last()?.at()? - entries.first()?.at()?);
    match last {
        Some(text) => text.starts_with(HUNG),
        None => reach().is_some_and(|reach| reach < KILLS_WITHIN_MS),
    }
}

/// The launcher's words when it has found its Node-RED hung.
const HUNG: &str = "Node-RED hang detected";

/// The launcher's words when it starts a Node-RED no more.
const GIVEN_UP: &str = "Node-RED restart loop detected whilst in safe mode. Stopping.";

/// What Node-RED itself logged last about its flows since the start at `start` (ms since 1970); `None` if it did not.
/// Its log is in English unless the instance sets another language. The launcher keeps its last thousand entries: a
/// Node-RED that has logged more than that since its start is taken to run.
fn verdict(entries: &[LogEntry], start: i64) -> Option<Result<(), String>> {
    let scrolled = entries.first().and_then(LogEntry::at).is_some_and(|first| first > start);
    let mut last = if scrolled { Some(Ok(())) } else { None };
    // The launcher notes the time of a start when the process has been spawned: the same millisecond counts.
    for entry in entries.iter().filter(|entry| entry.at().is_some_and(|at| at >= start)) {
        let Some(text) = entry.msg.as_str() else { continue };
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.starts_with(phrase));
        if says(&["Started flows", "Started modified"]) {
            last = Some(Ok(()));
        } else if says(&["Stopped flows", "Stopping flows"]) {
            last = Some(Err("its flows are stopped (the platform keeps that per instance)".to_owned()));
        } else if says(&["Flows stopped in safe mode"]) {
            last = Some(Err("safe mode: no flow runs until the next deploy starts them".to_owned()));
        } else if says(&["Waiting for missing types"]) {
            last = Some(Err("missing node types: nothing runs until they are installed".to_owned()));
        } else if says(&["Failed to load external modules"]) {
            last = Some(Err("missing modules: nothing runs".to_owned()));
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[(i64, &str)]) -> Vec<LogEntry> {
        lines.iter().map(|(ms, msg)| LogEntry { ts: format!("{ms}0000").into(), msg: (*msg).into() }).collect()
    }

    #[test]
    fn the_last_word_since_the_start_counts() {
        let entries =
            log(&[(90, "Started flows"), (100, "Starting flows"), (101, "Flows stopped in safe mode. Deploy")]);
        assert!(verdict(&entries, 100).is_some_and(|v| v.is_err()));
        assert!(verdict(&log(&[(90, "Started flows"), (100, "x")]), 100).is_none(), "that was the start before");
        assert_eq!(verdict(&log(&[(100, "Stopped flows"), (101, "Started flows")]), 100), Some(Ok(())));
    }

    #[test]
    fn a_launcher_that_loads_or_starts_again_is_not_at_rest() {
        assert!(is_at_rest(&log(&[(1, "Loading project settings"), (2, "Target state is 'stopped'"), (3, "x")])));
        assert!(!is_at_rest(&log(&[(1, "Target state is 'stopped'"), (2, "Loading project settings")])));
        assert!(!is_at_rest(&log(&[(1, "Loading project settings"), (2, "Target state is 'running'")])));
        assert!(is_at_rest(&log(&[(1, "Starting Node-RED"), (2, GIVEN_UP)])));
        assert!(!is_at_rest(&log(&[(1, GIVEN_UP), (2, "Starting Node-RED")])));
    }

    #[test]
    fn a_node_red_that_was_found_hung_is_started_again_whatever_was_ordered_since() {
        let hung = [(10, "Starting Node-RED"), (20, HUNG), (21, "Stopping Node-RED"), (22, "Node-RED exited rc=0")];
        assert!(found_hung(&log(&hung)));
        assert!(!found_hung(&log(&[&hung[..], &[(23, "Node-RED unexpectedly stopped after: 9s")]].concat())));
        assert!(!found_hung(&log(&[
            (10, "Starting Node-RED"),
            (20, "Stopping Node-RED"),
            (21, "Node-RED exited rc=0")
        ])));
        assert!(found_hung(&log(&[(100, "chatter"), (9_000, "chatter")])), "the line may have scrolled away");
        assert!(!found_hung(&log(&[(100, "chatter"), (19_000, "chatter")])));
    }

    #[test]
    fn a_log_that_no_longer_reaches_back_to_the_start_is_no_alarm() {
        assert_eq!(verdict(&log(&[(200, "chatter"), (201, "chatter")]), 100), Some(Ok(())));
    }
}
