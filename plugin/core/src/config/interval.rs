//! Durations in Go's notation, because NVIDIA's files and flags write them so (`1m30s`, `infinite`).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use thiserror::Error;

/// The word for "never".
const INFINITE: &str = "infinite";
/// Go's units, in nanoseconds.
const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];
/// Digits after the point that count; Go drops further ones too.
const FRACTION_DIGITS_MAX: usize = 18;

/// A Go duration or `infinite`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// Nanoseconds; negative ones can be written.
    Nanoseconds(i64),
    /// Never.
    Infinite,
}

impl Interval {
    /// As a time to wait for; `None` when it never ends or is negative.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Interval::Nanoseconds(nanoseconds) => u64::try_from(nanoseconds).ok().map(Duration::from_nanos),
            Interval::Infinite => None,
        }
    }
}

/// A text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a duration is written like `90s`, `1m30s` or `infinite`, but is `{text}`")]
pub struct IntervalError {
    /// The text.
    pub text: String,
}

impl std::str::FromStr for Interval {
    type Err = IntervalError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == INFINITE {
            return Ok(Interval::Infinite);
        }
        let wrong = || IntervalError { text: text.to_owned() };
        nanoseconds(text).map(Interval::Nanoseconds).ok_or_else(wrong)
    }
}

/// Go's grammar: `[sign] (digits [. digits] unit)+`, or `0`.
fn nanoseconds(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    while !rest.is_empty() || total == 0 {
        let (whole, after) = digits(rest);
        let (fraction, after_point) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit_length = after_point.find(|c: char| c == '.' || c.is_ascii_digit());
        let (unit, next) = after_point.split_at(unit_length.unwrap_or(after_point.len()));
        let scale = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        total = total.checked_add(part(whole, fraction, scale)?)?;
        rest = next;
        if rest.is_empty() {
            break;
        }
    }
    i64::try_from(total * sign).ok()
}

/// `whole.fraction` × scale, in nanoseconds, rounded down.
fn part(whole: &str, fraction: &str, scale: i128) -> Option<i128> {
    let number = |digits: &str| {
        if digits.is_empty() { Some(0) } else { digits.parse::<i128>().ok() }
    };
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS_MAX)];
    let divisor = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    number(whole)?.checked_mul(scale)?.checked_add(number(fraction)? * scale / divisor)
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

impl fmt::Display for Interval {
    /// As Go prints it: `1m0s`, `1.5s`, `5ns`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Interval::Nanoseconds(signed) = *self else {
            return f.write_str(INFINITE);
        };
        if signed < 0 {
            f.write_str("-")?;
        }
        let total = signed.unsigned_abs();
        match total {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{total}ns"),
            1_000..1_000_000 => write!(f, "{}µs", decimal(total, 1_000)),
            1_000_000..1_000_000_000 => write!(f, "{}ms", decimal(total, 1_000_000)),
            _ => {
                let minutes = total / 60_000_000_000;
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                write!(f, "{}s", decimal(total % 60_000_000_000, 1_000_000_000))
            }
        }
    }
}

/// `total / unit` as a decimal without trailing zeros. `unit` is a power of ten.
fn decimal(total: u64, unit: u64) -> String {
    let width = unit.to_string().len() - 1;
    let text = format!("{}.{:0width$}", total / unit, total % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
