//! The shim's watch cache: what reads with `resourceVersion=0` and watches are served from.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcd_client::{Client, EventType, GetOptions, WatchOptions};
use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{lease, status_object};

const PREFIX: &str = "/registry/leases/";

pub(super) struct Cache {
    content: Mutex<Content>,
    /// The newest revision that was taken in.
    newest: watch::Sender<i64>,
}

struct Content {
    objects: HashMap<String, (i64, Value)>,
    /// Everything since the shim began; what lies before is forgotten, as after a compaction.
    events: Vec<Change>,
    began: i64,
}

#[derive(Clone)]
struct Change {
    version: i64,
    key: String,
    kind: &'static str,
    object: Value,
}

impl Cache {
    pub(super) async fn start(etcd: &Client) -> Arc<Self> {
        let found = etcd.clone().get(PREFIX, Some(GetOptions::new().with_prefix())).await.unwrap();
        let began = found.header().unwrap().revision();
        let objects = found.kvs().iter().map(|pair| {
            let object = serde_json::from_slice(pair.value()).unwrap();
            (pair.key_str().unwrap().to_owned(), (pair.mod_revision(), object))
        });
        let content = Content { objects: objects.collect(), events: Vec::new(), began };
        Arc::new(Self { content: Mutex::new(content), newest: watch::Sender::new(began) })
    }

    pub(super) async fn follow(self: Arc<Self>, etcd: Client) {
        loop {
            // Broken off by a node that died: begun anew where it ended.
            let _ = self.take_in(etcd.clone()).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn take_in(&self, mut etcd: Client) -> Result<(), etcd_client::Error> {
        let from = *self.newest.borrow() + 1;
        let options = WatchOptions::new().with_prefix().with_prev_key().with_start_revision(from);
        let mut stream = etcd.watch(PREFIX, Some(options)).await?;
        while let Some(message) = stream.message().await? {
            for event in message.events() {
                let (Some(pair), deleted) = (event.kv(), event.event_type() == EventType::Delete) else { continue };
                let key = pair.key_str()?.to_owned();
                let version = pair.mod_revision();
                let last = if deleted { event.prev_kv() } else { Some(pair) };
                let Some(object) = last.and_then(|kv| serde_json::from_slice::<Value>(kv.value()).ok()) else {
                    continue;
                };
                let mut content = self.content.lock().unwrap();
                let kind = match (deleted, content.objects.contains_key(&key)) {
                    (true, _) => "DELETED",
                    (false, true) => "MODIFIED",
                    (false, false) => "ADDED",
                };
                match deleted {
                    true => drop(content.objects.remove(&key)),
                    false => drop(content.objects.insert(key.clone(), (version, object.clone()))),
                }
                content.events.push(Change { version, key, kind, object });
                self.newest.send_replace(version);
            }
        }
        Ok(())
    }

    /// May be old.
    pub(super) fn get(&self, key: &str) -> Option<(i64, Value)> {
        self.content.lock().unwrap().objects.get(key).cloned()
    }

    /// The frames of a watch.
    pub(super) fn stream(
        self: Arc<Self>,
        key: Option<String>,
        from: i64,
        end: Instant,
        bookmarks: bool,
    ) -> impl Stream<Item = Value> + Send + Sync {
        let mut first = Vec::new();
        let mut at = from;
        {
            let content = self.content.lock().unwrap();
            let newest = *self.newest.borrow();
            if from == 0 {
                // Begins with whatever the cache has.
                at = newest;
                let wanted = content.objects.iter().filter(|(name, _)| key.as_ref().is_none_or(|key| key == *name));
                first.extend(wanted.map(|(_, (version, object))| frame("ADDED", object, *version)));
            } else if from < content.began {
                let message = format!("too old resource version: {from} ({newest})");
                let status = status_object(410, "Expired", &message, None);
                return stream::iter(vec![json!({"type": "ERROR", "object": status})]).left();
            }
        }
        let state = Watch { newest: self.newest.subscribe(), cache: self, key, at, end, bookmarks, first };
        stream::unfold(state, Watch::next).right()
    }
}

struct Watch {
    cache: Arc<Cache>,
    newest: watch::Receiver<i64>,
    key: Option<String>,
    at: i64,
    end: Instant,
    bookmarks: bool,
    first: Vec<Value>,
}

impl Watch {
    async fn next(mut self) -> Option<(Value, Self)> {
        if let Some(frame) = self.first.pop() {
            return Some((frame, self));
        }
        loop {
            let change = {
                let content = self.cache.content.lock().unwrap();
                let mine = |change: &&Change| self.key.as_ref().is_none_or(|key| *key == change.key);
                content.events.iter().filter(mine).find(|change| change.version > self.at).cloned()
            };
            if let Some(Change { version, kind, object, .. }) = change {
                self.at = version;
                return Some((frame(kind, &object, version), self));
            }
            if tokio::time::timeout_at(self.end, self.newest.changed()).await.is_err() {
                // The last word before the watch ends by its timeout.
                if !std::mem::take(&mut self.bookmarks) {
                    return None;
                }
                let metadata = json!({"resourceVersion": self.newest.borrow().to_string()});
                let object =
                    json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": metadata, "spec": {}});
                return Some((json!({"type": "BOOKMARK", "object": object}), self));
            }
        }
    }
}

fn frame(kind: &str, object: &Value, version: i64) -> Value {
    json!({"type": kind, "object": lease::shown(object.clone(), version)})
}

/// One of two streams.
trait Either: Sized {
    fn left<R>(self) -> futures_util::future::Either<Self, R> {
        futures_util::future::Either::Left(self)
    }
    fn right<L>(self) -> futures_util::future::Either<L, Self> {
        futures_util::future::Either::Right(self)
    }
}

impl<S: Stream> Either for S {}
