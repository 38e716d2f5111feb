//! The widths of the periods over which usage is summed, in UTC.

use chrono::{Datelike, Months, NaiveTime};
use events::clock::at;

const MINUTE_US: i64 = 60_000_000;
pub const HOUR_US: i64 = 60 * MINUTE_US;
pub const DAY_US: i64 = 24 * HOUR_US;

/// The width of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Width {
    /// From :00 to :59.
    Minute,
    /// A full hour.
    Hour,
    /// From 00:00.
    Day,
    /// From the 1st.
    Month,
}

impl Width {
    pub const ALL: [Self; 4] = [Self::Minute, Self::Hour, Self::Day, Self::Month];

    /// Returns the number that tables contain.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Minute => 0,
            Self::Hour => 1,
            Self::Day => 2,
            Self::Month => 3,
        }
    }

    /// Returns the start of the period that contains a time, both in microseconds since 1970.
    #[must_use]
    pub fn floor_us(self, time_us: i64) -> i64 {
        match self {
            Self::Minute => time_us - time_us.rem_euclid(MINUTE_US),
            Self::Hour => time_us - time_us.rem_euclid(HOUR_US),
            Self::Day => time_us - time_us.rem_euclid(DAY_US),
            Self::Month => {
                let first = at(time_us).date_naive().with_day(1);
                first.map_or(time_us, |first| first.and_time(NaiveTime::MIN).and_utc().timestamp_micros())
            }
        }
    }

    /// Returns the end of the period that starts at a time.
    #[must_use]
    pub fn end_us(self, start_us: i64) -> i64 {
        match self {
            Self::Minute => start_us.saturating_add(MINUTE_US),
            Self::Hour => start_us.saturating_add(HOUR_US),
            Self::Day => start_us.saturating_add(DAY_US),
            Self::Month => at(start_us).checked_add_months(Months::new(1)).map_or(i64::MAX, |next| next.timestamp_micros()),
        }
    }

    /// Returns the start of the first period that begins at or after a time.
    #[must_use]
    pub fn ceil_us(self, time_us: i64) -> i64 {
        let start_us = self.floor_us(time_us);
        if start_us == time_us { time_us } else { self.end_us(start_us) }
    }
}

#[cfg(test)]
mod tests {
    use events::clock::parse_rfc3339;

    use super::*;

    #[test]
    fn periods_begin_and_end_on_the_calendar() {
        let us = |text| parse_rfc3339(text).unwrap();
        let time_us = us("2024-02-29T23:59:59.999999Z");
        for (width, start, end) in [
            (Width::Minute, "2024-02-29T23:59:00Z", "2024-03-01T00:00:00Z"),
            (Width::Hour, "2024-02-29T23:00:00Z", "2024-03-01T00:00:00Z"),
            (Width::Day, "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
            (Width::Month, "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
        ] {
            assert_eq!((width.floor_us(time_us), width.end_us(us(start))), (us(start), us(end)));
            assert_eq!((width.ceil_us(time_us), width.ceil_us(us(start))), (us(end), us(start)));
        }
        assert_eq!(Width::Hour.floor_us(-1), -HOUR_US);
    }
}
