//! Time as values: wall-clock timestamps and media time bases.

use serde::{Deserialize, Serialize};

/// A moment, in microseconds since the Unix epoch (UTC).
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This moment plus `micros` microseconds.
    #[must_use]
    pub fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// This moment plus `seconds` seconds.
    #[must_use]
    pub fn plus_seconds(self, seconds: f64) -> Self {
        self.plus_micros((seconds * 1e6) as i64)
    }

    /// Microseconds from `earlier` to this moment; negative when it lies later.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Seconds per tick of a media stream, as a fraction (for example 1/90000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct TimeBase {
    num: u32,
    den: u32,
}

impl TimeBase {
    /// One microsecond per tick.
    pub const MICROS: Self = Self { num: 1, den: 1_000_000 };

    /// A time base of `num/den` seconds per tick; `None` when either is zero.
    #[must_use]
    pub fn new(num: u32, den: u32) -> Option<Self> {
        (num > 0 && den > 0).then_some(Self { num, den })
    }

    /// Numerator: seconds.
    #[must_use]
    pub fn num(self) -> u32 {
        self.num
    }

    /// Denominator: ticks.
    #[must_use]
    pub fn den(self) -> u32 {
        self.den
    }

    /// `ticks` in seconds.
    #[must_use]
    pub fn seconds(self, ticks: i64) -> f64 {
        ticks as f64 * f64::from(self.num) / f64::from(self.den)
    }

    /// `ticks` in microseconds, rounded to the nearest, halves away from zero
    /// (the rounding of FFmpeg's `av_rescale_q`).
    #[must_use]
    pub fn micros(self, ticks: i64) -> i64 {
        let scaled = i128::from(ticks) * i128::from(self.num) * 1_000_000;
        round_div(scaled, i128::from(self.den))
    }

    /// The tick nearest to `micros` microseconds.
    #[must_use]
    pub fn ticks_at_micros(self, micros: i64) -> i64 {
        let den = i128::from(self.num) * 1_000_000;
        round_div(i128::from(micros) * i128::from(self.den), den)
    }

    /// Ticks in `seconds`, rounded to the nearest.
    #[must_use]
    pub fn ticks_in(self, seconds: f64) -> i64 {
        (seconds * f64::from(self.den) / f64::from(self.num)).round() as i64
    }
}

fn round_div(value: i128, by: i128) -> i64 {
    let half = by / 2;
    let rounded = if value >= 0 { (value + half) / by } else { (value - half) / by };
    rounded.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

impl std::fmt::Display for TimeBase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

impl From<TimeBase> for String {
    fn from(base: TimeBase) -> Self {
        base.to_string()
    }
}

impl TryFrom<String> for TimeBase {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl std::str::FromStr for TimeBase {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("'{text}' is not a time base such as 1/90000");
        let (num, den) = text.split_once('/').ok_or_else(bad)?;
        let num = num.parse().map_err(|_| bad())?;
        let den = den.parse().map_err(|_| bad())?;
        Self::new(num, den).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micros_round_to_nearest_away_from_zero() {
        let base = TimeBase::new(1, 3).unwrap();
        assert_eq!(base.micros(1), 333_333);
        assert_eq!(base.micros(2), 666_667);
        assert_eq!(base.micros(-2), -666_667);
    }

    #[test]
    fn micros_and_ticks_round_trip_for_bases_coarser_than_two_micros() {
        for den in [24, 1000, 12_288, 90_000, 500_000] {
            let base = TimeBase::new(1, den).unwrap();
            for tick in [-7, 0, 1, 1001, 123_456_789] {
                assert_eq!(base.ticks_at_micros(base.micros(tick)), tick, "1/{den}");
            }
        }
    }

    #[test]
    fn parses_and_prints() {
        assert_eq!("1001/30000".parse::<TimeBase>().unwrap().to_string(), "1001/30000");
        assert!("1/0".parse::<TimeBase>().is_err());
    }
}
