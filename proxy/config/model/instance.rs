//! An instance: its listeners, its members with their launchers, its checks, its drills.

use std::net::SocketAddr;
use std::time::Duration;

use hotspare_tls::stream::Expected;
use hotspare_tls::{ClientFiles, Keeper, Pair};

use crate::config::file::{CheckKind, DrillFault, Failover, Lease, Limits, Protocol, ProxyHeader, Timeouts};
use crate::config::secret::Tokens;
use crate::config::value::{HostPort, Name, Network, Sni, StatusRange, Url, Window};

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
    /// How often files of context stores are copied to the spare, if they are.
    pub copy_context: Option<Duration>,
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
    /// Names that its clients ask for; empty: the address is its alone.
    pub sni: Vec<Sni>,
    /// Certificates to end TLS with; empty: TLS is not ended here.
    pub tls: Vec<Pair>,
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
    /// TLS to its Node-RED, if it speaks that.
    pub tls: Option<MemberTls>,
    /// What starts and stops its flows.
    pub launcher: Launcher,
    /// Authorities that its launcher's https URL is verified with.
    pub launcher_authorities: ClientFiles,
}

/// TLS to a member.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberTls {
    /// Authorities that its certificate is verified with.
    pub authorities: ClientFiles,
    /// The name or address that its certificate must be good for.
    pub server_name: String,
}

impl MemberTls {
    /// What the member's Node-RED must show.
    pub fn expected(&self, keeper: &Keeper) -> Expected {
        Expected { client: keeper.client_anyway(self.authorities.clone()), name: Some(self.server_name.clone()) }
    }
}

impl Member {
    /// What its launcher must show, where its URL is https. A Node-RED that is its own must show what the member must, at
    /// the same address.
    pub fn launcher_expected(&self, keeper: &Keeper) -> Option<Expected> {
        let (Launcher::Hotspare { url, .. } | Launcher::FlowFuse { url, .. } | Launcher::NodeRed { url, .. }) =
            &self.launcher
        else {
            return None;
        };
        if let (Launcher::NodeRed { .. }, Some(tls), None) =
            (&self.launcher, &self.tls, &self.launcher_authorities.ca_file)
            && url.is_at(&self.address)
        {
            return Some(tls.expected(keeper));
        }
        let is_https = url.uri().scheme_str() == Some("https");
        is_https.then(|| Expected { client: keeper.client_anyway(self.launcher_authorities.clone()), name: None })
    }

    /// TLS to this port of the member: there is some on the port of its address only.
    pub fn tls_to(&self, port: u16) -> Option<&MemberTls> {
        self.tls.as_ref().filter(|_| port == self.address.port)
    }
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
    pub(in crate::config) fn is_same_place(&self, other: &Launcher) -> bool {
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
