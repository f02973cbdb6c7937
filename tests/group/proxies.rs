//! Several proxies in front of one pair, with a real etcd between them: each on a host of its own that can be cut.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use hotspare_test_support::client::{Who, who};
use hotspare_test_support::environment::{NodeRed, hotspare};
use hotspare_test_support::fault;
use hotspare_test_support::flows::{Flows, TICK};
use hotspare_test_support::http;
use hotspare_test_support::lab::Lab;
use hotspare_test_support::node_red;
use hotspare_test_support::process::Process;
use hotspare_test_support::wait::wait_until;
use hotspare_test_support::witness::record::{Nanos, now};
use hotspare_test_support::witness::{Sink, judge};
use serde_json::Value;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const PROXIES: [&str; 2] = ["p1", "p2"];
const MEMBERS: [&str; 2] = ["a", "b"];
const STORE: &str = "store";
const TOKEN_ADMIN: &str = "the-admin-token-of-this-test";
/// How long a leader leads after its last renewal, in these tests.
pub(crate) const LEAD_FOR: Duration = Duration::from_secs(2);

/// What the members are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Each with `hotspare launcher`.
    Hotspare,
    /// Nothing but Node-REDs, with the gate of the manual. Their flows know no epoch: all of them act under 1.
    NodeRed,
}

pub(crate) struct Group {
    // Dropped from top to bottom: processes first, then networks and folders.
    proxies: Vec<Process>,
    kind: Kind,
    /// Or what stands in their place.
    launchers: Vec<Process>,
    etcd: Vec<Process>,
    sink: Sink,
    pub(crate) lab: Lab,
    folder: tempfile::TempDir,
}

impl Group {
    /// Starts everything, and waits until one proxy leads, one member serves and the other is ready.
    pub(crate) fn start() -> Self {
        Self::of(Kind::Hotspare)
    }

    /// The same with members of this kind.
    pub(crate) fn of(kind: Kind) -> Self {
        let lab = Lab::new(&["a", "b", "p1", "p2", STORE]);
        let sink = Sink::start(lab.test_ip());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (proxies, launchers, etcd) = (Vec::new(), Vec::new(), Vec::new());
        let mut group = Self { proxies, kind, launchers, etcd, sink, lab, folder };
        group.start_store();
        for name in MEMBERS {
            fs::create_dir_all(group.path(name)).expect("a folder for a member");
            group.write_secret(&format!("{name}/token"), &format!("token-of-member-{name}"));
        }
        group.write_secret("admin.token", TOKEN_ADMIN);
        for name in MEMBERS {
            let process = group.start_member(name);
            group.launchers.push(process);
        }
        for name in PROXIES {
            fs::write(group.path(&format!("{name}.toml")), group.config(name)).expect("write a configuration");
            let process = group.proxy_process(name, &[]);
            group.proxies.push(process);
        }
        group.wait_until_steady();
        group
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_secret(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).expect("write a secret");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("change the mode of a file just written");
    }

    /// Starts the three nodes of etcd, with what they have on disk.
    pub(crate) fn start_store(&mut self) {
        self.etcd = (0..3).map(|n| self.store_node(n)).collect();
    }

    fn store_node(&self, n: usize) -> Process {
        let ip = self.lab.ip(STORE);
        let url = |port: usize| format!("http://{ip}:{port}");
        let cluster: Vec<String> = (0..3).map(|n| format!("n{n}={}", url(2480 + n))).collect();
        let mut command = self.lab.command(STORE, "etcd");
        command.args([format!("--name=n{n}"), format!("--data-dir={}", self.path(&format!("etcd-{n}")).display())]);
        for (option, value) in [
            ("listen-client-urls", url(2380 + n)),
            ("advertise-client-urls", url(2380 + n)),
            ("listen-peer-urls", url(2480 + n)),
            ("initial-advertise-peer-urls", url(2480 + n)),
            ("initial-cluster", cluster.join(",")),
        ] {
            command.arg(format!("--{option}={value}"));
        }
        Process::start(&format!("etcd {n}"), command)
    }

    /// `kill -9` of all of etcd.
    pub(crate) fn kill_store(&mut self) {
        self.etcd.drain(..).for_each(|mut node| node.kill());
    }

    /// `kill -9` of one node of etcd.
    pub(crate) fn kill_store_node(&mut self, node: usize) {
        self.etcd[node].kill();
    }

