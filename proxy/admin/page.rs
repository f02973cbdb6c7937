//! The live page's static files, in the binary. No build chain, no outside address; a strict Content-Security-Policy.

use hyper::header::{HeaderValue, REFERRER_POLICY};
use hyper::{Response, StatusCode};

use super::{Body, with_type};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The file of this path, if the page has one.
pub(super) fn file(segments: &[&str]) -> Option<Response<Body>> {
    let (content, content_type) = match segments {
        [] => (include_str!("page/index.html"), "text/html; charset=utf-8"),
        ["page", "style.css"] => (include_str!("page/style.css"), "text/css; charset=utf-8"),
        ["page", "app.js"] => (include_str!("page/app.js"), "text/javascript; charset=utf-8"),
        _ => return None,
    };
    let mut response = with_type(StatusCode::OK, content.as_bytes().to_vec(), content_type);
    let headers = response.headers_mut();
    headers.insert("content-security-policy", HeaderValue::from_static(POLICY));
    headers.insert("x-frame-options", HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(response)
}
