//! Kubernetes: the document is an annotation of a Lease, written by PUT with its resourceVersion and uid.
//!
//! An annotation of the Lease, and not a ConfigMap beside it: no precondition of Kubernetes spans two objects, and
//! one object means that each write of a record proves leadership. The fields of the Lease's `spec` are for people
//! (`kubectl get lease`); nothing here ever reads them.
//!
//! Never PATCHes: a merge patch without resourceVersion overwrites blindly. Never reads with `resourceVersion=0`:
//! that answers from a cache, also when the store behind has been gone for hours.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, pin_mut};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams, WatchEvent, WatchParams};
use kube::{Client, Config, Error};

use super::{Backend, read};
use crate::document::Document;
use crate::election::{Answer, Revision};

/// The annotation that holds the document.
pub const STATE_ANNOTATION: &str = "hotspare/state";

/// A watch ends after this long, and is begun anew: a connection that died unnoticed does not stay for ever.
const WATCH_FOR: Duration = Duration::from_secs(120);

/// A Lease.
pub struct Kubernetes {
    leases: Api<Lease>,
    name: String,
    /// The Lease as it was last read or written, for what others keep in its metadata. What is written is made from
    /// this only if the revision is the one asked for.
    last: Mutex<Option<Lease>>,
}

impl Kubernetes {
    /// Finds the API server: by `KUBECONFIG` or `~/.kube/config`, else as a pod does. `namespace` defaults to that of
    /// the pod or the kubeconfig's context. Connects to nothing yet.
    ///
    /// # Errors
    /// In words: why no API server is known.
    pub async fn find(lease: String, namespace: Option<String>, connect_timeout: Duration) -> Result<Self, String> {
        let config = Config::infer().await.map_err(|e| format!("kubernetes: {e}"))?;
        Self::at(config, lease, namespace, connect_timeout)
    }

    /// At the API server of `config`.
    ///
    /// # Errors
    /// In words: what about `config` cannot be used.
    pub fn at(
        config: Config,
        lease: String,
        namespace: Option<String>,
        connect_timeout: Duration,
    ) -> Result<Self, String> {
        let (client, namespace) = client(config, namespace, connect_timeout)?;
        Ok(Self { leases: Api::namespaced(client, &namespace), name: lease, last: Mutex::new(None) })
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Lease>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self, result: Result<Lease, Error>) -> Answer {
        match result {
            Ok(lease) => {
                let revision = revision(&lease);
                *self.last() = Some(lease);
                revision
                    .map_or_else(|| Answer::Failed("kubernetes: a Lease without its version".into()), Answer::Written)
            }
            Err(Error::Api(status)) if status.code == 409 => Answer::Conflict,
            Err(error) => Answer::Failed(words(&error)),
        }
    }
}

/// A client that asks once, and the namespace to ask in: `namespace`, or the one of `config`.
pub(crate) fn client(
    mut config: Config,
    namespace: Option<String>,
    connect_timeout: Duration,
) -> Result<(Client, String), String> {
    // An election counts from when a request was sent, and reads back what it doesn't know: nothing below it may
    // try twice or wait.
    config.default_retry = false;
    config.connect_timeout = Some(connect_timeout);
    let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|e| format!("kubernetes: {e}"))?;
    Ok((client, namespace))
}

/// The uid belongs to it: a Lease that was deleted and made again is another one.
fn revision(lease: &Lease) -> Option<Revision> {
    let version = lease.metadata.resource_version.as_ref()?;
    let uid = lease.metadata.uid.as_ref()?;
    Some(Revision(format!("{version}/{uid}")))
}

fn words(error: &Error) -> String {
    match error {
        Error::Api(status) => format!("kubernetes: {} ({})", status.message, status.code),
        other => format!("kubernetes: {other}"),
    }
}

/// Puts the document into the Lease, and what people want to know into its spec.
fn fill(mut lease: Lease, document: &Document) -> Lease {
    let annotations = lease.metadata.annotations.get_or_insert_default();
    annotations.insert(STATE_ANNOTATION.to_owned(), document.to_json());
    // Kubernetes keeps this list itself, and it would be sent to and fro with every renewal.
    lease.metadata.managed_fields = None;
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    let now = MicroTime(Timestamp::now());
    if spec.holder_identity.as_ref() != Some(&document.holder) {
        spec.acquire_time = Some(now.clone());
    }
    spec.holder_identity = Some(document.holder.clone());
    spec.lease_transitions = Some(i32::try_from(document.term).unwrap_or(i32::MAX));
    spec.lease_duration_seconds = Some(i32::try_from(document.lead_for_ms.div_ceil(1000).max(1)).unwrap_or(i32::MAX));
    spec.renew_time = Some(now);
    lease
}

impl Backend for Kubernetes {
    fn kind(&self) -> &'static str {
        "kubernetes"
    }

    async fn get(&self) -> Answer {
        match self.leases.get_opt(&self.name).await {
            Ok(Some(lease)) => {
                let Some(revision) = revision(&lease) else {
                    return Answer::Failed("kubernetes: a Lease without its version".into());
                };
                let annotations = lease.metadata.annotations.as_ref();
                let answer = match annotations.and_then(|all| all.get(STATE_ANNOTATION)) {
                    Some(json) => read(revision, json.as_bytes()),
                    None => Answer::Foreign(
                        revision,
                        format!("the Lease {} is not hotspare's: it has no annotation {STATE_ANNOTATION}", self.name),
                    ),
                };
                *self.last() = Some(lease);
                answer
            }
            Ok(None) => Answer::Missing,
            Err(error) => Answer::Failed(words(&error)),
        }
    }

    async fn create(&self, document: Arc<Document>) -> Answer {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let lease = fill(Lease { metadata, spec: None }, &document);
        self.written(self.leases.create(&PostParams::default(), &lease).await)
    }

    async fn compare_and_set(&self, at: Revision, document: Arc<Document>) -> Answer {
        let last = self.last().clone();
        let Some(lease) = last.filter(|lease| revision(lease).as_ref() == Some(&at)) else {
            return Answer::Conflict;
        };
        match self.leases.replace(&self.name, &PostParams::default(), &fill(lease, &document)).await {
            // Gone since it was read: the precondition does not hold either.
            Err(Error::Api(status)) if status.code == 404 => Answer::Conflict,
            result => self.written(result),
        }
    }

    async fn watch(&self, changed: &(dyn Fn() + Send + Sync)) -> String {
        let seconds = u32::try_from(WATCH_FOR.as_secs()).unwrap_or(u32::MAX);
        let params = WatchParams::default().fields(&format!("metadata.name={}", self.name)).timeout(seconds);
        // "0" begins with whatever the server's cache has: enough for a hint, and never too old.
        let stream = match self.leases.watch(&params, "0").await {
            Ok(stream) => stream,
            Err(error) => return words(&error),
        };
        pin_mut!(stream);
        changed();
        while let Some(event) = stream.next().await {
            match event {
                Ok(WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_)) => changed(),
                Ok(WatchEvent::Bookmark(_)) => {}
                Ok(WatchEvent::Error(status)) => {
                    // Among others 410: the server has forgotten what lies between. The next watch begins anew.
                    return format!("kubernetes: {} ({})", status.message, status.code);
                }
                Err(error) => return words(&error),
            }
        }
        "kubernetes closed the watch".to_owned()
    }
}
