//! Two real nr-launchers, unchanged, each with `hotspare launcher --attach` beside it, `hotspare run` in front, and the
//! witness.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use hotspare_test_support::address::LoopbackBlock;
use hotspare_test_support::client::{Who, who};
use hotspare_test_support::environment::hotspare;
use hotspare_test_support::flows::{Flows, TICK};
use hotspare_test_support::http::{self, Response};
use hotspare_test_support::process::Process;
use hotspare_test_support::wait::wait_until;
use hotspare_test_support::witness::{Sink, judge};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::launched::{Launched, PATIENCE};
use crate::platform_stand_in::PlatformStandIn;

const MEMBERS: [&str; 2] = ["a", "b"];
const TOKEN_ADMIN: &str = "the-admin-token-of-this-test";

pub(crate) struct AttachedPair {
    // Dropped from top to bottom: processes first.
    proxy: Option<Process>,
    pub(crate) ours: [Option<Process>; 2],
    pub(crate) members: [Launched; 2],
    pub(crate) platform: PlatformStandIn,
    pub(crate) sink: Sink,
    block: LoopbackBlock,
    folder: TempDir,
}

impl AttachedPair {
    /// Everything is up: one serves, the other is ready. The platform wants both `running`.
    pub(crate) fn start() -> Self {
        let mut pair = Self::prepare();
        for member in MEMBERS {
            pair.start_ours(member);
        }
        pair.start_proxy();
        for member in &mut pair.members {
            member.run();
        }
        pair.wait_until_steady();
        pair
    }

    /// Writes all files and starts nothing but the platform and the witness.
    pub(crate) fn prepare() -> Self {
        let block = LoopbackBlock::take();
        let sink = Sink::start(block.ip(9));
        let platform = PlatformStandIn::start();
        let folder = TempDir::new().unwrap();
        let flows = Flows::new().hang().exit().tick_udp(sink.udp);
        let members = MEMBERS.map(|name| {
            let launched = Launched::prepare(&platform, name, &flows, "running");
            platform.change_settings(name, |settings| {
                let module = launched.user_dir().join(".hotspare/module/attach.js");
                // As one sets it for an instance on the platform.
                settings["env"]["NODE_OPTIONS"] = json!(format!("--require={}", module.display()));
                settings["env"].as_object_mut().unwrap().remove("HOTSPARE_MEMBER");
                settings["disableAutoSafeMode"] = json!(true);
            });
            write_secret(folder.path().join(name), &format!("token-of-member-{name}\n"));
            launched
        });
        write_secret(folder.path().join("admin"), TOKEN_ADMIN);
        let pair = Self { proxy: None, ours: [None, None], members, platform, sink, block, folder };
        fs::write(pair.folder.path().join("hotspare.toml"), pair.configuration()).unwrap();
        pair
    }

    pub(crate) fn start_proxy(&mut self) {
        let mut command = Command::new(hotspare());
        command.arg("run").arg("--config").arg(self.folder.path().join("hotspare.toml"));
        self.proxy = Some(Process::start("hotspare", command));
    }

    /// Starts our launcher of a member.
    pub(crate) fn start_ours(&mut self, name: &str) {
        let index = index(name);
        let launched = &self.members[index];
        let mut command = Command::new(hotspare());
        command.args(["launcher", "--instance", "line-1", "--name", name]);
        command.args(["--controller", &format!("ws://{}", self.block.socket(1, 9481))]);
        command.arg("--token-file").arg(self.folder.path().join(name));
        command.args(["--admin", &self.admin(name).to_string()]);
        command.arg("--attach").arg(launched.user_dir());
        command.args(["--nr-launcher", &format!("http://{}", launched.launcher)]);
        self.ours[index] = Some(Process::start(&format!("launcher {name}"), command));
        let module = launched.user_dir().join(".hotspare/module/attach.json");
        wait_until(PATIENCE, "our launcher listens", || if module.exists() { Ok(()) } else { Err("not yet") });
    }

