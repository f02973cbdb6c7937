//! Where each key of a file stands, and what was found wrong so far.
//!
//! Reading and checking share one report, so that everything wrong in a file is said at once.

use std::collections::BTreeMap;
use std::ops::Range;

use super::problem::{Problem, Problems};

/// Places and problems of one file.
pub(super) struct Report {
    file: String,
    line_starts: Vec<usize>,
    text: String,
    places: BTreeMap<String, usize>,
    problems: Vec<Problem>,
}

impl Report {
    pub(super) fn new(file: &str, text: &str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Report {
            file: file.to_owned(),
            line_starts: std::iter::once(0).chain(starts).collect(),
            text: text.to_owned(),
            places: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// Remembers where a key stands. The key's name is made unique where a list has two of one name.
    pub(super) fn place(&mut self, key: String, span: &Range<usize>) -> String {
        let mut unique = key.clone();
        let mut count = 1;
        while self.places.contains_key(&unique) {
            count += 1;
            unique = format!("{key}#{count}");
        }
        self.places.insert(unique.clone(), span.start);
        unique
    }

    /// Reports a problem with a key; one that isn't in the file is reported where its table begins.
    pub(super) fn problem(
        &mut self,
        key: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
        help: Option<String>,
    ) {
        let offset = self.offset(key);
        self.problem_at(offset, key, expected, found, help);
    }

    /// Reports a problem at a place of the text.
    pub(super) fn problem_at(
        &mut self,
        offset: usize,
        key: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
        help: Option<String>,
    ) {
        let (line, column) = self.line_and_column(offset);
        self.problems.push(Problem {
            line,
            column,
            key: key.to_owned(),
            expected: expected.into(),
            found: found.into(),
            help,
        });
    }

    /// Whether the file itself has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// Whether a problem of this very key was reported; what depends on its value can't be judged.
    pub(super) fn is_bad(&self, key: &str) -> bool {
        self.problems.iter().any(|problem| problem.key == key)
    }

    /// The same for a key and everything inside it.
    pub(super) fn is_bad_inside(&self, key: &str) -> bool {
        self.problems.iter().any(|problem| {
            problem.key.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// The line a key stands in, for messages that point to another place.
    pub(super) fn line_of(&self, key: &str) -> usize {
        self.line_and_column(self.offset(key)).0
    }

    /// What was read if nothing was wrong with it, else all problems in the order of lines.
    pub(super) fn finish<T>(mut self, read: Option<T>) -> Result<T, Problems> {
        match read {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => {
                self.problems.sort_by_key(|problem| (problem.line, problem.column));
                Err(Problems { file: self.file, list: self.problems })
            }
        }
    }

    fn offset(&self, key: &str) -> usize {
        let mut part = key;
        loop {
            if let Some(offset) = self.places.get(part) {
                return *offset;
            }
            match part.rfind(['.', '[']) {
                Some(at) => part = &part[..at],
                None => return 0,
            }
        }
    }

    fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts[line - 1];
        let before = self.text.get(start..offset).unwrap_or("");
        (line, before.chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_key_is_reported_where_its_table_begins() {
        let mut report = Report::new("f.toml", "a = 1\n[b]\nc = 2\n");
        report.place("b".to_owned(), &(6..9));
        report.place("b.c".to_owned(), &(10..11));
        assert_eq!(report.line_of("b.c"), 3);
        assert_eq!(report.line_of("b.d"), 2);
        assert_eq!(report.line_of("e.f"), 1);
        assert_eq!(report.place("b".to_owned(), &(0..1)), "b#2");
    }
}
