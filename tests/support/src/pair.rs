//! A whole instance as a user would run it: two `hotspare launcher`s with real Node-REDs, `hotspare run` in front, and
//! the witness beside them. On loopback, or spread over the hosts of a [`Lab`].

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::address::LoopbackBlock;
use crate::authority::Authority;
use crate::broker::Broker;
use crate::client::{Who, who};
use crate::environment::{NodeRed, hotspare};
use crate::fault::{self, Pid};
use crate::flows::Flows;
use crate::http::{self, Request};
use crate::lab::Lab;
use crate::node_red;
use crate::process::{Process, run};
use crate::relay::Relay;
use crate::wait::wait_until;
use crate::witness::Sink;

/// The name of the instance.
pub const INSTANCE: &str = "line-1";
/// How long starting, or coming back, may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

const TOKEN_ADMIN: &str = "the-admin-token-of-this-test";
const PROXY: &str = "proxy";
/// Debian's faketime has it here, whatever the machine's kind: the loader fills in the folder of the libraries.
const FAKETIME: &str = "/usr/$LIB/faketime/libfaketime.so.1";
const MEMBERS: [&str; 2] = ["a", "b"];

/// What a pair is made of. The defaults suit most tests.
#[derive(Debug)]
pub struct Setup {
    /// Which Node-RED.
    pub node_red: NodeRed,
    /// The flows; the timers of the witness are added.
    pub flows: Flows,
    /// Whether flows also publish to a broker and post by HTTP, not by UDP alone.
    pub all_senders: bool,
    /// Lines for the end of the configuration, in the table of the instance.
    pub config: String,
    /// Whether each part gets a host of its own in a [`Lab`], and the proxy's store a small disk.
    pub lab: bool,
    /// What the proxy is started through: a program that starts another, and its arguments.
    pub through: Vec<&'static str>,
    /// Variables in the environment of the proxy and of the launchers.
    pub env: Vec<(&'static str, String)>,
    /// Whether every process reads a wall clock that can be set (libfaketime).
    pub clock: bool,
    /// Whether launchers reach the proxy by relays that can hold back what they pass on; not in a lab.
    pub relays: bool,
    /// Whether the front follows HTTP, or bytes only.
    pub http: bool,
    /// Whether all parts speak TLS with one another, and the Node-REDs https. Clients have both: plain at the front,
    /// https at [`Pair::https`].
    pub tls: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            node_red: NodeRed::V4,
            flows: Flows::new().hang().exit(),
            all_senders: false,
            config: "[instance.failover]\nhold_down = \"0s\"\nmax_per_hour = 1000\n".to_owned(),
            lab: false,
            through: Vec::new(),
            env: Vec::new(),
            clock: false,
            relays: false,
            http: false,
            tls: false,
        }
    }
}

/// A running pair. Dropping it ends everything.
#[derive(Debug)]
pub struct Pair {
    // Fields are dropped from top to bottom: processes first, then networks and folders.
    proxy: Option<Process>,
    /// The members, `a` and `b`.
    pub members: [Member; 2],
    /// What the flows did.
    pub sink: Sink,
    _broker: Option<Broker>,
    network: Network,
    /// Between the launchers of `a` and `b` and the proxy.
    relays: Vec<Relay>,
    /// What libfaketime reads.
    clock: Option<PathBuf>,
    http: bool,
    config: PathBuf,
    through: Vec<&'static str>,
    env: Vec<(&'static str, String)>,
    disk: Option<Disk>,
    authority: Option<Authority>,
    folder: TempDir,
}

/// One member.
#[derive(Debug)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// Where the test reaches its Node-RED, past the proxy.
    pub node_red: SocketAddr,
    /// Where the test reaches the admin API of its launcher.
    pub admin: SocketAddr,
    /// Its userDir.
    pub user_dir: PathBuf,
    launcher: Option<Process>,
}

#[derive(Debug)]
enum Network {
    Loopback(LoopbackBlock),
    Lab(Lab),
}

