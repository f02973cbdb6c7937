//! What the program works with: a configuration with every value typed and every default applied.
//!
//! Owns these types only; `build` makes them. Those of an instance are in `model/instance.rs`.

mod instance;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hotspare_protocol::Secret;
use hotspare_tls::{ClientFiles, ServerFiles};

pub use instance::{Check, Drill, Health, Instance, Launcher, Listener, Member, MemberTls, Unreachable};

use super::file::{EventKind, Log, Role};
use super::secret::Tokens;
use super::value::{Label, Name, Url};

/// Everything `hotspare run` works with, all defaults applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What this proxy is called.
    pub name: String,
    /// This proxy's own limits.
    pub proxy: Proxy,
    /// What is logged, and how.
    pub log: Log,
    /// The admin listener.
    pub admin: Admin,
    /// Where launchers connect to; `None` if there is none to wait for.
    pub links: Option<Links>,
    /// Where the record of who is active is kept.
    pub store: Store,
    /// What is told to other systems.
    pub hooks: Vec<Hook>,
    /// The instances, in the order of the file; at least one.
    pub instances: Vec<Instance>,
}

/// This proxy's own limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Proxy {
    /// Threads of the data path; `None` means one for each core.
    pub threads: Option<usize>,
    /// Client connections at once over all instances.
    pub max_connections: u32,
    /// How long connections may finish after SIGTERM.
    pub drain: Duration,
}

/// The admin listener.
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its TLS; none: plain HTTP.
    pub tls: Option<ServerFiles>,
    /// Who may use it. Empty only if it listens on loopback and there is no client either: then everyone there may do
    /// everything.
    pub users: Vec<AdminUser>,
    /// Who may use it by a certificate: a name in it, and the role.
    pub clients: Vec<(String, Role)>,
}

/// Where launchers connect to.
#[derive(Debug, Clone, PartialEq)]
pub struct Links {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its TLS; none: plain websockets.
    pub tls: Option<ServerFiles>,
}

/// Who may use the admin listener.
#[derive(Debug, Clone, PartialEq)]
pub struct AdminUser {
    /// Named in the audit record.
    pub name: Name,
    /// What the user may do.
    pub role: Role,
    /// What the user shows.
    pub tokens: Tokens,
}

/// Where the record of who is active is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    /// Folder of the journal and the event log of this proxy.
    pub dir: PathBuf,
    /// What the record itself is kept in.
    pub kind: StoreKind,
    /// How long a controller leads after its last renewal.
    pub lead_for: Duration,
    /// How often the leader renews.
    pub renew: Duration,
    /// How long one request to the store may take.
    pub request_timeout: Duration,
}

/// What the record is kept in.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreKind {
    /// Files in `Store::dir`; one proxy.
    File,
    /// A Lease of Kubernetes.
    Kubernetes {
        /// Its name.
        lease: Name,
        /// Its namespace; `None` means that of the pod.
        namespace: Option<Name>,
        /// The key of the label that the active's pod carries, if any.
        active_label: Option<Label>,
    },
    /// etcd.
    Etcd {
        /// URLs of its nodes; at least one.
        endpoints: Vec<Url>,
        /// What all keys begin with.
        prefix: String,
        /// User and password.
        user: Option<(String, Secret)>,
        /// What nodes are verified with, where their URLs are https, and what is shown to them.
        tls: ClientFiles,
    },
}

/// What is told to another system when something happens.
#[derive(Debug, Clone, PartialEq)]
pub struct Hook {
    /// Name, in logs and metrics.
    pub name: Name,
    /// Which events; empty means all.
    pub on: Vec<EventKind>,
    /// Which instances; empty means all.
    pub instances: Vec<Name>,
    /// How it is told.
    pub action: HookAction,
    /// How long one try may take.
    pub timeout: Duration,
    /// How often it is tried again.
    pub retries: u32,
}

/// How a hook tells.
#[derive(Debug, Clone, PartialEq)]
pub enum HookAction {
    /// POST of the event as JSON.
    Post {
        /// Where to.
        url: Url,
        /// What signs it.
        secret: Option<Secret>,
    },
    /// A program with the event on its standard input.
    Run(Vec<String>),
}
