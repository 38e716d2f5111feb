//! The windows in which limits and spending are counted: UTC days, weeks from Monday, months from the 1st, and a whole life.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, Utc};
use events::control::LimitReset;

/// How long a window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// From 00:00.
    Daily,
    /// From Monday 00:00.
    Weekly,
    /// From the 1st 00:00.
    Monthly,
    /// For ever.
    Lifetime,
}

impl Period {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Daily, Self::Weekly, Self::Monthly, Self::Lifetime];

    /// The period of a limit.
    #[must_use]
    pub const fn of(reset: Option<LimitReset>) -> Self {
        match reset {
            Some(LimitReset::Daily) => Self::Daily,
            Some(LimitReset::Weekly) => Self::Weekly,
            Some(LimitReset::Monthly) => Self::Monthly,
            None => Self::Lifetime,
        }
    }

    /// The word in the tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Lifetime => "lifetime",
        }
    }

    /// The period of that word; anything unknown is a whole life, the strictest.
    #[must_use]
    pub fn named(word: &str) -> Self {
        Self::ALL.into_iter().find(|period| period.as_str() == word).unwrap_or(Self::Lifetime)
    }

    /// When the window around a time began, microseconds since 1970; 0 for a whole life.
    #[must_use]
    pub fn start_us(self, time_us: i64) -> i64 {
        self.start(time_us).map_or(0, midnight_us)
    }

    /// When the window around a time ends, microseconds since 1970; never for a whole life.
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
