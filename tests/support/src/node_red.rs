//! A userDir for a real Node-RED: settings, flows and credentials of one member.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::environment::NodeRed;
use crate::flows::Flows;

/// The secret with which both members encrypt their credentials: a pair has to share it.
const CREDENTIAL_SECRET: &str = "only for tests";

/// Writes a userDir for a Node-RED that listens on `address` into `folder`.
///
/// # Panics
/// If a file can't be written.
pub fn write_user_dir(folder: &Path, address: SocketAddr, flows: &Flows) {
    write_user_dir_with(folder, address, flows, None);
}

/// The same for one that speaks https, with this certificate and key, if there are some.
///
/// # Panics
/// If a file can't be written.
pub fn write_user_dir_with(folder: &Path, address: SocketAddr, flows: &Flows, https: Option<(&Path, &Path)>) {
    fs::create_dir_all(folder).expect("create the userDir");
    let read = |file: &Path| format!("require('fs').readFileSync({})", json!(file));
    let https =
        https.map_or_else(String::new, |(cert, key)| format!("https: {{ cert: {}, key: {} }},", read(cert), read(key)));
    let settings = format!(
        "module.exports = {{
    uiHost: {host}, uiPort: {port}, flowFile: {flow_file}, credentialSecret: {secret},
    runtimeState: {{ enabled: true, ui: true }}, {https}
    functionGlobalContext: {{
        // Nanoseconds of CLOCK_MONOTONIC: the same clock for every process of the machine.
        monotonic: () => Number(process.hrtime.bigint()),
        exit: code => process.exit(code),
    }},
    telemetry: {{ enabled: false, updateNotification: false }},
    editorTheme: {{ projects: {{ enabled: false }}, tours: false }},
    logging: {{ console: {{ level: 'info', metrics: false, audit: false }} }},
}};
",
        host = json!(address.ip().to_string()),
        port = address.port(),
        flow_file = json!(flow_file(folder)),
        secret = json!(CREDENTIAL_SECRET),
    );
    write(&folder.join("settings.js"), &settings);
    write(&folder.join("package.json"), "{\"name\":\"node-red-project\",\"version\":\"0.0.1\",\"private\":true}\n");
    write_flows(folder, flows);
}

/// Replaces the flows of a userDir, as something other than Node-RED would.
///
/// # Panics
/// If a file can't be written.
pub fn write_flows(folder: &Path, flows: &Flows) {
    write(&flow_file(folder), &flows.json().to_string());
    if flows.credentials_json().as_object().is_some_and(|all| !all.is_empty()) {
        write(&folder.join("flows_cred.json"), &flows.credentials_json().to_string());
    }
}

/// The command that runs Node-RED with this userDir.
pub fn command(version: NodeRed, folder: &Path) -> Vec<String> {
    let mut command = version.command();
    command.extend(["-u".to_owned(), folder.display().to_string()]);
    command
}

/// Absolute: Node-RED looks a relative one up in its working directory first.
fn flow_file(folder: &Path) -> PathBuf {
    folder.join("flows.json")
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("can't write {}: {error}", path.display()));
}

/// Adds JavaScript to the end of the settings.js of a userDir.
///
/// # Panics
/// If there is none.
pub fn add_settings(user_dir: &Path, script: &str) {
    let file = fs::OpenOptions::new().append(true).open(user_dir.join("settings.js"));
    writeln!(file.expect("its settings.js"), "{script}").expect("add to settings.js");
}

/// The gate that the manual tells users of bare Node-REDs to put into settings.js: flows are stopped after each start.
///
/// # Panics
/// If the manual has none.
pub fn gate() -> String {
    let manual = include_str!("../../../docs/node-red.md");
    let (_, code) = manual.split_once("```js\n").expect("the manual has a gate");
    code.split_once("```").expect("the gate ends").0.to_owned()
}
