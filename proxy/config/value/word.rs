//! Values that are words: names, log filters, ranges of HTTP status, and the macro for "one of these".

use std::fmt;

use super::{Mismatch, Raw, Scalar};
use crate::config::key::Kind;

/// The name of an instance, member, listener, hook or token: up to 63 letters, digits, `-`, `_`, `.`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// A name that the code itself gives (`main` for a listener without one).
    pub(in crate::config) fn fixed(name: &'static str) -> Name {
        Name(name.to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

impl Scalar for Name {
    fn kind() -> Kind {
        Kind::Text {
            what: "a name: up to 63 letters, digits, \"-\", \"_\" or \".\", beginning with a letter or digit",
            pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
        }
    }

    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch> {
        let Raw::Text(text) = raw else {
            return Err(Mismatch::plain());
        };
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let begins = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if begins && text.len() <= 63 && text.chars().all(inside) {
            Ok(Name(text.to_owned()))
        } else {
            Err(Mismatch::plain())
        }
    }
}

/// A label of Kubernetes: a name, or a domain, `/` and a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(pub String);

impl Scalar for Label {
    fn kind() -> Kind {
        Kind::Text {
            what: "the key of a label, such as \"hotspare/active\": a name, or a domain, \"/\" and a name",
            pattern: "^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$",
        }
    }

    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch> {
        let Raw::Text(text) = raw else {
            return Err(Mismatch::plain());
        };
        let (domain, name) = text.split_once('/').map_or((None, text), |(domain, name)| (Some(domain), name));
        let ends_well = |word: &str| {
            let ends = [word.chars().next(), word.chars().last()];
            ends.iter().all(|end| end.is_some_and(|c| c.is_ascii_alphanumeric()))
        };
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let in_domain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        let good_domain = domain.is_none_or(|d| ends_well(d) && d.len() <= 253 && d.chars().all(in_domain));
        if good_domain && ends_well(name) && name.len() <= 63 && name.chars().all(inside) {
            Ok(Label(text.to_owned()))
        } else {
            Err(Mismatch::plain())
        }
    }
}

/// What to log, as tracing's filters are written: `"info"`, or `"info,hotspare::engine=debug"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(pub String);

impl Scalar for LogFilter {
    fn kind() -> Kind {
        Kind::Text {
            what: "a level (error, warn, info, debug, trace) or filters such as \"info,hotspare::engine=debug\"",
            pattern: "",
        }
    }

    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch> {
        let Raw::Text(text) = raw else {
            return Err(Mismatch::plain());
        };
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        let plain = text.split(',').filter(|part| !part.contains('='));
        // A filter of one unknown word is taken by tracing for the name of a module, and would log nothing.
        if text.is_empty() || plain.clone().any(|word| !levels.contains(&word)) {
            return Err(Mismatch::plain());
        }
        match text.parse::<tracing_subscriber::filter::EnvFilter>() {
            Ok(_) => Ok(LogFilter(text.to_owned())),
            Err(_) => Err(Mismatch::plain()),
        }
    }
}

/// A status code or a range of them, both ends counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange {
    /// First status that will do.
    pub first: u16,
    /// Last status that will do.
    pub last: u16,
}

impl Scalar for StatusRange {
    fn kind() -> Kind {
        Kind::IntegerOrText {
            what: "an HTTP status such as 200, or a range such as \"200-399\"",
            pattern: "^[1-5][0-9]{2}-[1-5][0-9]{2}$",
        }
    }

    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch> {
        let ends = match raw {
            Raw::Integer(status) => u16::try_from(status).ok().map(|status| (status, status)),
            Raw::Text(text) => {
                text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)))
            }
            _ => None,
        };
        match ends {
            Some((first, last)) if (100..=599).contains(&first) && (first..=599).contains(&last) => {
                Ok(StatusRange { first, last })
            }
            _ => Err(Mismatch::plain()),
        }
    }
}

/// Declares an enum whose values are words of the file.
macro_rules! one_of {
    ($(#[doc = $about:literal])+ $vis:vis $name:ident { $( $(#[doc = $doc:literal])+ $variant:ident = $word:literal, )+ }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $name { $( $(#[doc = $doc])+ $variant, )+ }

        impl $name {
            /// The word as it stands in the file.
            $vis fn as_str(self) -> &'static str {
                match self { $( $name::$variant => $word, )+ }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, out: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                out.pad(self.as_str())
            }
        }

        impl $crate::config::value::Scalar for $name {
            fn kind() -> $crate::config::key::Kind {
                $crate::config::key::Kind::OneOf(&[$($word),+])
            }

            fn parse(raw: $crate::config::value::Raw<'_>) -> Result<Self, $crate::config::value::Mismatch> {
                match raw {
                    $( $crate::config::value::Raw::Text($word) => Ok($name::$variant), )+
                    $crate::config::value::Raw::Text(other) => Err($crate::config::suggest::near(other, &[$($word),+])),
                    _ => Err($crate::config::value::Mismatch::plain()),
                }
            }
        }
    };
}
pub(in crate::config) use one_of;
