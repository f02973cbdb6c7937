//! Numbers as a person reads them: ages, times of day, sizes. And looking into answers that may lack fields.

use serde_json::Value;

/// A span of milliseconds in its two largest units: `41 ms`, `3.2 s`, `2 h 4 min`, `5 d 3 h`.
pub(super) fn span(ms: u64) -> String {
    let (s, min, h, d) = (ms / 1000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{s}.{} s", ms % 1000 / 100),
        10_000..60_000 => format!("{s} s"),
        60_000..3_600_000 => format!("{min} min {} s", s % 60),
        3_600_000..86_400_000 => format!("{h} h {} min", min % 60),
        _ => format!("{d} d {} h", h % 24),
    }
}

/// A time of the wall clock in UTC, from milliseconds since 1970: `2026-01-31 13:05:09.120`.
pub(super) fn instant(ms: u64) -> String {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (h, min, s, milli) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60, in_day % 1000);
    format!("{year:04}-{month:02}-{day:02} {h:02}:{min:02}:{s:02}.{milli:03}")
}

/// Year, month and day of a number of days since 1970-01-01, by the Gregorian calendar (its 400 years have
/// 146,097 days; years are counted from March, so that a leap day comes last).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// A number of bytes: `812 B`, `4.0 MiB`.
pub(super) fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut tenths = count * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < units.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, units[unit])
}

/// The text of a field, or nothing.
pub(super) fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or("")
}

/// The number of a field, if it is there.
pub(super) fn number(value: &Value, field: &str) -> Option<u64> {
    value[field].as_u64()
}

/// Whether a field is there and true.
pub(super) fn is(value: &Value, field: &str) -> bool {
    value[field].as_bool().unwrap_or(false)
}

/// The entries of a list, or none.
pub(super) fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_at_a_glance() {
        assert_eq!(span(41), "41 ms");
        assert_eq!(span(3_250), "3.2 s");
        assert_eq!(span(7_440_000), "2 h 4 min");
        assert_eq!(span(86_400_000 * 5 + 3_600_000 * 3), "5 d 3 h");
    }

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(instant(0), "1970-01-01 00:00:00.000");
        assert_eq!(instant(951_782_400_000), "2000-02-29 00:00:00.000");
        assert_eq!(instant(1_767_225_599_999), "2025-12-31 23:59:59.999");
        assert_eq!(instant(4_107_542_400_000), "2100-03-01 00:00:00.000");
    }

    #[test]
    fn sizes_have_one_decimal() {
        assert_eq!((bytes(812), bytes(4 << 20), bytes(1536)), ("812 B".into(), "4.0 MiB".into(), "1.5 KiB".into()));
    }
}
