//! The platform talks to us: one endpoint an instance that speaks nr-launcher's admin API and means the pair.
//!
//! `start`, `stop` and `restart` are about both members, `info` tells the pair's state in nr-launcher's words, logs and
//! samples are those of both, merged by time. Whoever decides is behind the trait [`Pair`]; this module asks the
//! members' own launchers only for what they alone know (logs, samples, versions) and never gives them an order.
//! A launcher that does not answer is left out, so that the platform still sees the other.
//!
//! nr-launcher's API knows no authentication, so neither does this: bind it where only the platform reaches it.

mod endpoint;
mod engine_pair;
mod merge;
mod pair;
mod samples;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use hotspare_launcher::{BODY_DEADLINE, whole_body};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, ORIGIN};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::http::{Answer, Ask};

pub use endpoint::{Endpoint, Endpoints};
pub use engine_pair::EnginePair;
pub use pair::{MemberLauncher, ORDER_PATIENCE, Pair, PairLook, Word};

/// Connections served at once: the platform has a handful.
const MAX_CONNECTIONS: usize = 64;
const HEADER_DEADLINE: Duration = Duration::from_secs(5);
const MAX_BODY_BYTES: usize = 64 << 10;
/// For a question to a member's launcher whose answer the platform waits one second for.
const SOON: Duration = Duration::from_millis(600);
/// For logs, which the platform waits two seconds for.
const LOGS: Duration = Duration::from_millis(1500);

type Reply = Response<Full<Bytes>>;

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, pair: Arc<dyn Pair>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the platform's endpoint cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let pair = pair.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let pair = pair.clone();
                async move { Ok::<_, Infallible>(answer(&pair, from, request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_DEADLINE)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            if let Err(error) = connection.await {
                tracing::debug!(%error, %from, "a connection to the platform's endpoint ended early");
            }
            drop(place);
        });
    }
}

