//! The controller's end of the links: launchers open a websocket, prove who they are, then heartbeats, grants,
//! orders and receipts go both ways.
//!
//! Owns the listener, authentication before the upgrade, one live connection an identity (that of the same launcher
//! may be replaced), the limits on size and pace, and the datagrams beside the websockets. It decides nothing: what
//! arrives becomes a [`LinkEvent`] in the engine's queue, what the engine says goes out in order. Wire format: `hotspare_protocol`. The other end: the launcher's crate.

mod datagrams;
mod identity;
mod pace;
mod session;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use hotspare_decide::message::{Down, Up};
use hotspare_launcher::{BODY_DEADLINE, whole_body};
use hotspare_protocol::{DATAGRAMS_HEADER, INSTEAD_OF_HEADER, LINK_PATH, MAX_MESSAGE_BYTES, RECEIPT_PATH, decode_up};
use hotspare_tls::Server;
use hotspare_tls::stream::accept;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::engine::{Handle, Input};
use datagrams::{Before, Datagrams};
pub use identity::{Identities, Identity, LinkKey};
use session::Session;

/// Connections that may be open without having proved anything yet; more wait in the kernel's backlog.
const MAX_UNPROVEN: usize = 256;
/// Time to send the request's head. A launcher sends it at once.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);
/// Messages that may wait for one launcher; a link that is further behind is closed.
const OUTBOX: usize = 64;

/// What the links tell the engine.
#[derive(Debug)]
pub enum LinkEvent {
    /// A launcher proved itself and began to speak; `outbox` reaches it until [`LinkEvent::Down`] of the same `connection`.
    Up {
        /// Whose link.
        key: LinkKey,
        /// Unique for the life of this process.
        connection: u64,
        /// Orders and grants, sent in order.
        outbox: mpsc::Sender<Down>,
    },
    /// A message arrived.
    Message {
        /// Whose link.
        key: LinkKey,
        /// Which connection.
        connection: u64,
        /// The message.
        message: Up,
    },
    /// The connection is gone.
    Down {
        /// Whose link.
        key: LinkKey,
        /// Which connection.
        connection: u64,
        /// Why, for the record.
        why: String,
    },
    /// An exit receipt, handed in by the undertaker of a launcher that was killed.
    Receipt {
        /// Whose receipt.
        key: LinkKey,
        /// The receipt.
        message: Up,
    },
    /// Somebody with the right token was refused since that identity's link is in use.
    Duplicate {
        /// Whose identity.
        key: LinkKey,
        /// Where the second connection came from.
        from: SocketAddr,
    },
}

/// Serves links on `listener` until it is dropped: what is open then ends with its next message. With `datagrams`,
/// heartbeats may come over that too.
pub async fn serve(
    listener: TcpListener,
    datagrams: Option<UdpSocket>,
    tls: Option<Server>,
    identities: Arc<ArcSwap<Identities>>,
    idle_after: Duration,
    engine: Handle,
) {
    let datagrams = datagrams.map(|socket| Arc::new(Datagrams::new(socket)));
    let shared = Arc::new(Shared {
        identities,
        datagrams: datagrams.clone(),
        idle_after,
        engine,
        closed: AtomicBool::new(false),
        connections: AtomicU64::new(1),
        live: Mutex::default(),
        unproven: Arc::new(Semaphore::new(MAX_UNPROVEN)),
    });
    let _closes = Closes(shared.clone());
    let receive = async {
        match &datagrams {
            Some(datagrams) => datagrams.receive(&shared).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = accept_all(listener, tls, shared.clone()) => {}
        () = receive => {}
    }
}

async fn accept_all(listener: TcpListener, tls: Option<Server>, shared: Arc<Shared>) {
    loop {
        let Ok(permit) = shared.unproven.clone().acquire_owned().await else { return };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "links: accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (shared, tls) = (shared.clone(), tls.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            // A lost packet is sent again every 200 ms, not after ever longer pauses: few packets, each of them due.
            let _ = rustix::net::sockopt::set_tcp_thin_linear_timeouts(&stream, true);
            let stream = match accept(stream, tls.as_ref()).await {
                Ok((stream, _)) => stream,
                Err(error) => return tracing::warn!(%error, %from, "links: no TLS with a launcher"),
            };
            let service = service_fn(|request| answer(shared.clone(), from, request));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_DEADLINE)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            if let Err(error) = connection.await {
                tracing::debug!(%error, %from, "links: connection ended before it was a link");
            }
            drop(permit);
        });
    }
}

struct Shared {
    identities: Arc<ArcSwap<Identities>>,
    datagrams: Option<Arc<Datagrams>>,
    idle_after: Duration,
    engine: Handle,
    /// Nothing more is passed on.
    closed: AtomicBool,
    connections: AtomicU64,
    /// The connection that has an identity's place.
    live: Mutex<HashMap<LinkKey, u64>>,
    unproven: Arc<Semaphore>,
}

