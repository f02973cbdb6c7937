//! etcd: the document is one key, written by transactions that compare the revision of its last change.
//!
//! Every node has a client of its own, and one is used at a time: a client that spreads requests over all nodes goes
//! on sending some of them to one that is frozen. A request that fails, or is given up, moves on to the next node and
//! drops the connection of the last. The files of its TLS are read for each connection. etcd's own leases are not used: a change of etcd's leader prolongs them.

use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, Identity, TlsOptions, Txn, TxnOp, WatchOptions,
};
use hotspare_tls::{ClientFiles, Pem};

use super::{Backend, EtcdConfig, read};
use crate::document::Document;
use crate::election::{Answer, Revision};

/// An etcd.
pub struct Etcd {
    config: EtcdConfig,
    key: String,
    /// The node in use, and its client if it is connected.
    node: AtomicUsize,
    client: Mutex<Option<Client>>,
}

impl Etcd {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// None in this build; in one without etcd, that there is none.
    pub fn new(config: EtcdConfig) -> Result<Self, String> {
        let key = format!("{}group", config.prefix);
        Ok(Self { config, key, node: AtomicUsize::new(0), client: Mutex::new(None) })
    }

    /// The key that holds the document.
    pub fn key(&self) -> &str {
        &self.key
    }

    async fn connect(&self, node: usize) -> Result<Client, String> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.config.connect_timeout)
            .with_keep_alive(Duration::from_secs(1), Duration::from_secs(1))
            .with_keep_alive_while_idle(false)
            .with_require_leader(true);
        if let Some((user, password)) = &self.config.user {
            options = options.with_user(user, password);
        }
        let endpoint = &self.config.endpoints[node % self.config.endpoints.len()];
        if endpoint.starts_with("https://") {
            options = options.with_tls(tls(&self.config.tls)?);
        }
        Client::connect([endpoint], Some(options)).await.map_err(|error| words(&error))
    }

    /// Takes the client of the node in use, which `ask` puts back once it has answered. One that is dropped while
    /// waiting for an answer leaves nothing behind, so the next request goes to the next node.
    async fn ask<T>(&self, ask: impl AsyncFnOnce(&mut Client) -> Result<T, etcd_client::Error>) -> Result<T, String> {
        let taken = self.client.lock().unwrap_or_else(PoisonError::into_inner).take();
        let node = self.node.fetch_add(usize::from(taken.is_none()), Ordering::Relaxed);
        let result = async {
            let mut client = match taken {
                Some(client) => client,
                None => self.connect(node).await?,
            };
            let answer = ask(&mut client).await.map_err(|error| words(&error))?;
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client);
            Ok(answer)
        };
        result.await.map_err(|why: String| self.told(&why))
    }

    /// What went wrong, and what may be behind it: a node that wants another certificate of us says so late and in few
    /// words, or just hangs up.
    fn told(&self, why: &str) -> String {
        let is_tls = self.config.endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
        let hung_up = ["closed", "broken pipe", "reset", "alert"].iter().any(|word| why.contains(word));
        let hint = match (is_tls && hung_up, &self.config.tls.pair) {
            (false, _) => "",
            (true, None) => "; it may want a certificate of us: cert_file and key_file",
            (true, Some(_)) => "; it may not trust the certificate in cert_file",
        };
        format!("etcd: {why}{hint}")
    }

    async fn write(&self, precondition: Compare, document: &Document) -> Answer {
        let put = TxnOp::put(self.key.as_str(), document.to_json(), None);
        let txn = Txn::new().when([precondition]).and_then([put]);
        match self.ask(async |client| client.txn(txn).await).await {
            Ok(done) if done.succeeded() => match done.header() {
                Some(header) => Answer::Written(Revision(header.revision().to_string())),
                None => Answer::Failed("etcd: an answer without its revision".into()),
            },
            Ok(_) => Answer::Conflict,
            Err(why) => Answer::Failed(why),
        }
    }
}

/// TLS as the files say now.
fn tls(files: &ClientFiles) -> Result<TlsOptions, String> {
    let Pem { authorities, pair } = files.pem().map_err(|bad| bad.to_string())?;
    let options = match authorities {
        Some(authorities) => TlsOptions::new().ca_certificate(Certificate::from_pem(authorities)),
        None => TlsOptions::new().with_native_roots(),
    };
    Ok(match pair {
        Some((certificate, key)) => options.identity(Identity::from_pem(certificate, key)),
        None => options,
    })
}

/// An error in words, with what is behind it: why a handshake failed is told there only. The library's own text for a
/// refusal carries headers and a debug form of everything.
fn words(error: &etcd_client::Error) -> String {
    let (mut text, mut behind) = match error {
        etcd_client::Error::GRpcStatus(status) => (status.message().to_owned(), status.source()),
        etcd_client::Error::TransportError(error) => (error.to_string(), error.source()),
        other => (other.to_string(), None),
    };
    while let Some(error) = behind {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        behind = error.source();
    }
    text
}

impl Backend for Etcd {
    fn kind(&self) -> &'static str {
        "etcd"
    }

    async fn get(&self) -> Answer {
        // Without options a read is linearizable: the node asks its leader, which asks a majority.
        match self.ask(async |client| client.get(self.key.as_str(), None).await).await {
            Ok(found) => match found.kvs().first() {
                Some(pair) => read(Revision(pair.mod_revision().to_string()), pair.value()),
                None => Answer::Missing,
            },
            Err(why) => Answer::Failed(why),
        }
    }

    async fn create(&self, document: Arc<Document>) -> Answer {
        self.write(Compare::create_revision(self.key.as_str(), CompareOp::Equal, 0), &document).await
    }

    async fn compare_and_set(&self, revision: Revision, document: Arc<Document>) -> Answer {
        match revision.0.parse() {
            Ok(at) => self.write(Compare::mod_revision(self.key.as_str(), CompareOp::Equal, at), &document).await,
            Err(_) => Answer::Failed(format!("'{}' is no revision of etcd", revision.0)),
        }
    }

    async fn watch(&self, changed: &(dyn Fn() + Send + Sync)) -> String {
        let watch = async {
            let node = self.node.load(Ordering::Relaxed);
            let mut client = self.connect(node).await?;
            let watching = client.watch(self.key.as_str(), Some(WatchOptions::new())).await;
            let mut stream = watching.map_err(|error| words(&error))?;
            // What changed before the watch began is not told.
            changed();
            while let Some(message) = stream.message().await.map_err(|error| words(&error))? {
                if message.canceled() {
                    return Ok(format!("etcd ended the watch: {}", message.cancel_reason()));
                }
                if !message.events().is_empty() {
                    changed();
                }
            }
            Ok("etcd closed the watch".to_owned())
        };
        watch.await.unwrap_or_else(|why: String| self.told(&why))
    }
}
