//! Hosts in network namespaces, whose links can be cut. Needs root.
//!
//! Each host has two links: `eth0` in the network the parts of hotspare use among themselves (10.77.2k.0/24), which
//! tests cut, and `eth1` to the test itself (10.77.2k+1.0/24), which stays up: over it clients ask, and the witness
//! hears what a host does that is cut off from everyone else.

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};

use crate::fault::{self, Pid};
use crate::process::run;

/// Labs at once on one machine.
const LABS: u8 = 60;
/// The test's own host number in the witness network.
const TEST: u8 = 254;

/// A few hosts and the switch between them. Everything is gone when it is dropped.
#[derive(Debug)]
pub struct Lab {
    number: u8,
    hosts: Vec<String>,
    /// Held for as long as the number is in use.
    _lock: File,
}

impl Lab {
    /// Makes hosts with these names.
    ///
    /// # Panics
    /// Without root, or if `ip` fails.
    pub fn new(hosts: &[&str]) -> Self {
        assert!(rustix::process::geteuid().is_root(), "network namespaces need root: run ./tests/run");
        let (number, lock) = (0..LABS).find_map(lock).expect("a free lab: others left theirs locked");
        let lab = Lab { number, hosts: hosts.iter().map(|host| (*host).to_owned()).collect(), _lock: lock };
        lab.remove();
        for side in ["c", "w"] {
            ip(&format!("link add {} type bridge", lab.bridge(side)));
            ip(&format!("link set {} up", lab.bridge(side)));
        }
        ip(&format!("addr add {}/24 dev {}", lab.test_ip(), lab.bridge("w")));
        for host in hosts {
            let space = lab.namespace(host);
            ip(&format!("netns add {space}"));
            ip(&format!("-n {space} link set lo up"));
            for (side, device, address) in [("c", "eth0", lab.ip(host)), ("w", "eth1", lab.control_ip(host))] {
                let link = lab.link(host, side);
                ip(&format!("link add {link} type veth peer name {device} netns {space}"));
                ip(&format!("link set {link} master {} up", lab.bridge(side)));
                ip(&format!("-n {space} addr add {address}/24 dev {device}"));
                ip(&format!("-n {space} link set {device} up"));
            }
        }
        lab
    }

    /// The name of a host's network namespace.
    pub fn namespace(&self, host: &str) -> String {
        format!("hs{}-{host}", self.number)
    }

    /// A host's address among the hosts: traffic to it can be cut.
    pub fn ip(&self, host: &str) -> IpAddr {
        Ipv4Addr::new(10, 77, self.number * 2, self.host_number(host)).into()
    }

    /// A host's address towards the test: never cut.
    pub fn control_ip(&self, host: &str) -> IpAddr {
        Ipv4Addr::new(10, 77, self.number * 2 + 1, self.host_number(host)).into()
    }

    /// The test's own address, as the hosts reach it.
    pub fn test_ip(&self) -> IpAddr {
        Ipv4Addr::new(10, 77, self.number * 2 + 1, TEST).into()
    }

    /// Pulls the cable of a host.
    pub fn cut(&self, host: &str) {
        ip(&format!("link set {} down", self.link(host, "c")));
    }

    /// The host sends, and hears nothing.
    pub fn deafen(&self, host: &str) {
        self.rules(host, "add rule inet cut in iifname eth0 drop");
    }

    /// The host hears, and none of what it sends arrives.
    pub fn mute(&self, host: &str) {
        self.rules(host, "add rule inet cut out oifname eth0 drop");
    }

    /// Nothing passes between two hosts, in either direction; both still reach the others.
    pub fn separate(&self, one: &str, other: &str) {
        let address = self.ip(other);
        self.rules(
            one,
            &format!("add rule inet cut in ip saddr {address} drop\nadd rule inet cut out ip daddr {address} drop"),
        );
    }

