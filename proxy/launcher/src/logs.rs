//! The last lines Node-RED and its launcher wrote, for `/flowforge/logs`.
//!
//! Owns: a ring of bounded lines in the shape of FlowFuse's launcher. Never writes to disk.

use std::collections::VecDeque;

use serde::Serialize;

use crate::clock;

/// Lines kept; FlowFuse's launcher keeps as many.
const MAX_LINES: usize = 1000;
/// Bytes kept of one line; the rest is cut off.
pub(crate) const MAX_LINE_BYTES: usize = 4096;
const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 500;

/// One line. `ts` is the wall clock in milliseconds followed by four digits that make it unique and ordered.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Entry {
    ts: String,
    level: String,
    msg: String,
    src: String,
}

/// A page of lines with the cursors to its neighbours.
#[derive(Debug, Serialize)]
pub(crate) struct Page<'a> {
    meta: Meta,
    logs: Vec<&'a Entry>,
}

#[derive(Debug, Default, Serialize)]
struct Meta {
    #[serde(skip_serializing_if = "Option::is_none")]
    first_entry: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_cursor: Option<String>,
}

/// The ring.
#[derive(Debug)]
pub(crate) struct Logs {
    source: String,
    lines: VecDeque<Entry>,
    last: (u64, u16),
}

impl Logs {
    pub(crate) fn new(source: &str) -> Self {
        Self { source: source.to_owned(), lines: VecDeque::new(), last: (0, 0) }
    }

    /// Adds a line the launcher itself has to say.
    pub(crate) fn system(&mut self, text: &str) {
        self.add("system", text);
    }

    /// Adds a line of Node-RED's output, whose format is `23 Nov 15:31:25 - [info] text`.
    pub(crate) fn node_red(&mut self, line: &str) {
        let (level, text) = split_level(line);
        self.add(level, text);
    }

    fn add(&mut self, level: &str, text: &str) {
        let now = clock::wall_ms();
        self.last = match self.last {
            // A wall clock that was set back must not disorder the lines.
            (at, count) if now <= at && count < 9999 => (at, count + 1),
            (at, _) => (now.max(at + 1), 0),
        };
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        let mut end = text.len().min(MAX_LINE_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.lines.push_back(Entry {
            ts: format!("{}{:04}", self.last.0, self.last.1),
            level: level.to_owned(),
            msg: text[..end].to_owned(),
            src: self.source.clone(),
        });
    }

    /// All lines, oldest first.
    pub(crate) fn all(&self) -> &VecDeque<Entry> {
        &self.lines
    }

    /// The lines from `cursor` on (a `ts`), or up to it when it begins with `-`, or the last ones without.
    /// `limit` is held between 1 and 500. An illegal cursor gives no lines.
    pub(crate) fn page(&self, cursor: Option<&str>, limit: Option<usize>) -> Page<'_> {
        let limit = limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE);
        let digits = cursor.map(|c| c.strip_prefix('-').unwrap_or(c));
        if digits.is_some_and(|d| d.len() != 17 || !d.bytes().all(|b| b.is_ascii_digit())) {
            return Page { meta: Meta::default(), logs: Vec::new() };
        }
        let forward = cursor.is_some_and(|c| !c.starts_with('-'));
        let lines: Vec<&Entry> = match digits {
            Some(at) if forward => self.lines.iter().filter(|e| e.ts.as_str() >= at).take(limit).collect(),
            at => {
                let upto: Vec<&Entry> = self.lines.iter().filter(|e| at.is_none_or(|at| e.ts.as_str() <= at)).collect();
                upto[upto.len().saturating_sub(limit)..].to_vec()
            }
        };
        let step = |ts: &str, by: i64| ts.parse::<i64>().map(|ts| (ts + by).to_string()).ok();
        let meta = Meta {
            first_entry: self.lines.front().map(|e| e.ts.clone()),
            next_cursor: lines.last().and_then(|e| step(&e.ts, 1)),
            previous_cursor: lines.first().and_then(|e| step(&e.ts, -1)).map(|c| format!("-{c}")),
        };
        Page { meta, logs: lines }
    }
}

fn split_level(line: &str) -> (&str, &str) {
    let parsed = line.split_once(" - [").and_then(|(_, rest)| rest.split_once("] "));
    match parsed {
        Some((level, text)) if level.len() <= 8 && level.bytes().all(|b| b.is_ascii_lowercase()) => (level, text),
        _ => ("info", line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_taken_from_the_line() {
        assert_eq!(split_level("23 Nov 15:31:25 - [warn] [x] careful"), ("warn", "[x] careful"));
        assert_eq!(split_level("Welcome to Node-RED"), ("info", "Welcome to Node-RED"));
    }

    #[test]
    fn pages_forward_and_backward_meet_without_loss() {
        let mut logs = Logs::new("a");
        for i in 0..1500 {
            logs.system(&format!("line {i}"));
        }
        assert_eq!(logs.all().len(), MAX_LINES);
        let last = logs.page(None, Some(10));
        assert_eq!(last.logs[9].msg, "line 1499");
        let before = logs.page(last.meta.previous_cursor.as_deref(), Some(10));
        assert_eq!(before.logs[9].msg, "line 1489");
        let again = logs.page(before.meta.next_cursor.as_deref(), Some(10));
        assert_eq!(again.logs[0].msg, "line 1490");
        assert!(logs.page(Some("nonsense"), None).logs.is_empty());
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let mut logs = Logs::new("a");
        logs.system(&"ä".repeat(MAX_LINE_BYTES));
        assert!(logs.all()[0].msg.len() <= MAX_LINE_BYTES);
    }
}
