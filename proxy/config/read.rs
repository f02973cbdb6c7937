//! From TOML to the tables of `file`: types, bounds, defaults, unknown keys.
//!
//! Owns how a table is read from its description in `key`. A bad value is reported and, where the key may be
//! absent, taken for absent, so that the rest of the file is still checked; the file as a whole is
//! refused all the same. Values are held against one another in `check`, not here.

use std::ops::Deref;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::File;
use super::key::{Key, Kind, Section};
use super::report::Report;
use super::suggest::{elsewhere, suggest};
use super::value::{Mismatch, Raw, Scalar};

/// Anything a key can hold: a single value, a list, a table.
pub(super) trait Field: Sized {
    const REQUIRED: bool = true;

    fn kind() -> Kind;

    /// The value, or `None` after the problem was reported.
    fn read(report: &mut Report, path: &str, value: &Spanned<DeValue<'_>>) -> Option<Self>;

    /// What holds when the key isn't there and has no default of its own.
    fn absent(report: &mut Report, path: &str) -> Option<Self>;

    /// The default of a key, from how it is written in the description.
    fn literal(raw: Raw<'static>) -> Option<Self>;

    /// The value as a number that can be held against bounds.
    fn measure(&self) -> Option<u128> {
        None
    }
}

/// A table whose keys are described by `section!`.
pub(super) trait Table: Sized {
    fn section() -> Section;
    fn read_keys(report: &mut Report, path: &str, table: &DeTable<'_>) -> Option<Self>;
}

/// An entry of a list of tables, with where it stands (`instance[line-1]`).
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) at: String,
    value: T,
}

impl<T> Located<T> {
    /// The entry without its place.
    pub(super) fn into_inner(self) -> T {
        self.value
    }
}

/// The same entry is the same wherever it stands.
impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Reads a whole file. `None` only if something has no default to stand in for it; whether the file is
/// good is for the report to say.
pub(super) fn read_file(report: &mut Report, text: &str) -> Option<File> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        report.problem_at(offset, "", "valid TOML", error.message().replace('\n', ", "), None);
    }
    // What comes after a syntax error can't be trusted to mean what was meant.
    if errors.is_empty() { File::read_keys(report, "", document.get_ref()) } else { None }
}

/// Reads one key of a table: the value there, or the default.
pub(super) fn read_key<T: Field>(report: &mut Report, path: &str, table: &DeTable<'_>, key: &Key) -> Option<T> {
    let path = join(path, key.name);
    let default = |report: &mut Report| match key.default {
        Some(raw) => T::literal(raw),
        None => T::absent(report, &path),
    };
    let Some((_, value)) = table.iter().find(|(name, _)| name.get_ref() == key.name) else {
        return default(report);
    };
    match T::read(report, &path, value).filter(|read| in_range(report, &path, read, value, key)) {
        Some(value) => Some(value),
        None if !key.required => default(report),
        None => None,
    }
}

/// Notes where the keys of a table stand, and reports those that its description doesn't have.
pub(super) fn place_keys(report: &mut Report, path: &str, table: &DeTable<'_>, keys: &[Key]) {
    for (name, _) in table {
        let full = join(path, name.get_ref());
        let place = report.place(full.clone(), &name.span());
        if keys.iter().all(|key| key.name != name.get_ref().as_ref()) {
            let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
            let help = suggest(name.get_ref(), &names).or_else(|| elsewhere(name.get_ref()));
            let found = format!("the unknown key {}", name.get_ref());
            report.problem(&place, format!("one of {}", names.join(", ")), found, help);
        }
    }
}

