//! The admin listener: `/livez`, `/readyz`, `/status`, `/metrics`, the event stream and the orders under `/v1`.
//!
//! Owns routing, roles and answers. It knows the engine only by its [`Handle`], runs on threads of its own, and
//! cannot delay a decision: a slow scrape or a stuck page costs nobody but itself.

pub(crate) mod audit;
mod auth;
mod forward;
mod live;
mod page;
mod stream;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use hotspare_launcher::{BODY_DEADLINE, whole_body};
use hotspare_tls::stream::accept;
use hotspare_tls::{Server, names};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::config::DrillFault;
use crate::drill::Drills;
use crate::engine::status::InstanceStatus;
use crate::engine::{Handle, Order, Refusal, Verb};
use crate::events::EventLog;
use crate::metrics;
use crate::observations::Recorder;

pub use auth::{Access, Bearer, Role};

/// Connections served at once: scrapers, a few people, and room for a platform. The data path sets descriptors aside
/// for so many (`reserved_descriptors`).
const MAX_CONNECTIONS: usize = 256;
const HEADER_DEADLINE: Duration = Duration::from_secs(5);
const MAX_BODY_BYTES: usize = 64 << 10;

/// What the admin listener needs.
pub struct Admin {
    /// The engine.
    pub engine: Handle,
    /// The event log.
    pub events: EventLog,
    /// What was observed, for what-ifs.
    pub recorder: Recorder,
    /// Rehearsals.
    pub drills: Arc<Drills>,
    /// Who may do what; a reload replaces it.
    pub access: Arc<ArcSwap<Access>>,
    /// Set when the process is about to stop: `/readyz` says so first.
    pub stopping: Arc<AtomicBool>,
}

type Body = BoxBody<Bytes, Infallible>;

