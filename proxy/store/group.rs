//! The store of several proxies: `hotspare_group` in the engine's words.
//!
//! Owns translating between the two, and the queue between them. It decides nothing: who leads is the group's matter,
//! what to do about an instance the engine's.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hotspare_decide::Time;
use hotspare_group::backend::{Backend, Etcd, EtcdConfig, Kubernetes};
use hotspare_group::{Document, Entry, Event, Group, GroupConfig};
use tokio::sync::mpsc;

use super::{Kept, Leader, Store, Write};
use crate::config::{self, Config, StoreKind};
use crate::engine::{Handle, Input};

/// Events that may wait for the engine: an answer for each record under way, and some more.
const QUEUE: usize = 3 * 4096;
/// How long a connection to the store may take; a request as a whole has `store.request_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// By how much the clocks of two proxies may differ in rate: as the leases assume by default.
const DRIFT_PPM: u32 = 10_000;

/// The store of `[store] kind = "etcd"` and `"kubernetes"`. Clones share it.
#[derive(Clone)]
pub struct GroupStore {
    kind: &'static str,
    joined: Arc<Mutex<Joined>>,
}

#[derive(Clone)]
struct Joined {
    group: Arc<hotspare_group::Handle>,
    seen: Seen,
}

type Seen = Arc<Mutex<Option<Arc<Document>>>>;

/// As the others know this proxy.
struct Me {
    name: String,
    admin: String,
}

/// Where the other proxies reach the admin listener; empty if it is for this host alone. One that listens on every
/// address is reached at the one by which this host reaches the store.
fn admin_for_others(config: &Config) -> String {
    let listen = config.admin.listen;
    let ip = match listen.ip() {
        ip if ip.is_loopback() => return String::new(),
        ip if !ip.is_unspecified() => Some(ip),
        _ => towards_the_store(&config.store.kind),
    };
    let scheme = if config.admin.tls.is_some() { "https" } else { "http" };
    ip.map_or_else(String::new, |ip| format!("{scheme}://{}", SocketAddr::new(ip, listen.port())))
}

