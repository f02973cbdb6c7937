//! The admin HTTP API: FlowFuse's launcher's shape under `/flowforge/`, our own under `/hotspare/v1/`.
//!
//! Owns: the listener, who may ask, and how much. Loopback may ask everything; anyone else needs this member's token
//! as a bearer, and the peer's launcher the pair's secret for its one question. Never decides: commands go to the
//! shell and are answered when they have become true.

mod flowforge;
mod hotspare;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hotspare_protocol::{PROMISE_PATH, Secret, same_secret};
use hotspare_tls::Server;
use hotspare_tls::stream::accept;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderValue, ORIGIN};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Semaphore, oneshot};

use crate::body::{BODY_DEADLINE, whole};
use crate::context;
use crate::logs::Logs;
use crate::nodes::{self, Installer};
use crate::shell::{Command, Input, View};
use crate::sync;

/// Connections served at once; more wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 64;
/// Time to send the request's head.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);
const MAX_BODY_BYTES: usize = 64 << 10;

/// An answer of this API.
pub(crate) type Reply = Response<Full<Bytes>>;

/// What the handlers work with.
pub(crate) struct Admin {
    pub(crate) member: String,
    pub(crate) instance: String,
    pub(crate) token: Option<Secret>,
    /// The secret of the pair, as the controller told last.
    pub(crate) peer_secret: Arc<Mutex<Option<Secret>>>,
    pub(crate) state_dir: std::path::PathBuf,
    pub(crate) inputs: Sender<Input>,
    pub(crate) logs: Arc<Mutex<Logs>>,
    /// Wall clock in milliseconds.
    pub(crate) created_ms: u64,
    pub(crate) shutdown: Sender<()>,
    /// Another launcher starts Node-RED.
    pub(crate) attached: bool,
    /// Where that one is.
    pub(crate) nr_launcher: Option<String>,
    pub(crate) installer: Installer,
}

