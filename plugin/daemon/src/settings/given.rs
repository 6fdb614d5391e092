//! One setting's value, from its flag or its environment variable, and the name of where it came from.

use std::fmt::Display;
use std::time::Duration;

use thiserror::Error;

/// The environment, as a function so that tests can have their own.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{origin}`: {why}")]
pub(crate) struct SettingError {
    /// The flag or variable.
    pub(crate) origin: String,
    /// What is wrong with its value.
    pub(crate) why: String,
}

/// A text that someone gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// The flag or variable.
    origin: String,
    /// The text.
    pub(crate) text: String,
}

impl Given {
    /// The value, by a parser.
    ///
    /// # Errors
    /// The parser's, with the name of the flag or variable.
    pub(crate) fn parse<T, E: Display>(
        &self,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, SettingError> {
        parse(&self.text).map_err(|e| SettingError { origin: self.origin.clone(), why: e.to_string() })
    }

    /// The values of a comma-separated list, without surrounding space.
    ///
    /// # Errors
    /// The parser's, with the name of the flag or variable.
    pub(crate) fn list<T, E: Display>(
        &self,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, SettingError> {
        let one =
            |item: &str| Given { origin: self.origin.clone(), text: item.trim().to_owned() }.parse(&parse);
        self.text.split(',').map(one).collect()
    }
}

/// The flag, else the first variable that exists, even if it is empty.
pub(crate) fn given(
    value: Option<&String>,
    flag: &str,
    env: Environment<'_>,
    variables: &[&str],
) -> Option<Given> {
    let from_flag = value.map(|text| Given { origin: flag.to_owned(), text: text.clone() });
    from_flag.or_else(|| {
        variables.iter().find_map(|name| env(name).map(|text| Given { origin: (*name).to_owned(), text }))
    })
}

/// As [`given`], but an empty text is none.
pub(crate) fn given_text(
    value: Option<&String>,
    flag: &str,
    env: Environment<'_>,
    variables: &[&str],
) -> Option<Given> {
    given(value, flag, env, variables).filter(|g| !g.text.is_empty())
}

/// `30s`, `200ms`, `5m`, `1h`: one number and one unit.
///
/// # Errors
/// One line with examples.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("a time is a number and a unit, such as `30s`, `200ms` or `5m`, but is `{text}`");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let millis_per_unit = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis_per_unit).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_number_and_one_unit() {
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for wrong in ["", "30", "s", "-1s", "1 s", "1d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
