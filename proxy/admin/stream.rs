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
    let value = |key: &str| {
        query.split('&').filter_map(|p| p.split_once('=')).find(|(k, _)| *k == key).map(|(_, v)| v.to_owned())
    };
    let instance = value("instance").filter(|i| !i.is_empty());
    let resume = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let since = resume.or_else(|| value("since").and_then(|v| v.parse().ok())).unwrap_or(0);
    let wants_stream = headers.get(ACCEPT).is_some_and(|a| a.as_bytes().starts_with(b"text/event-stream"));
    if !wants_stream && value("follow").is_none() {
        let past = log.since(since, instance.as_deref());
        return super::json(StatusCode::OK, &past.iter().map(AsRef::as_ref).collect::<Vec<&Entry>>());
    }
    // Watch first, then read back, so that nothing falls between the two.
    let watcher = log.watch();
    let past = log.since(since, instance.as_deref());
    let (frames, receiver) = mpsc::channel(64);
    tokio::spawn(feed(frames, past, watcher, instance));
    let mut response = Response::new(FrameBody(receiver).boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
    response
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
