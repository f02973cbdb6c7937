//! One real nr-launcher with a real Node-RED below it, in a folder and on ports of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use hotspare::driver::{FlowFuse, FlowFuseSettings, ServeProbe};
use hotspare_test_support::environment::{NodeRed, flowfuse_launcher};
use hotspare_test_support::fault::{self, Pid};
use hotspare_test_support::flows::{Flows, WHO};
use hotspare_test_support::http;
use hotspare_test_support::process::Process;
use hotspare_test_support::wait::wait_until;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::platform_stand_in::PlatformStandIn;

/// How long starting may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How often the launcher checks whether its Node-RED hangs, in these tests. Three failed checks make a hang, ten a
/// start that failed. By default it is 7.5 s, and takes nothing below 1 s.
const HEALTH_CHECK_MS: u64 = 3000;

/// A launcher and what is below it. Dropping it ends both.
#[derive(Debug)]
pub(crate) struct Launched {
    /// Its id on the platform, and the member's name in what its flows say.
    pub(crate) project: String,
    /// Where its admin API is.
    pub(crate) launcher: SocketAddr,
    /// Where its Node-RED is.
    pub(crate) node_red: SocketAddr,
    process: Option<Process>,
    /// Launchers that were killed: dropping one would end its orphan.
    killed: Vec<Process>,
    orphan: Option<Pid>,
    platform: SocketAddr,
    root: TempDir,
}

impl Launched {
    /// Registers a project on the platform, which wants it in `state` (`running`, `stopped`); nothing runs yet.
    pub(crate) fn prepare(platform: &PlatformStandIn, project: &str, flows: &Flows, state: &str) -> Self {
        let root = TempDir::new().unwrap();
        let folder = root.path().join(project);
        fs::create_dir_all(folder.join("storage")).unwrap();
        let package = json!({"name": project, "version": "0.0.1", "private": true, "dependencies": {}});
        fs::write(folder.join("package.json"), package.to_string()).unwrap();
        let [launcher, node_red] = [free_port(), free_port()];
        platform.add(project, settings(platform.address, project, &root, node_red, state), flows.json());
        Self {
            project: project.to_owned(),
            launcher: (Ipv4Addr::LOCALHOST, launcher).into(),
            node_red: (Ipv4Addr::LOCALHOST, node_red).into(),
            process: None,
            killed: Vec::new(),
            orphan: None,
            platform: platform.address,
            root,
        }
    }

    /// A launcher that is up, with its Node-RED serving if the platform wants it `running`.
    pub(crate) fn start(platform: &PlatformStandIn, project: &str, flows: &Flows, state: &str) -> Self {
        let mut launched = Self::prepare(platform, project, flows, state);
        launched.run();
        if state == "running" {
            launched.wait_until_serving();
        } else {
            launched.wait_for_log("Target state is 'stopped'");
        }
        launched
    }

