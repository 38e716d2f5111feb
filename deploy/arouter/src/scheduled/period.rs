//! The periods that are over.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, Utc};

use crate::config::Every;

/// A day or a month in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    pub every: Every,
    first: NaiveDate,
    /// The first day after the period.
    next: NaiveDate,
}

impl Period {
    fn of(every: Every, day: NaiveDate) -> Option<Self> {
        match every {
            Every::Day => Some(Self { every, first: day, next: day.checked_add_days(Days::new(1))? }),
            Every::Month => {
                let first = day.with_day(1)?;
                Some(Self { every, first, next: first.checked_add_months(Months::new(1))? })
            }
        }
    }

    /// Returns the last `count` periods that ended at `now` or before, newest first.
    pub fn ended(every: Every, now: DateTime<Utc>, count: usize) -> Vec<Self> {
        let mut day = now.date_naive();
        let mut periods = Vec::with_capacity(count);
        while periods.len() < count {
            let before = Self::of(every, day).and_then(|current| Self::of(every, current.first.pred_opt()?));
            let Some(period) = before else { break };
            day = period.first;
            periods.push(period);
        }
        periods
    }

    pub fn start(&self) -> DateTime<Utc> {
        self.first.and_time(NaiveTime::MIN).and_utc()
    }

    pub fn end(&self) -> DateTime<Utc> {
        self.next.and_time(NaiveTime::MIN).and_utc()
    }

    /// Returns the name of the period, such as `2026-01-31` or `2026-01`.
    pub fn name(&self) -> String {
        let format = match self.every {
            Every::Day => "%Y-%m-%d",
            Every::Month => "%Y-%m",
        };
        self.first.format(format).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(every: Every, now: &str, count: usize) -> Vec<String> {
        Period::ended(every, now.parse().unwrap(), count).iter().map(Period::name).collect()
    }

    #[test]
    fn only_whole_periods_have_ended() {
        assert_eq!(names(Every::Day, "2026-03-01T00:00:00Z", 3), ["2026-02-28", "2026-02-27", "2026-02-26"]);
        assert_eq!(names(Every::Day, "2026-03-01T23:59:59Z", 1), ["2026-02-28"]);
        assert_eq!(names(Every::Month, "2026-03-31T23:59:59Z", 3), ["2026-02", "2026-01", "2025-12"]);
        assert_eq!(names(Every::Month, "2026-03-01T00:00:00Z", 1), ["2026-02"]);
    }

    #[test]
    fn a_period_ends_as_the_next_one_begins() {
        let months = Period::ended(Every::Month, "2026-03-05T00:00:00Z".parse().unwrap(), 2);
        assert_eq!(months[1].end(), months[0].start());
        assert_eq!(months[0].end().to_rfc3339(), "2026-03-01T00:00:00+00:00");
    }
}
