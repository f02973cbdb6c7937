//! A Lease as the shim keeps and shows it, and the refusals of a real server in its own words.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::Response;
use serde_json::{Value, json};

use super::{Body, status};

pub(super) fn key(namespace: &str, name: &str) -> String {
    format!("/registry/leases/{namespace}/{name}")
}

/// With what the server adds: kind and version.
pub(super) fn shown(mut object: Value, version: i64) -> Value {
    object["kind"] = json!("Lease");
    object["apiVersion"] = json!("coordination.k8s.io/v1");
    object["metadata"]["resourceVersion"] = json!(version.to_string());
    object
}

/// A new object as it is kept: with a uid of its own, without what comes from the revision.
pub(super) fn created(sent: Value, namespace: &str) -> Value {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut object = kept(sent);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    object["metadata"]["uid"] = json!(format!("0000abcd-0000-4000-8000-{number:012x}"));
    object["metadata"]["namespace"] = json!(namespace);
    object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    object
}

/// What is there after a PUT of `sent`, or the refusal.
pub(super) fn replaced(sent: &Value, name: &str, there: &Value, version: i64) -> Result<Value, Box<Response<Body>>> {
    let metadata = &sent["metadata"];
    let Some(at) = metadata["resourceVersion"].as_str().filter(|at| !at.is_empty()) else {
        let cause = "Invalid value: 0: must be specified for an update";
        return Err(Box::new(invalid("leases", &format!("leases.{GROUP}"), name, "metadata.resourceVersion", cause)));
    };
    if metadata["uid"].as_str().is_some_and(|uid| there["metadata"]["uid"] != uid) {
        return Err(Box::new(wrong_uid(name, sent, there)));
    }
    if at != version.to_string() {
        return Err(Box::new(modified(name)));
    }
    if sent["spec"]["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds <= 0) {
        let cause = "Invalid value: 0: must be greater than 0";
        return Err(Box::new(invalid("Lease", &format!("Lease.{GROUP}"), name, "spec.leaseDurationSeconds", cause)));
    }
    let mut object = kept(sent.clone());
    for own in ["uid", "namespace", "creationTimestamp"] {
        object["metadata"][own] = there["metadata"][own].clone();
    }
    Ok(object)
}

const GROUP: &str = "coordination.k8s.io";

fn kept(mut sent: Value) -> Value {
    for (at, key) in
        [("", "kind"), ("", "apiVersion"), ("/metadata", "resourceVersion"), ("/metadata", "managedFields")]
    {
        if let Some(map) = sent.pointer_mut(at).and_then(Value::as_object_mut) {
            map.remove(key);
        }
    }
    sent
}

fn details(name: &str) -> Option<Value> {
    Some(json!({"name": name, "group": GROUP, "kind": "leases"}))
}

pub(super) fn not_found(name: &str) -> Response<Body> {
    status(404, "NotFound", &format!("leases.{GROUP} \"{name}\" not found"), details(name))
}

pub(super) fn already_exists(name: &str) -> Response<Body> {
    status(409, "AlreadyExists", &format!("leases.{GROUP} \"{name}\" already exists"), details(name))
}

pub(super) fn modified(name: &str) -> Response<Body> {
    let why = "the object has been modified; please apply your changes to the latest version and try again";
    conflict(name, why)
}

fn wrong_uid(name: &str, sent: &Value, there: &Value) -> Response<Body> {
    let (asked, has) = (&sent["metadata"]["uid"], &there["metadata"]["uid"]);
    let namespace = there["metadata"]["namespace"].as_str().unwrap();
    conflict(
        name,
        &format!(
            "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition \
             failed: UID in precondition: {}, UID in object meta: {}",
            key(namespace, name),
            asked.as_str().unwrap(),
            has.as_str().unwrap()
        ),
    )
}

fn conflict(name: &str, why: &str) -> Response<Body> {
    let message = format!("Operation cannot be fulfilled on leases.{GROUP} \"{name}\": {why}");
    status(409, "Conflict", &message, details(name))
}

fn invalid(kind: &str, object: &str, name: &str, field: &str, cause: &str) -> Response<Body> {
    let message = format!("{object} \"{name}\" is invalid: {field}: {cause}");
    let details = json!({
        "name": name, "group": GROUP, "kind": kind,
        "causes": [{"reason": "FieldValueInvalid", "message": cause, "field": field}],
    });
    status(422, "Invalid", &message, Some(details))
}
