//! Events as they happen: the client's side of the admin API's server-sent events.
//!
//! Owns reading the stream, within bounds. It doesn't connect again by itself; `events` does, and says so.

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::client::Client;
use super::failure::Failure;
use crate::http::HttpError;

/// Longest event that is taken, in bytes.
const MAX_EVENT: usize = 1 << 20;

/// An open stream of events.
pub(super) struct Stream {
    body: Incoming,
    buffer: BytesMut,
    connection: JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Stream {
    /// Opens `/v1/events` with this query, which begins with `?`.
    pub(super) async fn open(client: &Client, query: &str) -> Result<Stream, Failure> {
        let failed = |error: HttpError| Failure::unreachable(client.base(), &error);
        let url = format!("{}/v1/events{query}", client.base());
        let address = || failed(HttpError::Address(url.clone()));
        let uri: Uri = url.parse().map_err(|_| address())?;
        let (tls, port) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => (client.tls(), 443),
            _ => return Err(address()),
        };
        let authority = uri.authority().ok_or_else(address)?.clone();
        let words = |error: &dyn std::fmt::Display| failed(HttpError::Failed(error.to_string()));
        let host = authority.host().trim_matches(['[', ']']);
        let tcp =
            TcpStream::connect((host, authority.port_u16().unwrap_or(port))).await.map_err(|error| words(&error))?;
        let tcp = hotspare_tls::stream::connect(tcp, tls, host).await.map_err(|error| words(&error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.map_err(|error| words(&error))?;
        // What ends the connection ends the body too, which is where it is noticed.
        let connection = tokio::spawn(async move { drop(connection.await) });

        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::get(path).header(HOST, authority.as_str()).header(ACCEPT, "text/event-stream");
        if let Some(token) = client.token() {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| words(&error))?;
        let response = sender.send_request(request).await.map_err(|error| words(&error))?;
        match response.status() {
            status if status.is_success() => {
                Ok(Stream { body: response.into_body(), buffer: BytesMut::new(), connection })
            }
            status if matches!(status.as_u16(), 401 | 403) => {
                Err(Failure::not_allowed("refused: a token is needed: --token-file FILE or HOTSPARE_ADMIN_TOKEN"))
            }
            status => Err(Failure::refused(format!("{url}: {status}"))),
        }
    }

    /// The next event; `None` when the stream has ended.
    pub(super) async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block = self.buffer.split_to(end);
                self.buffer.advance(2);
                if let Some(event) = event(&block) {
                    return Some(event);
                }
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
            if self.buffer.len() > MAX_EVENT {
                return None;
            }
        }
    }
}

/// The JSON of one block of the stream; `None` for comments and the like.
fn event(block: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(block).ok()?;
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data:")).collect();
    let value: Value = serde_json::from_str(&data.join("\n")).ok()?;
    value.is_object().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_numbers_are_no_events() {
        assert_eq!(event(b": still here"), None);
        assert_eq!(event(b"event: missed\ndata: 12"), None);
        assert_eq!(event(b"id: 4\ndata: {\"id\":4}").and_then(|event| event["id"].as_u64()), Some(4));
    }
}