    fn start_member(&self, name: &str) -> Process {
        let user_dir = self.path(&format!("{name}/node-red"));
        let flows = Flows::new().hang().exit().slow().echo().tick_udp(self.sink.udp);
        node_red::write_user_dir(&user_dir, SocketAddr::from(([0, 0, 0, 0], 1880)), &flows);
        if self.kind == Kind::NodeRed {
            node_red::add_settings(&user_dir, &node_red::gate());
            let line = node_red::command(NodeRed::V4, &user_dir);
            let mut command = self.lab.command(name, &line[0]);
            command.args(&line[1..]).env("HOTSPARE_MEMBER", name).env("HOTSPARE_EPOCH", "1");
            return Process::start(&format!("node-red {name}"), command);
        }
        let mut command = self.lab.command(name, &hotspare().display().to_string());
        command.args(["launcher", "--instance", "line-1", "--name", name]);
        for proxy in PROXIES {
            command.args(["--controller", &format!("ws://{}:9481", self.lab.ip(proxy))]);
        }
        command.arg("--token-file").arg(self.path(&format!("{name}/token")));
        command.arg("--state-dir").arg(self.path(&format!("{name}/state")));
        command.args(["--admin", "0.0.0.0:2880", "--"]).args(node_red::command(NodeRed::V4, &user_dir));
        Process::start(&format!("launcher {name}"), command)
    }

    fn config(&self, name: &str) -> String {
        let path = |name: &str| self.path(name).display().to_string();
        let store = self.lab.ip(STORE);
        let mut text = format!(
            "[proxy]\nname = \"{name}\"\ndrain = \"4s\"\n\
             [admin]\nlisten = \"0.0.0.0:9480\"\n\
             [[admin.token]]\nname = \"test\"\nrole = \"admin\"\ntoken_file = \"{token}\"\n\
             [links]\nlisten = \"0.0.0.0:9481\"\n\
             [store]\ndir = \"{dir}\"\nkind = \"etcd\"\nlead_for = \"{lead}ms\"\nrenew = \"250ms\"\n\
             request_timeout = \"500ms\"\n\
             [store.etcd]\nendpoints = [\"http://{store}:2380\", \"http://{store}:2381\", \"http://{store}:2382\"]\n\
             [[instance]]\nname = \"line-1\"\nlisten = \"0.0.0.0:1880\"\n",
            token = path("admin.token"),
            dir = path(&format!("{name}.store")),
            lead = LEAD_FOR.as_millis(),
        );
        for name in MEMBERS {
            let (ip, token) = (self.lab.ip(name), path(&format!("{name}/token")));
            let launcher = match self.kind {
                Kind::Hotspare => {
                    format!("kind = \"hotspare\", url = \"http://{ip}:2880\", token_file = \"{token}\"")
                }
                Kind::NodeRed => "kind = \"node-red\"".to_owned(),
            };
            let _ = write!(
                text,
                "[[instance.member]]\nname = \"{name}\"\naddress = \"{ip}:1880\"\nlauncher = {{ {launcher} }}\n"
            );
        }
        let platform =
            if self.kind == Kind::Hotspare { "[instance.platform]\nlisten = \"0.0.0.0:2881\"\n" } else { "" };
        // Nothing here may depend on how fast a busy machine is.
        text + platform
            + "[[instance.listener]]\nname = \"web\"\nlisten = \"0.0.0.0:1881\"\nport = 1880\nprotocol = \"http\"\n\
                [instance.timeouts]\ndrain = \"20s\"\npark = \"30s\"\n\
                [instance.failover]\nhold_down = \"0s\"\nmax_per_hour = 1000\n"
    }

    fn proxy_process(&self, name: &str, options: &[&str]) -> Process {
        let mut command = self.lab.command(name, &hotspare().display().to_string());
        command
            .arg("run")
            .args(options)
            .arg("--config")
            .arg(self.path(&format!("{name}.toml")))
            .env("RUST_BACKTRACE", "1");
        Process::start(name, command)
    }

    /// The process of a proxy.
    pub(crate) fn proxy(&mut self, name: &str) -> &mut Process {
        let index = PROXIES.iter().position(|proxy| *proxy == name).expect("a proxy's name");
        &mut self.proxies[index]
    }

    /// Starts a proxy that has ended.
    pub(crate) fn restart_proxy(&mut self, name: &str) {
        *self.proxy(name) = self.proxy_process(name, &[]);
    }

    /// A new process takes a proxy's place; returns the old one.
    pub(crate) fn upgrade_proxy(&mut self, name: &str) -> Process {
        let new = self.proxy_process(name, &["--takeover"]);
        std::mem::replace(self.proxy(name), new)
    }

    /// The launcher of a member.
    pub(crate) fn launcher(&self, member: &str) -> &Process {
        &self.launchers[MEMBERS.iter().position(|name| *name == member).expect("a member's name")]
    }

