//! The configuration: from a TOML file to a `Config` in which everything is typed, complete and possible.
//!
//! Owns the keys and their defaults (`file`), reading (`read`, `value`), what values mean together
//! (`check`), secrets (`secret`), and what is made from all that: the difference between two configurations
//! for a reload (`diff`), the JSON Schema (`schema`) and the reference page (`reference`).
//! It never opens a socket, and never guesses: a file with anything wrong in it is refused as a whole,
//! with every problem at once.
//!
//! Two layers: `file::File` is what is written, `Config` is what is meant. Go on with `file` for the keys,
//! with `build` for the step between the two.

mod build;
mod check;
mod decide;
mod diff;
mod example;
mod file;
mod key;
mod problem;
mod read;
mod reference;
mod report;
mod schema;
mod secret;
mod value;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hotspare_protocol::Secret;

pub use diff::{Change, Difference};
pub use example::example;
pub use file::{
    CheckKind, DrillFault, EventKind, Failover, Isolated, Lease, Limits, Log, LogFormat, Protocol, ProxyHeader, Role,
    Timeouts,
};
pub use problem::{EXIT_CODE, Problem, Problems};
pub use reference::reference;
pub use schema::schema;
pub use secret::{Secrets, Tokens};
pub use value::parse_duration;
pub use value::{HostPort, LogFilter, Name, Network, OrOff, Percent, Size, StatusRange, Url, Window};

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
    pub links: Option<SocketAddr>,
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
    /// Who may use it. Empty only if it listens on loopback: then everyone there may do everything.
    pub users: Vec<AdminUser>,
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
    },
    /// etcd.
    Etcd {
        /// URLs of its nodes; at least one.
        endpoints: Vec<Url>,
        /// What all keys begin with.
        prefix: String,
        /// User and password.
        user: Option<(String, Secret)>,
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

/// One Node-RED service as its users see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Name, in status, metrics and commands.
    pub name: Name,
    /// Where clients connect to; at least one.
    pub listeners: Vec<Listener>,
    /// The two members, in the order of the file.
    pub members: [Member; 2],
    /// Index of the member that becomes active when neither is.
    pub prefer: usize,
    /// How it is found out that a member serves.
    pub health: Health,
    /// The permission to run flows.
    pub lease: Lease,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// How much the instance may take.
    pub limits: Limits,
    /// When the active is changed without being asked.
    pub failover: Failover,
    /// Rehearsals; `None` if none is due by itself.
    pub drill: Option<Drill>,
    /// Where a platform talks to the pair as to one launcher.
    pub platform: Option<SocketAddr>,
}

/// A port that leads to the members.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Name, in status and metrics.
    pub name: Name,
    /// Where clients connect to.
    pub listen: SocketAddr,
    /// The member's port; `None` means the port of its address.
    pub port: Option<u16>,
    /// How much of the traffic is understood.
    pub protocol: Protocol,
    /// Networks whose connections begin with a PROXY header.
    pub proxy_from: Vec<Network>,
    /// PROXY header that members get.
    pub proxy_to: ProxyHeader,
}

/// One Node-RED process and the launcher beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Name, in status, metrics and commands.
    pub name: Name,
    /// Where its Node-RED listens.
    pub address: HostPort,
    /// What starts and stops its flows.
    pub launcher: Launcher,
}

/// What starts and stops a member's flows.
#[derive(Debug, Clone, PartialEq)]
pub enum Launcher {
    /// `hotspare launcher`.
    Hotspare {
        /// Its admin API, as the other launcher of the pair reaches it.
        url: Url,
        /// What both sides know.
        tokens: Tokens,
    },
    /// FlowFuse's nr-launcher.
    FlowFuse {
        /// Its admin API.
        url: Url,
        /// Access token, where it asks for one.
        tokens: Option<Tokens>,
        /// What to do with an active that can't be reached.
        unreachable: Unreachable,
    },
    /// A bare Node-RED.
    NodeRed {
        /// Its admin API.
        url: Url,
        /// Access token, where it asks for one.
        tokens: Option<Tokens>,
        /// What to do with an active that can't be reached.
        unreachable: Unreachable,
    },
    /// A server that runs no flows.
    Plain,
}

