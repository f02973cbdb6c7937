//! The store of several proxies: `hotspare_group` in the engine's words.
//!
//! Owns translating between the two, and the queue between them. It decides nothing: who leads is the group's matter,
//! what to do about an instance the engine's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hotspare_decide::Time;
use hotspare_group::backend::{Backend, Etcd, EtcdConfig, Kubernetes};
use hotspare_group::{Document, Event, Group, GroupConfig};
use tokio::sync::mpsc;

use super::{Kept, Store, Write};
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
    group: Arc<hotspare_group::Handle>,
    seen: Arc<Mutex<Option<Arc<Document>>>>,
}

impl GroupStore {
    /// Joins the group that `config` names; leadership and answers go to `engine`. Nothing needs to be reachable yet.
    ///
    /// # Errors
    /// In words: why the store cannot even be looked for.
    pub async fn join(config: &Config, engine: Handle) -> Result<Self, String> {
        let me = &config.name;
        let connect_timeout = CONNECT_TIMEOUT.min(config.store.request_timeout);
        match &config.store.kind {
            StoreKind::Etcd { endpoints, prefix, user } => {
                let etcd = Etcd::new(EtcdConfig {
                    endpoints: endpoints.iter().map(ToString::to_string).collect(),
                    prefix: prefix.clone(),
                    user: user.as_ref().map(|(name, password)| (name.clone(), password.expose().to_owned())),
                    connect_timeout,
                })?;
                Ok(Self::start(me, &config.store, etcd, engine))
            }
            StoreKind::Kubernetes { lease, namespace } => {
                let namespace = namespace.as_ref().map(|name| name.as_str().to_owned());
                let lease = Kubernetes::find(lease.as_str().to_owned(), namespace, connect_timeout).await?;
                Ok(Self::start(me, &config.store, lease, engine))
            }
            StoreKind::File => Err("the store kind \"file\" knows no group".to_owned()),
        }
    }

    fn start(me: &str, store: &config::Store, backend: impl Backend, engine: Handle) -> Self {
        let config = GroupConfig {
            me: me.to_owned(),
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
        Self { kind, group: Arc::new(group), seen }
    }

    /// Gives leadership up, so that another proxy decides at once. Returns once the store knows, or after a while.
    pub async fn release(&self) {
        match self.group.release().await {
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
        self.group.leads_until()
    }

    fn known(&self, instance: &str) -> Option<Kept> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = seen.as_ref()?.records.get(instance)?;
        serde_json::from_value(entry.record.clone()).ok()
    }

    fn persist(&self, write: Write) {
        match serde_json::to_value(&write.kept) {
            Ok(record) => self.group.persist(write.instance, write.name, write.id, record),
            Err(error) => tracing::error!(%error, instance = write.name, "a record has no JSON form"),
        }
    }
}

/// Takes what the group says to the engine, in order.
async fn forward(mut events: mpsc::Receiver<Event>, seen: Arc<Mutex<Option<Arc<Document>>>>, engine: Handle) {
    while let Some(event) = events.recv().await {
        let input = match event {
            Event::Led { document, term } => {
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
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(document);
                continue;
            }
            Event::Resigned => continue,
        };
        if !engine.send(input).await {
            return;
        }
    }
}

fn records(document: &Document) -> Result<Vec<(String, Kept)>, String> {
    let read = |(name, entry): (&String, &hotspare_group::Entry)| {
        let kept = serde_json::from_value(entry.record.clone());
        kept.map(|kept| (name.clone(), kept)).map_err(|e| format!("the record of {name} cannot be read: {e}"))
    };
    document.records.iter().map(read).collect()
}