/// Serves `listener` for ever.
pub(crate) async fn serve(listener: TcpListener, admin: Arc<Admin>, tls: Option<Server>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the admin API cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (admin, tls) = (Arc::clone(&admin), tls.clone());
        tokio::spawn(async move {
            let stream = match accept(stream, tls.as_ref()).await {
                Ok((stream, _)) => stream,
                Err(error) => return tracing::debug!(%error, %from, "no TLS with a client of the admin API"),
            };
            let service = service_fn(|request| {
                let admin = Arc::clone(&admin);
                async move { Ok::<_, Infallible>(answer(&admin, from, request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_DEADLINE)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, %from, "a connection to the admin API ended early");
            }
            drop(place);
        });
    }
}

async fn answer(admin: &Admin, from: SocketAddr, request: Request<Incoming>) -> Reply {
    let path = request.uri().path().to_owned();
    if let Err(refusal) = admit(admin, from, &request, &path) {
        // Its connection ends: whoever was refused gives its place to another.
        let mut reply = Reply::from(refusal);
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        return reply;
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    let get = request.method() == Method::GET || request.method() == Method::HEAD;
    if get {
        return match path.as_str() {
            "/hotspare/v1/status" => hotspare::status(admin).await,
            sync::PATH => hotspare::revision(admin).await,
            _ => flowforge::get(admin, &path, &query).await,
        };
    }
    if request.method() != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET and POST");
    }
    let (most, within) = match path.as_str() {
        sync::PATH => (sync::MAX_BYTES, sync::SEND_WITHIN),
        nodes::PATH => (nodes::MAX_BYTES, sync::SEND_WITHIN),
        context::PATH => (context::MAX_BYTES, sync::SEND_WITHIN),
        _ => (MAX_BODY_BYTES, BODY_DEADLINE),
    };
    let body = match whole(request.into_body(), most, within).await {
        Ok(body) => body,
        Err((status, why)) => return refuse(status, why),
    };
    match path.as_str() {
        "/flowforge/command" => flowforge::command(admin, &body).await,
        "/hotspare/v1/start" => hotspare::start(admin, &body).await,
        "/hotspare/v1/drill" => hotspare::drill(admin, &body).await,
        "/hotspare/v1/fence" => hotspare::fence(admin, &body).await,
        PROMISE_PATH => hotspare::promise(admin, &body).await,
        sync::PATH => hotspare::take_flows(admin, &body).await,
        nodes::PATH => hotspare::take_nodes(admin, &body).await,
        context::PATH => hotspare::take_context(admin, &body).await,
        _ => refuse(StatusCode::NOT_FOUND, "no such command"),
    }
}

/// Whether this request may be answered at all.
fn admit<B>(admin: &Admin, from: SocketAddr, request: &Request<B>, path: &str) -> Result<(), Refusal> {
    // A page in a browser on this machine must not command it: browsers say where a request comes from.
    if request.headers().contains_key(ORIGIN) {
        return Err(Refusal(StatusCode::FORBIDDEN, "not for browsers".to_owned()));
    }
    let bearer = request.headers().get(AUTHORIZATION).and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
    let shows = |secret: Option<&Secret>| match (bearer, secret) {
        (Some(given), Some(secret)) => same_secret(given, secret.expose()),
        _ => false,
    };
    let may = if [PROMISE_PATH, sync::PATH, nodes::PATH, context::PATH].contains(&path) {
        // Also from loopback: a promise given to a stranger would keep this member from being started, and flows are
        // programs.
        shows(admin.peer_secret.lock().unwrap_or_else(std::sync::PoisonError::into_inner).as_ref())
    } else {
        from.ip().to_canonical().is_loopback() || shows(admin.token.as_ref())
    };
    if may { Ok(()) } else { Err(Refusal(StatusCode::UNAUTHORIZED, "a valid bearer token is needed".to_owned())) }
}

impl Admin {
    /// What is so now; an error is a launcher that is about to end.
    async fn view(&self) -> Result<View, Refusal> {
        let (answer, view) = oneshot::channel();
        let gone = || Refusal(StatusCode::SERVICE_UNAVAILABLE, "the launcher is ending".to_owned());
        self.inputs.send(Input::Look { answer }).await.map_err(|_| gone())?;
        view.await.map_err(|_| gone())
    }

    /// Gives a command and waits until it has become true, or for `limit`.
    async fn command(&self, command: Command, limit: Duration) -> Result<(), String> {
        let (answer, outcome) = oneshot::channel();
        let gone = "the launcher is ending".to_owned();
        self.inputs.send(Input::Command { command, answer }).await.map_err(|_| gone.clone())?;
        match tokio::time::timeout(limit, outcome).await {
            Ok(outcome) => outcome.unwrap_or(Err(gone)),
            Err(_) => Err(format!("not done within {} s", limit.as_secs())),
        }
    }
}

/// Why a request is not answered as asked.
struct Refusal(StatusCode, String);

impl From<Refusal> for Reply {
    fn from(Refusal(status, why): Refusal) -> Self {
        refuse(status, &why)
    }
}

fn reply(status: StatusCode, body: &impl Serialize) -> Reply {
    let text = serde_json::to_vec(body).unwrap_or_default();
    plain(status, "application/json", text)
}

fn refuse(status: StatusCode, why: &str) -> Reply {
    reply(status, &json!({ "err": why }))
}

fn plain(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(text.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn admitted(from: &str, path: &str, headers: &[(&str, &str)]) -> bool {
        let admin = Admin {
            member: "a".into(),
            instance: "line-1".into(),
            token: Some(Secret::new("token")),
            peer_secret: Arc::new(Mutex::new(Some(Secret::new("pair")))),
            state_dir: std::path::PathBuf::new(),
            inputs: tokio::sync::mpsc::channel(1).0,
            logs: Arc::new(Mutex::new(Logs::new("a"))),
            created_ms: 0,
            shutdown: tokio::sync::mpsc::channel(1).0,
            attached: false,
            nr_launcher: None,
            installer: Installer::default(),
        };
        let request = headers.iter().fold(Request::builder(), |builder, (name, value)| builder.header(*name, *value));
        admit(&admin, from.parse().unwrap(), &request.body(()).unwrap(), path).is_ok()
    }

    #[test]
    fn loopback_may_ask_and_others_need_the_token() {
        let path = "/flowforge/info";
        assert!(admitted("127.0.0.1:1", path, &[]) && admitted("[::1]:1", path, &[]));
        assert!(admitted("[::ffff:127.0.0.1]:1", path, &[]), "loopback as a dual-stack listener sees it");
        assert!(!admitted("10.0.0.1:1", path, &[]));
        assert!(!admitted("10.0.0.1:1", path, &[("authorization", "Bearer wrong")]));
        assert!(!admitted("10.0.0.1:1", path, &[("authorization", "token")]));
        assert!(!admitted("10.0.0.1:1", path, &[("authorization", "Bearer pair")]));
        assert!(admitted("10.0.0.1:1", path, &[("authorization", "Bearer token")]));
    }

    #[test]
    fn the_peers_questions_need_the_pairs_secret_wherever_they_come_from() {
        for path in [PROMISE_PATH, sync::PATH, nodes::PATH, context::PATH] {
            assert!(!admitted("127.0.0.1:1", path, &[]));
            assert!(!admitted("127.0.0.1:1", path, &[("authorization", "Bearer token")]));
            assert!(admitted("10.0.0.1:1", path, &[("authorization", "Bearer pair")]));
        }
    }

    #[test]
    fn a_page_in_a_browser_is_refused() {
        assert!(!admitted("127.0.0.1:1", "/flowforge/command", &[("origin", "http://localhost:1880")]));
    }
}
