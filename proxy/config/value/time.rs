//! Durations such as `"250ms"` or `"1m30s"`, and the window of a day in which drills may run.

use std::fmt;
use std::time::Duration;

use super::{Mismatch, Raw, Scalar};
use crate::config::key::Kind;

const DURATION: &str = r"^([0-9]+(\.[0-9]+)?(us|ms|s|m|h|d))+$";
pub(super) const DURATION_OR_OFF: &str = r"^(off|([0-9]+(\.[0-9]+)?(us|ms|s|m|h|d))+)$";

/// Unit, and its length in nanoseconds. Longest first, so that none is taken for part of another.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

impl Scalar for Duration {
    fn kind() -> Kind {
        Kind::Text { what: "a duration such as \"250ms\", \"2s\" or \"1m30s\"", pattern: DURATION }
    }

    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch> {
        match raw {
            Raw::Text(text) => parse_duration(text).ok_or_else(|| {
                Mismatch::help("a number and its unit, as one word in quotes; units are us, ms, s, m, h, d")
            }),
            Raw::Integer(number) => {
                Err(Mismatch::help(format!("say the unit: \"{number}ms\" or \"{number}s\", in quotes")))
            }
            _ => Err(Mismatch::plain()),
        }
    }

    fn measure(&self) -> Option<u128> {
        Some(self.as_nanos())
    }
}

/// A duration such as `250ms` or `1m30s`; `None` if `text` is none.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_len);
        let unit_len = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scale(number, *nanos)?)?;
        rest = tail;
    }
    (!text.is_empty()).then(|| Duration::from_nanos(total))
}

/// `number` (such as `1.5`) times `unit`, without rounding through a float.
fn scale(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() && fraction.len() <= 9 => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    let mut nanos = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    let mut digit_worth = unit;
    for digit in fraction.chars() {
        digit_worth /= 10;
        nanos = nanos.checked_add(u64::from(digit.to_digit(10)?) * digit_worth)?;
    }
    Some(nanos)
}

/// A duration as one would write it in the file.
pub(in crate::config) fn write_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, nanos) in UNITS {
        if rest / nanos > 0 {
            text.push_str(&format!("{}{unit}", rest / nanos));
            rest %= nanos;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A span of each day, in UTC, such as `"02:00-04:30"`; it may go over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Minutes after midnight at which it opens.
    pub from_minute: u16,
    /// Minutes after midnight at which it closes.
    pub to_minute: u16,
}

impl Window {
    /// Whether the window is open at this minute of the day (0 to 1439, UTC).
    pub fn contains(&self, minute: u16) -> bool {
        if self.from_minute <= self.to_minute {
            (self.from_minute..self.to_minute).contains(&minute)
        } else {
            minute >= self.from_minute || minute < self.to_minute
        }
    }
}

impl Scalar for Window {
    fn kind() -> Kind {
        Kind::Text {
            what: "a span of the day in UTC such as \"02:00-04:30\"",
            pattern: "^[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]$",
        }
    }

    fn parse(raw: Raw<'_>) -> Result<Self, Mismatch> {
        let Raw::Text(text) = raw else {
            return Err(Mismatch::plain());
        };
        let ends = text.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
        match ends {
            Some((from_minute, to_minute)) if from_minute != to_minute => Ok(Window { from_minute, to_minute }),
            _ => Err(Mismatch::plain()),
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Window { from_minute: from, to_minute: to } = self;
        write!(out, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    if hour.len() != 2 || minute.len() != 2 {
        return None;
    }
    let (hour, minute) = (hour.parse::<u16>().ok()?, minute.parse::<u16>().ok()?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_exact() {
        for (text, nanos) in [
            ("250ms", 250_000_000),
            ("1.5s", 1_500_000_000),
            ("1m30s", 90_000_000_000),
            ("2h", 7_200_000_000_000),
            ("10us", 10_000),
            ("0s", 0),
            ("0.1s", 100_000_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for text in ["", "5", "ms", "5 s", "1.s", "-1s", "1x", "1s2", "99999999999999d", "1..2s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_duration_survives_being_written_and_read() {
        for millis in [0, 1, 250, 1000, 90_000, 86_400_000, 3_661_001] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&write_duration(duration)), Some(duration));
        }
    }

    #[test]
    fn a_window_may_go_over_midnight() {
        let night = Window::parse(Raw::Text("23:00-01:00")).map_err(|_| ()).expect("a window");
        assert!(night.contains(23 * 60 + 30) && night.contains(30) && !night.contains(12 * 60));
        assert!(Window::parse(Raw::Text("24:00-01:00")).is_err());
    }
}
