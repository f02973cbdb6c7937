//! What the data path is told: sizes, limits, timeouts, listeners, routes. Plain values, checked where they enter.

use crate::proxy_protocol::{Network, Version};
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// Number of an instance, chosen by the caller; every signal and counter carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(pub u32);

/// Number of a listener, given by [`crate::DataPath::add_listener`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u32);

/// Sizes of the whole data path.
#[derive(Clone, Debug)]
pub struct Config {
    /// Number of threads; 0 means one per core.
    pub threads: usize,
    /// Most client connections at one time over all instances; 0 means as many as the descriptors allow.
    pub max_connections: usize,
    /// Descriptors that data connections never use, so that links, probes and admin go on when the data
    /// path is full; 8 more for each instance. As many as the listeners for links (256 not yet proven) and admin
    /// (256) may have at most, and half as many again for all else.
    pub reserved_descriptors: usize,
    /// Most pipes of 1 MiB a thread may own. A bulky stream that finds none is copied instead.
    pub pipes_per_thread: usize,
    /// Least time between two signals of one kind about one instance from one thread.
    pub signal_every: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: 0,
            max_connections: 0,
            reserved_descriptors: 768,
            pipes_per_thread: 32,
            signal_every: Duration::from_millis(5),
        }
    }
}

/// An instance: what all of its listeners share.
#[derive(Clone, Debug)]
pub struct InstanceSpec {
    /// The number by which the caller knows it; must not be in use.
    pub id: InstanceId,
    /// Its name, for logs only.
    pub name: String,
    /// Its bounds; see [`crate::DataPath::set_limits`] for a later change.
    pub limits: Limits,
}

/// Bounds of one instance. Whatever is over a bound is closed at once, with its reason counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most client connections at one time, parked ones included; 0 means no bound of its own.
    pub max_connections: usize,
    /// Most connections at one time from one client address (the one a trusted PROXY header tells, where there is
    /// one); 0 means no bound. A change holds for connections that come after it.
    pub per_source: usize,
    /// Most new connections in a second; 0 means no bound.
    pub rate: u32,
    /// Most parked connections at one time.
    pub max_parked: usize,
    /// Longest time a connection may be parked before it is closed.
    pub park_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_connections: 0, per_source: 0, rate: 0, max_parked: 10_000, park_timeout: Duration::from_secs(30) }
    }
}

/// What is followed inside the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    /// Bytes are bytes.
    #[default]
    Tcp,
    /// HTTP/1.1 request boundaries are followed; bytes are not changed.
    Http,
}

/// When to call a TCP peer dead that says nothing at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Unanswered probes before the connection counts as dead.
    pub probes: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), interval: Duration::from_secs(10), probes: 3 }
    }
}

/// Timeouts of one listener's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Longest time for a connect to the member.
    pub connect: Duration,
    /// Longest time without a byte in either direction.
    pub idle: Duration,
    /// Longest time for a head to arrive: a PROXY header once the connection is there, an HTTP request's head once
    /// it has begun.
    pub head: Duration,
    /// Longest time for a client's TLS handshake.
    pub handshake: Duration,
    /// Probes of silent peers, both sides.
    pub keepalive: Keepalive,
    /// `TCP_USER_TIMEOUT`: longest time that sent bytes may stay unacknowledged; zero means the system's.
    pub unacknowledged: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            idle: Duration::from_secs(3600),
            head: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            keepalive: Keepalive::default(),
            unacknowledged: Duration::from_secs(30),
        }
    }
}