fn in_range<T: Field>(report: &mut Report, path: &str, read: &T, value: &Spanned<DeValue<'_>>, key: &Key) -> bool {
    let Some((low, high)) = key.range else {
        return true;
    };
    let bound = |raw| T::literal(raw).as_ref().and_then(T::measure);
    let (Some(found), Some(least), Some(most)) = (read.measure(), bound(low), bound(high)) else {
        return true;
    };
    if (least..=most).contains(&found) {
        return true;
    }
    report.problem(path, format!("from {low} to {high}"), raw(value.get_ref()).to_string(), None);
    false
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn raw<'v>(value: &'v DeValue<'_>) -> Raw<'v> {
    match value {
        DeValue::String(text) => Raw::Text(text),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Raw::Other("a number too large"), Raw::Integer)
        }
        DeValue::Boolean(flag) => Raw::Boolean(*flag),
        DeValue::Float(_) => Raw::Other("a number with a fraction"),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Array(_) => Raw::Other("a list"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

impl<T: Scalar> Field for T {
    fn kind() -> Kind {
        <T as Scalar>::kind()
    }

    fn read(report: &mut Report, path: &str, value: &Spanned<DeValue<'_>>) -> Option<Self> {
        let raw = raw(value.get_ref());
        match T::parse(raw) {
            Ok(value) => Some(value),
            Err(Mismatch { expected, found, help }) => {
                let expected = expected.unwrap_or_else(|| <T as Scalar>::kind().words());
                report.problem(path, expected, found.map_or_else(|| raw.to_string(), str::to_owned), help);
                None
            }
        }
    }

    fn absent(report: &mut Report, path: &str) -> Option<Self> {
        report.problem(path, <T as Scalar>::kind().words(), "nothing: the key is missing", None);
        None
    }

    fn literal(raw: Raw<'static>) -> Option<Self> {
        T::parse(raw).ok()
    }

    fn measure(&self) -> Option<u128> {
        Scalar::measure(self)
    }
}

impl<T: Field> Field for Option<T> {
    const REQUIRED: bool = false;

    fn kind() -> Kind {
        T::kind()
    }

    fn read(report: &mut Report, path: &str, value: &Spanned<DeValue<'_>>) -> Option<Self> {
        T::read(report, path, value).map(Some)
    }

    fn absent(_: &mut Report, _: &str) -> Option<Self> {
        Some(None)
    }

    fn literal(raw: Raw<'static>) -> Option<Self> {
        T::literal(raw).map(Some)
    }

    fn measure(&self) -> Option<u128> {
        self.as_ref().and_then(T::measure)
    }
}

impl<T: Field> Field for Vec<T> {
    const REQUIRED: bool = false;

    fn kind() -> Kind {
        Kind::List(Box::new(T::kind()))
    }

    fn read(report: &mut Report, path: &str, value: &Spanned<DeValue<'_>>) -> Option<Self> {
        let DeValue::Array(items) = value.get_ref() else {
            let help = matches!(T::kind(), Kind::Table(_))
                .then(|| format!("write [[{path}]] with two brackets, once for each"));
            report.problem(path, Self::kind().words(), raw(value.get_ref()).to_string(), help);
            return None;
        };
        let mut list = Vec::with_capacity(items.len());
        for (number, item) in items.iter().enumerate() {
            let place = report.place(format!("{path}[{}]", label(item.get_ref(), number)), &item.span());
            list.extend(T::read(report, &place, item));
        }
        Some(list)
    }

    fn absent(_: &mut Report, _: &str) -> Option<Self> {
        Some(Vec::new())
    }

    fn literal(_: Raw<'static>) -> Option<Self> {
        None
    }
}

/// How an entry of a list is called in messages: by its name, or by its number counted from 1.
fn label(item: &DeValue<'_>, number: usize) -> String {
    let name = item.get("name").and_then(|name| name.get_ref().as_str());
    name.map_or_else(|| (number + 1).to_string(), str::to_owned)
}

impl<T: Table> Field for Located<T> {
    fn kind() -> Kind {
        Kind::Table(T::section())
    }

    fn read(report: &mut Report, path: &str, value: &Spanned<DeValue<'_>>) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            report.problem(path, "a table", raw(value.get_ref()).to_string(), None);
            return Self::absent(report, path);
        };
        T::read_keys(report, path, table).map(|value| Located { at: path.to_owned(), value })
    }

    fn absent(report: &mut Report, path: &str) -> Option<Self> {
        T::read_keys(report, path, &DeTable::new()).map(|value| Located { at: path.to_owned(), value })
    }

    fn literal(_: Raw<'static>) -> Option<Self> {
        None
    }
}
