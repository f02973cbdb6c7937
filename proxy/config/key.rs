//! What a key of the file is: its name, type, default, bounds and why one would change it.
//!
//! Owns the description that everything is made from: reading and its messages (`read`), the JSON Schema
//! (`schema`) and the reference page (`reference`). There is no second list of keys anywhere. The
//! descriptions themselves stand in `file`, one per key, as the doc comment of the field.

use super::value::Raw;

/// What kind of value a key takes.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A string of a certain form.
    Text {
        /// The form in words, as in "a duration such as \"250ms\"".
        what: &'static str,
        /// The form as a regular expression, for editors; empty for any text.
        pattern: &'static str,
    },
    /// A whole number.
    Integer {
        /// The number in words.
        what: &'static str,
    },
    /// A whole number, or a string of a certain form.
    IntegerOrText {
        /// The form in words.
        what: &'static str,
        /// The form of the string as a regular expression.
        pattern: &'static str,
    },
    /// `true` or `false`.
    Boolean,
    /// One of a few words.
    OneOf(&'static [&'static str]),
    /// A list of values of one kind.
    List(Box<Kind>),
    /// A table with keys of its own.
    Table(Section),
}

/// A table of the file.
#[derive(Debug, Clone)]
pub(super) struct Section {
    /// What the table is for.
    pub(super) about: &'static str,
    /// Its keys, in the order in which the reference lists them.
    pub(super) keys: Vec<Key>,
}

/// One key of a table.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// The key as written in the file.
    pub(super) name: &'static str,
    /// What it sets, and why one would change it.
    pub(super) about: &'static str,
    /// What it takes.
    pub(super) kind: Kind,
    /// What holds when the key is absent, as it would be written in the file.
    pub(super) default: Option<Raw<'static>>,
    /// What holds when the key is absent, in words, where no fixed value does.
    pub(super) otherwise: Option<&'static str>,
    /// Smallest and largest value allowed.
    pub(super) range: Option<(Raw<'static>, Raw<'static>)>,
    /// Whether the file is refused without it.
    pub(super) required: bool,
}

impl Kind {
    /// The kind in words, as used after "expected".
    pub(super) fn words(&self) -> String {
        match self {
            Kind::Text { what, .. } | Kind::Integer { what } | Kind::IntegerOrText { what, .. } => (*what).to_owned(),
            Kind::Boolean => "true or false".to_owned(),
            Kind::OneOf(words) => words_or(words),
            Kind::List(item) => format!("a list, each item {}", item.words()),
            Kind::Table(_) => "a table".to_owned(),
        }
    }
}

/// `"a", "b" or "c"`.
pub(super) fn words_or(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
