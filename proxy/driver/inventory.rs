//! What a Node-RED has, compared with what its flows need: a start with missing node types answers `start` and
//! runs nothing, and begins to run on its own once the types are installed.
//!
//! Reads `GET /flows` and `GET /nodes`, seldom: flows can be megabytes. Where the token may not read the nodes,
//! nothing is claimed to be missing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hotspare_protocol::Secret;
use hotspare_tls::stream::Expected;
use serde::Deserialize;

use crate::http::Ask;

/// How old a stock may be for [`Inventory::recent`].
const KEEP: Duration = Duration::from_secs(10);

/// What was found.
#[derive(Debug, Clone, Default)]
pub(super) struct Stock {
    /// Revision of the flows: SHA-256 of their JSON, the same on both members if the flows are.
    pub revision: Option<String>,
    /// Node-RED's version.
    pub version: Option<String>,
    missing: BTreeSet<String>,
}

impl Stock {
    /// `Err` names the node types that flows need and nobody provides.
    pub(super) fn complete(&self) -> Result<(), String> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = self.missing.iter().map(String::as_str).collect();
        Err(format!("missing node types: {}", names.join(", ")))
    }
}

/// A small cache in front of the two calls.
#[derive(Debug)]
pub(super) struct Inventory {
    base: String,
    token: Option<Secret>,
    tls: Option<Expected>,
    timeout: Duration,
    kept: tokio::sync::Mutex<Option<(Instant, Stock)>>,
}

#[derive(Deserialize)]
struct Flows {
    #[serde(default)]
    rev: Option<String>,
    flows: Vec<FlowNode>,
}

#[derive(Deserialize)]
struct FlowNode {
    #[serde(default)]
    id: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct NodeSet {
    #[serde(default)]
    module: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    types: Vec<String>,
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    err: Option<serde_json::Value>,
}

impl Inventory {
    pub(super) fn new(base: String, token: Option<Secret>, tls: Option<Expected>, timeout: Duration) -> Self {
        Self { base, token, tls, timeout, kept: tokio::sync::Mutex::default() }
    }

    /// Where the admin API is, without a slash at its end.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// At most [`KEEP`] old. A look that fails keeps what was known.
    pub(super) async fn recent(&self) -> Stock {
        let mut kept = self.kept.lock().await;
        if let Some((at, stock)) = kept.as_ref()
            && at.elapsed() < KEEP
        {
            return stock.clone();
        }
        self.renew(&mut kept).await
    }

    /// Looked up now.
    pub(super) async fn fresh(&self) -> Stock {
        let mut kept = self.kept.lock().await;
        self.renew(&mut kept).await
    }

    async fn renew(&self, kept: &mut Option<(Instant, Stock)>) -> Stock {
        let (flows, nodes) = tokio::join!(self.get::<Flows>("/flows"), self.get::<Vec<NodeSet>>("/nodes"));
        let mut stock = kept.take().map(|(_, stock)| stock).unwrap_or_default();
        if let Some(flows) = flows {
            if let Some(nodes) = &nodes {
                stock.missing = missing(&flows.flows, nodes);
                stock.version = nodes.iter().find(|n| n.module == "node-red").and_then(|n| n.version.clone());
            }
            stock.revision = flows.rev;
        }
        *kept = Some((Instant::now(), stock.clone()));
        stock
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Option<T> {
        let url = format!("{}{path}", self.base);
        let headers = [("accept", "application/json"), ("node-red-api-version", "v2")];
        let ask = Ask { headers: &headers, ..Ask::get(&url, self.timeout) };
        ask.bearer(self.token.as_ref().map(Secret::expose)).tls(self.tls.as_ref()).send().await.ok()?.json().ok()
    }
}

/// The types Node-RED itself would report: tabs and subflow definitions are no nodes, an instance of a subflow
/// needs its definition, anything else a node set that is enabled and loaded without an error.
fn missing(flows: &[FlowNode], nodes: &[NodeSet]) -> BTreeSet<String> {
    let subflows: BTreeSet<&str> = flows.iter().filter(|n| n.kind == "subflow").map(|n| n.id.as_str()).collect();
    let known: BTreeSet<&str> = nodes
        .iter()
        .filter(|set| set.enabled && set.err.is_none())
        .flat_map(|set| set.types.iter().map(String::as_str))
        .collect();
    let provided = |kind: &str| match kind.strip_prefix("subflow:") {
        Some(definition) => subflows.contains(definition),
        None => matches!(kind, "tab" | "subflow" | "group") || known.contains(kind),
    };
    flows.iter().filter(|n| !provided(&n.kind)).map(|n| n.kind.clone()).collect()
}
