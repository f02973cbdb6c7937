//! A pair of real nr-launchers behind `hotspare run`: who serves, who runs flows, and what the witness saw.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use hotspare_test_support::address::LoopbackBlock;
use hotspare_test_support::environment::hotspare;
use hotspare_test_support::flows::{Flows, WHO};
use hotspare_test_support::http;
use hotspare_test_support::process::Process;
use hotspare_test_support::wait::wait_until;
use hotspare_test_support::witness::{Record, Sink};
use serde_json::Value;
use tempfile::TempDir;

use crate::launched::{Launched, PATIENCE};
use crate::platform_stand_in::PlatformStandIn;

/// Two launchers, the proxy, and the witness.
pub(crate) struct Pair {
    // Dropped from top to bottom: processes first.
    _proxy: Process,
    pub(crate) members: [Launched; 2],
    _platform: PlatformStandIn,
    pub(crate) sink: Sink,
    block: LoopbackBlock,
    _folder: TempDir,
}

impl Pair {
    /// Member `a` runs, `b` is cold: its process is stopped. `more` ends the configuration.
    pub(crate) fn start(more: &str) -> Self {
        let block = LoopbackBlock::take();
        let sink = Sink::start(block.ip(3));
        let platform = PlatformStandIn::start();
        let flows = Flows::new().hang().tick_udp(sink.udp);
        let members =
            [Launched::start(&platform, "a", &flows, "running"), Launched::start(&platform, "b", &flows, "stopped")];
        let folder = TempDir::new().unwrap();
        let config = folder.path().join("hotspare.toml");
        fs::write(&config, configuration(&block, &members, &folder, more)).unwrap();
        let mut command = Command::new(hotspare());
        command.arg("run").arg("--config").arg(&config);
        let proxy = Process::start("hotspare", command);
        let pair = Self { _proxy: proxy, members, _platform: platform, sink, block, _folder: folder };
        pair.wait_until_steady();
        pair
    }

    /// Where clients connect to.
    pub(crate) fn front(&self) -> SocketAddr {
        self.block.socket(1, 1880)
    }

    /// Where the platform talks to the pair.
    pub(crate) fn endpoint(&self) -> SocketAddr {
        self.block.socket(1, 2880)
    }

    /// Where people ask.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.block.socket(1, 9480)
    }

    pub(crate) fn member(&self, name: &str) -> &Launched {
        self.members.iter().find(|member| member.project == name).unwrap()
    }

    /// What `/status` says of the instance.
    pub(crate) fn status(&self) -> Value {
        let answer = http::get(self.admin(), "/status").send();
        answer.map(|answer| answer.json()["instances"][0].clone()).unwrap_or_default()
    }

    /// Who answers a client.
    pub(crate) fn who(&self) -> Result<String, String> {
        let answer = http::get(self.front(), WHO).within(Duration::from_secs(2)).send().map_err(|e| e.to_string())?;
        match answer.json()["member"].as_str() {
            Some(member) if answer.status == 200 => Ok(member.to_owned()),
            _ => Err(format!("{answer:?}")),
        }
    }

    /// Waits until a member serves and the other is ready; who serves.
    pub(crate) fn wait_until_steady(&self) -> String {
        wait_until(PATIENCE, "one serves, the other is ready", || {
            let (who, status) = (self.who()?, self.status());
            let spare = status["members"].as_array().into_iter().flatten().find(|m| m["name"] != who.as_str());
            let ready = spare.is_some_and(|spare| spare["ready"] == true);
            if status["active"] == who.as_str() && ready { Ok(who) } else { Err(status.to_string()) }
        })
    }

    pub(crate) fn wait_for(&self, member: &str) {
        wait_until(PATIENCE, &format!("{member} serves"), || match self.who() {
            Ok(who) if who == member => Ok(()),
            other => Err(format!("{other:?} {}", self.status())),
        });
    }

    /// No two members ran flows at once, as far as the witness saw.
    pub(crate) fn assert_never_two(&self) {
        let lives = lives(self.sink.history().acts());
        assert!(!lives.is_empty(), "the witness saw no flow act");
        for (index, one) in lives.iter().enumerate() {
            if let Some(other) = lives[index + 1..].iter().find(|other| other.overlaps(one)) {
                panic!("two ran at once: {one:?} and {other:?}");
            }
        }
    }
}

/// What one Node-RED process did: nr-launcher's stop ends the process, and its flows count from 1 again.
#[derive(Debug)]
struct Life {
    member: String,
    last_seq: u64,
    from: u64,
    until: u64,
}

impl Life {
    fn overlaps(&self, other: &Life) -> bool {
        self.member != other.member && self.from <= other.until && other.from <= self.until
    }
}

fn lives<'a>(acts: impl Iterator<Item = &'a Record>) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    for act in acts {
        match lives.iter_mut().rev().find(|life| life.member == act.member) {
            Some(life) if act.seq > life.last_seq => (life.last_seq, life.until) = (act.seq, act.at),
            _ => {
                let (member, last_seq) = (act.member.clone(), act.seq);
                lives.push(Life { member, last_seq, from: act.at, until: act.at });
            }
        }
    }
    lives
}

fn configuration(block: &LoopbackBlock, members: &[Launched; 2], folder: &TempDir, more: &str) -> String {
    let ip = block.ip(1);
    let mut text = format!(
        "[admin]\nlisten = \"{ip}:9480\"\n[store]\ndir = \"{store}\"\n[[instance]]\nname = \"line-1\"\n\
         listen = \"{ip}:1880\"\n[instance.platform]\nlisten = \"{ip}:2880\"\n",
        store = folder.path().join("store").display(),
    );
    for member in members {
        text.push_str(&format!(
            "[[instance.member]]\nname = \"{}\"\naddress = \"{}\"\n\
             launcher = {{ kind = \"flowfuse\", url = \"http://{}\" }}\n",
            member.project, member.node_red, member.launcher
        ));
    }
    text.push_str(&format!(
        "[instance.health]\ninterval = \"1s\"\ntimeout = \"1s\"\n\
         [[instance.health.check]]\nkind = \"http\"\npath = \"{WHO}\"\nactive_only = true\n\
         [instance.timeouts]\nstart = \"60s\"\n[instance.failover]\nhold_down = \"0s\"\nmax_per_hour = 1000\n{more}"
    ));
    text
}