    /// Kills the Node-RED of a member.
    pub(crate) fn kill_node_red(&self, member: &str) {
        let launcher = self.launcher(member).pid();
        fault::kill(wait_until(PATIENCE, "a Node-RED", || fault::node_red_below(launcher).ok_or("no process")));
    }

    /// `kill -9` of a bare Node-RED, which a supervisor then starts again.
    pub(crate) fn kill_and_restart_bare(&mut self, member: &str) -> &mut Process {
        let at = MEMBERS.iter().position(|name| *name == member).expect("a member's name");
        self.launchers[at].kill();
        self.launchers[at] = self.start_member(member);
        &mut self.launchers[at]
    }

    /// Waits until clients of both proxies are served by this member.
    pub(crate) fn wait_for_member(&self, member: &str) {
        wait_until(PATIENCE, &format!("{member} serves through both proxies"), || {
            let served = PROXIES.map(|proxy| self.who(proxy).map(|who| who.member));
            if served.iter().all(|who| who.as_deref() == Ok(member)) { Ok(()) } else { Err(served) }
        });
    }

    /// Who acted since `from`, in the order of it; the same one twice if another acted in between.
    pub(crate) fn acted_since(&self, from: Nanos) -> Vec<String> {
        let mut members: Vec<String> =
            self.sink.history().acts().filter(|act| act.at > from).map(|act| act.member.clone()).collect();
        members.dedup();
        members
    }

