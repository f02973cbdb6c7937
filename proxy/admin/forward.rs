//! A request whose order is another proxy's to decide about: what that one answers, with the token of whoever asked.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde_json::Value;

use super::{Body, problem};
use crate::engine::Refusal;
use crate::pass_on::{FORWARDED, NotPassed, pass_on};
use crate::store::Leader;

/// What the leader answers, or why it was not asked.
pub(super) async fn to_the_leader(leader: Option<Leader>, head: &Parts, body: &Bytes) -> Response<Body> {
    if head.headers.contains_key(FORWARDED) {
        return problem(StatusCode::CONFLICT, &Refusal::elsewhere(leader.as_ref()), &[]);
    }
    let order = if body.is_empty() { Value::Object(serde_json::Map::new()) } else { parsed(body) };
    let token = head.headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    match pass_on(leader, head.uri.path(), token, &order).await {
        Ok(answer) => {
            let mut response = Response::new(Full::new(answer.body).boxed());
            *response.status_mut() = answer.status;
            if let Some(kind) = answer.headers.get(CONTENT_TYPE) {
                response.headers_mut().insert(CONTENT_TYPE, kind.clone());
            }
            response
        }
        Err(why @ NotPassed::Unknown(_)) => problem(StatusCode::CONFLICT, &why.to_string(), &[]),
        Err(why @ NotPassed::Silent { .. }) => problem(StatusCode::BAD_GATEWAY, &why.to_string(), &[]),
    }
}

fn parsed(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap_or(Value::Null)
}
