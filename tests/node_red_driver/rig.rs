//! One real Node-RED in a folder and on an address of its own, and the driver that looks at it.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hotspare::driver::{Driver, Flows as Seen, NodeRed as NodeRedDriver, NodeRedSettings, Seen as Look};
use hotspare_protocol::Secret;
use hotspare_test_support::address::LoopbackBlock;
use hotspare_test_support::environment::NodeRed;
use hotspare_test_support::fault;
use hotspare_test_support::flows::Flows;
use hotspare_test_support::process::Process;
use hotspare_test_support::wait::wait_until;
use hotspare_test_support::{http, node_red};
use serde_json::json;
use tempfile::TempDir;

/// How long starting may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The driver's `close_timeout` in these tests.
pub(crate) const SETTLE: Duration = Duration::from_millis(1500);

/// What a Node-RED does with its flows when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Boot {
    /// Nothing, since it was stopped before.
    Stopped,
    /// It starts them, as it does unless told otherwise.
    Running,
}

pub(crate) struct Rig {
    process: Option<Process>,
    version: NodeRed,
    address: SocketAddr,
    folder: TempDir,
    _block: LoopbackBlock,
}

impl Rig {
    /// A Node-RED 4 that is up and has done what `boot` says.
    pub(crate) fn start(flows: &Flows, boot: Boot) -> Self {
        Self::of(NodeRed::V4, flows, boot)
    }

    pub(crate) fn of(version: NodeRed, flows: &Flows, boot: Boot) -> Self {
        let mut rig = Self::prepare(version, flows);
        if boot == Boot::Stopped {
            let path = rig.folder.path().join(".config.runtime.json");
            fs::write(path, json!({ "runtimeFlowState": "stop" }).to_string()).unwrap();
        }
        rig.run(&[]);
        rig.wait_for_line(if boot == Boot::Stopped { "Stopped flows" } else { "Started flows" });
        rig
    }

    /// Everything but the process.
    pub(crate) fn prepare(version: NodeRed, flows: &Flows) -> Self {
        let block = LoopbackBlock::take();
        let address = block.socket(1, 1880);
        let folder = TempDir::new().unwrap();
        node_red::write_user_dir(folder.path(), address, flows);
        Self { process: None, version, address, folder, _block: block }
    }

    /// Adds JavaScript to the end of its settings.js.
    pub(crate) fn add_settings(&self, script: &str) {
        node_red::add_settings(self.folder.path(), script);
    }

    /// Starts the process with further arguments and waits until it answers.
    pub(crate) fn run(&mut self, arguments: &[&str]) {
        self.spawn(arguments);
        wait_until(PATIENCE, "Node-RED answers", || http::get(self.address, "/").send());
    }

    /// Starts the process with further arguments.
    pub(crate) fn spawn(&mut self, arguments: &[&str]) {
        let line = node_red::command(self.version, self.folder.path());
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).args(arguments);
        self.process = Some(Process::start("node-red", command));
    }

    /// Waits for a line of its log.
    pub(crate) fn wait_for_line(&mut self, text: &str) {
        self.process.as_mut().unwrap().wait_for_line(PATIENCE, text);
    }

    pub(crate) fn driver(&self, change: impl FnOnce(&mut NodeRedSettings)) -> NodeRedDriver {
        let mut settings = NodeRedSettings::new(self.address.to_string());
        settings.close_timeout = SETTLE;
        change(&mut settings);
        NodeRedDriver::new(settings)
    }

    /// What its admin API says.
    pub(crate) fn state(&self) -> String {
        let answer = http::get(self.address, "/flows/state").send().unwrap();
        answer.json()["state"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until Node-RED has stored this state, which it does some time after it said so.
    pub(crate) fn wait_until_stored(&self, state: &str) {
        let path = self.folder.path().join(".config.runtime.json");
        wait_until(PATIENCE, "the state of the flows to be stored", || {
            let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
            let stored: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            if stored["runtimeFlowState"] == state { Ok(()) } else { Err(text) }
        });
    }

    /// The status of a GET.
    pub(crate) fn get(&self, path: &str) -> u16 {
        http::get(self.address, path).send().unwrap().status
    }

    /// An order by somebody else; the thread ends with the answer.
    pub(crate) fn post_state_in_background(&self, state: &str) -> JoinHandle<()> {
        let (address, body) = (self.address, json!({ "state": state }));
        std::thread::spawn(move || {
            http::post(address, "/flows/state", &body).within(PATIENCE).send().unwrap();
        })
    }

    pub(crate) fn freeze(&self) {
        fault::freeze(self.process.as_ref().unwrap().pid());
    }

    pub(crate) fn thaw(&self) {
        fault::thaw(self.process.as_ref().unwrap().pid());
    }

    pub(crate) fn kill(&mut self) {
        self.process.as_mut().unwrap().kill();
    }
}

pub(crate) fn secret(text: &str) -> Secret {
    Secret::new(text)
}

pub(crate) fn is_unknown(flows: &Seen) -> bool {
    matches!(flows, Seen::Unknown(_))
}

/// Looks until `good`, and returns that look.
pub(crate) async fn until(what: &str, driver: &dyn Driver, good: impl Fn(&Look) -> bool) -> Look {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = driver.observe().await;
        if good(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited for: {what}; last seen: {seen:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