    /// What a proxy says of itself.
    pub(crate) fn status(&self, proxy: &str) -> Result<Value, String> {
        let request = http::get(self.admin(proxy), "/status").token(TOKEN_ADMIN).within(Duration::from_secs(2));
        let answer = request.send().map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(answer.json()) } else { Err(format!("{}: {}", answer.status, answer.body)) }
    }

    /// Gives an order to a proxy.
    pub(crate) fn order(&self, proxy: &str, verb: &str) -> http::Response {
        let path = format!("/v1/instances/line-1/{verb}");
        let request = http::post(self.admin(proxy), &path, &Value::Object(serde_json::Map::new())).token(TOKEN_ADMIN);
        request.within(PATIENCE).send().unwrap_or_else(|error| panic!("POST {path} to {proxy}: {error}"))
    }

    fn leads(&self, proxy: &str) -> Result<bool, String> {
        Ok(self.status(proxy)?["controller"]["leader"] == true)
    }

    /// The proxy that leads; it must be one.
    pub(crate) fn leader(&self) -> &'static str {
        wait_until(PATIENCE, "one proxy leads", || {
            let leads: Vec<_> = PROXIES.into_iter().filter(|proxy| self.leads(proxy) == Ok(true)).collect();
            match leads[..] {
                [one] => Ok(one),
                _ => Err(PROXIES.map(|proxy| self.status(proxy).map(|status| status["controller"].to_string()))),
            }
        })
    }

    /// Waits until this proxy leads, and the other does not if it can be asked.
    pub(crate) fn wait_for_leader(&self, proxy: &str) {
        wait_until(PATIENCE, &format!("{proxy} leads alone"), || match self.leads(proxy) {
            Ok(true) if self.leads(other(proxy)) != Ok(true) => Ok(()),
            seen => Err(seen),
        });
    }

    /// Waits until this proxy says that it does not lead.
    pub(crate) fn wait_until_follows(&self, proxy: &str) {
        wait_until(PATIENCE, &format!("{proxy} follows"), || match self.leads(proxy) {
            Ok(false) => Ok(()),
            seen => Err(seen),
        });
    }

    /// Waits until this proxy says of its store that it answers, or doesn't.
    pub(crate) fn wait_for_store(&self, proxy: &str, up: bool) {
        wait_until(PATIENCE, &format!("{proxy} says that its store is up: {up}"), || {
            let status = self.status(proxy)?;
            if status["controller"]["store_ok"] == up { Ok(()) } else { Err(status["controller"].to_string()) }
        });
    }

    /// The proxy that leads, and the other one.
    pub(crate) fn leader_and_follower(&self) -> (&'static str, &'static str) {
        let leader = self.leader();
        (leader, other(leader))
    }

    /// The admin listener of a proxy.
    pub(crate) fn admin(&self, proxy: &str) -> SocketAddr {
        SocketAddr::new(self.lab.control_ip(proxy), 9480)
    }

    /// Waits until clients of this proxy are served by this very member and epoch.
    pub(crate) fn wait_for_active(&self, proxy: &str, active: &Who) -> Who {
        wait_until(PATIENCE, &format!("{active:?} serves through {proxy}"), || match self.who(proxy) {
            Ok(now) if now == *active => Ok(now),
            seen => Err(seen),
        })
    }

    /// Nothing passes between a proxy and the members; it still reaches the store and the other proxy.
    pub(crate) fn cut_from_members(&self, proxy: &str) {
        MEMBERS.iter().for_each(|member| self.lab.separate(proxy, member));
    }

    /// Nothing passes between a proxy and the store.
    pub(crate) fn cut_from_store(&self, proxy: &str) {
        self.lab.separate(proxy, STORE);
    }

    /// Which node of etcd leads the others.
    pub(crate) fn leading_store_node(&self) -> usize {
        wait_until(PATIENCE, "one node of etcd leads", || {
            let ip = self.lab.ip(STORE);
            let endpoints: Vec<String> = (0..3).map(|n| format!("http://{ip}:{}", 2380 + n)).collect();
            let mut command = self.lab.command(STORE, "etcdctl");
            command.env("ETCDCTL_API", "3").arg(format!("--endpoints={}", endpoints.join(",")));
            let output =
                command.args(["endpoint", "status", "--write-out=json"]).output().map_err(|e| e.to_string())?;
            let status: Value = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
            let leads = |node: &Value| node["Status"]["leader"] == node["Status"]["header"]["member_id"];
            let found = status.as_array().into_iter().flatten().find(|node| leads(node));
            let at = found.and_then(|node| node["Endpoint"].as_str()).ok_or_else(|| status.to_string())?;
            endpoints.iter().position(|endpoint| endpoint == at).ok_or_else(|| at.to_owned())
        })
    }

    /// Starts the node of etcd again that was killed.
    pub(crate) fn revive_store_node(&mut self, node: usize) {
        self.etcd[node] = self.store_node(node);
    }

    /// Who serves a client of this proxy.
    pub(crate) fn who(&self, proxy: &str) -> Result<Who, String> {
        who(self.front(proxy), Duration::from_secs(10))
    }

    /// Where clients of a proxy connect.
    pub(crate) fn front(&self, proxy: &str) -> SocketAddr {
        SocketAddr::new(self.lab.control_ip(proxy), 1880)
    }

    /// The same, to the listener that follows HTTP.
    pub(crate) fn web(&self, proxy: &str) -> SocketAddr {
        SocketAddr::new(self.lab.control_ip(proxy), 1881)
    }

    /// Where a platform reaches the pair through a proxy.
    pub(crate) fn platform(&self, proxy: &str) -> SocketAddr {
        SocketAddr::new(self.lab.control_ip(proxy), 2881)
    }

    /// Waits until the leader knows an active and a ready spare, and both proxies lead clients to that active.
    pub(crate) fn wait_until_steady(&self) -> Who {
        wait_until(PATIENCE, "one member active for both proxies, the other ready", || {
            let leader = self.leader();
            let status = self.status(leader)?["instances"][0].clone();
            let ready = |m: &Value| m["ready"] == true || m["name"] == status["active"];
            let ready = status["members"].as_array().is_some_and(|all| all.iter().all(ready));
            let served = |proxy: &str| {
                let seen =
                    |e| format!("{proxy}: {e}; it says {:?}", self.status(proxy).map(|status| status.to_string()));
                self.who(proxy).map_err(seen)
            };
            let served = (served(PROXIES[0])?, served(PROXIES[1])?);
            let agree = served.0 == served.1 && status["active"] == served.0.member.as_str();
            if status["state"] == "active" && ready && agree {
                Ok(served.0)
            } else {
                Err(format!("{status} {served:?}"))
            }
        })
    }

    /// Waits until a member of a later epoch serves clients of this proxy.
    pub(crate) fn wait_for_takeover(&self, proxy: &str, before: &Who) -> Who {
        wait_until(PATIENCE, &format!("someone after {before:?} serves through {proxy}"), || match self.who(proxy) {
            Ok(now) if now.epoch > before.epoch => Ok(now),
            seen => Err(format!("{seen:?}; {:?}", self.status(proxy).map(|status| status.to_string()))),
        })
    }

    /// Waits until the flows of this member act again under this very epoch.
    pub(crate) fn flows_go_on(&self, active: &Who) {
        let from = now();
        wait_until(PATIENCE, &format!("flows of {active:?} go on"), || match self.sink.last_act(&active.member) {
            Some(act) if act.at > from && act.epoch == active.epoch => Ok(()),
            seen => Err(seen),
        });
    }

    /// The witness's verdict: flows never ran twice; and the longest time in which nothing acted at all.
    pub(crate) fn assert_never_twice(&self) -> Duration {
        let verdict = judge(&self.sink.history(), TICK);
        verdict.assert_clean();
        verdict.longest_gap()
    }
}

pub(crate) fn other(proxy: &str) -> &'static str {
    if proxy == PROXIES[0] { PROXIES[1] } else { PROXIES[0] }
}