/// Serves until it is dropped; over TLS if there is some.
pub async fn serve(listener: TcpListener, tls: Option<Server>, admin: Arc<Admin>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "admin: accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (admin, tls) = (admin.clone(), tls.clone());
        tokio::spawn(async move {
            let (stream, certificate) = match accept(stream, tls.as_ref()).await {
                Ok(accepted) => accepted,
                Err(error) => return tracing::debug!(%error, %from, "admin: no TLS with a client"),
            };
            let shown: Arc<[String]> = certificate.map_or_else(Vec::new, |shown| names(&shown)).into();
            let service = service_fn(|request| {
                let (admin, shown) = (admin.clone(), shown.clone());
                async move { Ok::<_, Infallible>(answer(&admin, from, &shown, request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_DEADLINE)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, %from, "admin: connection ended");
            }
            drop(permit);
        });
    }
}

async fn answer(admin: &Admin, from: SocketAddr, shown: &[String], request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let method = request.method().clone();
    if method == Method::GET
        && let Some(file) = page::file(&segments)
    {
        return file;
    }
    let needs = match (&method, segments.as_slice()) {
        (&Method::GET, ["livez" | "readyz"]) => Role::Anyone,
        (&Method::GET, _) => Role::Read,
        (_, ["v1", "instances", _, "drill"]) => Role::Admin,
        (_, ["v1", "instances", _, verb]) => Verb::parse(verb).map_or(Role::Operate, Role::of),
        _ => Role::Operate,
    };
    let (by, role) = match admin.access.load().allows(request.headers(), from, shown, needs) {
        Ok(who) => who,
        Err(refused) => {
            audit::denied(from, &method, &path, needs, refused);
            // Its connection ends: whoever was refused gives its place to another.
            let mut reply = text(refused.status(), refused.sentence());
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return reply;
        }
    };
    match (&method, segments.as_slice()) {
        (&Method::GET, ["livez"]) => text(StatusCode::OK, "alive"),
        (&Method::GET, ["readyz"]) => readyz(admin).await,
        (&Method::GET, ["status"] | ["v1", "status"]) => match admin.engine.status().await {
            Some(status) => json(StatusCode::OK, &status),
            None => text(StatusCode::SERVICE_UNAVAILABLE, "the engine has stopped"),
        },
        (&Method::GET, ["metrics"]) => match admin.engine.status().await {
            Some(status) => {
                let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
                let format = metrics::Format::wanted(accept);
                let page = metrics::render(&status, &admin.drills, lost(admin), format);
                with_type(StatusCode::OK, page, format.content_type())
            }
            None => text(StatusCode::SERVICE_UNAVAILABLE, "the engine has stopped"),
        },
        (&Method::GET, ["v1", "live"]) => {
            let instance = stream::query_value(request.uri().query().unwrap_or(""), "instance");
            live::stream(&admin.engine, instance, role)
        }
        (&Method::GET, ["v1", "events"]) => {
            stream::events(&admin.events, request.uri().query().unwrap_or(""), request.headers())
        }
        (&Method::GET, ["v1", "instances", name, "explain"]) => match admin.engine.explain(name).await {
            Some(story) => json(StatusCode::OK, &story),
            None => text(StatusCode::NOT_FOUND, &format!("there is no instance '{name}'")),
        },
        (&Method::GET, ["v1", "instances", name, "observations"]) => observations(admin, name).await,
        (&Method::POST, ["v1", "instances", name, "drill"]) => drill(admin, name, &by, request).await,
        (&Method::POST, ["v1", "instances", name, verb]) => match Verb::parse(verb) {
            Some(verb) => order(admin, name, verb, by, request).await,
            None => text(StatusCode::NOT_FOUND, &format!("'{verb}' is nothing an instance can be told")),
        },
        _ => text(StatusCode::NOT_FOUND, "no such page; see /status, /metrics, /livez, /readyz and /v1/events"),
    }
}

/// Lines that did not reach a file, by what they were.
fn lost(admin: &Admin) -> [(&'static str, u64); 2] {
    [("events", admin.events.not_written()), ("observations", admin.recorder.lost())]
}

async fn readyz(admin: &Admin) -> Response<Body> {
    if admin.stopping.load(Ordering::Relaxed) {
        return text(StatusCode::SERVICE_UNAVAILABLE, "stopping");
    }
    let Some(status) = admin.engine.status().await else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the engine has stopped");
    };
    // A follower of a group decides on no active, but has its route.
    let parked = |i: &&InstanceStatus| i.active.is_none() && i.route == "parked";
    let without: Vec<&str> = status.instances.iter().filter(parked).map(|i| i.name.as_str()).collect();
    // One instance without an active must not take the traffic of all others away from this proxy.
    if !status.instances.is_empty() && without.len() == status.instances.len() {
        return text(StatusCode::SERVICE_UNAVAILABLE, &format!("no instance has an active: {}", without.join(", ")));
    }
    text(
        StatusCode::OK,
        &if without.is_empty() {
            "ready".to_owned()
        } else {
            format!("ready; without an active: {}", without.join(", "))
        },
    )
}

/// One JSON value a line, as `observations` keeps them; what they mean is played where it was asked for.
async fn observations(admin: &Admin, instance: &str) -> Response<Body> {
    if admin.engine.checkpoint(instance).await.is_none() {
        return text(StatusCode::NOT_FOUND, &format!("there is no instance '{instance}'"));
    }
    match admin.recorder.read(instance).await {
        Ok(lines) => with_type(StatusCode::OK, lines.into_bytes(), "application/x-ndjson"),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

async fn order(admin: &Admin, instance: &str, verb: Verb, by: String, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = match whole_body(body, MAX_BODY_BYTES, BODY_DEADLINE).await {
        Ok(body) => body,
        Err((status, why)) => return problem(status, why, &[]),
    };
    let mut order = if body.is_empty() {
        Order::default()
    } else {
        match serde_json::from_slice::<Order>(&body) {
            Ok(order) => order,
            Err(error) => {
                return problem(StatusCode::BAD_REQUEST, &format!("the body is not understood: {error}"), &[]);
            }
        }
    };
    if !order.reason.as_deref().is_none_or(audit::is_plain) {
        return problem(StatusCode::BAD_REQUEST, "a reason is one line of at most 500 characters", &[]);
    }
    order.by.clone_from(&by);
    let (only_check, why) = (order.check, order.reason.clone());
    let outcome = admin.engine.order(instance, verb, order).await;
    let result = match &outcome {
        Ok(accepted) => accepted.message.clone(),
        Err(refusal) => refusal.to_string(),
    };
    // What another proxy decides about is on its record.
    if !only_check && !matches!(outcome, Err(Refusal::Elsewhere(_))) {
        audit::record(&admin.events, instance, verb.word(), &by, why.as_deref(), &result);
    }
    match outcome {
        Ok(accepted) => json(StatusCode::OK, &serde_json::json!({"ok": true, "message": accepted.message})),
        Err(Refusal::Elsewhere(leader)) => forward::to_the_leader(leader, &head, &body).await,
        Err(refusal) => refused(refusal),
    }
}

async fn drill(admin: &Admin, instance: &str, by: &str, request: Request<Incoming>) -> Response<Body> {
    #[derive(serde::Deserialize)]
    struct Ordered {
        fault: String,
    }
    let (head, body) = request.into_parts();
    let body = match whole_body(body, MAX_BODY_BYTES, BODY_DEADLINE).await {
        Ok(body) => body,
        Err((status, why)) => return problem(status, why, &[]),
    };
    let ordered = serde_json::from_slice::<Ordered>(&body).ok();
    let fault = match ordered.as_ref().map(|o| o.fault.as_str()) {
        Some("crash") => DrillFault::Crash,
        Some("hang") => DrillFault::Hang,
        Some("partition") => DrillFault::Partition,
        Some("switchover") => DrillFault::Switchover,
        _ => return problem(StatusCode::BAD_REQUEST, "\"fault\" is crash, hang, partition or switchover", &[]),
    };
    // It goes on when whoever asked for it has hung up: the fault is made, and what came of it must be told.
    let (drills, name, who) = (admin.drills.clone(), instance.to_owned(), by.to_owned());
    let outcome = tokio::spawn(async move { drills.run(&name, fault, &who).await }).await;
    let outcome = outcome.unwrap_or(Err(Refusal::Stopping));
    let result = outcome.as_ref().map_or_else(ToString::to_string, |report| report.sentence.clone());
    if !matches!(outcome, Err(Refusal::Elsewhere(_))) {
        audit::record(&admin.events, instance, "drill", by, None, &result);
    }
    match outcome {
        Ok(report) if report.passed => {
            json(StatusCode::OK, &serde_json::json!({"ok": true, "message": report.sentence}))
        }
        Ok(report) => problem(StatusCode::CONFLICT, &report.sentence, &[]),
        Err(Refusal::Elsewhere(leader)) => forward::to_the_leader(leader, &head, &body).await,
        Err(refusal) => refused(refusal),
    }
}

fn refused(refusal: Refusal) -> Response<Body> {
    match refusal {
        Refusal::Unknown(what) => problem(StatusCode::NOT_FOUND, &what, &[]),
        Refusal::Not(reasons) => problem(StatusCode::CONFLICT, &reasons.join("; "), &reasons),
        Refusal::Elsewhere(leader) => problem(StatusCode::CONFLICT, &Refusal::elsewhere(leader.as_ref()), &[]),
        Refusal::Stopping => problem(StatusCode::SERVICE_UNAVAILABLE, "this proxy is stopping", &[]),
    }
}

fn problem(status: StatusCode, error: &str, reasons: &[String]) -> Response<Body> {
    json(status, &serde_json::json!({"error": error, "reasons": reasons}))
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(body) => with_type(status, body, "application/json"),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn text(status: StatusCode, sentence: &str) -> Response<Body> {
    with_type(status, format!("{sentence}\n").into_bytes(), "text/plain; charset=utf-8")
}

fn with_type(status: StatusCode, body: Vec<u8>, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    response
}

impl Role {
    /// What an order needs.
    pub fn of(verb: Verb) -> Self {
        match verb {
            Verb::Failover | Verb::Fence => Self::Admin,
            Verb::Switchover | Verb::Restart | Verb::Pause | Verb::Resume | Verb::Release | Verb::Unfreeze => {
                Self::Operate
            }
        }
    }
}
