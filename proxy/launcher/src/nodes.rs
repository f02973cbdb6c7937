//! The nodes installed in the active's user folder reach the standby's: the same modules in the same versions, put there
//! by npm, and loaded by a restart of the standby's Node-RED.
//!
//! Owns: what counts as installed, and the installation. Never touches a member whose flows run. `package.json` and
//! npm's lock travel, and modules that were uploaded to the editor; all others come from wherever npm gets them here. When npm fails, both files are put back as they
//! were, and the member stays different from the active, with the reason in its status.
//!
//! A crash in between leaves a folder that differs from the active's, which is seen, and installed into again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use data_encoding::BASE64;
use hotspare_decide::Epoch;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::process::Command;
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use crate::shell::{self, Input};
use crate::sync::look;

/// Where a launcher takes its peer's nodes.
pub(crate) const PATH: &str = "/hotspare/v1/nodes";
/// Largest `package.json`, lock and uploaded modules together.
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// How long npm may take: modules with native parts are compiled.
const INSTALL_WITHIN: Duration = Duration::from_secs(600);
/// And Node-RED to be up again afterwards.
const RESTART_WITHIN: Duration = Duration::from_secs(120);
/// What Node-RED's own palette gives npm, but for the name of a module.
const NPM: [&str; 7] =
    ["install", "--no-audit", "--no-update-notifier", "--no-fund", "--omit=dev", "--engine-strict", "--loglevel=error"];
const LOCK: &str = "package-lock.json";
/// How the palette refers to a module that was uploaded.
const UPLOADED: &str = "file:nodes/";
/// Most of npm's words that are kept.
const QUOTED: usize = 400;

/// What the active has.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Nodes {
    /// The sender's tenure.
    pub(crate) epoch: Epoch,
    /// As [`installed`] says it there.
    pub(crate) installed: String,
    dependencies: Value,
    lock: Option<Value>,
    /// Modules that were uploaded to the editor, in base64: name of the file in `nodes/`, content.
    #[serde(default)]
    uploaded: BTreeMap<String, String>,
}

impl Nodes {
    /// Reads what `user_dir` has.
    pub(crate) fn read(user_dir: &Path, epoch: Epoch, installed: String) -> io::Result<Self> {
        let package = object(&user_dir.join("package.json"))?;
        let dependencies = package.get("dependencies").cloned().unwrap_or_default();
        let lock = object(&user_dir.join(LOCK)).ok().map(Value::Object);
        let mut uploaded = BTreeMap::new();
        let sources = dependencies.as_object().into_iter().flat_map(Map::values).filter_map(Value::as_str);
        for name in sources.filter_map(|source| source.strip_prefix(UPLOADED)) {
            let file = fs::read(user_dir.join(uploaded_file(name)?))?;
            uploaded.insert(name.to_owned(), BASE64.encode(&file));
        }
        Ok(Self { epoch, installed, dependencies, lock, uploaded })
    }
}

