//! What a YAML scalar means, because NVIDIA's parser (sigs.k8s.io/yaml 1.6) follows YAML 1.1 and Rust's follow 1.2.

/// A scalar's meaning. The text as written is kept beside it by the tree.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Meaning {
    /// Empty, `~` or `null`.
    Null,
    /// A YAML 1.1 boolean: also `yes`, `n`, `on`.
    Bool(bool),
    /// A whole number in any of the spellings `10`, `0x10`, `010`, `0b1`, `1_0`. Always within u64 or i64.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// Everything else, and everything quoted.
    Text,
}

/// How a scalar was written, as far as its meaning depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Without quotes and without a tag that decides.
    Plain,
    /// Quoted, a block, or tagged as text.
    AsText,
}

/// The meaning of one scalar.
pub(super) fn meaning(text: &str, written: Written) -> Meaning {
    if written == Written::AsText {
        return Meaning::Text;
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Meaning::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Meaning::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Meaning::Bool(false)
        }
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Meaning::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Meaning::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => Meaning::Float(f64::NAN),
        _ => number(text),
    }
}

/// Numbers begin with a digit, a sign or a point; underscores in them are ignored.
fn number(text: &str) -> Meaning {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Meaning::Text;
    }
    let plain: String = text.chars().filter(|&c| c != '_').collect();
    if let Some(value) = whole(&plain) {
        return Meaning::Int(value);
    }
    match plain.parse::<f64>() {
        Ok(value) if is_decimal(&plain) && value.is_finite() => Meaning::Float(value),
        _ => Meaning::Text,
    }
}

/// A whole number with Go's base prefixes; a leading zero alone means octal.
fn whole(plain: &str) -> Option<i128> {
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, base).ok()?);
    let value = if negative { -magnitude } else { magnitude };
    (value >= i128::from(i64::MIN)).then_some(value)
}

/// Whether the text is `[sign] digits [. digits] [e [sign] digits]` with at least one digit before the exponent.
fn is_decimal(plain: &str) -> bool {
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(plain);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    exponent_fits && all_digits(before) && all_digits(after) && !(before.is_empty() && after.is_empty())
}