    /// What `from` sends doesn't arrive at `host`; the other direction works.
    pub fn block(&self, host: &str, from: &str) {
        self.rules(host, &format!("add rule inet cut in iifname eth0 ip saddr {} drop", self.ip(from)));
    }

    /// Connections to a port of the host are refused or reset.
    pub fn reset(&self, host: &str, port: u16) {
        self.rules(host, &format!("add rule inet cut in iifname eth0 tcp dport {port} reject with tcp reset"));
    }

    /// This share of the packets is lost, in each direction: 1 to 99. For all of them there is [`Lab::cut`].
    pub fn lose(&self, host: &str, percent: u8) {
        let drop = format!("numgen random mod 100 < {percent} drop");
        self.rules(
            host,
            &format!("add rule inet cut in iifname eth0 {drop}\nadd rule inet cut out oifname eth0 {drop}"),
        );
    }

    /// Kills every process of a host, as when its power goes.
    pub fn kill_all(&self, host: &str) {
        kill_all_in(&self.namespace(host));
    }

    /// Undoes every cut of a host.
    pub fn heal(&self, host: &str) {
        nft(&self.namespace(host), "add table inet cut\ndelete table inet cut\n");
        ip(&format!("link set {} up", self.link(host, "c")));
    }

    /// A command that runs in a host.
    pub fn command(&self, host: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host), program]);
        command
    }

    fn rules(&self, host: &str, rules: &str) {
        let text = format!(
            "add table inet cut
add chain inet cut in {{ type filter hook input priority 0; policy accept; }}
add chain inet cut out {{ type filter hook output priority 0; policy accept; }}
{rules}
"
        );
        nft(&self.namespace(host), &text);
    }

    fn host_number(&self, host: &str) -> u8 {
        let index = self.hosts.iter().position(|name| name == host);
        let index = index.unwrap_or_else(|| panic!("no host {host} among {:?}", self.hosts));
        u8::try_from(index + 1).expect("a few hosts")
    }

    fn bridge(&self, side: &str) -> String {
        format!("hs{}{side}", self.number)
    }

    /// The switch's end of a host's link. Names of links have at most 15 characters.
    fn link(&self, host: &str, side: &str) -> String {
        format!("hs{}{side}{}", self.number, self.host_number(host))
    }

    /// Removes what is there under this number, of this lab or of one whose test was killed.
    fn remove(&self) {
        // Links first: a namespace takes its own along only some time after it is gone.
        for device in names_in("/sys/class/net") {
            if ["c", "w"].iter().any(|side| device.starts_with(&self.bridge(side))) {
                ip(&format!("link del {device}"));
            }
        }
        let prefix = format!("hs{}-", self.number);
        for space in names_in("/run/netns") {
            if space.starts_with(&prefix) {
                kill_all_in(&space);
                ip(&format!("netns del {space}"));
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A second panic would hide the first; what is left goes when the number is used again.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.remove()));
        } else {
            self.remove();
        }
    }
}

fn lock(number: u8) -> Option<(u8, File)> {
    // One place for the whole machine, whatever TMPDIR says: so are the networks.
    let path = format!("/tmp/hotspare-lab-{number}.lock");
    let file = File::options().create(true).append(true).open(path).ok()?;
    file.try_lock().ok()?;
    Some((number, file))
}

fn kill_all_in(namespace: &str) {
    for pid in run("ip", ["netns", "pids", namespace]).lines() {
        pid.trim().parse().ok().and_then(Pid::new).into_iter().for_each(fault::kill);
    }
}

fn names_in(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn ip(arguments: &str) {
    run("ip", arguments.split(' '));
}

fn nft(namespace: &str, rules: &str) {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, "nft", "-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("can't start nft: {error}"));
    child.stdin.take().expect("stdin was piped").write_all(rules.as_bytes()).expect("write to nft");
    let output = child.wait_with_output().expect("wait for nft");
    assert!(output.status.success(), "nft: {}\n{rules}", String::from_utf8_lossy(&output.stderr));
}
