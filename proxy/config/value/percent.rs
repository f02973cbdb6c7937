//! Shares such as `"1%"`.

use std::time::Duration;

use super::{Mismatch, Raw, Scalar};
use crate::config::key::Kind;

/// A share, kept in parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent {
    /// Parts per million; 1 % is 10,000.
    pub ppm: u32,
}

impl Percent {
    /// That share of a duration.
    pub fn of(self, whole: Duration) -> Duration {
        let nanos = whole.as_nanos() * u128::from(self.ppm) / 1_000_000;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Scalar for Percent {
    fn kind() -> Kind {
        Kind::Text { what: "a percentage such as \"1%\" or \"0.5%\"", pattern: r"^[0-9]+(\.[0-9]{1,4})?%$" }
    }

    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch> {
        match raw {
            Raw::Text(text) => text
                .strip_suffix('%')
                .and_then(parse_ppm)
                .map(|ppm| Percent { ppm })
                .ok_or_else(|| Mismatch::help("a number and the sign %, as in \"1%\"")),
            Raw::Integer(number) => Err(Mismatch::help(format!("say the unit: \"{number}%\", in quotes"))),
            _ => Err(Mismatch::plain()),
        }
    }

    fn measure(&self) -> Option<u128> {
        Some(u128::from(self.ppm))
    }
}

fn parse_ppm(number: &str) -> Option<u32> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.is_empty() || fraction.len() > 4 || !fraction.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let whole = whole.parse::<u32>().ok()?.checked_mul(10_000)?;
    whole.checked_add(format!("{fraction:0<4}").parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact() {
        assert_eq!(parse_ppm("1"), Some(10_000));
        assert_eq!(parse_ppm("0.05"), Some(500));
        assert_eq!(parse_ppm("1."), None);
        assert_eq!(Percent { ppm: 10_000 }.of(Duration::from_secs(1)), Duration::from_millis(10));
    }
}
