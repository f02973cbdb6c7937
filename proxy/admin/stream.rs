//! Events over HTTP: as a JSON list, or as server-sent events that go on until the client leaves.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::sync::{broadcast, mpsc};

use crate::events::{Entry, EventLog};

/// A comment line this often keeps proxies in between from closing a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Answers `GET /v1/events`: `instance=NAME`, `since=ID`, `follow=1` (or `Accept: text/event-stream`).
pub(super) fn events(log: &EventLog, query: &str, headers: &HeaderMap) -> Response<super::Body> {
    let instance = query_value(query, "instance");
    let resume = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let since = resume.or_else(|| query_value(query, "since").and_then(|v| v.parse().ok())).unwrap_or(0);
    let wants_stream = headers.get(ACCEPT).is_some_and(|a| a.as_bytes().starts_with(b"text/event-stream"));
    if !wants_stream && query_value(query, "follow").is_none() {
        let past = log.since(since, instance.as_deref());
        return super::json(StatusCode::OK, &past.iter().map(AsRef::as_ref).collect::<Vec<&Entry>>());
    }
    // Watch first, then read back, so that nothing falls between the two.
    let watcher = log.watch();
    let past = log.since(since, instance.as_deref());
    let (frames, receiver) = mpsc::channel(64);
    tokio::spawn(feed(frames, past, watcher, instance));
    response(receiver)
}

/// Server-sent events out of a channel.
pub(super) fn response(frames: mpsc::Receiver<Bytes>) -> Response<super::Body> {
    let mut response = Response::new(FrameBody(frames).boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
    response
}

/// The value of `key` in a query, with `%XX` and `+` decoded; `None` if it is absent or empty.
pub(super) fn query_value(query: &str, key: &str) -> Option<String> {
    let pair = query.split('&').filter_map(|p| p.split_once('=')).find(|(k, _)| *k == key);
    let value = pair.map(|(_, v)| percent_decode(v))?;
    (!value.is_empty()).then_some(value)
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

async fn feed(
    frames: mpsc::Sender<Bytes>,
    past: Vec<Arc<Entry>>,
    mut watcher: broadcast::Receiver<Arc<Entry>>,
    instance: Option<String>,
) {
    let mut last = 0;
    for entry in past {
        last = entry.id;
        if frames.send(frame(&entry)).await.is_err() {
            return;
        }
    }
    loop {
        let next = tokio::time::timeout(KEEP_ALIVE, watcher.recv()).await;
        let bytes = match next {
            Err(_) => Bytes::from_static(b": still here\n\n"),
            Ok(Ok(entry)) if entry.id <= last || instance.as_ref().is_some_and(|i| *i != entry.instance) => continue,
            Ok(Ok(entry)) => frame(&entry),
            Ok(Err(broadcast::error::RecvError::Lagged(missed))) => {
                Bytes::from(format!("event: missed\ndata: {missed}\n\n"))
            }
            Ok(Err(broadcast::error::RecvError::Closed)) => return,
        };
        if frames.send(bytes).await.is_err() {
            return;
        }
    }
}

fn frame(entry: &Entry) -> Bytes {
    let data = serde_json::to_string(entry).unwrap_or_default();
    Bytes::from(format!("id: {}\ndata: {data}\n\n", entry.id))
}

/// A body fed by a channel; it ends when the sender is dropped.
struct FrameBody(mpsc::Receiver<Bytes>);

impl Body for FrameBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
    }
}
