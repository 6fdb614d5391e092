//! Kubernetes quantities such as `4`, `500m` or `15Gi`, because both validation and the scheduler compare them.

use serde_json::Value;

/// An amount in thousandths of its unit (milli-CPUs, milli-bytes, milli-devices).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    /// Thousandths.
    pub milli: i128,
}

/// Decimal digits accepted in one quantity; longer numbers are refused rather than rounded.
const DIGITS_MAX: usize = 21;

impl Quantity {
    /// A whole amount.
    pub const fn whole(amount: u64) -> Quantity {
        Quantity { milli: amount as i128 * 1000 }
    }

    /// Reads a JSON string or number; `None` when it is not a quantity. Parts below a thousandth are rounded up.
    pub fn read(value: &Value) -> Option<Quantity> {
        match value {
            Value::String(text) => Quantity::parse(text),
            Value::Number(number) => Quantity::parse(&number.to_string()),
            _ => None,
        }
    }

    /// Reads a quantity's text.
    pub fn parse(text: &str) -> Option<Quantity> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || whole.len() + fraction.len() > DIGITS_MAX {
            return None;
        }
        let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
        let (multiplier, divisor) = scale(suffix)?;
        let scaled = digits.checked_mul(multiplier)?.checked_mul(1000)?;
        let divisor = divisor.checked_mul(10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
        let milli = scaled / divisor + i128::from(scaled % divisor != 0);
        Some(Quantity { milli: if negative { -milli } else { milli } })
    }

    /// True when there is no fractional part.
    pub const fn is_whole(self) -> bool {
        self.milli % 1000 == 0
    }

    /// This amount and `other`.
    pub const fn plus(self, other: Quantity) -> Quantity {
        Quantity { milli: self.milli.saturating_add(other.milli) }
    }

    /// This amount less `other`; may be negative.
    pub const fn minus(self, other: Quantity) -> Quantity {
        Quantity { milli: self.milli.saturating_sub(other.milli) }
    }

    /// The amount as a count of whole units, rounded up, never below 0.
    pub fn count(self) -> u64 {
        let whole = self.milli / 1000 + i128::from(self.milli % 1000 > 0);
        u64::try_from(whole.max(0)).unwrap_or(u64::MAX)
    }
}

/// A suffix as (multiplier, divisor).
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let pair = match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        other => {
            let exponent: i32 = other.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10i128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    };
    Some(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_in_thousandths() {
        let milli = |text| Quantity::parse(text).map(|q| q.milli);
        assert_eq!(milli("4"), Some(4000));
        assert_eq!(milli("500m"), Some(500));
        assert_eq!(milli("0.5"), Some(500));
        assert_eq!(milli("1Ki"), Some(1_024_000));
        assert_eq!(milli("1e3"), Some(1_000_000));
        assert_eq!(milli("-2"), Some(-2000));
        assert_eq!(milli("1n"), Some(1));
        assert_eq!(milli(".5"), Some(500));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "gpu", "1 Gi", "1.2.3", "1X", "--1", "e3", "9999999999999999999999"] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_half_device_is_not_whole() {
        assert!(!Quantity::parse("500m").is_some_and(Quantity::is_whole));
        assert!(Quantity::parse("1000m").is_some_and(Quantity::is_whole));
    }
}
