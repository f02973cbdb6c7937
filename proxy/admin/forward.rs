//! An order that reached a proxy that follows is passed on to the one that decides, once, with the token of whoever gave it:
//! the leader judges by its own tokens.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde_json::Value;

use super::{Body, problem};
use crate::engine::Refusal;
use crate::http::Ask;
use crate::store::Leader;

/// Marks an order that was passed on, so that it is not passed on again.
const FORWARDED: &str = "x-hotspare-forwarded";
/// As long as an order may take: a rolling restart is the longest.
const ORDER: Duration = Duration::from_secs(15 * 60);

/// What the leader answers, or why it was not asked.
pub(super) async fn to_the_leader(leader: Option<Leader>, head: &Parts, body: &Bytes) -> Response<Body> {
    let elsewhere = || problem(StatusCode::CONFLICT, &Refusal::elsewhere(leader.as_ref()), &[]);
    if head.headers.contains_key(FORWARDED) {
        return elsewhere();
    }
    let Some((name, admin)) = leader.as_ref().and_then(|l| Some((&l.name, l.admin.as_ref()?))) else {
        return elsewhere();
    };
    let order = if body.is_empty() { Value::Object(serde_json::Map::new()) } else { parsed(body) };
    let token = head.headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    let url = format!("{admin}{}", head.uri.path());
    let ask = Ask { headers: &[(FORWARDED, "1")], ..Ask::post(&url, &order, ORDER) };
    match ask.bearer(token).send().await {
        Ok(answer) => {
            tracing::info!(target: "audit", leader = name, path = head.uri.path(), status = %answer.status, "passed on");
            let mut response = Response::new(Full::new(answer.body).boxed());
            *response.status_mut() = answer.status;
            if let Some(kind) = answer.headers.get(CONTENT_TYPE) {
                response.headers_mut().insert(CONTENT_TYPE, kind.clone());
            }
            response
        }
        Err(error) => {
            let text = format!("this proxy follows, and '{name}', which decides, does not answer at {admin}: {error}");
            problem(StatusCode::BAD_GATEWAY, &text, &[])
        }
    }
}

fn parsed(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap_or(Value::Null)
}