impl Setup {
    /// Starts everything and waits until one member serves and the other is ready.
    ///
    /// # Panics
    /// If that doesn't come about, with what was seen.
    pub fn start(self) -> Pair {
        let mut pair = self.prepare();
        pair.start_launcher("a");
        pair.start_launcher("b");
        pair.start_proxy();
        pair.wait_until_steady();
        pair
    }

    /// Writes all files and starts nothing but the witness.
    pub fn prepare(self) -> Pair {
        let network = if self.lab {
            Network::Lab(Lab::new(&["a", "b", PROXY]))
        } else {
            Network::Loopback(LoopbackBlock::take())
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut sink = Sink::start(network.test());
        let mut flows = self.flows.tick_udp(sink.udp);
        let mut broker = None;
        if self.all_senders {
            let address = SocketAddr::new(network.test(), 1883);
            sink.subscribe(broker.insert(Broker::start(address)).address);
            flows = flows.tick_http(sink.http).tick_mqtt(address);
        }
        let authority = self.tls.then(|| {
            let authority = Authority::new(&folder.path().join("certificates"));
            for name in [PROXY, "a", "b"] {
                authority.sign(name, &["line-1.example", &network.ip(name).to_string()]);
            }
            authority
        });
        let members = MEMBERS.map(|name| {
            let file = |end| authority.as_ref().map(|authority| authority.file(&format!("{name}.{end}")));
            let https = file("crt").zip(file("key"));
            let https = https.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path()));
            let user_dir = folder.path().join(name).join("node-red");
            node_red::write_user_dir_with(&user_dir, SocketAddr::new(network.bind(name), 1880), &flows, https);
            write_secret(folder.path().join(name).join("token"), &format!("token-of-member-{name}-{INSTANCE}\n"));
            let command = node_red::command(self.node_red, &user_dir);
            write(folder.path().join(name).join("command"), &command.join("\n"));
            let (node_red, admin) = (network.test_socket(name, 1880), network.test_socket(name, 2880));
            Member { name, node_red, admin, user_dir, launcher: None }
        });
        let relays = if self.relays {
            let target = SocketAddr::new(network.ip(PROXY), 9481);
            MEMBERS.map(|name| Relay::start(SocketAddr::new(network.relay(name), 9481), target)).into()
        } else {
            Vec::new()
        };
        let clock = self.clock.then(|| folder.path().join("clock"));
        let disk = self.lab.then(|| Disk::mount(folder.path().join("store")));
        let config = folder.path().join("hotspare.toml");
        write_secret(folder.path().join("admin.token"), TOKEN_ADMIN);
        let (through, env, _broker) = (self.through, self.env, broker);
        let http = self.http;
        let mut pair = Pair {
            proxy: None,
            members,
            sink,
            _broker,
            network,
            http,
            relays,
            clock,
            config,
            through,
            env,
            disk,
            authority,
            folder,
        };
        pair.write_config(&self.config);
        if self.clock {
            pair.set_clock("+0");
        }
        pair
    }
}

impl Pair {
    /// Where clients connect.
    pub fn front(&self) -> SocketAddr {
        self.network.test_socket(PROXY, 1880)
    }

    /// Where clients connect by https, of a pair with TLS.
    pub fn https(&self) -> SocketAddr {
        self.network.test_socket(PROXY, 1443)
    }

    /// The authority of all certificates, of a pair with TLS.
    ///
    /// # Panics
    /// If it has none.
    pub fn authority(&self) -> &Authority {
        self.authority.as_ref().expect("this pair has TLS")
    }

    /// Where the admin API of the proxy is.
    pub fn admin(&self) -> SocketAddr {
        self.network.test_socket(PROXY, 9480)
    }

    /// The lab, of a pair that has one.
    ///
    /// # Panics
    /// If it runs on loopback.
    pub fn lab(&self) -> &Lab {
        match &self.network {
            Network::Lab(lab) => lab,
            Network::Loopback(_) => panic!("this pair runs on loopback"),
        }
    }

