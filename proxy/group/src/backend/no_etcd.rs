//! What stands for etcd in a build without the cargo feature `etcd`: nothing that could be made.

use std::sync::Arc;

use super::{Backend, EtcdConfig};
use crate::document::Document;
use crate::election::{Answer, Revision};

/// An etcd, of which this build can have none.
pub enum Etcd {}

impl Etcd {
    /// Refuses.
    ///
    /// # Errors
    /// Always: that this build has no etcd.
    pub fn new(_: EtcdConfig) -> Result<Self, String> {
        Err("this program was built without etcd".to_owned())
    }
}

impl Backend for Etcd {
    fn kind(&self) -> &'static str {
        match *self {}
    }

    async fn get(&self) -> Answer {
        match *self {}
    }

    async fn create(&self, _: Arc<Document>) -> Answer {
        match *self {}
    }

    async fn compare_and_set(&self, _: Revision, _: Arc<Document>) -> Answer {
        match *self {}
    }

    async fn watch(&self, _: &(dyn Fn() + Send + Sync)) -> String {
        match *self {}
    }
}
