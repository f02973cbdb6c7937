//! A real etcd: Debian's, one or three nodes on loopback, with folders of its own that go when it is dropped.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use etcd_client::Client;
use hotspare_group::Answer;
use hotspare_group::backend::{Backend, Etcd, EtcdConfig};
use hotspare_test_support::authority::Authority;
use hotspare_tls::{ClientFiles, Pair};
use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

pub struct Cluster {
    nodes: Vec<Node>,
    tls: ClientFiles,
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
        Self::start_with(count, "http", ClientFiles::default(), &[]).await
    }

    /// One node that speaks https only, and only with those who show a certificate of `authority`, which has made
    /// `etcd.crt` for it; this side shows `client`.
    pub async fn start_with_tls(authority: &Authority, client: &str) -> Self {
        authority.sign("etcd", &["127.0.0.1"]);
        let file = |name: &str| authority.file(name).display().to_string();
        let more = [
            ("cert-file", file("etcd.crt")),
            ("key-file", file("etcd.key")),
            ("trusted-ca-file", file("ca.crt")),
            ("client-cert-auth", "true".to_owned()),
        ];
        Self::start_with(1, "https", client_files(authority, Some(client)), &more).await
    }

    async fn start_with(count: usize, scheme: &str, tls: ClientFiles, more: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Both ports of a node must be known to the others before it starts: taken from the system, and given back
        // just before. Another process can only get in between if it asks for one of these by number.
        let ports: Vec<TcpListener> = (0..count * 2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let place = |index: usize| ports[index].local_addr().unwrap();
        let (client, peer) = (|i| format!("{scheme}://{}", place(i)), |i| format!("http://{}", place(count + i)));
        let all = (0..count).map(|i| format!("n{i}={}", peer(i))).collect::<Vec<_>>().join(",");
        let nodes = (0..count).map(|i| Node::new(folder.path(), i, &client(i), &peer(i), &all, more)).collect();
        drop(ports);
        let mut cluster = Self { nodes, tls, _folder: folder };
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
        self.backend_with(prefix, self.tls.clone())
    }

    /// A backend that trusts and shows these.
    pub fn backend_with(&self, prefix: &str, tls: ClientFiles) -> Etcd {
        Etcd::new(EtcdConfig {
            endpoints: self.endpoints(),
            prefix: prefix.to_owned(),
            user: None,
            tls,
            connect_timeout: Duration::from_millis(500),
        })
        .unwrap()
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.endpoints(), None).await.unwrap()
    }

    /// Waits until it answers, which takes a majority of its nodes.
    pub async fn wait(&self) {
        eventually("etcd serves", async || {
            let answer = tokio::time::timeout(Duration::from_secs(2), self.backend("/ready/").get()).await.ok()?;
            (!matches!(answer, Answer::Failed(_))).then_some(())
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
    fn new(folder: &Path, index: usize, client: &str, peer: &str, all: &str, more: &[(&str, String)]) -> Self {
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
        let more = more.iter().map(|(key, value)| (*key, value.as_str()));
        let arguments = arguments.into_iter().chain(more).map(|(key, value)| format!("--{key}={value}")).collect();
        Self { name, arguments, endpoint: client.to_owned(), process: None }
    }
}

/// What trusts this authority, and shows the certificate of this name.
pub fn client_files(authority: &Authority, shown: Option<&str>) -> ClientFiles {
    let pair = shown.map(|name| Pair {
        cert_file: authority.file(&format!("{name}.crt")),
        key_file: authority.file(&format!("{name}.key")),
    });
    ClientFiles { ca_file: Some(authority.file("ca.crt")), pair }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
