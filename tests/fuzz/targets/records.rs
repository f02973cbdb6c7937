//! What a group of proxies shares, as it comes from the store: a document is refused, or read and written alike; and
//! whatever records it holds start a decider.
#![no_main]

use hotspare_fuzz::document::Document;
use hotspare_fuzz::kept::Kept;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Ok(document) = Document::parse(bytes) else { return };
    // No record holds one, and a fraction may change by its last digit when it is read.
    if document.records.values().any(|entry| has_fraction(&entry.record)) {
        return;
    }
    let again = Document::parse(document.to_json().as_bytes()).expect("what was just written is read");
    assert_eq!(document, again);
    for entry in document.records.into_values() {
        if let Ok(kept) = serde_json::from_value::<Kept>(entry.record) {
            hotspare_fuzz::decide_from(kept.for_members(["b", "a"]));
        }
    }
});

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(values) => values.iter().any(has_fraction),
        Value::Object(values) => values.values().any(has_fraction),
        _ => false,
    }
}
