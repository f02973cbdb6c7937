//! Who may decide here, as far as it is for the process to say: it stops when another process takes over, and begins
//! again should that one fail.

use std::collections::BTreeMap;

use super::{Failure, failed};
use crate::config::{Config, StoreKind};
use crate::engine::{Handle, Input};
use crate::store::file::FileStore;
use crate::store::group::GroupStore;
use crate::store::{Kept, Store};

/// The store, as the process holds it beside the engine.
#[derive(Clone)]
pub(super) enum Keeper {
    /// A journal of our own.
    File(FileStore),
    /// What several proxies share.
    Group(GroupStore),
}

type Records = BTreeMap<String, Kept>;

impl Keeper {
    /// The store that `config` names, and what is on record in it.
    ///
    /// # Errors
    /// Why it could not be opened.
    pub(super) async fn open(config: &Config, engine: Handle) -> Result<(Self, Records), Failure> {
        let cannot = "the store could not be opened";
        match &config.store.kind {
            StoreKind::File => {
                let (store, loaded) = FileStore::open(&config.store.dir, engine).map_err(failed(cannot))?;
                if loaded.dropped_tail_bytes > 0 {
                    let bytes = loaded.dropped_tail_bytes;
                    tracing::warn!(bytes, "the journal's last write was never acknowledged, and was dropped");
                }
                Ok((Self::File(store), loaded.records))
            }
            StoreKind::Kubernetes { .. } | StoreKind::Etcd { .. } => {
                let joined = GroupStore::join(config, engine).await.map_err(std::io::Error::other);
                Ok((Self::Group(joined.map_err(failed(cannot))?), Records::new()))
            }
        }
    }

    /// For the engine.
    pub(super) fn store(&self) -> Box<dyn Store> {
        match self {
            Self::File(store) => Box::new(store.clone()),
            Self::Group(store) => Box::new(store.clone()),
        }
    }

    /// Nothing more is decided here once this returns, and another process may. The engine follows.
    pub(super) async fn stop_deciding(&self, engine: &Handle) -> Result<(), String> {
        match self {
            Self::Group(store) => store.release().await,
            Self::File(store) => {
                engine.send(Input::Leadership { leader: false, records: Vec::new() }).await;
                let store = store.clone();
                tokio::task::spawn_blocking(move || store.close()).await.map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// After [`Keeper::stop_deciding`], should the other process have failed.
    pub(super) async fn decide_again(&self, config: &Config, engine: &Handle) -> Result<(), String> {
        match self {
            Self::Group(store) => store.rejoin(config, engine.clone()).await,
            Self::File(store) => {
                let store = store.clone();
                let opened = tokio::task::spawn_blocking(move || store.reopen()).await;
                let loaded = opened.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
                engine.send(Input::Leadership { leader: true, records: loaded.records.into_iter().collect() }).await;
                Ok(())
            }
        }
    }
}
