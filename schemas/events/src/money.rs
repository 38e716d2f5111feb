//! Money: integer nano-USD with checked arithmetic, and its exact decimal form.

use std::fmt;
use std::iter::Sum;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

pub const NANOS_PER_USD: i64 = 1_000_000_000;

/// An amount of money in nano-USD (10⁻⁹ USD). One credit is one USD.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Nanos(pub i64);

/// The reason why a decimal text is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("not a decimal number")]
    NotANumber,
    /// Finer than 10⁻⁹ USD.
    #[error("more than 9 decimals")]
    TooFine,
    /// Beyond ±9.2 billion USD.
    #[error("out of range")]
    OutOfRange,
}

impl Nanos {
    pub const ZERO: Self = Self(0);

    /// Returns the sum, or `None` beyond ±9.2 billion USD.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Returns the difference, or `None` beyond ±9.2 billion USD.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// Returns the sum, limited to the ends of the range.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Returns the difference, limited to the ends of the range.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Parses a decimal number of USD, with or without exponent, such as `0.05`, `-1`, `5e-2`.
    ///
    /// # Errors
    /// Fails if the text is not a number, is finer than a nano-USD, or does not fit.
    pub fn from_usd(text: &str) -> Result<Self, MoneyError> {
        scaled(text, 9).and_then(|value| i64::try_from(value).map(Self).map_err(|_| MoneyError::OutOfRange))
    }

    /// Parses a decimal amount in USD and rounds it to a nano-USD, half away from zero. It is for amounts that callers have computed with
    /// floats.
    ///
    /// # Errors
    /// Fails if the text is not a number, or does not fit.
    pub fn from_usd_rounded(text: &str) -> Result<Self, MoneyError> {
        parse(text, 9, Beyond::RoundedHalfUp).and_then(|value| i64::try_from(value).map(Self).map_err(|_| MoneyError::OutOfRange))
    }

    /// Returns the amount in USD with exactly 9 decimals, for tables.
    #[must_use]
    pub fn to_decimals(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (units, per_usd) = (self.0.unsigned_abs(), NANOS_PER_USD.unsigned_abs());
        format!("{sign}{}.{:09}", units / per_usd, units % per_usd)
    }

    /// Returns the amount in USD as an exact JSON number with at most 9 decimals.
    #[must_use]
    pub fn to_json(self) -> Box<RawValue> {
        RawValue::from_string(self.to_string()).unwrap_or_default()
    }
}

/// Returns the integer `text × 10^places`, exactly.
///
/// # Errors
/// Fails if the text is not a number, needs more than `places` decimals, or does not fit 128 bits.
pub fn scaled(text: &str, places: i32) -> Result<i128, MoneyError> {
    parse(text, places, Beyond::Refused)
}

/// The treatment of digits beyond the last decimal place.
#[derive(Clone, Copy)]
enum Beyond {
    Refused,
    RoundedHalfUp,
}

fn parse(text: &str, places: i32, beyond: Beyond) -> Result<i128, MoneyError> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| MoneyError::NotANumber)?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
        return Err(MoneyError::NotANumber);
    }
    let mut value: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        value = value.checked_mul(10).and_then(|value| value.checked_add(i128::from(digit - b'0'))).ok_or(MoneyError::OutOfRange)?;
    }
    let fraction_len = i32::try_from(fraction.len()).map_err(|_| MoneyError::OutOfRange)?;
    let shift = exponent.checked_add(places).and_then(|shift| shift.checked_sub(fraction_len)).ok_or(MoneyError::OutOfRange)?;
    let value = shifted(value, shift, beyond)?;
    Ok(if negative { -value } else { value })
}

fn shifted(value: i128, shift: i32, beyond: Beyond) -> Result<i128, MoneyError> {
    if value == 0 {
        return Ok(0);
    }
    let power = 10_i128.checked_pow(shift.unsigned_abs());
    if shift >= 0 {
        return power.and_then(|power| value.checked_mul(power)).ok_or(MoneyError::OutOfRange);
    }
    match (power, beyond) {
        (Some(power), Beyond::Refused) if value % power == 0 => Ok(value / power),
        (_, Beyond::Refused) => Err(MoneyError::TooFine),
        (Some(power), Beyond::RoundedHalfUp) => Ok(value / power + i128::from(value % power >= power / 2)),
        (None, Beyond::RoundedHalfUp) => Ok(0),
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let units = self.0.unsigned_abs();
        let per_usd = NANOS_PER_USD.unsigned_abs();
        let (whole, fraction) = (units / per_usd, units % per_usd);
        if fraction == 0 {
            return write!(formatter, "{sign}{whole}");
        }
        let digits = format!("{fraction:09}");
        write!(formatter, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl Sum for Nanos {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::saturating_add)
    }
}

/// Serializes the amount as a JSON number of USD, for `#[serde(serialize_with)]`.
pub fn as_usd<S: Serializer>(amount: &Nanos, serializer: S) -> Result<S::Ok, S::Error> {
    amount.to_json().serialize(serializer)
}

/// Serializes the amount as a JSON number of USD or as null, for `#[serde(serialize_with)]`.
pub fn as_usd_or_null<S: Serializer>(amount: &Option<Nanos>, serializer: S) -> Result<S::Ok, S::Error> {
    amount.map(Nanos::to_json).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_and_prints_decimals() {
        for (text, nanos) in
            [("0.05", 50_000_000), ("10", 10_000_000_000), ("-1.5", -1_500_000_000), ("5e-2", 50_000_000), ("1E1", 10_000_000_000)]
        {
            assert_eq!(Nanos::from_usd(text), Ok(Nanos(nanos)), "{text}");
        }
        assert_eq!(Nanos(1).to_string(), "0.000000001");
        assert_eq!(Nanos(-1_500_000_000).to_string(), "-1.5");
        assert_eq!(Nanos(-1_500_000_000).to_decimals(), "-1.500000000");
    }

    #[test]
    fn floats_are_rounded_half_up() {
        for (text, nanos) in [
            ("0.30000000000000004", 300_000_000),
            ("0.29999999999999999", 300_000_000),
            ("5e-10", 1),
            ("4.9e-10", 0),
            ("0.0000000015", 2),
            ("-0.0000000015", -2),
            ("1e-400", 0),
            ("7", 7_000_000_000),
        ] {
            assert_eq!(Nanos::from_usd_rounded(text), Ok(Nanos(nanos)), "{text}");
        }
        assert_eq!(Nanos::from_usd_rounded("1e30"), Err(MoneyError::OutOfRange));
        assert_eq!(Nanos::from_usd_rounded("x"), Err(MoneyError::NotANumber));
    }

    #[test]
    fn refuses_what_is_no_amount() {
        for (text, error) in [
            ("", MoneyError::NotANumber),
            (".", MoneyError::NotANumber),
            ("1_0", MoneyError::NotANumber),
            ("NaN", MoneyError::NotANumber),
            ("0.0000000001", MoneyError::TooFine),
            ("1e-400", MoneyError::TooFine),
            ("9300000000", MoneyError::OutOfRange),
            ("1e400", MoneyError::OutOfRange),
        ] {
            assert_eq!(Nanos::from_usd(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn prints_what_it_reads(nanos in any::<i64>()) {
            prop_assert_eq!(Nanos::from_usd(&Nanos(nanos).to_string()), Ok(Nanos(nanos)));
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            prop_assert!(Nanos::from_usd(&text).is_ok() || Nanos::from_usd(&text).is_err());
        }
    }
}
