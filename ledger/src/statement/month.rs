//! A month of the calendar in UTC.

use std::fmt::{self, Display};
use std::str::FromStr;

use chrono::{Months, NaiveDate};

/// A month, written `2026-01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Month(NaiveDate);

impl FromStr for Month {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_shaped =
            text.len() == 7 && text.bytes().enumerate().all(|(at, byte)| if at == 4 { byte == b'-' } else { byte.is_ascii_digit() });
        if !is_shaped {
            return Err(());
        }
        NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d").map(Self).map_err(|_| ())
    }
}

impl Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m"))
    }
}

impl Month {
    /// Returns its first microsecond since 1970.
    #[must_use]
    pub fn start_us(self) -> i64 {
        self.0.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros()
    }

    /// Returns the first microsecond of the next month.
    #[must_use]
    pub fn end_us(self) -> i64 {
        self.0.checked_add_months(Months::new(1)).map_or(i64::MAX, |next| Self(next).start_us())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::clock::parse_rfc3339;

    #[test]
    fn months_have_bounds() {
        let month: Month = "2024-12".parse().unwrap();
        assert_eq!(Some(month.start_us()), parse_rfc3339("2024-12-01T00:00:00Z"));
        assert_eq!(Some(month.end_us()), parse_rfc3339("2025-01-01T00:00:00Z"));
        assert_eq!(month.to_string(), "2024-12");
        for text in ["2024-13", "2024-00", "2024-1", "24-01", "2024-01-01", "2024/01", "+024-01", "", "２０２４-01"] {
            assert!(text.parse::<Month>().is_err(), "{text}");
        }
    }
}