async fn answer(pair: &Arc<dyn Pair>, from: SocketAddr, request: Request<Incoming>) -> Reply {
    // A page in a browser must neither command an instance nor read of it: browsers say where a request comes from, on
    // every websocket too.
    if request.headers().contains_key(ORIGIN) {
        return json_reply(StatusCode::FORBIDDEN, &json!({"error": "not for browsers"}));
    }
    let path = request.uri().path().to_owned();
    if request.method() == Method::POST && path == "/flowforge/command" {
        return command(pair, from, request).await;
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return json_reply(StatusCode::NOT_FOUND, &json!({}));
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    match path.as_str() {
        "/flowforge/info" => info(pair.as_ref()).await,
        "/flowforge/health-check" => match pair.look().await {
            Some(look) if look.active.is_some() => plain(StatusCode::OK, "OK"),
            _ => plain(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
        },
        "/flowforge/ready" => match pair.look().await {
            Some(look) if look.active.is_some() => plain(StatusCode::OK, "OK"),
            _ => plain(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
        },
        "/flowforge/startup" => startup(pair.as_ref()).await,
        "/flowforge/logs" => logs(pair.as_ref(), parameter(&query, "start")).await,
        "/flowforge/logs/entries" => entries(pair.as_ref(), &query).await,
        "/flowforge/resources" if samples::is_upgrade(request.headers()) => samples::upgrade(pair, request),
        "/flowforge/resources" => samples::all(pair.as_ref()).await,
        _ => json_reply(StatusCode::NOT_FOUND, &json!({})),
    }
}

/// The pair's state, with start time and versions of the active's launcher, or of one that answers.
async fn info(pair: &dyn Pair) -> Reply {
    let (look, answers) = join(pair.look(), ask_both(pair, "/flowforge/info", SOON)).await;
    let Some(look) = look else {
        return json_reply(StatusCode::SERVICE_UNAVAILABLE, &json!({"error": "this proxy is stopping"}));
    };
    let infos = answers.map(|answer| answer.and_then(|a| a.json::<Value>().ok()));
    let own = look.active.and_then(|active| infos[active].as_ref());
    let told = own.or_else(|| infos.iter().flatten().next()).cloned().unwrap_or_default();
    // Only the launcher knows of safe mode; a pair whose active runs no flows does not run.
    let safe = own.is_some_and(|info| info["state"] == "safe");
    let state = if safe { "safe" } else { look.word.as_str() };
    let start = told.get("lastStartTime").cloned().unwrap_or_else(|| json!(-1));
    let versions = told.get("versions").cloned().unwrap_or_else(|| json!({}));
    json_reply(StatusCode::OK, &json!({"id": pair.id(), "state": state, "lastStartTime": start, "versions": versions}))
}

/// The start-up times of the active's launcher, or of one that answers.
async fn startup(pair: &dyn Pair) -> Reply {
    let (look, answers) = join(pair.look(), ask_both(pair, "/flowforge/startup", SOON)).await;
    let [first, second] = answers.map(|answer| answer.map(|a| a.body));
    let body = match look.and_then(|look| look.active) {
        Some(1) => second.or(first),
        _ => first.or(second),
    };
    let body = body.unwrap_or_else(|| Bytes::from_static(b"# EOF\n"));
    with_type(StatusCode::OK, body, "application/openmetrics-text")
}

/// All lines, or with `start` the file of that day: one entry a line.
async fn logs(pair: &dyn Pair, start: Option<&str>) -> Reply {
    let Some(start) = start else {
        let lists = lists(pair, "/flowforge/logs", |answer| answer.json().unwrap_or_default()).await;
        return json_reply(StatusCode::OK, &Value::Array(merge::by_time(lists)));
    };
    let path = format!("/flowforge/logs?start={start}");
    let lists = lists(pair, &path, |answer| {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<Value>>()
    })
    .await;
    if lists.is_empty() {
        return json_reply(StatusCode::NOT_FOUND, &json!({"error": "ENOTFOUND", "message": "Not Found"}));
    }
    let text: String = merge::by_time(lists).iter().map(|entry| format!("{entry}\n")).collect();
    with_type(StatusCode::OK, Bytes::from(text), "application/octet-stream")
}

async fn entries(pair: &dyn Pair, query: &str) -> Reply {
    let path = format!("/flowforge/logs/entries?{query}");
    let [first, second] = pair.launchers().each_ref().map(|l| l.name.as_str());
    let [a, b] = ask_both(pair, &path, LOGS).await;
    let pages = [(first, a), (second, b)].into_iter();
    let pages = pages.filter_map(|(name, answer)| Some((name, answer?.json::<Value>().ok()?))).collect();
    json_reply(StatusCode::OK, &merge::page(pages, parameter(query, "cursor"), parameter(query, "limit")))
}

/// What the launchers that answer with 200 say, read by `read`, with their members' names.
async fn lists<'a>(pair: &'a dyn Pair, path: &str, read: impl Fn(Answer) -> Vec<Value>) -> Vec<(&'a str, Vec<Value>)> {
    let answers = ask_both(pair, path, LOGS).await;
    let named = pair.launchers().iter().zip(answers);
    named.filter_map(|(launcher, answer)| Some((launcher.name.as_str(), read(answer?)))).collect()
}

/// Asks both members' launchers at once; `None` for one that has none, does not answer, or not with 200.
async fn ask_both(pair: &dyn Pair, path: &str, timeout: Duration) -> [Option<Answer>; 2] {
    let [first, second] = pair.launchers();
    let (first, second) = join(ask(first, path, timeout), ask(second, path, timeout)).await;
    [first, second]
}

async fn ask(launcher: &MemberLauncher, path: &str, timeout: Duration) -> Option<Answer> {
    let url = format!("{}{path}", launcher.url.as_ref()?);
    let token = launcher.token.as_ref().map(hotspare_protocol::Secret::expose);
    let answer = Ask::get(&url, timeout).bearer(token).tls(launcher.tls.as_ref()).send().await.ok()?;
    (answer.status == StatusCode::OK).then_some(answer)
}

async fn command(pair: &Arc<dyn Pair>, from: SocketAddr, request: Request<Incoming>) -> Reply {
    let body = match whole_body(request.into_body(), MAX_BODY_BYTES, BODY_DEADLINE).await {
        Ok(body) => body,
        Err((status, why)) => return json_reply(status, &json!({"error": why})),
    };
    let order: Value = match serde_json::from_slice(&body) {
        Ok(order) => order,
        Err(error) => return json_reply(StatusCode::BAD_REQUEST, &json!({"error": format!("not JSON: {error}")})),
    };
    let cmd = order["cmd"].as_str().unwrap_or_default().to_owned();
    let by = format!("the platform at {}", from.ip());
    match cmd.as_str() {
        "start" => {
            if pair.look().await.is_some_and(|look| look.word == Word::Running) {
                pair.audit("start", &by, "it runs already");
                return json_reply(StatusCode::CONFLICT, &json!({"err": "Already running"}));
            }
            carry_out(pair, "start", by, |pair| async move { pair.start().await }).await
        }
        "stop" | "shutdown" => carry_out(pair, "stop", by, |pair| async move { pair.stop().await }).await,
        "restart" => carry_out(pair, "restart", by, |pair| async move { pair.restart().await }).await,
        // A user logged out: each Node-RED has sessions of its own.
        "logout" => {
            let [first, second] = pair.launchers();
            join(forward(first, &order), forward(second, &order)).await;
            json_reply(StatusCode::OK, &json!({}))
        }
        _ => json_reply(StatusCode::NOT_FOUND, &json!({})),
    }
}

/// Carries an order out, also if the platform stops waiting, and puts on record what came of it. One that takes long is answered as accepted, as nr-launcher
/// answers a stop; one that fails before that says so.
async fn carry_out<F>(
    pair: &Arc<dyn Pair>,
    what: &'static str,
    by: String,
    order: impl FnOnce(Arc<dyn Pair>) -> F,
) -> Reply
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let (order, pair) = (order(pair.clone()), pair.clone());
    let task = tokio::spawn(async move {
        let outcome = order.await;
        pair.audit(what, &by, outcome.as_ref().map_or_else(String::as_str, |()| "done"));
        outcome
    });
    match tokio::time::timeout(ORDER_PATIENCE, task).await {
        Ok(Ok(Err(why))) => json_reply(StatusCode::INTERNAL_SERVER_ERROR, &json!({"error": why})),
        Ok(Err(_)) => json_reply(StatusCode::INTERNAL_SERVER_ERROR, &json!({"error": "the order was lost"})),
        Ok(Ok(Ok(()))) | Err(_) => json_reply(StatusCode::OK, &json!({})),
    }
}

async fn forward(launcher: &MemberLauncher, order: &Value) -> Option<Answer> {
    let url = format!("{}/flowforge/command", launcher.url.as_ref()?);
    let token = launcher.token.as_ref().map(hotspare_protocol::Secret::expose);
    Ask::post(&url, order, LOGS).bearer(token).tls(launcher.tls.as_ref()).send().await.ok()
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn json_reply(status: StatusCode, value: &Value) -> Reply {
    with_type(status, Bytes::from(value.to_string()), "application/json; charset=utf-8")
}

fn plain(status: StatusCode, text: &'static str) -> Reply {
    with_type(status, Bytes::from_static(text.as_bytes()), "text/plain; charset=utf-8")
}

fn with_type(status: StatusCode, body: Bytes, kind: &'static str) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    reply
}
