//! A small HTTP/1.1 client for probes, drivers, hooks and the command line: one request, one bounded answer.
//!
//! Owns deadlines and size limits. It never follows a redirect, never reuses a connection (a probe must not be
//! answered from an old one) and never retries: whether to ask again is the caller's decision.

use std::time::Duration;

use bytes::Bytes;
use hotspare_tls::dial::dial;
use hotspare_tls::stream::{self, Expected};
use hotspare_tls::{ClientFiles, Keeper};
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;

/// Largest body that is read of an answer: status pages and logs are far below it.
const MAX_BODY_BYTES: usize = 4 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is not one that can be asked.
    #[error("'{0}' is not an http:// or https:// address")]
    Address(String),
    /// The connection was refused: nothing listens on that port.
    #[error("connection refused")]
    Refused,
    /// The deadline passed first.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Anything else that ended it.
    #[error("{0}")]
    Failed(String),
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most 4 MiB.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// [`HttpError::Failed`] if it is not JSON of that shape.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, HttpError> {
        serde_json::from_slice(&self.body)
            .map_err(|e| HttpError::Failed(format!("the answer is not the JSON expected: {e}")))
    }
}

/// A request: `http://host:port/path`, optional bearer token, optional JSON body.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The method.
    pub method: Method,
    /// The whole address.
    pub url: &'a str,
    /// Sent as `Authorization: Bearer …`.
    pub bearer: Option<&'a str>,
    /// Further headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// Sent with `Content-Type: application/json`.
    pub json: Option<&'a serde_json::Value>,
    /// What an https server is verified with; none: what the system trusts.
    pub tls: Option<&'a Expected>,
    /// For the whole of it: resolving, connecting, answer and body.
    pub timeout: Duration,
}

impl<'a> Ask<'a> {
    /// A plain GET.
    pub fn get(url: &'a str, timeout: Duration) -> Self {
        Self { method: Method::GET, url, bearer: None, headers: &[], json: None, tls: None, timeout }
    }

    /// A POST of `json`.
    pub fn post(url: &'a str, json: &'a serde_json::Value, timeout: Duration) -> Self {
        Self { method: Method::POST, json: Some(json), ..Self::get(url, timeout) }
    }

    /// With `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(mut self, token: Option<&'a str>) -> Self {
        self.bearer = token;
        self
    }

    /// An https server is verified with this.
    #[must_use]
    pub fn tls(mut self, tls: Option<&'a Expected>) -> Self {
        self.tls = tls;
        self
    }

    /// Sends it and waits for the whole answer.
    ///
    /// # Errors
    /// [`HttpError`]; an answer with an error status is an answer, not an error.
    pub async fn send(self) -> Result<Answer, HttpError> {
        let timeout = self.timeout;
        tokio::time::timeout(timeout, self.exchange()).await.unwrap_or(Err(HttpError::Timeout(timeout)))
    }

    async fn exchange(self) -> Result<Answer, HttpError> {
        let failed = |e: &dyn std::fmt::Display| HttpError::Failed(e.to_string());
        let uri: Uri = self.url.parse().map_err(|_| HttpError::Address(self.url.to_owned()))?;
        let tls = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => Some(match self.tls {
                Some(tls) => tls.clone(),
                None => {
                    let client = Keeper::default().client(ClientFiles::default()).map_err(|e| failed(&e))?;
                    Expected { client, name: None }
                }
            }),
            _ => return Err(HttpError::Address(self.url.to_owned())),
        };
        let authority = uri.authority().ok_or_else(|| HttpError::Address(self.url.to_owned()))?;
        let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        let host = authority.host().trim_matches(['[', ']']);
        let stream = dial((host, port)).await.map_err(|e| match e.kind() {
            std::io::ErrorKind::ConnectionRefused => HttpError::Refused,
            _ => failed(&e),
        })?;
        stream.set_nodelay(true).map_err(|e| failed(&e))?;
        let stream = stream::connect(stream, tls.as_ref(), authority.host()).await.map_err(|e| failed(&e))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;

        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let mut request = Request::builder().method(self.method).uri(path).header(HOST, authority.as_str());
        if let Some(token) = self.bearer {
            request = request.header(hyper::header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        let body = match self.json {
            Some(json) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Bytes::from(json.to_string())
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(body)).map_err(|e| failed(&e))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|e| failed(&e))?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            // The connection's own end is only worth a word when the answer did not come first.
            ended = connection => match ended {
                Ok(()) => answer.await,
                Err(e) => Err(failed(&e)),
            },
        }
    }
}
