//! `/flowforge/resources`: what both Node-REDs use of the machine, all samples at once or each as it comes.
//!
//! A websocket to the platform carries the samples of both launchers' websockets, with the member's name as source. A
//! launcher that goes away is asked again; a platform that does not read is not waited for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use super::{LOGS, MemberLauncher, Pair, Reply, ask, json_reply, lists, merge};

/// Samples that may wait for the platform to read; a launcher sends one in ten seconds.
const QUEUE: usize = 16;
/// Between two attempts to reach a launcher.
const AGAIN: Duration = Duration::from_secs(5);
/// For opening a websocket to a launcher, and for one message to the platform.
const OPEN: Duration = Duration::from_secs(2);

/// All samples that both launchers keep.
pub(super) async fn all(pair: &dyn Pair) -> Reply {
    debug_assert!(LOGS < Duration::from_secs(2), "the platform waits two seconds");
    let read = |answer: crate::http::Answer| {
        let mut body: Value = answer.json().unwrap_or_default();
        merge::take_list(&mut body, "resources")
    };
    let resources = merge::by_time(lists(pair, "/flowforge/resources", read).await);
    let count = resources.len();
    json_reply(StatusCode::OK, &json!({"meta": {}, "resources": resources, "count": count}))
}

/// Whether a websocket is asked for.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(SEC_WEBSOCKET_KEY)
}

/// Answers the upgrade, and relays until the platform goes.
pub(super) fn upgrade(pair: &Arc<dyn Pair>, mut request: Request<Incoming>) -> Reply {
    let key = request.headers().get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let Some(accept) = key.and_then(|accept| HeaderValue::from_str(&accept).ok()) else {
        return json_reply(StatusCode::BAD_REQUEST, &json!({"error": "not a websocket's key"}));
    };
    let pair = pair.clone();
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(&mut request).await {
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            relay(pair, socket).await;
        }
    });
    let mut reply = Response::new(Full::new(Bytes::new()));
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    reply.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    reply.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    reply
}

async fn relay<S>(pair: Arc<dyn Pair>, socket: WebSocketStream<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (samples, mut waiting) = mpsc::channel(QUEUE);
    let [first, second] = pair.launchers();
    let (mut to_platform, mut from_platform) = socket.split();
    let send = async {
        while let Some(sample) = waiting.recv().await {
            let sent = timeout(OPEN, to_platform.send(Message::text(sample))).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    };
    let read = async { while let Some(Ok(_)) = from_platform.next().await {} };
    // Whichever ends first ends all: the platform has gone, or does not read.
    tokio::select! {
        () = follow(first, samples.clone()) => {}
        () = follow(second, samples.clone()) => {}
        () = send => {}
        () = read => {}
    }
}

/// Hands over each sample of one launcher; for ever. Ours has no websocket, and one behind
/// https is not opened: both are asked for their samples.
async fn follow(launcher: &MemberLauncher, samples: mpsc::Sender<String>) {
    let pass_on = |mut sample: Value| {
        sample["src"] = launcher.name.clone().into();
        // A platform that does not read loses samples, not we memory.
        let _ = samples.try_send(sample.to_string());
    };
    let mut newest = None;
    loop {
        if let Some(mut socket) = timeout(OPEN, open(launcher)).await.ok().flatten() {
            while let Some(Ok(message)) = socket.next().await {
                let Ok(text) = message.to_text() else { continue };
                let Ok(sample @ Value::Object(_)) = serde_json::from_str(text) else { continue };
                pass_on(sample);
            }
        } else if let Some(answer) = ask(launcher, "/flowforge/resources", LOGS).await {
            let mut body: Value = answer.json().unwrap_or_default();
            // Those from before the platform came are what it asks for otherwise.
            let since = newest;
            for sample in merge::take_list(&mut body, "resources") {
                let at = sample["ts"].as_i64().filter(|at| newest.is_none_or(|newest| *at > newest));
                let Some(at) = at else { continue };
                newest = Some(at);
                if since.is_some() {
                    pass_on(sample);
                }
            }
            newest = newest.or(Some(0));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn open(launcher: &MemberLauncher) -> Option<WebSocketStream<TcpStream>> {
    let url = launcher.url.as_ref()?;
    let authority = url.strip_prefix("http://")?.trim_end_matches('/');
    let stream = TcpStream::connect(authority).await.ok()?;
    let mut request = tokio_tungstenite::tungstenite::client::IntoClientRequest::into_client_request(format!(
        "ws://{authority}/flowforge/resources"
    ))
    .ok()?;
    if let Some(token) = &launcher.token {
        let value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok()?;
        request.headers_mut().insert(hyper::header::AUTHORIZATION, value);
    }
    tokio_tungstenite::client_async(request, stream).await.ok().map(|(socket, _)| socket)
}
