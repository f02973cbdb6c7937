//! Does anything answer where a member should serve? The one look that all kinds share.

use std::time::Duration;

use hotspare_tls::stream::Expected;
use hyper::{Method, StatusCode};

use crate::http::{Ask, HttpError};

/// An HTTP request that only running flows answer well.
#[derive(Debug, Clone)]
pub struct ServeProbe {
    /// Path of an `http in` node, with its leading slash.
    pub path: String,
    /// The status expected of it; `None` takes any of 200 to 299.
    pub status: Option<u16>,
}

impl ServeProbe {
    /// Whether `status` is the one expected.
    pub(super) fn accepts(&self, status: StatusCode) -> bool {
        self.status.map_or(status.is_success(), |expected| status.as_u16() == expected)
    }
}

/// What a member's own port says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Port {
    /// It answered in HTTP.
    Answers(StatusCode),
    /// Nothing listens there.
    Refuses,
    /// Anything else, in words. A hung process accepts connections and answers none.
    Silent(String),
}

/// Asks for `{address}{path}`, by https if something is expected of its certificate; `HEAD /` without a probe, since any
/// answer shows that the event loop turns.
pub(super) async fn look(address: &str, tls: Option<&Expected>, probe: Option<&ServeProbe>, timeout: Duration) -> Port {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{address}{}", probe.map_or("/", |p| p.path.as_str()));
    let method = if probe.is_some() { Method::GET } else { Method::HEAD };
    match (Ask { method, ..Ask::get(&url, timeout) }).tls(tls).send().await {
        Ok(answer) => Port::Answers(answer.status),
        Err(HttpError::Refused) => Port::Refuses,
        Err(other) => Port::Silent(other.to_string()),
    }
}
