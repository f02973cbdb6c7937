//! The processes of the demo, their folder and their ports. When the stage is dropped, all of it is gone.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::Failure;
use super::client::Who;
use super::node_red::NodeRed;
use super::timeline::Event;
use crate::http::Ask;

/// How long an event loop may stand still before it counts as hung.
pub(super) const HANG_AFTER: Duration = Duration::from_secs(2);

const INSTANCE: &str = "demo";
const MEMBERS: [&str; 2] = ["a", "b"];
const FLOWS: &str = include_str!("flows.json");
/// For one question to the admin API.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long processes may take to end by themselves before they are killed.
const GRACE: Duration = Duration::from_secs(5);
/// Lines of each log that are shown when something went wrong.
const LAST_LINES: usize = 15;

/// Two launchers with their Node-REDs, and the proxy.
#[derive(Debug)]
pub(super) struct Stage {
    folder: PathBuf,
    program: PathBuf,
    node_red: PathBuf,
    ticks: u16,
    ports: Ports,
    children: Vec<(String, Child)>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    front: u16,
    admin: u16,
    links: u16,
    node_red: [u16; 2],
    launcher: [u16; 2],
}

impl Stage {
    /// Picks the ports and writes all files; starts nothing.
    pub(super) async fn build(port: Option<u16>, node_red: &NodeRed, ticks: u16) -> Result<Self, Failure> {
        let ports = Ports::pick(port)?;
        let program = std::env::current_exe().map_err(|error| format!("can't find my own program: {error}"))?;
        let folder = std::env::temp_dir().join(format!("hotspare-demo-{}", std::process::id()));
        let io = |error: std::io::Error| format!("can't write to {}: {error}", folder.display());
        fs::DirBuilder::new().mode(0o700).create(&folder).map_err(io)?;
        // From here on dropping the stage removes the folder.
        let node_red = node_red.program.clone();
        let stage = Stage { folder: folder.clone(), program, node_red, ticks, ports, children: Vec::new() };
        for (index, name) in MEMBERS.into_iter().enumerate() {
            let home = folder.join(name);
            fs::create_dir_all(home.join("node-red")).map_err(io)?;
            write_secret(&home.join("token"), &format!("token-of-{name}-in-a-demo-on-loopback-only\n")).map_err(io)?;
            fs::write(home.join("node-red/flows.json"), FLOWS).map_err(io)?;
            fs::write(home.join("node-red/settings.js"), settings(&home.join("node-red"), ports.node_red[index]))
                .map_err(io)?;
        }
        fs::write(folder.join("hotspare.toml"), stage.config()).map_err(io)?;
        Ok(stage)
    }

