//! A label on pods that says which of a pair is active, for selectors of what isn't proxied.
//!
//! Proves nothing, and nothing of ours reads it: it comes after the change that it tells of. So a merge patch without
//! a version is right here: whatever else changes about a pod meanwhile, this label is only ours to set.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use kube::{Config, Error};
use serde_json::json;

use crate::backend::client;

/// What the label is set to.
pub const ACTIVE: &str = "true";

/// The pods of one namespace.
pub struct Pods {
    pods: Api<Pod>,
    label: String,
}

impl Pods {
    /// Finds the API server as [`crate::backend::Kubernetes::find`] does. Connects to nothing yet.
    ///
    /// # Errors
    /// In words: why no API server is known.
    pub async fn find(label: String, namespace: Option<String>, connect_timeout: Duration) -> Result<Self, String> {
        let config = Config::infer().await.map_err(|e| format!("kubernetes: {e}"))?;
        Self::at(config, label, namespace, connect_timeout)
    }

    /// At the API server of `config`.
    ///
    /// # Errors
    /// In words: what about `config` cannot be used.
    pub fn at(
        config: Config,
        label: String,
        namespace: Option<String>,
        connect_timeout: Duration,
    ) -> Result<Self, String> {
        let (client, namespace) = client(config, namespace, connect_timeout)?;
        Ok(Self { pods: Api::namespaced(client, &namespace), label })
    }

    /// Gives a pod the label, or takes it away.
    ///
    /// # Errors
    /// In words: what the API server said.
    pub async fn set(&self, pod: &str, active: bool) -> Result<(), String> {
        let value = active.then_some(ACTIVE);
        let patch = Patch::Merge(json!({"metadata": {"labels": {self.label.as_str(): value}}}));
        match self.pods.patch_metadata(pod, &PatchParams::default(), &patch).await {
            Ok(_) => Ok(()),
            Err(Error::Api(status)) => Err(format!("kubernetes: {} ({})", status.message, status.code)),
            Err(error) => Err(format!("kubernetes: {error}")),
        }
    }
}