impl Launcher {
    /// The kind as it is written in the file.
    pub fn kind(&self) -> &'static str {
        match self {
            Launcher::Hotspare { .. } => "hotspare",
            Launcher::FlowFuse { .. } => "flowfuse",
            Launcher::NodeRed { .. } => "node-red",
            Launcher::Plain => "none",
        }
    }

    /// Whether a driver of ours stands for it, since it has no link of its own.
    pub fn has_driver(&self) -> bool {
        !matches!(self, Launcher::Hotspare { .. })
    }

    /// The tokens, where there are any.
    pub fn tokens(&self) -> Option<&Tokens> {
        match self {
            Launcher::Hotspare { tokens, .. } => Some(tokens),
            Launcher::FlowFuse { tokens, .. } | Launcher::NodeRed { tokens, .. } => tokens.as_ref(),
            Launcher::Plain => None,
        }
    }

    /// Whether nothing but the tokens differs.
    fn is_same_place(&self, other: &Launcher) -> bool {
        let mut other = other.clone();
        match (self, &mut other) {
            (Launcher::Hotspare { tokens: mine, .. }, Launcher::Hotspare { tokens, .. }) => *tokens = mine.clone(),
            (Launcher::FlowFuse { tokens: mine, .. }, Launcher::FlowFuse { tokens, .. })
            | (Launcher::NodeRed { tokens: mine, .. }, Launcher::NodeRed { tokens, .. }) => *tokens = mine.clone(),
            _ => {}
        }
        *self == other
    }
}

/// What to do with an active that can't be reached, and so not be stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct Unreachable {
    /// Take it for dead after this long; `None` waits for ever.
    pub after: Option<Duration>,
    /// Program and arguments that make certain it is off; empty if there is none.
    pub fence_command: Vec<String>,
}

/// How it is found out that a member serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// How often each member is checked.
    pub interval: Duration,
    /// How long one check may take.
    pub timeout: Duration,
    /// Good checks in a row that make a member healthy.
    pub rise: u32,
    /// Bad checks in a row that make it unhealthy.
    pub fall: u32,
    /// How long after its start bad checks don't count.
    pub start_grace: Duration,
    /// How long the event loop may stand still.
    pub hang_after: Duration,
    /// What is checked; all must be good; at least one.
    pub checks: Vec<Check>,
}

/// One check of a member.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What is looked at.
    pub kind: CheckKind,
    /// The member's port; `None` means the port of its address.
    pub port: Option<u16>,
    /// Path, for `CheckKind::Http`.
    pub path: String,
    /// Statuses that are good, for `CheckKind::Http`; at least one range.
    pub status: Vec<StatusRange>,
    /// Whether only the active is asked.
    pub active_only: bool,
}

/// Rehearsals.
#[derive(Debug, Clone, PartialEq)]
pub struct Drill {
    /// How often.
    pub every: Duration,
    /// What is done.
    pub fault: DrillFault,
    /// When it may be done; `None` means at any time.
    pub window: Option<Window>,
}

impl Config {
    /// Reads, checks and completes a configuration file.
    ///
    /// # Errors
    /// Every problem at once, also when the file can't be read at all.
    pub fn load(path: &Path, secrets: Secrets) -> Result<Config, Problems> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Problems {
            file: file.clone(),
            list: vec![Problem {
                line: 1,
                column: 1,
                key: String::new(),
                expected: "a file that can be read".to_owned(),
                found: error.to_string(),
                help: None,
            }],
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Config::parse(&file, &text, folder, secrets)
    }

    /// The same from a text; relative paths in it are taken from `folder`.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn parse(file: &str, text: &str, folder: &Path, secrets: Secrets) -> Result<Config, Problems> {
        let mut report = report::Report::new(file, text);
        let config = read::read_file(&mut report, text).and_then(|file| {
            check::check(&mut report, &file);
            build::Builder::new(&mut report, folder, secrets).config(file)
        });
        report.finish(config)
    }

    /// The instance of this name.
    pub fn instance(&self, name: &str) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.name.as_str() == name)
    }
}
