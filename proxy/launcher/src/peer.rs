//! Requests to the other member's launcher: for its promise, and with the flows that were deployed here.
//!
//! Owns: one HTTP request and its deadline. An answer that comes late or never is no answer; whoever asked asks again.

use std::time::Duration;

use bytes::Bytes;
use hotspare_decide::message::{Peer, PromiseAnswer, PromiseAsk};
use hotspare_protocol::PROMISE_PATH;
use hotspare_tls::dial::dial;
use hotspare_tls::stream::{Expected, connect};
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

/// An answer after this is of no use: the guard has asked again meanwhile.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// FlowFuse's launcher answers with its last thousand lines.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Asks `peer`; `None` if it gives no answer, which is no verdict.
pub(crate) async fn ask(peer: &Peer, tls: &Expected, ask: PromiseAsk) -> Option<PromiseAnswer> {
    let body = serde_json::to_vec(&ask).ok()?;
    let answer = request(peer, tls, Method::POST, PROMISE_PATH, body.into(), ANSWER_WITHIN).await;
    let answer = answer.and_then(|body| serde_json::from_slice(&body).map_err(|e| e.to_string()));
    answer.inspect_err(|error| tracing::debug!(peer = peer.member, error, "the peer gave no answer")).ok()
}

/// One request with the secret of the pair; gives the body of a good answer, or in words why there is none.
pub(crate) async fn request(
    peer: &Peer,
    tls: &Expected,
    method: Method,
    path: &str,
    body: Bytes,
    within: Duration,
) -> Result<Bytes, String> {
    exchange(&peer.url, Some(&peer.secret), Some(tls), method, path, body, within).await
}

/// One request to a launcher at `url`, with or without a secret; gives the body of a good answer, or in words why there is
/// none.
pub(crate) async fn exchange(
    url: &str,
    secret: Option<&str>,
    tls: Option<&Expected>,
    method: Method,
    path: &str,
    body: Bytes,
    within: Duration,
) -> Result<Bytes, String> {
    match timeout(within, send(url, secret, tls, method, path, body)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {within:?}")),
    }
}

async fn send(
    url: &str,
    secret: Option<&str>,
    tls: Option<&Expected>,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Bytes, String> {
    let (scheme, host) = url.split_once("://").unwrap_or_default();
    let tls = match (scheme, tls) {
        ("http", _) => None,
        ("https", Some(tls)) => Some(tls),
        _ => return Err("its address is not http:// or https://".to_owned()),
    };
    let host = host.trim_end_matches('/');
    let stream = dial(host).await.map_err(|e| e.to_string())?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let stream = connect(stream, tls, name).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let mut request =
        Request::builder().method(method).uri(path).header(HOST, host).header(CONTENT_TYPE, "application/json");
    if let Some(secret) = secret {
        request = request.header(AUTHORIZATION, format!("Bearer {secret}"));
    }
    let request = request.body(Full::new(body)).map_err(|e| e.to_string())?;
    let driver = tokio::spawn(connection);
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(|e| e.to_string())?;
        let body = body.to_bytes();
        if status.is_success() { Ok(body) } else { Err(format!("{status}: {}", String::from_utf8_lossy(&body))) }
    }
    .await;
    driver.abort();
    answer
}