    pub(crate) fn ours(&mut self, name: &str) -> &mut Process {
        self.ours[index(name)].as_mut().unwrap()
    }

    pub(crate) fn member(&self, name: &str) -> &Launched {
        &self.members[index(name)]
    }

    /// Where the admin API of our launcher of a member is.
    pub(crate) fn admin(&self, name: &str) -> SocketAddr {
        self.block.socket(if name == "a" { 2 } else { 3 }, 2881)
    }

    /// What our launcher says of its member.
    pub(crate) fn launcher_status(&self, name: &str) -> Value {
        http::get(self.admin(name), "/hotspare/v1/status").send().map(|answer| answer.json()).unwrap_or_default()
    }

    pub(crate) fn front(&self) -> SocketAddr {
        self.block.socket(1, 1880)
    }

    pub(crate) fn status(&self) -> Value {
        let answer = http::get(self.block.socket(1, 9480), "/status").token(TOKEN_ADMIN).send();
        answer.map(|answer| answer.json()["instances"][0].clone()).unwrap_or_default()
    }

    pub(crate) fn order(&self, verb: &str, body: &Value) -> Response {
        let path = format!("/v1/instances/line-1/{verb}");
        let order = http::post(self.block.socket(1, 9480), &path, body).token(TOKEN_ADMIN).within(PATIENCE);
        order.send().unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    pub(crate) fn who(&self) -> Result<Who, String> {
        who(self.front(), Duration::from_secs(10))
    }

    /// Waits until a member serves and the other is hot; who serves.
    pub(crate) fn wait_until_steady(&self) -> Who {
        wait_until(PATIENCE, "one serves, the other is ready", || {
            let status = self.status();
            let who = self.who().map_err(|why| format!("{why}: {status}"))?;
            let spare = status["members"].as_array().into_iter().flatten().find(|m| m["name"] != who.member.as_str());
            let ready = spare.is_some_and(|spare| spare["ready"] == true && spare["flows"] == "stopped");
            if status["active"] == who.member.as_str() && ready { Ok(who) } else { Err(status.to_string()) }
        })
    }

    /// Waits until a member of a later epoch serves; who.
    pub(crate) fn wait_for_takeover(&self, before: &Who) -> Who {
        wait_until(PATIENCE, &format!("someone after {before:?} serves"), || match self.who() {
            Ok(now) if now.epoch > before.epoch => Ok(now),
            other => Err(format!("{other:?}: {}", self.status())),
        })
    }

    /// No two members ran flows at once, none acted without an epoch: as the witness saw it.
    pub(crate) fn assert_clean(&self) {
        judge(&self.sink.history(), TICK).assert_clean();
    }

    fn configuration(&self) -> String {
        let (ip, secret) = (self.block.ip(1), |name: &str| self.folder.path().join(name).display().to_string());
        let mut text = format!(
            "[admin]\nlisten = \"{ip}:9480\"\n[[admin.token]]\nname = \"test\"\nrole = \"admin\"\ntoken_file = \"{}\"\n\
             [links]\nlisten = \"{ip}:9481\"\n[store]\ndir = \"{}\"\n[[instance]]\nname = \"line-1\"\nlisten = \"{ip}:1880\"\n",
            secret("admin"),
            secret("store"),
        );
        for name in MEMBERS {
            text.push_str(&format!(
                "[[instance.member]]\nname = \"{name}\"\naddress = \"{}\"\n\
                 launcher = {{ kind = \"hotspare\", url = \"http://{}\", token_file = \"{}\" }}\n",
                self.member(name).node_red,
                self.admin(name),
                secret(name),
            ));
        }
        text + "[instance.failover]\nhold_down = \"0s\"\nmax_per_hour = 1000\n"
    }
}

fn index(name: &str) -> usize {
    MEMBERS.iter().position(|member| *member == name).unwrap()
}

fn write_secret(path: PathBuf, text: &str) {
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}
