//! Points in time as the API writes them, so that the store needs no clock: callers pass "now".

use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time: microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    micros: u64,
}

const MICROS: u64 = 1_000_000;
const DAY_SECONDS: u64 = 86_400;

impl Timestamp {
    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: u64) -> Timestamp {
        Timestamp { micros }
    }

    /// From whole seconds since the Unix epoch.
    pub const fn from_seconds(seconds: u64) -> Timestamp {
        Timestamp { micros: seconds.saturating_mul(MICROS) }
    }

    /// What the machine's clock shows; a clock before 1970 reads as 1970.
    pub fn now() -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp { micros: u64::try_from(since.as_micros()).unwrap_or(u64::MAX) }
    }

    /// Whole seconds since the Unix epoch.
    pub const fn seconds(self) -> u64 {
        self.micros / MICROS
    }

    /// This time and `seconds` more.
    pub const fn plus_seconds(self, seconds: u64) -> Timestamp {
        Timestamp { micros: self.micros.saturating_add(seconds.saturating_mul(MICROS)) }
    }

    /// `2026-01-31T12:00:00Z`, the form of `creationTimestamp`.
    pub fn rfc3339(self) -> String {
        let (year, month, day) = civil(self.seconds() / DAY_SECONDS);
        let second = self.seconds() % DAY_SECONDS;
        let (h, m, s) = (second / 3600, second % 3600 / 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}Z")
    }

    /// `2026-01-31T12:00:00.000000Z`, the form of a lease's `renewTime` and an event's `eventTime`.
    pub fn rfc3339_micros(self) -> String {
        let whole = self.rfc3339();
        format!("{}.{:06}Z", whole.trim_end_matches('Z'), self.micros % MICROS)
    }

    /// Reads either form written above; `None` for anything else.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let text = text.strip_suffix('Z')?;
        let (date, clock) = text.split_once('T')?;
        let date: Vec<u64> = date.split('-').map(str::parse).collect::<Result<_, _>>().ok()?;
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        let clock: Vec<u64> = clock.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
        let (&[y, mo, d], &[h, mi, s]) = (date.as_slice(), clock.as_slice()) else {
            return None;
        };
        if !(1970..=9999).contains(&y) || !(1..=12).contains(&mo) || !(1..=31).contains(&d) {
            return None;
        }
        let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
        let micros: u64 = digits.parse().ok()?;
        let seconds = days(y, mo, d) * DAY_SECONDS + h * 3600 + mi * 60 + s;
        Some(Timestamp { micros: seconds * MICROS + micros })
    }

    /// The age at `now`, as kubectl prints it: `45s`, `3m20s`, `5h`, `12d`.
    pub fn age(self, now: Timestamp) -> String {
        let s = now.seconds().saturating_sub(self.seconds());
        let two = |big: u64, unit: char, small: u64, small_unit: char| match small {
            0 => format!("{big}{unit}"),
            _ => format!("{big}{unit}{small}{small_unit}"),
        };
        match s {
            0..120 => format!("{s}s"),
            120..600 => two(s / 60, 'm', s % 60, 's'),
            600..10_800 => format!("{}m", s / 60),
            10_800..28_800 => two(s / 3600, 'h', s % 3600 / 60, 'm'),
            28_800..172_800 => format!("{}h", s / 3600),
            172_800..691_200 => two(s / DAY_SECONDS, 'd', s % DAY_SECONDS / 3600, 'h'),
            _ => format!("{}d", s / DAY_SECONDS),
        }
    }
}

/// Days since 1970-01-01 to a date of the proleptic Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// The inverse of [`civil`], for years from 1970 on.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_points_in_time_are_written_as_rfc3339() {
        assert_eq!(Timestamp::from_seconds(0).rfc3339(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp::from_seconds(951_782_400).rfc3339(), "2000-02-29T00:00:00Z");
        assert_eq!(
            Timestamp::from_micros(1_767_225_599_000_007).rfc3339_micros(),
            "2025-12-31T23:59:59.000007Z"
        );
    }

    #[test]
    fn what_was_written_is_read_back() {
        for day in (0..60_000).step_by(17) {
            let time =
                Timestamp::from_micros((day * DAY_SECONDS + day % DAY_SECONDS) * MICROS + day % MICROS);
            assert_eq!(Timestamp::parse(&time.rfc3339_micros()), Some(time));
        }
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn ages_use_two_units_only_where_kubectl_does() {
        let at = |s| Timestamp::from_seconds(0).age(Timestamp::from_seconds(s));
        assert_eq!(
            [at(0), at(119), at(200), at(1200), at(11_000), at(30_000), at(200_000), at(900_000)],
            ["0s", "119s", "3m20s", "20m", "3h3m", "8h", "2d7h", "10d"]
        );
    }
}
