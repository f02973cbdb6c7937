//! What the engine tells the outside about itself: one snapshot for `/status`, the command line, the live page
//! and `/metrics`. Plain data; nothing here decides.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use serde::Serialize;

/// The whole process.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// This proxy.
    pub controller: ControllerStatus,
    /// Every instance, in the order of the configuration.
    pub instances: Vec<InstanceStatus>,
    /// Addresses that several instances share, told apart by the name that clients ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<SharedStatus>,
}

/// An address that several instances share.
#[derive(Debug, Clone, Serialize)]
pub struct SharedStatus {
    /// The address.
    pub address: String,
    /// Connections that have not said yet whose they are.
    pub connections: u64,
    /// Ended ones that found no instance, by reason.
    pub closed: BTreeMap<&'static str, u64>,
}

/// This proxy and its store.
#[derive(Debug, Clone, Serialize)]
pub struct ControllerStatus {
    /// Its name in a group of proxies.
    pub name: String,
    /// Release.
    pub version: &'static str,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Whether it decides, or only carries traffic.
    pub leader: bool,
    /// Which store it uses.
    pub store: &'static str,
    /// Whether the store took the last write.
    pub store_ok: bool,
    /// Failed writes since the start.
    pub journal_failures: u64,
    /// Links refused since the start, by reason.
    pub links_refused: BTreeMap<&'static str, u64>,
    /// Times that this process itself stood still long enough to distrust what it knew.
    pub stalls: u64,
}

/// One instance.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceStatus {
    /// Its name.
    pub name: String,
    /// `recovering`, `no_active`, `starting`, `active`, `fencing` or `switching`.
    pub state: String,
    /// One sentence about the state.
    pub detail: String,
    /// The active member's name.
    pub active: Option<String>,
    /// The active's epoch; with nobody active, the newest that was reserved.
    pub epoch: u64,
    /// Milliseconds in this state.
    pub since_ms: u64,
    /// Where traffic goes: a member's name, `parked` or `closed`.
    pub route: String,
    /// Too many failovers: nothing is decided until somebody looks.
    pub frozen: bool,
    /// Why automatic decisions are off, if they are.
    pub paused: Option<String>,
    /// Milliseconds until the pause ends by itself.
    pub pause_left_ms: Option<u64>,
    /// Both members fell silent at once: this side suspects itself.
    pub blind: bool,
    /// Whether the spare has what the active has; `None` while not known.
    pub in_sync: Option<bool>,
    /// How long a grant lets flows run, in milliseconds.
    pub lease_ttl_ms: u64,
    /// What differs, if anything does.
    pub differs: Option<String>,
    /// The addresses listened on.
    pub listeners: Vec<ListenerStatus>,
    /// Both members.
    pub members: Vec<MemberStatus>,
    /// The newest change of the active that nobody planned.
    pub last_failover: Option<FailoverStatus>,
    /// Failovers since the start, by cause.
    pub failovers: BTreeMap<String, u64>,
    /// Switchovers since the start, by result.
    pub switchovers: BTreeMap<String, u64>,
    /// Inputs that were ignored, by reason.
    pub ignored: BTreeMap<String, u64>,
    /// The data path's counters.
    pub traffic: TrafficStatus,
}

/// A listening address.
#[derive(Debug, Clone, Serialize)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// The address it is bound to.
    pub address: String,
}

/// One member.
#[derive(Debug, Clone, Serialize)]
pub struct MemberStatus {
    /// Its name.
    pub name: String,
    /// Where its Node-RED listens.
    pub address: String,
    /// The kind of its launcher.
    pub kind: &'static str,
    /// What this kind can't promise.
    pub cannot_promise: Option<&'static str>,
    /// `active`, `standby` or `fencing`.
    pub role: &'static str,
    /// Whether it could take over now.
    pub ready: bool,
    /// Why not.
    pub why_not: Option<String>,
    /// Fenced on request, and not started until it is released.
    pub held: bool,
    /// What its flows do: `down`, `booting`, `stopped`, `starting`, `running`, `stopping`, `unknown`.
    pub flows: String,
    /// The epoch under which its flows run.
    pub tenure: Option<u64>,
    /// The newest epoch it knows.
    pub max_epoch: Option<u64>,
    /// Its event loop's lag in milliseconds.
    pub lag_ms: Option<u64>,
    /// The worst lag of the last minute, in milliseconds.
    pub lag_worst_ms: Option<u64>,
    /// What is left of its lease, as it said in its last heartbeat.
    pub lease_left_ms: Option<u64>,
    /// The least that was left of its lease in the last minute, in milliseconds.
    pub lease_margin_ms: Option<u64>,
    /// `up` or `down`; `None` for kinds without a link.
    pub link: Option<&'static str>,
    /// Milliseconds since it was last heard.
    pub heard_ms: Option<u64>,
    /// What the health checks say: `healthy`, `unhealthy`, `unknown`, `none`.
    pub health: String,
    /// The flows' revision.
    pub revision: Option<String>,
    /// Node-RED's version.
    pub node_red: Option<String>,
    /// Heartbeats since the start.
    pub heartbeats: u64,
    /// Health checks since the start, by result.
    pub probes: BTreeMap<&'static str, u64>,
}

/// A failover that is over.
#[derive(Debug, Clone, Serialize)]
pub struct FailoverStatus {
    /// Milliseconds ago.
    pub ago_ms: u64,
    /// What started it.
    pub cause: String,
    /// What made the fence certain.
    pub proof: String,
    /// From the first sign to the new route, in milliseconds.
    pub outage_ms: u64,
    /// The member that was active.
    pub from: Option<String>,
    /// The member that is active since.
    pub to: String,
}

/// Sums of the data path since the start.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TrafficStatus {
    /// Open connections.
    pub connections: u64,
    /// Accepted ones.
    pub connections_total: u64,
    /// Waiting for an active.
    pub parked: u64,
    /// From clients, in bytes.
    pub bytes_in: u64,
    /// To clients, in bytes.
    pub bytes_out: u64,
    /// Ended ones by reason.
    pub closed: BTreeMap<&'static str, u64>,
    /// Of reasons that have to do with a client: whose connection was the last to end for it, and when. Only the exemplars of
    /// metrics show it.
    #[serde(skip)]
    pub last_clients: BTreeMap<&'static str, (IpAddr, SystemTime)>,
}
