//! The JSON Schema of the configuration, made from the description of its keys.
//!
//! For editors, which complete and check with it. It says what a single value may be; what values mean
//! together only `check` can say.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::file::File;
use super::key::{Key, Kind, Section};
use super::read::Table;
use super::value::Raw;

/// The schema as pretty JSON with a newline at its end.
pub fn schema() -> String {
    let mut root = table(&File::section());
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("hotspare's configuration");
    format!("{:#}\n", sorted(root))
}

/// With the keys of all objects in order, whatever map serde_json was built with.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> =
                fields.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        plain => plain,
    }
}

fn table(section: &Section) -> Value {
    let mut properties = Map::new();
    for key in &section.keys {
        properties.insert(key.name.to_owned(), property(key));
    }
    let required: Vec<&str> = section.keys.iter().filter(|key| is_required(key)).map(|key| key.name).collect();
    let mut table = json!({
        "type": "object",
        "description": section.about,
        "additionalProperties": false,
        "properties": properties,
    });
    if !required.is_empty() {
        table["required"] = json!(required);
    }
    table
}

/// A table that is left out has its keys' defaults; it is required only if one of them has none.
fn is_required(key: &Key) -> bool {
    match &key.kind {
        Kind::Table(inner) => key.required && inner.keys.iter().any(is_required),
        _ => key.required,
    }
}

fn property(key: &Key) -> Value {
    let mut property = value(&key.kind);
    let mut about = key.about.to_owned();
    if let Some(otherwise) = key.otherwise {
        about = format!("{about} If absent: {}.", otherwise.trim_matches('*'));
    }
    if let Some((least, most)) = key.range {
        about = format!("{about} From {least} to {most}.");
        if let (Raw::Integer(least), Raw::Integer(most), Some("integer")) = (least, most, property["type"].as_str()) {
            property["minimum"] = json!(least);
            property["maximum"] = json!(most);
        }
    }
    property["description"] = json!(about);
    if let Some(default) = key.default {
        property["default"] = match default {
            Raw::Text(text) => json!(text),
            Raw::Integer(number) => json!(number),
            Raw::Boolean(flag) => json!(flag),
            Raw::Other(_) => Value::Null,
        };
    }
    property
}

fn value(kind: &Kind) -> Value {
    match kind {
        Kind::Text { pattern: "", .. } => json!({"type": "string", "minLength": 1}),
        Kind::Text { pattern, .. } => json!({"type": "string", "pattern": pattern}),
        Kind::Integer { .. } => json!({"type": "integer"}),
        Kind::IntegerOrText { pattern, .. } => {
            json!({"anyOf": [{"type": "integer"}, {"type": "string", "pattern": pattern}]})
        }
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::OneOf(words) => json!({"enum": words}),
        Kind::List(item) => json!({"type": "array", "items": value(item)}),
        Kind::Table(section) => table(section),
    }
}
