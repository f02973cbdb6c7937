//! A store in this process's memory, for tests. It can be cut off, and hold its answers back.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::Backend;
use crate::document::Document;
use crate::election::{Answer, Revision};

/// Clones share one store.
#[derive(Clone, Default)]
pub struct Memory {
    object: Arc<Mutex<Object>>,
    changed: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct Object {
    revision: u64,
    content: Option<Arc<Document>>,
    cut: bool,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// While cut, nothing is answered.
    pub fn cut(&self, cut: bool) {
        self.object.lock().unwrap_or_else(PoisonError::into_inner).cut = cut;
    }

    /// Takes the object away.
    pub fn delete(&self) {
        self.object.lock().unwrap_or_else(PoisonError::into_inner).content = None;
        self.changed.send_modify(|n| *n += 1);
    }

    async fn with(&self, serve: impl FnOnce(&mut Object) -> Answer) -> Answer {
        let answer = {
            let mut object = self.object.lock().unwrap_or_else(PoisonError::into_inner);
            (!object.cut).then(|| serve(&mut object))
        };
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    fn write(&self, object: &mut Object, document: Arc<Document>) -> Answer {
        object.revision += 1;
        object.content = Some(document);
        self.changed.send_modify(|n| *n += 1);
        Answer::Written(Revision(object.revision.to_string()))
    }
}

impl Backend for Memory {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn get(&self) -> Answer {
        self.with(|object| match &object.content {
            Some(document) => Answer::Found(Revision(object.revision.to_string()), document.clone()),
            None => Answer::Missing,
        })
        .await
    }

    async fn create(&self, document: Arc<Document>) -> Answer {
        self.with(|object| match object.content {
            Some(_) => Answer::Conflict,
            None => self.write(object, document),
        })
        .await
    }

    async fn compare_and_set(&self, revision: Revision, document: Arc<Document>) -> Answer {
        self.with(|object| match object.content {
            Some(_) if revision.0 == object.revision.to_string() => self.write(object, document),
            _ => Answer::Conflict,
        })
        .await
    }

    async fn watch(&self, changed: &(dyn Fn() + Send + Sync)) -> String {
        let mut receiver = self.changed.subscribe();
        changed();
        while receiver.changed().await.is_ok() {
            changed();
        }
        "the store is gone".to_owned()
    }
}
