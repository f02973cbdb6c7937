//! Logs and samples of two launchers as those of one: merged by time, with the member's name as their source.
//!
//! Pure. A log entry's `ts` is text: milliseconds since 1970 and four digits that number the entries of one
//! millisecond; a cursor is such a `ts`, with a `-` before it if it looks back. A sample's `ts` is a number of
//! milliseconds.

use serde_json::{Map, Value, json};

/// Entries of a page unless another number is asked for, and at most; as nr-launcher has it.
const PAGE: usize = 100;
const LONGEST_PAGE: usize = 500;

/// `lists`: what each launcher has, with its member's name. Oldest first.
pub(super) fn by_time(lists: Vec<(&str, Vec<Value>)>) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for (member, entries) in lists {
        all.extend(entries.into_iter().map(|mut entry| {
            if let Some(fields) = entry.as_object_mut() {
                fields.insert("src".to_owned(), member.into());
            }
            entry
        }));
    }
    all.sort_by_key(time);
    all
}

/// The number that entries are ordered by; one without a time comes first.
fn time(entry: &Value) -> u64 {
    match entry.get("ts") {
        Some(Value::String(ts)) => ts.parse().unwrap_or_default(),
        Some(ts) => ts.as_u64().unwrap_or_default(),
        None => 0,
    }
}

/// The pages that both launchers gave for the same cursor and limit, as one page.
pub(super) fn page(pages: Vec<(&str, Value)>, cursor: Option<&str>, limit: Option<&str>) -> Value {
    let limit = limit.and_then(|l| l.parse::<usize>().ok()).filter(|l| *l > 0).unwrap_or(PAGE).min(LONGEST_PAGE);
    let firsts = pages.iter().filter_map(|(_, page)| page["meta"]["first_entry"].as_str());
    let first_entry = firsts.filter_map(|ts| ts.parse::<u64>().ok()).min();
    let lists = pages.into_iter().map(|(member, mut page)| (member, take_list(&mut page, "logs"))).collect();
    let logs = cut(by_time(lists), limit, cursor.is_some_and(|c| !c.starts_with('-')));
    let mut meta = Map::new();
    if let Some(first) = first_entry {
        meta.insert("first_entry".to_owned(), first.to_string().into());
    }
    if let (Some(first), Some(last)) = (logs.first(), logs.last()) {
        meta.insert("next_cursor".to_owned(), (time(last) + 1).to_string().into());
        meta.insert("previous_cursor".to_owned(), format!("-{}", time(first).saturating_sub(1)).into());
    }
    json!({ "meta": meta, "logs": logs })
}

/// At most `limit` entries, from the front or the back; more where several have the time of the last one kept, since the
/// cursor to the next page can't point between them.
fn cut(mut logs: Vec<Value>, limit: usize, from_front: bool) -> Vec<Value> {
    if logs.len() <= limit {
        return logs;
    }
    if from_front {
        let edge = time(&logs[limit - 1]);
        let end = logs.iter().rposition(|entry| time(entry) == edge).map_or(limit, |at| at + 1);
        logs.truncate(end);
    } else {
        let edge = time(&logs[logs.len() - limit]);
        let start = logs.iter().position(|entry| time(entry) == edge).unwrap_or(0);
        logs.drain(..start);
    }
    logs
}

/// The list under `key`, or none.
pub(super) fn take_list(body: &mut Value, key: &str) -> Vec<Value> {
    match body.get_mut(key).map(Value::take) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(times: &[u64]) -> Value {
        let logs: Vec<Value> = times.iter().map(|t| json!({"ts": t.to_string(), "msg": "x", "src": "0000"})).collect();
        json!({"meta": {"first_entry": times.first().map(u64::to_string)}, "logs": logs})
    }

    fn times(page: &Value) -> Vec<u64> {
        page["logs"].as_array().into_iter().flatten().map(time).collect()
    }

    #[test]
    fn entries_are_in_the_order_of_their_times_and_say_whose_they_are() {
        let merged = page(vec![("a", log(&[10, 30])), ("b", log(&[20]))], None, None);
        assert_eq!(times(&merged), [10, 20, 30]);
        assert_eq!(merged["logs"][1]["src"], "b");
        assert_eq!(merged["meta"], json!({"first_entry": "10", "next_cursor": "31", "previous_cursor": "-9"}));
    }

    #[test]
    fn a_page_keeps_the_side_that_its_cursor_looks_from() {
        let pages = || vec![("a", log(&[1, 3, 5])), ("b", log(&[2, 4, 6]))];
        assert_eq!(times(&page(pages(), None, Some("2"))), [5, 6]);
        assert_eq!(times(&page(pages(), Some("-6"), Some("2"))), [5, 6]);
        assert_eq!(times(&page(pages(), Some("1"), Some("2"))), [1, 2]);
    }

    #[test]
    fn entries_of_one_time_are_not_torn_apart() {
        let pages = || vec![("a", log(&[1, 2])), ("b", log(&[2, 3]))];
        assert_eq!(times(&page(pages(), Some("1"), Some("2"))), [1, 2, 2]);
        assert_eq!(times(&page(pages(), None, Some("2"))), [2, 2, 3]);
    }

    #[test]
    fn no_entries_are_a_page_without_cursors() {
        assert_eq!(page(vec![], None, Some("nonsense")), json!({"meta": {}, "logs": []}));
    }
}
