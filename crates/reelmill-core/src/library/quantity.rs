//! Sizes, rates and lengths of time as people write them.

use serde::{Deserialize, Deserializer};

/// A number with a unit: `700 MB`, `1.5GiB`, `8M`, or without one.
///
/// # Errors
/// When it is neither.
pub fn amount(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let unit = unit.to_lowercase();
    let unit = unit.trim_end_matches("bit/s").trim_end_matches("b/s").trim_end_matches('b');
    let factor: f64 = match unit {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        "ki" => f64::from(1 << 10),
        "mi" => f64::from(1 << 20),
        "gi" => f64::from(1 << 30),
        "ti" => 1024.0 * f64::from(1 << 30),
        _ => return Err(format!("'{text}' is not an amount such as 700MB or 8M")),
    };
    Ok((number * factor).round() as u64)
}

/// A length of time in milliseconds: `90s`, `10m`, `1.5h`, `2d`; seconds when
/// there is no unit.
///
/// # Errors
/// When it is none of these.
pub fn millis(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let factor = match unit.to_lowercase().as_str() {
        "ms" => 1.0,
        "" | "s" | "sec" => 1e3,
        "m" | "min" => 60e3,
        "h" => 3600e3,
        "d" => 86_400e3,
        _ => return Err(format!("'{text}' is not a length of time such as 90s, 10m or 2h")),
    };
    Ok((number * factor).round() as u64)
}

fn split(text: &str) -> Result<(f64, &str), String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number =
        text[..end].parse().map_err(|_| format!("'{text}' does not begin with a number"))?;
    Ok((number, text[end..].trim()))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Whole(u64),
    Text(String),
}

fn read<'de, D: Deserializer<'de>>(
    from: D,
    parse: impl Fn(&str) -> Result<u64, String>,
) -> Result<Option<u64>, D::Error> {
    let text = match Written::deserialize(from)? {
        Written::Whole(number) => number.to_string(),
        Written::Text(text) => text,
    };
    parse(&text).map(Some).map_err(serde::de::Error::custom)
}

/// Reads an [`amount`].
///
/// # Errors
/// When it is none.
pub(crate) fn read_amount<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    read(from, amount)
}

/// Reads a length of time ([`millis`]).
///
/// # Errors
/// When it is none.
pub(super) fn read_millis<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    read(from, millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_times_are_read_as_people_write_them() {
        assert_eq!(amount("700MB"), Ok(700_000_000));
        assert_eq!(amount("1.5 GiB"), Ok(1_610_612_736));
        assert_eq!(amount("8M"), Ok(8_000_000));
        assert_eq!(amount("8 Mbit/s"), Ok(8_000_000));
        assert_eq!(amount("12"), Ok(12));
        assert_eq!(millis("90"), Ok(90_000));
        assert_eq!(millis("1.5h"), Ok(5_400_000));
        assert_eq!(millis("250ms"), Ok(250));
        for bad in ["", "many", "5 elephants", "1.2.3M", "-4"] {
            amount(bad).unwrap_err();
            millis(bad).unwrap_err();
        }
    }
}