    /// Starts the launcher's process and waits until it answers.
    pub(crate) fn run(&mut self) {
        let mut command = Command::new("node");
        command
            .arg(flowfuse_launcher())
            .args(["-p", &self.launcher.port().to_string()])
            .args(["--forgeURL", &format!("http://{}", self.platform)])
            .args(["--project", &self.project])
            .current_dir(self.root.path().join(&self.project))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.root.path())
            .env("FORGE_CLIENT_ID", "client")
            .env("FORGE_CLIENT_SECRET", "only for tests")
            .env("FORGE_TEAM_ID", "team")
            .env("FORGE_PROJECT_TOKEN", "token")
            .env("FORGE_NR_SECRET", "only for tests")
            .env("FORGE_NR_NO_TCP_IN", "false")
            .env("FORGE_NR_NO_UDP_IN", "false")
            .env("FORGE_NR_PATH", node_red_folder());
        self.killed.extend(self.process.take());
        self.process = Some(Process::start(&format!("nr-launcher of {}", self.project), command));
        wait_until(PATIENCE, "the launcher answers", || http::get(self.launcher, "/flowforge/info").send());
    }

    pub(crate) fn wait_until_serving(&self) {
        wait_until(PATIENCE, "its flows serve", || match http::get(self.node_red, WHO).send() {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}; launcher: {}", self.state())),
        });
    }

    pub(crate) fn wait_for_state(&self, state: &str) {
        wait_until(PATIENCE, &format!("the launcher says '{state}'"), || match self.state() {
            seen if seen == state => Ok(()),
            seen => Err(seen),
        });
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        self.wait_for_more_log(text, 0);
    }

    /// How often its log says so.
    pub(crate) fn log_count(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    /// Waits until its log says so more often than `before`.
    pub(crate) fn wait_for_more_log(&self, text: &str, before: usize) {
        wait_until(PATIENCE, &format!("{text:?} in the log, for the {}. time", before + 1), || match self.log() {
            log if log.matches(text).count() > before => Ok(()),
            log => Err(log),
        });
    }

    /// The driver under test, with a probe that only its flows answer.
    pub(crate) fn driver(&self, change: impl FnOnce(&mut FlowFuseSettings)) -> FlowFuse {
        let mut settings = FlowFuseSettings::new(format!("http://{}", self.launcher), self.node_red.to_string());
        settings.probe = Some(ServeProbe { path: WHO.to_owned(), status: None });
        change(&mut settings);
        FlowFuse::new(settings)
    }

    /// The launcher's word for its state.
    pub(crate) fn state(&self) -> String {
        match http::get(self.launcher, "/flowforge/info").send() {
            Ok(answer) => answer.json()["state"].as_str().unwrap_or_default().to_owned(),
            Err(error) => format!("no answer: {error}"),
        }
    }

    /// The status of the launcher's health-check.
    pub(crate) fn health(&self) -> u16 {
        http::get(self.launcher, "/flowforge/health-check").send().unwrap().status
    }

    /// A command by somebody else, as the platform gives it; the status of its answer.
    pub(crate) fn command(&self, body: &Value) -> std::io::Result<u16> {
        Ok(http::post(self.launcher, "/flowforge/command", body).within(Duration::from_secs(8)).send()?.status)
    }

    /// Node-RED's user folder.
    pub(crate) fn user_dir(&self) -> PathBuf {
        self.root.path().join(&self.project)
    }

    /// All lines of its log.
    pub(crate) fn log(&self) -> String {
        http::get(self.launcher, "/flowforge/logs").send().map(|answer| answer.body).unwrap_or_default()
    }

    /// Whether anything listens on Node-RED's port.
    pub(crate) fn port_is_open(&self) -> bool {
        std::net::TcpStream::connect(self.node_red).is_ok()
    }

    pub(crate) fn launcher_process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    /// The process of its Node-RED, once there is one.
    pub(crate) fn node_red_pid(&self) -> Pid {
        let launcher = self.process.as_ref().unwrap().pid();
        wait_until(PATIENCE, "a Node-RED below the launcher", || fault::node_red_below(launcher).ok_or("no process"))
    }

    /// Kills the launcher alone: its Node-RED lives on as nobody's child.
    pub(crate) fn kill_launcher(&mut self) {
        self.orphan = Some(self.node_red_pid());
        self.process.as_mut().unwrap().kill();
    }

    pub(crate) fn end_orphan(&mut self) {
        fault::kill(self.orphan.take().unwrap());
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if let Some(orphan) = self.orphan.take() {
            fault::kill(orphan);
        }
    }
}

/// What the platform tells a launcher about its project.
fn settings(platform: SocketAddr, project: &str, root: &TempDir, port: u16, state: &str) -> Value {
    json!({
        "projectID": project, "rootDir": root.path(), "userDir": project, "port": port,
        "env": { "HOTSPARE_MEMBER": project }, "state": state, "teamID": "team",
        "baseURL": format!("http://127.0.0.1:{port}"), "forgeURL": format!("http://{platform}"),
        "storageURL": format!("http://{platform}/storage"), "auditURL": format!("http://{platform}/logging"),
        "fileStore": null, "stack": { "memory": 256 }, "healthCheckInterval": HEALTH_CHECK_MS, "features": {},
        "assistant": { "enabled": false },
        "settings": {
            "httpAdminRoot": "", "disableEditor": false, "codeEditor": "monaco", "theme": "node-red",
            "palette": { "allowInstall": true, "modules": {} }, "modules": { "allowInstall": true },
        },
    })
}

fn node_red_folder() -> String {
    let command = NodeRed::V4.command();
    let program = std::path::Path::new(&command[1]);
    program.ancestors().nth(3).expect("node_modules/node-red/red.js").display().to_string()
}

/// A port that nobody listens on, on any address: the launcher binds all of them. Below the range of ports that the
/// kernel gives to outgoing connections, so that only another test could take it, and those count on from elsewhere.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 100) as u16 * 100;
    (0..10_000_u16)
        .map(|_| 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000)
        .find(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok())
        .expect("a free port")
}