/// Stands for the modules that the `package.json` of a user folder asks for, each in the version that is there, or
/// missing. Equal where equal nodes are installed, whatever ranges of versions were asked for. `None`: there is no such file.
pub(crate) fn installed(user_dir: &Path) -> Option<String> {
    let package = object(&user_dir.join("package.json")).ok()?;
    let asked = package.get("dependencies").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut sum = Sha256::new();
    // In the order of their names: a map without `preserve_order`, or sorted by npm itself.
    let mut names: Vec<&String> = asked.keys().collect();
    names.sort();
    for name in names {
        let module = object(&user_dir.join("node_modules").join(name).join("package.json")).ok();
        let version = module.as_ref().and_then(|module| module.get("version")?.as_str()).unwrap_or("missing");
        sum.update(format!("{name}@{version}\n"));
    }
    Some(sum.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// One installation at a time, and what came of the last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Installer(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    busy: bool,
    /// What could not be installed, and why.
    failed: Option<(String, String)>,
}

impl Installer {
    /// Whether npm is at work here.
    pub(crate) fn is_busy(&self) -> bool {
        self.state().busy
    }

    /// Why the last installation failed.
    pub(crate) fn problem(&self) -> Option<String> {
        self.state().failed.as_ref().map(|(_, why)| why.clone())
    }

    /// What the last installation was of, if it failed.
    pub(crate) fn failed(&self) -> Option<String> {
        self.state().failed.as_ref().map(|(what, _)| what.clone())
    }

    /// Begins to install; false if that is going on already. The caller has seen that no flows run here.
    pub(crate) fn begin(&self, user_dir: PathBuf, nodes: Nodes, inputs: Sender<Input>) -> bool {
        if std::mem::replace(&mut self.state().busy, true) {
            return false;
        }
        let installer = self.clone();
        tokio::spawn(async move {
            let outcome = match install(&user_dir, &nodes).await {
                Ok(()) => restart(&inputs).await,
                Err(why) => Err(why),
            };
            match &outcome {
                Ok(()) => tracing::info!("the nodes of the active are installed here, and Node-RED was restarted"),
                Err(why) => tracing::error!(why, "the nodes of the active could not be installed here"),
            }
            let failed = outcome.err().map(|why| (nodes.installed, why));
            // Told before the peer may ask again: it would send the same once more, for ever.
            tell(&inputs, &user_dir, failed.as_ref().map(|(_, why)| why.clone())).await;
            *installer.state() = State { busy: false, failed };
        });
        true
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where an uploaded module is kept, below the user folder. A name can't lead anywhere else.
fn uploaded_file(name: &str) -> io::Result<PathBuf> {
    let plain = !name.starts_with('.') && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._@+".contains(c));
    if plain {
        Ok(Path::new("nodes").join(name))
    } else {
        Err(io::Error::other(format!("{name:?} is no name of a file")))
    }
}

fn unpack(user_dir: &Path, uploaded: &BTreeMap<String, String>) -> io::Result<()> {
    for (name, content) in uploaded {
        let path = user_dir.join(uploaded_file(name)?);
        fs::create_dir_all(user_dir.join("nodes"))?;
        replace(&path, Some(&BASE64.decode(content.as_bytes()).map_err(io::Error::other)?))?;
    }
    Ok(())
}

/// Tells the guard what is installed now.
async fn tell(inputs: &Sender<Input>, user_dir: &Path, problem: Option<String>) {
    if let Some(run) = look(inputs).await.and_then(|view| view.run) {
        let _ = inputs.send(Input::Nodes { run, installed: installed(user_dir), problem }).await;
    }
}

async fn install(user_dir: &Path, nodes: &Nodes) -> Result<(), String> {
    let (package, lock) = (user_dir.join("package.json"), user_dir.join(LOCK));
    let before = [(&package, fs::read(&package).ok()), (&lock, fs::read(&lock).ok())];
    let mut own = object(&package).unwrap_or_default();
    own.insert("dependencies".to_owned(), nodes.dependencies.clone());
    let outcome = async {
        unpack(user_dir, &nodes.uploaded).map_err(|e| format!("an uploaded module: {e}"))?;
        replace(&package, Some(&pretty(&Value::Object(own)))).map_err(|e| format!("package.json: {e}"))?;
        replace(&lock, nodes.lock.as_ref().map(pretty).as_deref()).map_err(|e| format!("{LOCK}: {e}"))?;
        npm(user_dir).await?;
        match installed(user_dir) {
            Some(now) if now == nodes.installed => Ok(()),
            _ => Err("npm installed other versions than the active has".to_owned()),
        }
    }
    .await;
    if outcome.is_err() {
        for (path, bytes) in before {
            if let Err(error) = replace(path, bytes.as_deref()) {
                tracing::error!(%error, path = %path.display(), "could not be put back as it was");
            }
        }
    }
    outcome
}

async fn npm(user_dir: &Path) -> Result<(), String> {
    // It must not have this launcher's own priority: an installation would take the processor from what runs flows.
    let mut command = Command::new("nice");
    command.args(["-n", "15", "npm"]).args(NPM).current_dir(user_dir).stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(INSTALL_WITHIN, command.output()).await {
        Ok(output) => output.map_err(|error| format!("npm cannot be run: {error}"))?,
        Err(_) => return Err(format!("npm was not done within {INSTALL_WITHIN:?}")),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("npm failed: {}", said.trim().chars().take(QUOTED).collect::<String>()))
}

async fn restart(inputs: &Sender<Input>) -> Result<(), String> {
    let (answer, outcome) = oneshot::channel();
    let ended = || "the launcher is ending".to_owned();
    let command = shell::Command::RestartSpare;
    inputs.send(Input::Command { command, answer }).await.map_err(|_| ended())?;
    match tokio::time::timeout(RESTART_WITHIN, outcome).await {
        Ok(outcome) => outcome.unwrap_or_else(|_| Err(ended())),
        Err(_) => Err("Node-RED did not come up again with them".to_owned()),
    }
}

fn object(path: &Path) -> io::Result<Map<String, Value>> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn pretty(value: &Value) -> Vec<u8> {
    serde_json::to_vec_pretty(value).unwrap_or_default()
}

/// In one step; `None` removes it.
fn replace(path: &Path, bytes: Option<&[u8]>) -> io::Result<()> {
    let Some(bytes) = bytes else {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    };
    let new = path.with_extension("hotspare-new");
    fs::write(&new, bytes)?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn folder(package: &str, modules: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("package.json"), package).unwrap();
        for (name, version) in modules {
            let module = dir.path().join("node_modules").join(name);
            fs::create_dir_all(&module).unwrap();
            fs::write(module.join("package.json"), format!("{{\"version\":\"{version}\"}}")).unwrap();
        }
        dir
    }

    #[test]
    fn what_is_there_counts_and_not_how_it_was_asked_for() {
        let sum = |package, modules| installed(folder(package, modules).path());
        let one = sum(r#"{"name":"x","dependencies":{"a":"~1.2.0","@s/b":"*"}}"#, &[("a", "1.2.3"), ("@s/b", "2.0.0")]);
        let other = sum(r#"{"dependencies":{"@s/b":"^2.0.0","a":"1.2.3"}}"#, &[("a", "1.2.3"), ("@s/b", "2.0.0")]);
        assert_eq!(one, other);
        assert_ne!(one, sum(r#"{"dependencies":{"@s/b":"*","a":"*"}}"#, &[("a", "1.2.4"), ("@s/b", "2.0.0")]));
        assert_ne!(one, sum(r#"{"dependencies":{"@s/b":"*","a":"*"}}"#, &[("@s/b", "2.0.0")]), "one is missing");
        assert_eq!(sum("{}", &[]), sum(r#"{"dependencies":{}}"#, &[("a", "1.2.3")]), "one that nobody asked for");
    }

    #[test]
    fn an_uploaded_module_goes_where_it_belongs_and_nowhere_else() {
        let from = folder(r#"{"dependencies":{"a":"file:nodes/a-1.0.0.tgz"}}"#, &[("a", "1.0.0")]);
        fs::create_dir(from.path().join("nodes")).unwrap();
        fs::write(from.path().join("nodes/a-1.0.0.tgz"), b"\x1f\x8bpacked").unwrap();
        let nodes = Nodes::read(from.path(), Epoch(1), String::new()).unwrap();
        let to = folder("{}", &[]);
        unpack(to.path(), &nodes.uploaded).unwrap();
        assert_eq!(fs::read(to.path().join("nodes/a-1.0.0.tgz")).unwrap(), b"\x1f\x8bpacked");
        for name in ["../a.tgz", "/a.tgz", ".a", "b/a.tgz"] {
            assert!(unpack(to.path(), &BTreeMap::from([(name.to_owned(), String::new())])).is_err(), "{name}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_installed_leaves_both_files_as_they_were() {
        let text = r#"{"name":"own","dependencies":{}}"#;
        let dir = folder(text, &[]);
        let gone = dir.path().join("gone.tgz").display().to_string();
        let nodes = Nodes {
            epoch: Epoch(1),
            installed: "another".to_owned(),
            dependencies: serde_json::json!({"never-published": format!("file:{gone}")}),
            lock: None,
            uploaded: BTreeMap::new(),
        };
        let why = install(dir.path(), &nodes).await.unwrap_err();
        assert!(why.starts_with("npm failed"), "{why}");
        assert_eq!(fs::read_to_string(dir.path().join("package.json")).unwrap(), text);
        assert!(!dir.path().join(LOCK).exists());
    }
}