    /// Starts the launchers and the proxy.
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        for (index, name) in MEMBERS.into_iter().enumerate() {
            let home = self.folder.join(name);
            let mut command = Command::new(&self.program);
            command.args(["launcher", "--instance", INSTANCE, "--name", name]);
            command.args(["--controller", &format!("ws://{}", loopback(self.ports.links))]);
            command.arg("--token-file").arg(home.join("token")).arg("--state-dir").arg(home.join("state"));
            command.args(["--admin", &loopback(self.ports.launcher[index]).to_string(), "--", "node"]);
            command.arg(&self.node_red).arg("-u").arg(home.join("node-red"));
            command.env("HOTSPARE_DEMO_TICKS", self.ticks.to_string());
            self.spawn(&format!("launcher-{name}"), command)?;
        }
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--config").arg(self.folder.join("hotspare.toml"));
        self.spawn("proxy", command)
    }

    /// Each process gets a group of its own, so that Ctrl-C reaches the demo alone and things end in order.
    fn spawn(&mut self, name: &str, mut command: Command) -> Result<(), Failure> {
        let log = self.log(name);
        let io = |error: std::io::Error| format!("can't start {name}: {error}");
        let output = File::create(&log).map_err(io)?;
        command.stdin(Stdio::null()).stderr(output.try_clone().map_err(io)?).stdout(output).process_group(0);
        let child = command.spawn().map_err(io)?;
        self.children.push((name.to_owned(), child));
        Ok(())
    }

    /// Fails if a process has ended that should run.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        let mut ended = None;
        for (name, child) in &mut self.children {
            if let Ok(Some(status)) = child.try_wait() {
                ended = Some((name.clone(), status));
            }
        }
        let Some((name, status)) = ended else { return Ok(()) };
        Err(format!("{name} has ended ({status}). Its last lines:\n{}", tail(&self.log(&name))))
    }

    /// The last lines of every log.
    pub(super) fn last_words(&self) -> String {
        let names = self.children.iter().map(|(name, _)| name);
        names.map(|name| format!("--- {name}\n{}\n", tail(&self.log(name)))).collect()
    }

    /// Where clients connect.
    pub(super) fn front(&self) -> SocketAddr {
        loopback(self.ports.front)
    }

    /// Where the admin API of the proxy is.
    pub(super) fn admin(&self) -> SocketAddr {
        loopback(self.ports.admin)
    }

    /// The other member's name.
    pub(super) fn other(&self, name: &str) -> &'static str {
        if name == MEMBERS[0] { MEMBERS[1] } else { MEMBERS[0] }
    }

    /// Who is active, if someone is and the other one is ready to take over.
    pub(super) async fn steady(&self) -> Option<Who> {
        let status: Value = self.ask("/status").await.ok()?;
        let instance = &status["instances"][0];
        let active = instance["active"].as_str().filter(|_| instance["state"] == "active")?;
        let spare = instance["members"].as_array()?.iter().find(|member| member["name"] != active)?;
        if spare["ready"] != true {
            return None;
        }
        let who: Who = Ask::get(&format!("http://{}/who", self.front()), TIMEOUT).send().await.ok()?.json().ok()?;
        (who.member == active).then_some(who)
    }

    /// The number of the newest event.
    pub(super) async fn last_event(&self) -> Result<u64, Failure> {
        Ok(self.events_since(0).await?.last().map_or(0, |event| event.id))
    }

    /// The events after this one.
    pub(super) async fn events_since(&self, id: u64) -> Result<Vec<Event>, Failure> {
        self.ask(&format!("/v1/events?since={id}")).await
    }

    /// Sends a member's Node-RED into an endless loop. There is never an answer, so none is awaited.
    pub(super) fn hang(&self, member: &str) {
        let index = usize::from(member != MEMBERS[0]);
        let url = format!("http://{}/hang", loopback(self.ports.node_red[index]));
        tokio::spawn(async move { Ask::get(&url, HANG_AFTER).send().await });
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let url = format!("http://{}{path}", self.admin());
        let answer = Ask::get(&url, TIMEOUT).send().await.and_then(|answer| answer.json());
        answer.map_err(|error| format!("GET {url}: {error}"))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    fn config(&self) -> String {
        let ports = &self.ports;
        let mut text = format!(
            "[admin]\nlisten = \"{}\"\n[links]\nlisten = \"{}\"\n[store]\ndir = \"{}\"\n\
             [[instance]]\nname = \"{INSTANCE}\"\nlisten = \"{}\"\nprefer = \"{}\"\n",
            loopback(ports.admin),
            loopback(ports.links),
            self.folder.join("store").display(),
            loopback(ports.front),
            MEMBERS[0],
        );
        for (index, name) in MEMBERS.into_iter().enumerate() {
            text.push_str(&format!(
                "[[instance.member]]\nname = \"{name}\"\naddress = \"{}\"\n\
                 launcher = {{ kind = \"hotspare\", url = \"http://{}\", token_file = \"{}\" }}\n",
                loopback(ports.node_red[index]),
                loopback(ports.launcher[index]),
                self.folder.join(name).join("token").display(),
            ));
        }
        // The second fault comes soon after the first, on purpose.
        text.push_str(&format!(
            "[instance.health]\nhang_after = \"{}ms\"\n[instance.failover]\nhold_down = \"0s\"\n",
            HANG_AFTER.as_millis()
        ));
        text
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The proxy first, so that it doesn't take the end of the launchers for a fault.
        for (_, child) in self.children.iter().rev() {
            signal(child, Signal::TERM);
        }
        let began = Instant::now();
        while began.elapsed() < GRACE && self.children.iter_mut().any(|(_, child)| matches!(child.try_wait(), Ok(None)))
        {
            thread::sleep(Duration::from_millis(10));
        }
        for (_, child) in &mut self.children {
            if matches!(child.try_wait(), Ok(None)) {
                signal(child, Signal::KILL);
                let _ = child.wait();
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Ports {
    /// Free ports, all different: each is held until all are picked.
    fn pick(front: Option<u16>) -> Result<Self, Failure> {
        let front = match front {
            Some(port) => TcpListener::bind(loopback(port)).map_err(|error| match error.kind() {
                ErrorKind::AddrInUse => format!(
                    "port {port} is taken by another program: end that, choose another port, or leave out --port for a free one"
                ),
                ErrorKind::PermissionDenied => format!("port {port} needs root: choose one above 1023, or leave out --port"),
                _ => format!("can't use port {port}: {error}"),
            })?,
            None => free()?,
        };
        let held = [front, free()?, free()?, free()?, free()?, free()?, free()?];
        let number = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
        let [front, admin, links, node_a, node_b, launcher_a, launcher_b] =
            held.each_ref().map(|listener| number(listener).unwrap_or_default());
        Ok(Ports { front, admin, links, node_red: [node_a, node_b], launcher: [launcher_a, launcher_b] })
    }
}

fn free() -> Result<TcpListener, Failure> {
    TcpListener::bind(loopback(0)).map_err(|error| format!("can't open a port on 127.0.0.1: {error}"))
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn signal(child: &Child, signal: Signal) {
    // A group that is already gone is what is wanted.
    let _ = kill_process_group(Pid::from_child(child), signal);
}

/// Settings of a member's Node-RED; `pid` is for `/who`, so that the demo knows what to kill.
fn settings(user_dir: &Path, port: u16) -> String {
    format!(
        "module.exports = {{
    uiHost: '127.0.0.1', uiPort: {port}, flowFile: {flows}, credentialSecret: 'demo',
    functionGlobalContext: {{ pid: process.pid }},
    telemetry: {{ enabled: false, updateNotification: false }},
    editorTheme: {{ tours: false }},
}};
",
        flows = Value::from(user_dir.join("flows.json").display().to_string()),
    )
}

/// Writes a file that only its owner can read.
fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}