    /// One member.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn member(&self, name: &str) -> &Member {
        self.members.iter().find(|member| member.name == name).unwrap_or_else(|| panic!("no member {name}"))
    }

    /// The other member.
    pub fn other(&self, name: &str) -> &Member {
        self.member(if name == "a" { "b" } else { "a" })
    }

    /// The relay of a member's link.
    ///
    /// # Panics
    /// If the pair has none.
    pub fn relay(&self, name: &str) -> &Relay {
        let index = MEMBERS.iter().position(|member| *member == name);
        index.and_then(|index| self.relays.get(index)).unwrap_or_else(|| panic!("no relay of {name}"))
    }

    /// Sets the wall clock of every process, in the words of faketime(1): `+1h`, `-1h`, `+0 x2`. Read within a second.
    ///
    /// # Panics
    /// If the pair has no such clock.
    pub fn set_clock(&self, time: &str) {
        let file = self.clock.as_ref().expect("Setup::clock");
        let new = file.with_extension("new");
        write(new.clone(), &format!("{time}\n"));
        fs::rename(new, file).expect("put the clock in its place");
    }

    /// Fills the disk of the proxy's store to the last byte.
    ///
    /// # Panics
    /// If the store has no disk of its own.
    pub fn fill_store(&self) {
        assert!(self.disk.is_some(), "the store of a pair outside a lab is on the machine's own disk");
        let mut file = fs::File::create(self.folder.path().join("store/full")).expect("a file to fill the disk with");
        for size in [64 << 10, 1 << 10, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Makes room again.
    pub fn empty_store(&self) {
        let _ = fs::remove_file(self.folder.path().join("store/full"));
    }

    /// hotspare on this host, started through another program if there is one.
    fn command(&self, host: &str, through: &[&str]) -> Command {
        let program = hotspare().display().to_string();
        let mut words = through.iter().copied().chain([program.as_str()]);
        let mut command = self.network.command(host, words.next().expect("the program at least"));
        command.args(words).env("RUST_BACKTRACE", "1").envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(clock) = &self.clock {
            command.env("LD_PRELOAD", FAKETIME).env("FAKETIME_TIMESTAMP_FILE", clock);
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
            command.env("FAKETIME_CACHE_DURATION", "1");
        }
        command
    }

    /// Starts `hotspare run`.
    pub fn start_proxy(&mut self) {
        self.start_proxy_through(&self.through.clone(), Stdio::null());
    }

    /// Starts `hotspare run` through a program that starts another; `stdin` is that program's.
    pub fn start_proxy_through(&mut self, through: &[&str], stdin: Stdio) {
        let mut command = self.command(PROXY, through);
        command.arg("run").arg("--config").arg(&self.config);
        self.proxy = Some(Process::start_with(PROXY, command, stdin));
    }

    /// Starts a new `hotspare run` that takes over from the one that runs, which is returned.
    ///
    /// # Panics
    /// If none was started.
    pub fn take_over_proxy(&mut self) -> Process {
        let mut command = self.network.command(PROXY, &hotspare().display().to_string());
        command.args(["run", "--takeover"]).arg("--config").arg(&self.config).env("RUST_BACKTRACE", "1");
        self.proxy.replace(Process::start("the proxy that takes over", command)).expect("the proxy was started")
    }

    /// The proxy's process.
    ///
    /// # Panics
    /// If it wasn't started.
    pub fn proxy(&mut self) -> &mut Process {
        self.proxy.as_mut().expect("the proxy was started")
    }

    /// Starts the launcher of a member, which starts its Node-RED.
    pub fn start_launcher(&mut self, name: &str) {
        let home = self.folder.path().join(name);
        let through = if self.relays.is_empty() { self.network.ip(PROXY) } else { self.network.relay(name) };
        let controller = SocketAddr::new(through, 9481);
        let mut command = self.command(name, &[]);
        command.args(["launcher", "--instance", INSTANCE, "--name", name]);
        let scheme = if self.authority.is_some() { "wss" } else { "ws" };
        command.args(["--controller", &format!("{scheme}://{controller}")]);
        if let Some(authority) = &self.authority {
            command.arg("--ca-file").arg(authority.file("ca.crt"));
            command.arg("--cert-file").arg(authority.file(&format!("{name}.crt")));
            command.arg("--key-file").arg(authority.file(&format!("{name}.key")));
        }
        command.arg("--token-file").arg(home.join("token")).arg("--state-dir").arg(home.join("state"));
        command.args(["--admin", &SocketAddr::new(self.network.bind(name), 2880).to_string(), "--"]);
        command.args(fs::read_to_string(home.join("command")).expect("written before").lines());
        let process = Process::start(&format!("launcher {name}"), command);
        let member = self.members.iter_mut().find(|member| member.name == name);
        member.unwrap_or_else(|| panic!("no member {name}")).launcher = Some(process);
    }

    /// The launcher of a member.
    ///
    /// # Panics
    /// If it wasn't started.
    pub fn launcher(&mut self, name: &str) -> &mut Process {
        let member = self.members.iter_mut().find(|member| member.name == name);
        member.and_then(|member| member.launcher.as_mut()).unwrap_or_else(|| panic!("launcher {name} wasn't started"))
    }

    /// The process of a member's Node-RED, once there is one.
    ///
    /// # Panics
    /// If its launcher has none for a minute.
    pub fn node_red_pid(&self, name: &str) -> Pid {
        let launcher = self.member(name).launcher.as_ref().expect("its launcher was started").pid();
        wait_until(PATIENCE, &format!("the Node-RED of {name}"), || fault::node_red_below(launcher).ok_or("no process"))
    }

    /// A request to the admin API.
    pub fn get<'a>(&self, path: &'a str) -> Request<'a> {
        http::get(self.admin(), path).token(TOKEN_ADMIN)
    }

    /// An order to the admin API: POST /v1/instances/line-1/VERB.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn order(&self, verb: &str, body: &Value) -> http::Response {
        let path = format!("/v1/instances/{INSTANCE}/{verb}");
        let request = http::post(self.admin(), &path, body).token(TOKEN_ADMIN).within(PATIENCE);
        request.send().unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// The same without waiting for what comes of it.
    pub fn order_and_forget(&self, verb: &str, body: &Value) {
        let (admin, body, path) = (self.admin(), body.clone(), format!("/v1/instances/{INSTANCE}/{verb}"));
        std::thread::spawn(move || http::post(admin, &path, &body).token(TOKEN_ADMIN).within(PATIENCE).send());
    }

    /// A hotspare command that knows the proxy and its token.
    pub fn cli(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(hotspare());
        command.args(arguments).stdin(std::process::Stdio::null()).env_remove("HOTSPARE_ADMIN_TOKEN_FILE");
        command.env("HOTSPARE_ADMIN", format!("http://{}", self.admin())).env("HOTSPARE_ADMIN_TOKEN", TOKEN_ADMIN);
        command
    }

    /// What a hotspare command that must succeed writes.
    ///
    /// # Panics
    /// If it fails, with what it said.
    pub fn says(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments).output().expect("hotspare to start");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}{said}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// What /status says of the instance.
    ///
    /// # Errors
    /// Why it said nothing, in words.
    pub fn status(&self) -> Result<Value, String> {
        let answer = self.get("/status").send().map_err(|error| error.to_string())?;
        match answer.status {
            200 => Ok(answer.json()["instances"][0].clone()),
            status => Err(format!("{status}: {}", answer.body)),
        }
    }

    /// What /status says of a member.
    ///
    /// # Errors
    /// Why it said nothing, in words.
    pub fn member_status(&self, name: &str) -> Result<Value, String> {
        let status = self.status()?;
        let members = status["members"].as_array().into_iter().flatten();
        members
            .into_iter()
            .find(|member| member["name"] == name)
            .cloned()
            .ok_or_else(|| format!("no {name} in {status}"))
    }

    /// Who serves a client of the proxy now.
    ///
    /// # Errors
    /// Why nobody does, in words.
    pub fn who(&self) -> Result<Who, String> {
        who(self.front(), Duration::from_secs(10))
    }

    /// Waits until one member serves and the other is ready to take over; returns who serves.
    ///
    /// # Panics
    /// If that doesn't come about within [`PATIENCE`].
    pub fn wait_until_steady(&self) -> Who {
        wait_until(PATIENCE, "one member active, the other ready", || {
            let status = self.status()?;
            let active = status["active"].as_str().ok_or_else(|| status.to_string())?;
            let standby = self.member_status(self.other(active).name)?;
            if status["state"] != "active" || standby["ready"] != true {
                return Err(status.to_string());
            }
            match self.who()? {
                serving if serving.member == active => Ok(serving),
                serving => Err(format!("{serving:?} serves, but {active} is active")),
            }
        })
    }

    /// Waits until a member of a later epoch than `before` serves; returns who.
    ///
    /// # Panics
    /// If that doesn't come about within [`PATIENCE`].
    pub fn wait_for_takeover(&self, before: &Who) -> Who {
        wait_until(PATIENCE, &format!("someone after {before:?} to serve"), || {
            let now =
                self.who().map_err(|error| format!("{error}; {:?}", self.status().map(|status| status.to_string())))?;
            if now.epoch > before.epoch { Ok(now) } else { Err(format!("{now:?}")) }
        })
    }

    /// Waits until the flows of a member have acted under this epoch, as the witness sees it.
    ///
    /// # Panics
    /// If they haven't within [`PATIENCE`].
    pub fn wait_for_act(&self, by: &Who) {
        wait_until(PATIENCE, &format!("an act of the flows of {by:?}"), || match self.sink.last_act(&by.member) {
            Some(act) if act.epoch == by.epoch => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// Writes the configuration: the smallest useful one, with `more` at its end.
    pub fn write_config(&mut self, more: &str) {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let front = SocketAddr::new(self.network.bind(PROXY), 1880);
        let file = |name: &str| self.authority.as_ref().map(|a| a.file(name).display().to_string()).unwrap_or_default();
        let (ca, cert, key) = (file("ca.crt"), file("proxy.crt"), file("proxy.key"));
        let (links_tls, scheme, member_tls) = match &self.authority {
            None => (String::new(), "http", String::new()),
            Some(_) => (
                format!("tls = {{ cert_file = \"{cert}\", key_file = \"{key}\", client_ca_file = \"{ca}\" }}"),
                "https",
                format!("tls = {{ ca_file = \"{ca}\" }}"),
            ),
        };
        let mut text = format!(
            "[admin]
listen = \"{admin}\"
[[admin.token]]
name = \"test\"
role = \"admin\"
token_file = \"{token}\"
[links]
listen = \"{links}\"
{links_tls}
[store]
dir = \"{store}\"
[[instance]]
name = \"{INSTANCE}\"
{tcp}",
            admin = SocketAddr::new(self.network.bind(PROXY), 9480),
            links = SocketAddr::new(self.network.bind(PROXY), 9481),
            tcp = if self.http { String::new() } else { format!("listen = \"{front}\"\n") },
            token = path("admin.token"),
            store = path("store"),
        );
        for name in MEMBERS {
            let ip = self.network.ip(name);
            let token = path(&format!("{name}/token"));
            let _ = write!(
                text,
                "[[instance.member]]
name = \"{name}\"
address = \"{ip}:1880\"
{member_tls}
launcher = {{ kind = \"hotspare\", url = \"{scheme}://{ip}:2880\", token_file = \"{token}\" }}
"
            );
        }
        if self.http {
            let _ = write!(text, "[[instance.listener]]\nname = \"main\"\nlisten = \"{front}\"\nprotocol = \"http\"\n");
        }
        if self.authority.is_some() {
            let listen = SocketAddr::new(self.network.bind(PROXY), 1443);
            let _ = writeln!(
                text,
                "[[instance.listener]]\nname = \"https\"\nlisten = \"{listen}\"\nprotocol = \"http\"\n\
                 tls = [{{ cert_file = \"{cert}\", key_file = \"{key}\" }}]"
            );
        }
        text.push_str(more);
        write(self.config.clone(), &text);
    }

    /// Every secret of this pair, with what it is: the admin token, the members' tokens, and what launchers keep.
    ///
    /// # Panics
    /// If a launcher keeps no secret of the pair.
    pub fn secrets(&self) -> Vec<(String, String)> {
        let mut secrets = vec![("the admin token".to_owned(), TOKEN_ADMIN.to_owned())];
        for name in MEMBERS {
            let home = self.folder.path().join(name);
            let token = fs::read_to_string(home.join("token")).expect("written before");
            secrets.push((format!("the token of {name}"), token.trim().to_owned()));
            let kept = secret_below(&home.join("state")).unwrap_or_else(|| panic!("launcher {name} keeps no secret"));
            secrets.push((format!("the pair's secret, kept by {name}"), kept));
        }
        secrets
    }

    /// An address of the test's own beside the pair's, for something that stands in front of it. Loopback only.
    ///
    /// # Panics
    /// If the pair runs in a lab.
    pub fn spare_address(&self, port: u16) -> SocketAddr {
        match &self.network {
            Network::Loopback(block) => block.socket(8, port),
            Network::Lab(_) => panic!("this pair runs in a lab"),
        }
    }

    /// The folder that holds everything of this pair: the proxy's store is `store`, members have `a` and `b`.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}

impl Network {
    /// The address by which the parts reach one another.
    fn ip(&self, host: &str) -> IpAddr {
        match self {
            Network::Loopback(block) => block.ip(match host {
                PROXY => 1,
                "a" => 2,
                _ => 3,
            }),
            Network::Lab(lab) => lab.ip(host),
        }
    }

    /// Where the relay of a member listens.
    fn relay(&self, member: &str) -> IpAddr {
        match self {
            Network::Loopback(block) => block.ip(if member == "a" { 4 } else { 5 }),
            Network::Lab(_) => panic!("there are no relays in a lab"),
        }
    }

    /// The address a part binds: in a lab it must be reachable from the test as well.
    fn bind(&self, host: &str) -> IpAddr {
        match self {
            Network::Loopback(_) => self.ip(host),
            Network::Lab(_) => IpAddr::from([0, 0, 0, 0]),
        }
    }

    fn test_socket(&self, host: &str, port: u16) -> SocketAddr {
        match self {
            Network::Loopback(_) => SocketAddr::new(self.ip(host), port),
            Network::Lab(lab) => SocketAddr::new(lab.control_ip(host), port),
        }
    }

    /// The test's own address, as the parts reach it.
    fn test(&self) -> IpAddr {
        match self {
            Network::Loopback(block) => block.ip(9),
            Network::Lab(lab) => lab.test_ip(),
        }
    }

    fn command(&self, host: &str, program: &str) -> Command {
        match self {
            Network::Loopback(_) => Command::new(program),
            Network::Lab(lab) => lab.command(host, program),
        }
    }
}

/// The secret of the pair in the files of a launcher's state folder: JSON, within JSON for one of them.
fn secret_below(folder: &std::path::Path) -> Option<String> {
    let files = fs::read_dir(folder).ok()?.flatten().filter_map(|entry| fs::read(entry.path()).ok());
    files.into_iter().find_map(|bytes| {
        let text = String::from_utf8_lossy(&bytes).replace('\\', "");
        Some(text.split_once("\"secret\":\"")?.1.split_once('"')?.0.to_owned())
    })
}

/// A small file system of its own, in memory. Unmounted when dropped.
#[derive(Debug)]
struct Disk(PathBuf);

impl Disk {
    fn mount(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).expect("a folder to mount a disk on");
        let place = folder.display().to_string();
        run("mount", ["-t", "tmpfs", "-o", "size=2m,mode=700", "hotspare-test", &place]);
        Disk(folder)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whatever still has a file open there is about to end.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn write(path: PathBuf, text: &str) {
    fs::write(&path, text).unwrap_or_else(|error| panic!("can't write {}: {error}", path.display()));
}

/// hotspare refuses a token file that others can read.
fn write_secret(path: PathBuf, text: &str) {
    write(path.clone(), text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("change the mode of a file just written");
}
