//! Amounts of memory as people write them: `8Gi`, `512Mi`, `16G`, or bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

/// Bytes of a MiB, the unit in which MPS takes its limits.
pub(crate) const MIB: u64 = 1024 * 1024;
/// The suffixes of Kubernetes quantities that a GPU's memory can need, largest first among their kind.
const SUFFIXES: [(&str, u64); 7] = [
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
];

/// An amount of memory; at least one MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Memory(u64);

/// A text that is not an amount of memory.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("an amount of memory is a number with Mi, Gi, Ti, M, G or T, at least 1Mi, but is `{text}`")]
pub struct MemoryError {
    /// The text.
    pub text: String,
}

impl Memory {
    /// This many bytes, when they are enough for anything.
    pub fn from_bytes(bytes: u64) -> Option<Self> {
        (bytes >= MIB).then_some(Memory(bytes))
    }

    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// In MiB, rounded down.
    pub fn mib(self) -> u64 {
        self.0 / MIB
    }
}

impl FromStr for Memory {
    type Err = MemoryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = SUFFIXES.iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)));
        let (number, unit) = known.unwrap_or((text, 1));
        let bytes = decimal(number, unit).and_then(Memory::from_bytes);
        bytes.ok_or_else(|| MemoryError { text: text.to_owned() })
    }
}

/// `1.5` times a unit, rounded down, without floating point.
fn decimal(number: &str, unit: u64) -> Option<u64> {
    /// More digits after the point than this change nothing.
    const FRACTION_DIGITS_MAX: usize = 9;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > FRACTION_DIGITS_MAX {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? };
    let part = u64::try_from(part * u128::from(unit) / scale).ok()?;
    whole.checked_add(part)
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = SUFFIXES.iter().take(3).find(|(_, unit)| self.0.is_multiple_of(*unit));
        match binary {
            Some((suffix, unit)) => write!(f, "{}{suffix}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Memory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_kubernetes_writes_them() {
        let rows = [
            ("8Gi", Some(8 << 30)),
            ("512Mi", Some(512 << 20)),
            ("1.5Gi", Some(3 << 29)),
            ("16G", Some(16_000_000_000)),
            ("1048576", Some(1 << 20)),
            ("2048Ki", Some(2 << 20)),
            ("1Ti", Some(1 << 40)),
            ("1048575", None),
            ("0Gi", None),
            ("", None),
            ("Gi", None),
            (".5Gi", None),
            ("-1Gi", None),
            ("+1Gi", None),
            ("8 Gi", None),
            ("8GiB", None),
            ("8gi", None),
            ("1e3Mi", None),
            ("99999999999Ti", None),
            ("1.0000000001Gi", None),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse::<Memory>().ok().map(Memory::bytes), expected, "{text}");
        }
    }

    #[test]
    fn an_amount_reads_back_as_it_is_printed() {
        for text in ["8Gi", "1536Mi", "1Ti", "16000000000"] {
            assert_eq!(text.parse::<Memory>().unwrap().to_string(), text);
        }
        assert_eq!("1.5Gi".parse::<Memory>().unwrap().to_string(), "1536Mi");
    }
}