impl Shared {
    /// Passes on what happened, in order; false if nobody takes it any more.
    async fn tell(&self, event: LinkEvent) -> bool {
        !self.closed.load(Ordering::Relaxed) && self.engine.send(Input::Link(event)).await
    }
}

/// Says so when links are served no longer.
struct Closes(Arc<Shared>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }
}

/// Holds an identity's one place; gives it back when dropped, unless another connection has it by then.
struct Place {
    shared: Arc<Shared>,
    key: LinkKey,
    connection: u64,
    /// The connection of the same launcher that has the place until this one claims it.
    before: Option<Before>,
}

impl Place {
    /// For this connection, if it is free or the same launcher has it.
    fn take(shared: &Arc<Shared>, key: LinkKey, connection: u64, before: Option<Before>) -> Option<Self> {
        let mut live = shared.live.lock().expect("no holder of this lock panics");
        if before.is_none() && live.contains_key(&key) {
            return None;
        }
        live.entry(key).or_insert(connection);
        Some(Self { shared: shared.clone(), key, connection, before })
    }

    /// Has it from now on, and ends the connection before.
    fn claim(&mut self) {
        if let Some(before) = self.before.take() {
            self.shared.live.lock().expect("no holder of this lock panics").insert(self.key, self.connection);
            before.end();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut live = self.shared.live.lock().expect("no holder of this lock panics");
        if live.get(&self.key) == Some(&self.connection) {
            live.remove(&self.key);
        }
    }
}

type Reply = Response<Full<Bytes>>;

/// Also the connection's end: whoever was refused gives its place to another.
fn reply(status: StatusCode, text: &str) -> Reply {
    let mut response = Response::new(Full::new(Bytes::from(format!("{text}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn answer(shared: Arc<Shared>, from: SocketAddr, request: Request<Incoming>) -> Result<Reply, Infallible> {
    // Launchers are no browsers, which name the page that a request comes from.
    if request.headers().contains_key(ORIGIN) {
        tracing::warn!(%from, "links: a browser was refused");
        return Ok(reply(StatusCode::FORBIDDEN, "not for browsers"));
    }
    let key = match shared.identities.load().authenticate(request.headers()) {
        Ok(key) => key,
        Err(why) => {
            tracing::warn!(%from, why, "links: refused");
            return Ok(reply(StatusCode::UNAUTHORIZED, why));
        }
    };
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET, LINK_PATH) => open_link(shared, from, key, request).await,
        (&Method::POST, RECEIPT_PATH) => take_receipt(shared, key, request).await,
        _ => reply(StatusCode::NOT_FOUND, "here are only /v1/link and /v1/receipt"),
    })
}

async fn open_link(shared: Arc<Shared>, from: SocketAddr, key: LinkKey, mut request: Request<Incoming>) -> Reply {
    let headers = request.headers();
    let version = headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|v| v == "13");
    let Some(accept) = headers.get(SEC_WEBSOCKET_KEY).filter(|_| version).map(|k| derive_accept_key(k.as_bytes()))
    else {
        return reply(StatusCode::BAD_REQUEST, "a websocket upgrade of version 13 was expected");
    };
    let connection = shared.connections.fetch_add(1, Ordering::Relaxed);
    let all = shared.datagrams.as_ref();
    let instead_of = headers.get(INSTEAD_OF_HEADER).and_then(|offer| offer.to_str().ok());
    let before = instead_of.zip(all).and_then(|(offer, all)| all.same_launcher(key, offer));
    let Some(place) = Place::take(&shared, key, connection, before) else {
        shared.tell(LinkEvent::Duplicate { key, from }).await;
        return reply(StatusCode::CONFLICT, "this member's link is already open; one connection an identity");
    };
    let (offer, beside) = all.and_then(|all| all.offer(key, connection)).unzip();
    tokio::spawn(async move {
        match hyper::upgrade::on(&mut request).await {
            Ok(upgraded) => {
                session::run(TokioIo::new(upgraded), Session { place, beside }).await;
            }
            Err(error) => tracing::debug!(%error, "links: the upgrade failed"),
        }
    });
    let mut response = reply(StatusCode::SWITCHING_PROTOCOLS, "");
    *response.body_mut() = Full::default();
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = accept.parse() {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(mut offer) = offer.and_then(|offer| HeaderValue::try_from(offer).ok()) {
        offer.set_sensitive(true);
        headers.insert(DATAGRAMS_HEADER, offer);
    }
    response
}

async fn take_receipt(shared: Arc<Shared>, key: LinkKey, request: Request<Incoming>) -> Reply {
    let body = match whole_body(request.into_body(), MAX_MESSAGE_BYTES, BODY_DEADLINE).await {
        Ok(body) => body,
        Err((status, why)) => return reply(status, why),
    };
    match std::str::from_utf8(&body).ok().map(decode_up) {
        Some(Ok(message @ Up::Exited { .. })) => {
            shared.tell(LinkEvent::Receipt { key, message }).await;
            reply(StatusCode::ACCEPTED, "taken")
        }
        _ => reply(StatusCode::BAD_REQUEST, "an exit receipt was expected"),
    }
}
