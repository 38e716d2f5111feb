//! The time windows for limits and spending: UTC days, weeks from Monday, calendar months, and the key's lifetime.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, Utc};
use events::control::LimitReset;

/// The length of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// Begins at 00:00 UTC.
    Daily,
    /// Begins on Monday at 00:00 UTC.
    Weekly,
    /// Begins on the 1st of the month at 00:00 UTC.
    Monthly,
    Lifetime,
}

impl Period {
    pub const ALL: [Self; 4] = [Self::Daily, Self::Weekly, Self::Monthly, Self::Lifetime];

    /// Returns the period after which a limit resets; a limit that never resets has [`Period::Lifetime`].
    #[must_use]
    pub const fn of(reset: Option<LimitReset>) -> Self {
        match reset {
            Some(LimitReset::Daily) => Self::Daily,
            Some(LimitReset::Weekly) => Self::Weekly,
            Some(LimitReset::Monthly) => Self::Monthly,
            None => Self::Lifetime,
        }
    }

    /// Returns the name that is stored in the tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Lifetime => "lifetime",
        }
    }

    /// Parses a stored name; an unknown one gives the strictest period, [`Period::Lifetime`].
    #[must_use]
    pub fn named(word: &str) -> Self {
        Self::ALL.into_iter().find(|period| period.as_str() == word).unwrap_or(Self::Lifetime)
    }

    /// Returns the start of the window that contains `time_us`, in microseconds since 1970; 0 for a lifetime.
    #[must_use]
    pub fn start_us(self, time_us: i64) -> i64 {
        self.start(time_us).map_or(0, midnight_us)
    }

    /// Returns the end of the window that contains `time_us`, in microseconds since 1970; `None` for a lifetime.
    #[must_use]
    pub fn end_us(self, time_us: i64) -> Option<i64> {
        let start = self.start(time_us)?;
        let end = match self {
            Self::Daily => start.checked_add_days(Days::new(1)),
            Self::Weekly => start.checked_add_days(Days::new(7)),
            Self::Monthly => start.checked_add_months(Months::new(1)),
            Self::Lifetime => None,
        };
        end.map(midnight_us)
    }

    fn start(self, time_us: i64) -> Option<NaiveDate> {
        let day = DateTime::<Utc>::from_timestamp_micros(time_us)?.date_naive();
        match self {
            Self::Daily => Some(day),
            Self::Weekly => day.checked_sub_days(Days::new(u64::from(day.weekday().num_days_from_monday()))),
            Self::Monthly => day.with_day(1),
            Self::Lifetime => None,
        }
    }
}

fn midnight_us(day: NaiveDate) -> i64 {
    day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros()
}

#[cfg(test)]
mod tests {
    use events::clock::{parse_rfc3339, rfc3339};

    use super::*;

    #[test]
    fn windows_turn_at_utc_midnight_monday_and_the_first() {
        let time = parse_rfc3339("2026-03-01T23:59:59.999999Z").unwrap(); // a Sunday
        let text = |us: i64| rfc3339(us)[..10].to_owned();
        assert_eq!(
            (text(Period::Daily.start_us(time)), text(Period::Daily.end_us(time).unwrap())),
            ("2026-03-01".into(), "2026-03-02".into())
        );
        assert_eq!(
            (text(Period::Weekly.start_us(time)), text(Period::Weekly.end_us(time).unwrap())),
            ("2026-02-23".into(), "2026-03-02".into())
        );
        assert_eq!(
            (text(Period::Monthly.start_us(time)), text(Period::Monthly.end_us(time).unwrap())),
            ("2026-03-01".into(), "2026-04-01".into())
        );
        assert_eq!((Period::Lifetime.start_us(time), Period::Lifetime.end_us(time)), (0, None));
    }
}
