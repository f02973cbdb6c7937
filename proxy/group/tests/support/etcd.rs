//! A real etcd: Debian's, one or three nodes on loopback, with folders of its own that go when it is dropped.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use etcd_client::Client;
use hotspare_group::backend::{Etcd, EtcdConfig};
use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

pub struct Cluster {
    nodes: Vec<Node>,
    _folder: tempfile::TempDir,
}

struct Node {
    name: String,
    arguments: Vec<String>,
    endpoint: String,
    process: Option<Child>,
}

impl Cluster {
    /// Starts `count` nodes and waits until they have a leader.
    pub async fn start(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Both ports of a node must be known to the others before it starts: taken from the system, and given back
        // just before. Another process can only get in between if it asks for one of these by number.
        let ports: Vec<TcpListener> = (0..count * 2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let url = |index: usize| format!("http://{}", ports[index].local_addr().unwrap());
        let all: Vec<String> = (0..count).map(|i| format!("n{i}={}", url(count + i))).collect();
        let nodes = (0..count).map(|i| Node::new(folder.path(), i, &url(i), &url(count + i), &all.join(","))).collect();
        drop(ports);
        let mut cluster = Self { nodes, _folder: folder };
        for node in 0..count {
            cluster.revive(node);
        }
        cluster.wait().await;
        cluster
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.endpoint.clone()).collect()
    }

    /// A backend with a key of its own.
    pub fn backend(&self, prefix: &str) -> Etcd {
        Etcd::new(EtcdConfig {
            endpoints: self.endpoints(),
            prefix: prefix.to_owned(),
            user: None,
            connect_timeout: Duration::from_millis(500),
        })
        .unwrap()
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.endpoints(), None).await.unwrap()
    }

    /// Waits until a write goes through.
    pub async fn wait(&self) {
        eventually("etcd serves", async || {
            let attempt = async {
                let mut client = Client::connect(self.endpoints(), None).await.ok()?;
                client.put("ready", "yes", None).await.ok()
            };
            tokio::time::timeout(Duration::from_secs(2), attempt).await.ok()?
        })
        .await;
    }

    /// The node that leads etcd.
    pub async fn leader(&self) -> usize {
        eventually("etcd has a leader", async || {
            for (index, node) in self.nodes.iter().enumerate() {
                let status = async {
                    let mut client = Client::connect([&node.endpoint], None).await.ok()?;
                    let status = client.status().await.ok()?;
                    (status.leader() == status.header()?.member_id()).then_some(index)
                };
                if let Ok(Some(index)) = tokio::time::timeout(Duration::from_secs(1), status).await {
                    return Some(index);
                }
            }
            None
        })
        .await
    }

    /// SIGKILL.
    pub fn kill(&mut self, node: usize) {
        let mut process = self.nodes[node].process.take().expect("the node runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Starts a node that was killed, with what it has on disk.
    pub fn revive(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        let process = Command::new("etcd")
            .args(&node.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| {
                panic!("{}: etcd cannot be started ({e}); run ./tests/run, which installs it", node.name)
            });
        node.process = Some(process);
    }

    /// SIGSTOP.
    pub fn freeze(&self, node: usize) {
        self.signal(node, Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self, node: usize) {
        self.signal(node, Signal::CONT);
    }

    pub fn freeze_all(&self) {
        (0..self.nodes.len()).for_each(|node| self.freeze(node));
    }

    pub fn thaw_all(&self) {
        (0..self.nodes.len()).for_each(|node| self.thaw(node));
    }

    fn signal(&self, node: usize, signal: Signal) {
        let id = self.nodes[node].process.as_ref().expect("the node runs").id();
        kill_process(Pid::from_raw(i32::try_from(id).unwrap()).unwrap(), signal).unwrap();
    }
}

impl Node {
    fn new(folder: &Path, index: usize, client: &str, peer: &str, all: &str) -> Self {
        let name = format!("n{index}");
        let data = folder.join(&name).display().to_string();
        let arguments = [
            ("name", name.as_str()),
            ("data-dir", &data),
            ("listen-client-urls", client),
            ("advertise-client-urls", client),
            ("listen-peer-urls", peer),
            ("initial-advertise-peer-urls", peer),
            ("initial-cluster", all),
            // A folder of the tests' own: what a power cut would lose does not matter.
            ("unsafe-no-fsync", "true"),
        ];
        let arguments = arguments.iter().map(|(key, value)| format!("--{key}={value}")).collect();
        Self { name, arguments, endpoint: client.to_owned(), process: None }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