/// One listening address.
#[derive(Debug)]
pub struct ListenerSpec {
    /// The instance it serves; must have been added.
    pub instance: InstanceId,
    /// Its name, for logs and errors.
    pub name: String,
    /// Where to listen; port 0 takes a free one (see [`crate::Listener::addr`]).
    pub listen: SocketAddr,
    /// Which of the addresses in [`Route::To`] belongs to this listener.
    pub port_index: usize,
    /// What to follow in the bytes.
    pub protocol: Protocol,
    /// Its connections' timeouts.
    pub timeouts: Timeouts,
    /// The PROXY protocol, towards clients and towards members.
    pub proxied: Proxied,
    /// Names, in lower case, that clients of this listener ask for in their ClientHello: `line-1.example`, `*.example`
    /// for any one label, `*` for whatever no other has, also for no name. Listeners with names may share an address;
    /// each connection is the one's whose name it asks for. Without names the address is this listener's alone.
    pub names: Vec<String>,
    /// TLS of its clients, ended here; none: bytes are taken as they come. Whatever it holds when a handshake begins
    /// is used for that connection.
    pub tls: Option<Arc<ArcSwap<rustls::ServerConfig>>>,
    /// TLS to each of the two members; none: bytes are sent as they are.
    pub member_tls: [Option<MemberTls>; 2],
    /// Listening sockets taken over from another process (live upgrade), bound to `listen` already.
    /// Empty: bind anew.
    pub inherited: Vec<OwnedFd>,
}

impl ListenerSpec {
    /// A listener of plain TCP, with an address of its own, for the first address of its members.
    pub fn new(instance: InstanceId, name: &str, listen: SocketAddr) -> Self {
        Self {
            instance,
            name: name.to_owned(),
            listen,
            port_index: 0,
            protocol: Protocol::Tcp,
            timeouts: Timeouts::default(),
            proxied: Proxied::default(),
            names: Vec::new(),
            tls: None,
            member_tls: [None, None],
            inherited: Vec::new(),
        }
    }
}

/// TLS to a member. A member whose certificate does not verify is one that does not take connections.
#[derive(Clone, Debug)]
pub struct MemberTls {
    /// What the member's certificate is verified with, as it is when a handshake begins.
    pub config: Arc<ArcSwap<rustls::ClientConfig>>,
    /// The name that the certificate must be good for; sent as SNI where it is a name.
    pub name: rustls::pki_types::ServerName<'static>,
}

/// The PROXY protocol on one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxied {
    /// Networks of the proxies before us. When there are any, connections come from there only, and each begins
    /// with a header; any other is closed.
    pub trusted: Vec<Network>,
    /// The header that each connection to a member begins with, if any.
    pub send: Option<Version>,
}

/// Where an instance's connections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To one member under one epoch.
    To {
        /// The active's epoch. Only ever rises; a connection carries the epoch it was opened under.
        epoch: u64,
        /// Which member (0 or 1), for signals and counters.
        member: u8,
        /// The member's address per listener, by [`ListenerSpec::port_index`].
        addrs: Vec<SocketAddr>,
    },
    /// Nowhere yet: new connections wait.
    Park,
    /// Nowhere: new and parked connections are closed.
    Closed,
}

/// What becomes of the connections that the new route no longer covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// They stay (the active is only suspect).
    Keep,
    /// They are reset at once. Those that have not moved a byte are parked instead.
    Now,
    /// Like `Now` for those on which something is under way. The others pass no byte any more and are reset one by one
    /// within this time, or as soon as either side says something, so that their clients don't all come back at once.
    Spread(Duration),
    /// They may go on for `grace` ([`crate::SignalKind::Quiet`] says when nothing is under way on any); what is left is reset evenly over `spread`, so that clients
    /// don't all come back in one moment.
    After {
        /// Time in which nothing is ended.
        grace: Duration,
        /// Time over which the rest is ended.
        spread: Duration,
    },
}

/// Why an order to the data path was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listening address could not be had.
    #[error("listener {name}: cannot listen on {addr}: {reason}")]
    Listen {
        /// The listener's name.
        name: String,
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The instance is not there.
    #[error("unknown instance {0:?}")]
    UnknownInstance(InstanceId),
    /// The instance is there already.
    #[error("instance {0:?} exists")]
    InstanceExists(InstanceId),
    /// The listener is not there.
    #[error("unknown listener {0:?}")]
    UnknownListener(ListenerId),
    /// The system refused something a thread needs (epoll, eventfd, a thread, limits).
    #[error("data path: {what}: {reason}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// What the system said.
        reason: std::io::Error,
    },
    /// A thread did not answer in time or is gone.
    #[error("data path: a thread does not answer")]
    NoAnswer,
}
