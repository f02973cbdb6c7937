//! `api_server_shim_over_etcd`: speaks enough of the Kubernetes API for one Lease, over a real etcd, and takes merge
//! patches of pods.
//!
//! It is no API server, and nothing that passes against it has been tested on Kubernetes. It is there so that kube
//! itself is exercised, and keeps what misleads: a PUT that changes nothing keeps its resourceVersion (two writers of
//! the same bytes both succeed), one without resourceVersion is a 422, a stale one a 409, a read with
//! `resourceVersion=0` comes from a cache and may be old, a watch can end with a 410 inside a stream that began with
//! 200, and says bookmarks. `golden.rs` is to hold it against transcripts of real servers; it is not yet seen to pass.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

mod cache;
mod lease;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};
use futures_util::{Stream, stream};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use cache::Cache;

type Body = BoxBody<Bytes, Infallible>;

/// A running shim; dropped, it closes every connection.
pub struct ApiServerShimOverEtcd {
    pub address: SocketAddr,
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Shim {
    etcd: Client,
    cache: Arc<Cache>,
}

/// What a path and its query ask for.
struct Ask {
    /// Of pods, where it is not of Leases.
    of_pods: bool,
    namespace: String,
    name: Option<String>,
    query: HashMap<String, String>,
}

impl ApiServerShimOverEtcd {
    pub async fn start(endpoints: Vec<String>) -> Self {
        let etcd = Client::connect(&endpoints, None).await.unwrap();
        let cache = Cache::start(&etcd).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(cache.clone().follow(etcd.clone()));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shim = Shim { etcd: etcd.clone(), cache: cache.clone() };
                let service = service_fn(move |request| {
                    let shim = shim.clone();
                    async move { Ok::<_, Infallible>(shim.serve(request).await) }
                });
                connections.spawn(async move {
                    // A client that goes away is no matter.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, _tasks: tasks }
    }
}

impl Shim {
    async fn serve(&self, request: Request<Incoming>) -> Response<Body> {
        let Some(ask) = Ask::parse(request.uri()) else {
            return status(404, "NotFound", "the shim knows Leases only", None);
        };
        let method = request.method().clone();
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let sent = serde_json::from_slice(&body).unwrap_or(Value::Null);
        match (method, ask.name.clone()) {
            (Method::PATCH, Some(name)) if ask.of_pods => self.patch(&ask, &name, &sent).await,
            _ if ask.of_pods => status(405, "MethodNotAllowed", "of pods the shim knows PATCH only", None),
            (Method::GET, Some(name)) => self.get(&ask, &name).await,
            (Method::GET, None) if ask.query.contains_key("watch") => self.watch(&ask),
            (Method::POST, None) => self.create(&ask, sent).await,
            (Method::PUT, Some(name)) => self.put(&ask, &name, sent).await,
            _ => status(405, "MethodNotAllowed", "the shim knows no such verb", None),
        }
    }

    /// Linearizable, as a real server's read without resourceVersion is; hangs for as long as etcd does.
    async fn read(&self, key: &str) -> Option<(i64, Value)> {
        let mut etcd = self.etcd.clone();
        loop {
            if let Ok(found) = etcd.get(key, None).await {
                let pair = found.kvs().first()?;
                return Some((pair.mod_revision(), serde_json::from_slice(pair.value()).unwrap()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn get(&self, ask: &Ask, name: &str) -> Response<Body> {
        let key = lease::key(&ask.namespace, name);
        let found = match ask.query.get("resourceVersion").map(String::as_str) {
            Some("0") => self.cache.get(&key),
            _ => self.read(&key).await,
        };
        match found {
            Some((version, object)) => answer(200, &lease::shown(object, version)),
            None => lease::not_found(name),
        }
    }

    async fn create(&self, ask: &Ask, sent: Value) -> Response<Body> {
        let Some(name) = sent["metadata"]["name"].as_str().map(str::to_owned) else {
            return status(422, "Invalid", "name or generateName is required", None);
        };
        let key = lease::key(&ask.namespace, &name);
        let object = lease::created(sent, &ask.namespace);
        let absent = Compare::create_revision(key.as_str(), CompareOp::Equal, 0);
        match self.write(&key, absent, &object).await {
            Some(version) => answer(201, &lease::shown(object, version)),
            None => lease::already_exists(&name),
        }
    }

    async fn put(&self, ask: &Ask, name: &str, sent: Value) -> Response<Body> {
        let key = lease::key(&ask.namespace, name);
        let Some((version, there)) = self.read(&key).await else { return lease::not_found(name) };
        match lease::replaced(&sent, name, &there, version) {
            Err(refusal) => *refusal,
            // Nothing would change: not written, and the version stays.
            Ok(object) if object == there => answer(200, &lease::shown(there, version)),
            Ok(object) => {
                let same = Compare::mod_revision(key.as_str(), CompareOp::Equal, version);
                match self.write(&key, same, &object).await {
                    Some(version) => answer(200, &lease::shown(object, version)),
                    None => lease::modified(name),
                }
            }
        }
    }

    /// A merge patch of a pod's metadata, without a version: whoever comes last wins.
    async fn patch(&self, ask: &Ask, name: &str, sent: &Value) -> Response<Body> {
        let key = pod_key(&ask.namespace, name);
        loop {
            let Some((version, mut object)) = self.read(&key).await else {
                let details = json!({"name": name, "kind": "pods"});
                return status(404, "NotFound", &format!("pods \"{name}\" not found"), Some(details));
            };
            merge(&mut object, sent);
            let same = Compare::mod_revision(key.as_str(), CompareOp::Equal, version);
            if self.write(&key, same, &object).await.is_some() {
                object["kind"] = json!("PartialObjectMetadata");
                object["apiVersion"] = json!("meta.k8s.io/v1");
                return answer(200, &object);
            }
        }
    }

    /// The revision of the write, or `None` if the precondition did not hold.
    async fn write(&self, key: &str, precondition: Compare, object: &Value) -> Option<i64> {
        let put = TxnOp::put(key, object.to_string(), None);
        let txn = Txn::new().when([precondition]).and_then([put]);
        let done = self.etcd.clone().txn(txn).await;
        match done {
            Ok(done) => done.succeeded().then(|| done.header().unwrap().revision()),
            // A real server does not know either; its client has long given up.
            Err(_) => std::future::pending().await,
        }
    }

    fn watch(&self, ask: &Ask) -> Response<Body> {
        let selected = ask.query.get("fieldSelector").and_then(|s| s.strip_prefix("metadata.name="));
        let key = selected.map(|name| lease::key(&ask.namespace, name));
        let from = ask.query.get("resourceVersion").map_or("0", String::as_str).parse().unwrap_or(0);
        let seconds = ask.query.get("timeoutSeconds").and_then(|s| s.parse().ok()).unwrap_or(60);
        let bookmarks = ask.query.get("allowWatchBookmarks").is_some_and(|v| v == "true" || v == "1");
        let end = Instant::now() + Duration::from_secs(seconds);
        let frames = self.cache.clone().stream(key, from, end, bookmarks);
        streamed(Box::pin(frames))
    }
}

impl Ask {
    fn parse(uri: &hyper::Uri) -> Option<Self> {
        let leases = uri.path().strip_prefix("/apis/coordination.k8s.io/v1/namespaces/");
        let (rest, kind) = match leases {
            Some(rest) => (rest, "leases"),
            None => (uri.path().strip_prefix("/api/v1/namespaces/")?, "pods"),
        };
        let mut parts = rest.split('/');
        let namespace = parts.next()?.to_owned();
        (parts.next()? == kind).then_some(())?;
        let name = parts.next().filter(|name| !name.is_empty()).map(str::to_owned);
        let query = uri.query().unwrap_or("").split('&').filter_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            Some((key.to_owned(), value.replace("%3D", "=")))
        });
        Some(Self { of_pods: kind == "pods", namespace, name, query: query.collect() })
    }
}

/// Where the shim keeps a pod.
pub fn pod_key(namespace: &str, name: &str) -> String {
    format!("/registry/pods/{namespace}/{name}")
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        match value {
            Value::Null => drop(target.as_object_mut().unwrap().remove(name)),
            value => merge(&mut target[name], value),
        }
    }
}

fn answer(code: u16, body: &Value) -> Response<Body> {
    let body = http_body_util::Full::new(Bytes::from(body.to_string())).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}

fn status(code: u16, reason: &str, message: &str, details: Option<Value>) -> Response<Body> {
    answer(code, &status_object(code, reason, message, details))
}

fn status_object(code: u16, reason: &str, message: &str, details: Option<Value>) -> Value {
    let mut body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    if let Some(details) = details {
        body["details"] = details;
    }
    body
}

/// Lines of JSON, one after the other.
fn streamed(lines: Pin<Box<dyn Stream<Item = Value> + Send + Sync>>) -> Response<Body> {
    let frames = stream::unfold(lines, |mut lines| async {
        let line = futures_util::StreamExt::next(&mut lines).await?;
        Some((Ok(Frame::data(Bytes::from(format!("{line}\n")))), lines))
    });
    let mut response = Response::new(BoxBody::new(StreamBody::new(frames)));
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}
