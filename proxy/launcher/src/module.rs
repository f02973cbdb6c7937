//! The launcher's end of the module inside Node-RED: its files, its environment, its messages.
//!
//! Owns: what is written to disk for Node-RED to load, the variables that make it load, and the two message types on
//! the socket. Never decides whether flows may run; that is the guard's. Next: `module/hotspare.js`, then `node_red`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const FILES: [(&str, &str); 4] = [
    (ATTACH, include_str!("../module/attach.js")),
    ("hotspare.js", include_str!("../module/hotspare.js")),
    ("worker.js", include_str!("../module/worker.js")),
    ("clock.js", include_str!("../module/clock.js")),
];

/// Loads the others into a Node-RED that another launcher starts.
const ATTACH: &str = "attach.js";

/// After the lease's end, how long the module's own thread lets the process live. The launcher kills at the end
/// itself; this is for when it cannot. Well within the kill budget of 200 ms that the grantor adds.
pub(crate) const KILL_GRACE_MS: u32 = 50;

/// Exit code of a Node-RED that the module refuses to let go on (see `refuse` in hotspare.js).
pub(crate) const EXIT_REFUSED: i32 = 70;

/// What the module sends, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Report {
    /// The module was loaded by a process that is about to become Node-RED.
    Hello { pid: i32, node: String },
    /// The gate is in place and was tried.
    Attached {
        node_red: String,
        /// Node-RED's user folder.
        #[serde(default)]
        user_dir: Option<PathBuf>,
    },
    /// Node-RED answers HTTP on this port.
    Listening { port: u16 },
    /// Every 50 ms from a thread of its own, and at once when `status` changes.
    Beat {
        seq: u64,
        /// How long the event loop has not turned, beyond its usual interval.
        lag_ms: u32,
        #[serde(flatten)]
        status: Status,
    },
    /// Answer to [`Order::Start`].
    Started {
        id: u64,
        ok: bool,
        #[serde(default)]
        kind: String,
        #[serde(default)]
        text: String,
    },
    /// Answer to [`Order::Stop`]: no flow runs, each node has closed.
    Stopped { id: u64 },
    /// Someone deployed flows, here in the editor or through the admin API.
    Deploy { revision: Option<String>, missing_types: Vec<String> },
    /// Answer to [`Order::Export`] and [`Order::Import`].
    Transferred {
        id: u64,
        ok: bool,
        #[serde(default)]
        text: String,
    },
    /// This Node-RED lacks something that the gate is built on; the process ends itself.
    Broken { text: String },
    /// From a module of another version.
    #[serde(other)]
    Unknown,
}

/// What Node-RED does, as its main thread last said.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Status {
    pub(crate) flows: Flows,
    pub(crate) epoch: Option<u64>,
    /// Why the flows stand still although they were ordered to run.
    #[serde(default)]
    pub(crate) halted: Option<String>,
    /// Node types that the flows need and that are not installed: nothing of the flows would run.
    pub(crate) missing_types: Vec<String>,
    /// Why a start of flows would fail, missing types included; `None` when it would not.
    pub(crate) ready: Option<String>,
    pub(crate) revision: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Flows {
    Booting,
    Stopped,
    Starting,
    Running,
    Stopping,
}

/// What the launcher sends, one JSON object a line. `left_ms` counts from when the module sent the beat `beat`:
/// an order that waited in the socket of a frozen process cannot re-arm a lease that is over.
#[derive(Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Order {
    Lease {
        beat: u64,
        left_ms: f64,
    },
    Start {
        id: u64,
        epoch: u64,
    },
    Stop {
        id: u64,
    },
    /// Stand still: a drill.
    Hang,
    /// Write the stored flows to a file, their credentials sealed with `key` (32 bytes in hexadecimal digits).
    Export {
        id: u64,
        path: PathBuf,
        key: String,
    },
    /// Store and load the flows of a file. Refused while flows run here.
    Import {
        id: u64,
        path: PathBuf,
        key: String,
    },
    /// The same with the files of context stores.
    ExportContext {
        id: u64,
        path: PathBuf,
        key: String,
    },
    ImportContext {
        id: u64,
        path: PathBuf,
        key: String,
    },
}

