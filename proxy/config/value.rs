//! The kinds of single values a key can take, and how each is read from the file.
//!
//! Owns `Raw` (what TOML gives), `Scalar` (what a value of the configuration must be able to do) and the
//! plain kinds. The kinds with a form of their own are in `value/`: time, percent, place, word.

mod percent;
mod place;
mod time;
mod word;

use std::fmt;
use std::path::PathBuf;

pub use percent::Percent;
pub use place::{HostPort, Network, Sni, Url};

pub use time::Window;
pub use time::parse_duration;
pub(super) use time::write_duration;
pub(super) use word::one_of;
pub use word::{Label, LogFilter, Name, StatusRange};

use super::key::Kind;

/// A value as TOML has it, before it means anything.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Raw<'a> {
    /// A string.
    Text(&'a str),
    /// A whole number.
    Integer(i64),
    /// `true` or `false`.
    Boolean(bool),
    /// Anything that no single value of ours is made of, in words.
    Other(&'static str),
}

/// Why a value was refused.
#[derive(Debug)]
pub(super) struct Mismatch {
    /// More exact words than those of the kind, where there are any.
    pub(super) expected: Option<String>,
    /// What stands there, where the value itself must not be shown.
    pub(super) found: Option<&'static str>,
    /// What to write instead.
    pub(super) help: Option<String>,
}

/// A single value of the configuration.
pub(super) trait Scalar: Sized {
    /// What it takes, for messages, schema and reference.
    fn kind() -> Kind;

    /// The value, or why it isn't one.
    ///
    /// # Errors
    /// When `raw` is of another type or form.
    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch>;

    /// The value as a number that can be held against bounds; `None` for kinds that have no order.
    fn measure(&self) -> Option<u128> {
        None
    }
}

/// A value that the word `"off"` switches off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrOff<T>(pub Option<T>);

impl Mismatch {
    pub(super) fn plain() -> Self {
        Mismatch { expected: None, found: None, help: None }
    }

    pub(super) fn help(help: impl Into<String>) -> Self {
        Mismatch { expected: None, found: None, help: Some(help.into()) }
    }
}

impl fmt::Display for Raw<'_> {
    /// As it is written in the file.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::Text(text) => write!(out, "{text:?}"),
            Raw::Integer(number) => write!(out, "{number}"),
            Raw::Boolean(flag) => write!(out, "{flag}"),
            Raw::Other(what) => write!(out, "{what}"),
        }
    }
}

impl From<&'static str> for Raw<'static> {
    fn from(text: &'static str) -> Self {
        Raw::Text(text)
    }
}

impl From<i64> for Raw<'static> {
    fn from(number: i64) -> Self {
        Raw::Integer(number)
    }
}

impl From<bool> for Raw<'static> {
    fn from(flag: bool) -> Self {
        Raw::Boolean(flag)
    }
}

impl<T: Scalar> Scalar for OrOff<T> {
    fn kind() -> Kind {
        match T::kind() {
            Kind::Integer { .. } => Kind::IntegerOrText { what: "a whole number, or \"off\"", pattern: "^off$" },
            _ => Kind::Text { what: "a duration such as \"30s\", or \"off\"", pattern: time::DURATION_OR_OFF },
        }
    }

    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch> {
        match raw {
            Raw::Text("off") => Ok(OrOff(None)),
            other => T::parse(other).map(|value| OrOff(Some(value))),
        }
    }

    fn measure(&self) -> Option<u128> {
        self.0.as_ref().and_then(T::measure)
    }
}

impl Scalar for bool {
    fn kind() -> Kind {
        Kind::Boolean
    }

    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch> {
        match raw {
            Raw::Boolean(flag) => Ok(flag),
            Raw::Text(word @ ("true" | "false")) => Err(Mismatch::help(format!("write {word} without quotes"))),
            _ => Err(Mismatch::plain()),
        }
    }
}

impl Scalar for u32 {
    fn kind() -> Kind {
        Kind::Integer { what: "a whole number" }
    }

    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch> {
        match raw {
            Raw::Integer(number) => u32::try_from(number).map_err(|_| Mismatch::plain()),
            Raw::Text(text) if text.parse::<u32>().is_ok() => {
                Err(Mismatch::help(format!("write {text} without quotes")))
            }
            _ => Err(Mismatch::plain()),
        }
    }

    fn measure(&self) -> Option<u128> {
        Some(u128::from(*self))
    }
}

impl Scalar for u16 {
    fn kind() -> Kind {
        Kind::Integer { what: "a port from 1 to 65535" }
    }

    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch> {
        match raw {
            Raw::Integer(number) => u16::try_from(number).ok().filter(|port| *port > 0).ok_or_else(Mismatch::plain),
            _ => Err(Mismatch::plain()),
        }
    }
}

impl Scalar for String {
    fn kind() -> Kind {
        Kind::Text { what: "a text", pattern: "" }
    }

    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch> {
        match raw {
            Raw::Text(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(Mismatch::plain()),
        }
    }
}

impl Scalar for PathBuf {
    fn kind() -> Kind {
        Kind::Text { what: "the path of a file or folder", pattern: "^.+$" }
    }

    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch> {
        String::parse(raw).map(PathBuf::from)
    }
}
