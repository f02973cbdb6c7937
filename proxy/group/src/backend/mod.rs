//! What keeps the document that proxies share.
//!
//! Owns the trait [`Backend`] and its kinds: [`Etcd`], [`Kubernetes`] and, for tests, [`Memory`]. A backend answers;
//! it decides nothing, caches nothing that it could answer from, and tries nothing twice.

#[cfg(feature = "etcd")]
mod etcd;
#[cfg(not(feature = "etcd"))]
#[path = "no_etcd.rs"]
mod etcd;
mod kubernetes;
mod memory;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use etcd::Etcd;
use hotspare_tls::ClientFiles;
pub(crate) use kubernetes::client;
pub use kubernetes::{Kubernetes, STATE_ANNOTATION};
pub use memory::Memory;

use crate::document::Document;
use crate::election::{Answer, Request, Revision};

/// Whether this build can use etcd: whether the cargo feature `etcd` is on.
pub const HAS_ETCD: bool = cfg!(feature = "etcd");

/// Where etcd is.
#[derive(Clone)]
pub struct EtcdConfig {
    /// URLs of its nodes; at least one.
    pub endpoints: Vec<String>,
    /// What the key begins with: one for each group of proxies.
    pub prefix: String,
    /// User and password, where etcd asks for them.
    pub user: Option<(String, String)>,
    /// What a node with an `https://` URL is verified with, and what is shown to it. Read for each connection.
    pub tls: ClientFiles,
    /// How long to wait for a connection. A request as a whole is bounded by the election.
    pub connect_timeout: Duration,
}

/// One object that is read whole, and written whole by compare-and-set.
///
/// Futures may be dropped at any time; what a write that was dropped has done is unknown.
pub trait Backend: Send + Sync + 'static {
    /// The word for it in the configuration.
    fn kind(&self) -> &'static str;

    /// Reads. The answer is as new as the start of the read: linearizable, never from a cache.
    /// Answers `Found`, `Missing`, `Foreign` or `Failed`.
    fn get(&self) -> impl Future<Output = Answer> + Send;

    /// Writes if there is no object. Answers `Written`, `Conflict` or `Failed`.
    fn create(&self, document: Arc<Document>) -> impl Future<Output = Answer> + Send;

    /// Writes if the object is at exactly `revision`. Answers `Written`, `Conflict` or `Failed`.
    fn compare_and_set(&self, revision: Revision, document: Arc<Document>) -> impl Future<Output = Answer> + Send;

    /// Calls `changed` once it watches and whenever the object may have changed, until the watch breaks; then says why.
    /// Changes may be missed: a watch is a speed-up, never a proof.
    fn watch(&self, changed: &(dyn Fn() + Send + Sync)) -> impl Future<Output = String> + Send;

    /// Carries out one request of an election.
    fn serve(&self, request: Request) -> impl Future<Output = Answer> + Send {
        async {
            match request {
                Request::Get => self.get().await,
                Request::Create(document) => self.create(document).await,
                Request::CompareAndSet(revision, document) => self.compare_and_set(revision, document).await,
            }
        }
    }
}

/// What was read, as an answer.
fn read(revision: Revision, json: &[u8]) -> Answer {
    match Document::parse(json) {
        Ok(document) => Answer::Found(revision, Arc::new(document)),
        Err(why) => Answer::Foreign(revision, why),
    }
}