/// Writes the module's files below `state_dir` and returns the one for `node --require`.
pub(crate) fn install(state_dir: &Path) -> io::Result<PathBuf> {
    let dir = state_dir.join(FOLDER);
    fs::create_dir_all(&dir)?;
    for (name, text) in FILES {
        replace(&dir.join(name), text)?;
    }
    fs::canonicalize(dir.join("hotspare.js"))
}

/// The file that `NODE_OPTIONS` of a Node-RED that another launcher starts has to name.
pub(crate) fn attached_entry(state_dir: &Path) -> PathBuf {
    state_dir.join(FOLDER).join(ATTACH)
}

/// Tells the module in a Node-RED that another launcher starts who it is and where to call.
pub(crate) fn tell_attached(
    state_dir: &Path,
    member: &str,
    socket: &Path,
    node_close_timeout_ms: Option<u64>,
) -> io::Result<()> {
    let config = serde_json::json!({
        "member": member,
        "grace_ms": KILL_GRACE_MS,
        "node_close_timeout_ms": node_close_timeout_ms,
        "socket": socket,
    });
    replace(&state_dir.join(FOLDER).join("attach.json"), &config.to_string())
}

/// Below the state folder.
const FOLDER: &str = "module";

/// A process that loads it meanwhile finds the old text or the new.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, path)
}

/// The variables that load the module into Node-RED; `safe` asks for Node-RED's own safe mode. Should Node.js ignore `NODE_OPTIONS`, the third one keeps the
/// flows from starting; the module takes all of them away again before any flow or child process could see them.
pub(crate) fn environment(
    entry: &Path,
    member: &str,
    node_close_timeout_ms: Option<u64>,
    safe: bool,
) -> BTreeMap<&'static str, String> {
    let before = std::env::var("NODE_OPTIONS").ok();
    let safe_mode = if safe { Some("true".to_owned()) } else { std::env::var("NODE_RED_ENABLE_SAFE_MODE").ok() };
    let require = format!("--require=\"{}\"", entry.display().to_string().replace('\\', "\\\\").replace('"', "\\\""));
    let options = match &before {
        Some(before) => format!("{require} {before}"),
        None => require,
    };
    let config = serde_json::json!({
        "member": member,
        "grace_ms": KILL_GRACE_MS,
        "node_close_timeout_ms": node_close_timeout_ms,
        "restore_env": {
            "NODE_OPTIONS": before,
            "NODE_RED_ENABLE_SAFE_MODE": safe_mode,
            "HOTSPARE_MODULE": null,
            "HOTSPARE_FD": null,
        },
    });
    BTreeMap::from([
        ("NODE_OPTIONS", options),
        ("HOTSPARE_MODULE", config.to_string()),
        ("NODE_RED_ENABLE_SAFE_MODE", "true".to_owned()),
    ])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_beat_is_read_and_an_unknown_report_is_no_error() {
        let beat = r#"{"type":"beat","seq":3,"lag_ms":7,"flows":"stopped","epoch":null,"missing_types":[],"ready":null,"revision":"r"}"#;
        let Report::Beat { seq: 3, lag_ms: 7, status } = serde_json::from_str(beat).unwrap() else {
            panic!("not read as a beat");
        };
        assert_eq!(status.flows, Flows::Stopped);
        assert_eq!(serde_json::from_str::<Report>(r#"{"type":"from_the_future","x":1}"#).unwrap(), Report::Unknown);
    }

    #[test]
    fn an_order_is_written_as_the_module_reads_it() {
        let lease = serde_json::to_string(&Order::Lease { beat: 3, left_ms: 950.5 }).unwrap();
        assert_eq!(lease, r#"{"type":"lease","beat":3,"left_ms":950.5}"#);
        let start = serde_json::to_string(&Order::Start { id: 1, epoch: 7 }).unwrap();
        assert_eq!(start, r#"{"type":"start","id":1,"epoch":7}"#);
    }

    #[test]
    fn a_path_with_spaces_and_quotes_survives_node_options() {
        let env = environment(Path::new(r#"/a b/"c"/hotspare.js"#), "a", None, false);
        assert!(env["NODE_OPTIONS"].starts_with(r#"--require="/a b/\"c\"/hotspare.js""#), "{}", env["NODE_OPTIONS"]);
    }
}
