//! A proxy in front of two plain servers: for what has nothing to do with Node-RED (the command line, listeners).

use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::address::LoopbackBlock;
use crate::environment;
use crate::fault::Pid;
use crate::http;
use crate::process::Process;
use crate::wait::wait_until;

/// How long anything may take that takes a moment.
pub const SOON: Duration = Duration::from_secs(30);
/// The token that may look.
pub const READ: &str = "read-token-of-a-test";
/// The token that may do everything.
pub const ADMIN: &str = "admin-token-of-a-test";

/// What a plain server does with a connection.
pub type Serve = fn(name: &str, stream: TcpStream);

/// The proxy, its instance `line-1`, and the servers `a` and `b` behind it.
#[derive(Debug)]
pub struct Site {
    // Dropped from top to bottom: what listens first, then its addresses and folders.
    proxy: Process,
    servers: [Option<Server>; 2],
    serve: Serve,
    block: LoopbackBlock,
    folder: TempDir,
}

const NAMES: [&str; 2] = ["a", "b"];

impl Site {
    /// Starts it, with servers that say their names to whoever connects, and waits until one is active and the other
    /// a ready spare. `more` goes into the configuration, after the instance's members.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn start(more: &str) -> Site {
        Site::serving(more, |name, mut stream| drop(stream.write_all(name.as_bytes())))
    }

    /// The same with servers that do something else.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn serving(more: &str, serve: Serve) -> Site {
        let block = LoopbackBlock::take();
        let folder = tempfile::tempdir().expect("a folder");
        let address = |host, port| block.socket(host, port);
        let servers = [0, 1].map(|place| Some(Server::start(address(2 + place as u8, 1880), NAMES[place], serve)));
        secret(&folder.path().join("read.token"), READ);
        secret(&folder.path().join("admin.token"), ADMIN);
        let config = format!(
            "[admin]\nlisten = \"{}\"\n\
             [[admin.token]]\nname = \"viewer\"\nrole = \"read\"\ntoken_file = \"read.token\"\n\
             [[admin.token]]\nname = \"tester\"\nrole = \"admin\"\ntoken_file = \"admin.token\"\n\
             [store]\ndir = \"store\"\n\
             [[instance]]\nname = \"line-1\"\nlisten = \"{}\"\n\
             [[instance.member]]\nname = \"a\"\naddress = \"{}\"\nlauncher = {{ kind = \"none\" }}\n\
             [[instance.member]]\nname = \"b\"\naddress = \"{}\"\nlauncher = {{ kind = \"none\" }}\n\
             [instance.health]\ninterval = \"100ms\"\ntimeout = \"100ms\"\n\
             [instance.failover]\nhold_down = \"0s\"\nmax_per_hour = 1000\n[instance.timeouts]\ndrain = \"0s\"\n{}",
            address(1, 9480),
            address(1, 1880),
            address(2, 1880),
            address(3, 1880),
            more.replace("PROXY", &block.ip(1).to_string()),
        );
        let file = folder.path().join("hotspare.toml");
        std::fs::write(&file, config).expect("a file to write");
        std::fs::create_dir(folder.path().join("store")).expect("a folder to make");
        let proxy = run(&file);
        let site = Site { proxy, servers, serve, block, folder };
        site.wait_until_ready();
        site
    }

    /// Kills the proxy, starts it again, and waits until it is as it was at first.
    pub fn restart_proxy(&mut self) {
        self.start_proxy_anew();
        self.wait_until_ready();
    }

    /// Kills the proxy, and starts it again.
    pub fn start_proxy_anew(&mut self) {
        self.proxy.kill();
        self.proxy = run(&self.folder.path().join("hotspare.toml"));
    }

    /// The same, with everything in its event log so much longer ago.
    ///
    /// # Panics
    /// If there is no such log.
    pub fn restart_proxy_later(&mut self, by: Duration) {
        self.proxy.kill();
        let log = self.folder.path().join("store/events.jsonl");
        let aged = std::fs::read_to_string(&log).expect("an event log");
        let aged = aged.lines().map(|line| {
            let mut event: Value = serde_json::from_str(line).expect("events are JSON");
            let at_ms = event["at_ms"].as_u64().expect("a time").saturating_sub(by.as_millis() as u64);
            event["at_ms"] = at_ms.into();
            format!("{event}\n")
        });
        std::fs::write(&log, aged.collect::<String>()).expect("a file to write");
        self.proxy = run(&self.folder.path().join("hotspare.toml"));
        self.wait_until_ready();
    }

    /// The proxy's process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.proxy
    }

    fn wait_until_ready(&self) {
        wait_until(SOON, "an active and a ready spare", || {
            let seen = self.json(&["status", "line-1", "--json"])?;
            let members = seen["members"].as_array().map_or(&[][..], Vec::as_slice);
            let ready = members.iter().all(|member| member["ready"] == true || member["role"] == "active");
            if seen["state"] == "active" && ready { Ok(()) } else { Err(seen.to_string()) }
        });
    }

    /// An address of the proxy. In `more`, PROXY stands for its IP address.
    pub fn proxy(&self, port: u16) -> SocketAddr {
        self.block.socket(1, port)
    }

    /// The proxy's process.
    pub fn proxy_pid(&self) -> Pid {
        self.proxy.pid()
    }

    /// Ends a server: its connections go on, new ones are refused.
    pub fn stop_server(&mut self, name: &str) {
        self.servers[place(name)] = None;
    }

    /// Starts a server that was ended.
    pub fn start_server(&mut self, name: &str) {
        let place = place(name);
        let address = self.block.socket(2 + place as u8, 1880);
        self.servers[place] = Some(Server::start(address, NAMES[place], self.serve));
    }

    /// The folder with the configuration, `hotspare.toml`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A hotspare command that knows the proxy and shows this token.
    pub fn command(&self, token: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(environment::hotspare());
        command.args(arguments).stdin(Stdio::null()).env_remove("HOTSPARE_ADMIN_TOKEN_FILE");
        command.env("HOTSPARE_ADMIN", format!("http://{}", self.proxy(9480))).env("HOTSPARE_ADMIN_TOKEN", token);
        command
    }

    /// Runs a command to its end, as one who may do everything.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(ADMIN, arguments).output().expect("hotspare to start")
    }

    /// What a command that must succeed writes.
    ///
    /// # Panics
    /// If it fails, with what it said.
    pub fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}{said}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// The JSON that a command writes, or what it said instead.
    ///
    /// # Errors
    /// With what it said on standard error.
    pub fn json(&self, arguments: &[&str]) -> Result<Value, String> {
        let output = self.run(arguments);
        serde_json::from_slice(&output.stdout).map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The active member's name, or `none`.
    ///
    /// # Panics
    /// If the proxy doesn't say.
    pub fn active(&self) -> String {
        let status = self.json(&["status", "line-1", "--json"]).expect("a status");
        status["active"].as_str().unwrap_or("none").to_owned()
    }

    /// The page of metrics.
    ///
    /// # Panics
    /// If it can't be had.
    pub fn metrics(&self) -> String {
        http::get(self.proxy(9480), "/metrics").token(READ).send().expect("the metrics").body
    }

    /// What the proxy has logged so far.
    pub fn log(&self) -> String {
        self.proxy.output()
    }

    /// What a client of the proxy gets that says `hello` and reads to the end.
    ///
    /// # Panics
    /// If it can't connect.
    pub fn answer(&self, port: u16, hello: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.proxy(port)).expect("a connection");
        let mut said = Vec::new();
        // A proxy that refuses what was said may reset the connection: then what came until then is the answer.
        let _ = stream.write_all(hello).and_then(|()| stream.read_to_end(&mut said));
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// A plain server; it ends when dropped.
#[derive(Debug)]
struct Server {
    address: SocketAddr,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(address: SocketAddr, name: &'static str, serve: Serve) -> Server {
        let listener = TcpListener::bind(address).expect("an address of the test's own");
        let ending = Arc::new(AtomicBool::new(false));
        let end = ending.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::spawn(move || serve(name, stream));
            }
        });
        Server { address, ending, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        // The connection that lets it see that it has ended.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn place(name: &str) -> usize {
    NAMES.iter().position(|known| *known == name).expect("a server called a or b")
}

fn run(config: &Path) -> Process {
    let mut command = Command::new(environment::hotspare());
    command.arg("run").arg("--config").arg(config);
    Process::start("the proxy", command)
}

fn secret(path: &Path, token: &str) {
    std::fs::write(path, token).expect("a file to write");
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).expect("a mode to set");
}
