//! Asking the other member's launcher for its promise.
//!
//! Owns: one HTTP request and its deadline. An answer that comes late or never is no answer; the guard asks again.

use std::time::Duration;

use bytes::Bytes;
use hotspare_decide::message::{Peer, PromiseAnswer, PromiseAsk};
use hotspare_protocol::PROMISE_PATH;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer after this is of no use: the guard has asked again meanwhile.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
const MAX_ANSWER_BYTES: usize = 4096;

/// Asks `peer`; `None` if it gives no answer, which is no verdict.
pub(crate) async fn ask(peer: &Peer, ask: PromiseAsk) -> Option<PromiseAnswer> {
    match timeout(ANSWER_WITHIN, request(peer, ask)).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::debug!(peer = peer.member, error, "the peer gave no answer");
            None
        }
        Err(_) => None,
    }
}

async fn request(peer: &Peer, ask: PromiseAsk) -> Result<PromiseAnswer, String> {
    let host = peer.url.strip_prefix("http://").ok_or("the peer's address is not http://")?.trim_end_matches('/');
    let stream = TcpStream::connect(host).await.map_err(|e| e.to_string())?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let body = serde_json::to_vec(&ask).map_err(|e| e.to_string())?;
    let request = Request::post(PROMISE_PATH)
        .header(HOST, host)
        .header(AUTHORIZATION, format!("Bearer {}", peer.secret))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| e.to_string())?;
    let driver = tokio::spawn(connection);
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("it answers {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(|e| e.to_string())?;
        serde_json::from_slice(&body.to_bytes()).map_err(|e| e.to_string())
    }
    .await;
    driver.abort();
    answer
}