/// The address of this host that packets to the store come from. None is sent to find out.
fn towards_the_store(store: &StoreKind) -> Option<IpAddr> {
    let place = match store {
        StoreKind::Etcd { endpoints, .. } => {
            let uri = endpoints.first()?.uri();
            (uri.host()?.trim_matches(['[', ']']).to_owned(), uri.port_u16().unwrap_or(2379))
        }
        StoreKind::Kubernetes { .. } => (std::env::var("KUBERNETES_SERVICE_HOST").ok()?, 443),
        StoreKind::File => return None,
    };
    let to = place.to_socket_addrs().ok()?.next()?;
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

impl GroupStore {
    /// Joins the group that `config` names; leadership and answers go to `engine`. Nothing needs to be reachable yet.
    ///
    /// # Errors
    /// In words: why the store cannot even be looked for.
    pub async fn join(config: &Config, engine: Handle) -> Result<Self, String> {
        let me = Me { name: config.name.clone(), admin: admin_for_others(config) };
        let connect_timeout = CONNECT_TIMEOUT.min(config.store.request_timeout);
        match &config.store.kind {
            StoreKind::Etcd { endpoints, prefix, user, tls } => {
                let etcd = Etcd::new(EtcdConfig {
                    endpoints: endpoints.iter().map(ToString::to_string).collect(),
                    prefix: prefix.clone(),
                    user: user.as_ref().map(|(name, password)| (name.clone(), password.expose().to_owned())),
                    tls: tls.clone(),
                    connect_timeout,
                })?;
                Ok(Self::start(me, &config.store, etcd, engine))
            }
            StoreKind::Kubernetes { lease, namespace, .. } => {
                let namespace = namespace.as_ref().map(|name| name.as_str().to_owned());
                let lease = Kubernetes::find(lease.as_str().to_owned(), namespace, connect_timeout).await?;
                Ok(Self::start(me, &config.store, lease, engine))
            }
            StoreKind::File => Err("the store kind \"file\" knows no group".to_owned()),
        }
    }

    fn start(me: Me, store: &config::Store, backend: impl Backend, engine: Handle) -> Self {
        let config = GroupConfig {
            me: me.name,
            admin: me.admin,
            lead_for: store.lead_for,
            renew: store.renew,
            request_timeout: store.request_timeout,
            drift_ppm: DRIFT_PPM,
        };
        let kind = backend.kind();
        let seen = Arc::new(Mutex::new(None));
        let (events, queue) = mpsc::channel(QUEUE);
        tokio::spawn(forward(queue, seen.clone(), engine));
        let group = Group::start(config, backend, move |event| {
            if let Err(lost) = events.try_send(event) {
                tracing::error!(%lost, "the engine does not keep up with its store");
            }
        });
        Self { kind, joined: Arc::new(Mutex::new(Joined { group: Arc::new(group), seen })) }
    }

    /// Joins the group anew, as one that has given up leadership can't lead again.
    ///
    /// # Errors
    /// As [`GroupStore::join`].
    pub async fn rejoin(&self, config: &Config, engine: Handle) -> Result<(), String> {
        let fresh = Self::join(config, engine).await?.joined();
        *self.joined.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn joined(&self) -> Joined {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives leadership up, so that another proxy decides at once. Returns once the store knows, or after a while.
    pub async fn release(&self) {
        match self.joined().group.release().await {
            true => tracing::info!("another proxy may decide now"),
            false => tracing::warn!("the store does not answer: the others decide once our leadership has run out"),
        }
    }
}

impl Store for GroupStore {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn leads_from_the_start(&self) -> bool {
        false
    }

    fn leads_until(&self) -> Time {
        self.joined().group.leads_until()
    }

    fn leader(&self) -> Option<Leader> {
        let Joined { seen, .. } = self.joined();
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let document = seen.as_ref()?;
        let admin = Some(document.admin.clone()).filter(|admin| !admin.is_empty());
        Some(Leader { name: document.leader()?.to_owned(), admin })
    }

    fn known(&self, instance: &str) -> Option<Kept> {
        let Joined { seen, .. } = self.joined();
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = seen.as_ref()?.records.get(instance)?;
        kept(entry).ok()
    }

    fn persist(&self, write: Write) {
        match serde_json::to_value(&write.kept) {
            Ok(record) => self.joined().group.persist(write.instance, write.name, write.id, record),
            Err(error) => tracing::error!(%error, instance = write.name, "a record has no JSON form"),
        }
    }
}

/// Takes what the group says to the engine, in order.
async fn forward(mut events: mpsc::Receiver<Event>, seen: Seen, engine: Handle) {
    // What the engine was told while it follows: a renewal of leadership changes no record.
    let mut told = BTreeMap::new();
    while let Some(event) = events.recv().await {
        let input = match event {
            Event::Led { document, term } => {
                told.clear();
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(document.clone());
                match records(&document) {
                    Ok(records) => {
                        tracing::info!(term, "this proxy decides now");
                        Input::Leadership { leader: true, records }
                    }
                    // An epoch is never guessed: better nobody decides.
                    Err(why) => Input::StoreHealth { up: false, why },
                }
            }
            Event::Lost { why } => {
                tracing::warn!(%why, "this proxy decides no longer");
                Input::Leadership { leader: false, records: Vec::new() }
            }
            Event::Stored { ticket, result } => Input::Stored { instance: ticket.instance, id: ticket.id, result },
            Event::Health { up, why } => Input::StoreHealth { up, why },
            Event::Seen { document, .. } => {
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(document.clone());
                let changed = document.records.iter().filter(|(name, entry)| told.get(*name) != Some(*entry));
                // One that can't be read is left out: its members' own word is enough for most.
                let records = changed.filter_map(|(name, entry)| Some((name.clone(), kept(entry).ok()?))).collect();
                told.clone_from(&document.records);
                Input::Seen(records)
            }
            Event::Resigned => continue,
        };
        if !engine.send(input).await {
            return;
        }
    }
}

fn records(document: &Document) -> Result<Vec<(String, Kept)>, String> {
    let read = |(name, entry): (&String, &Entry)| {
        kept(entry).map(|kept| (name.clone(), kept)).map_err(|e| format!("the record of {name} cannot be read: {e}"))
    };
    document.records.iter().map(read).collect()
}

fn kept(entry: &Entry) -> serde_json::Result<Kept> {
    serde_json::from_value(entry.record.clone())
}
