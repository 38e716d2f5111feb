//! The period that a report covers and the buckets into which it is divided, in UTC.

use chrono::{DateTime, Datelike, Days, Duration, Months, NaiveTime, Timelike, Utc};
use events::clock::{at, parse_rfc3339};
use read_api::ReadError;

/// The most buckets in one report.
const BUCKETS_MAX: usize = 2_000;

/// The width of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    /// From :00 to :59.
    Minute,
    /// A full hour.
    Hour,
    /// From 00:00.
    Day,
    /// From the 1st.
    Month,
}

/// The period that a report covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    /// The starts of the buckets, in microseconds since 1970, and the end of the last one.
    pub edges_us: Vec<i64>,
}

impl Bucket {
    fn floor(self, time: DateTime<Utc>) -> DateTime<Utc> {
        let day = time.date_naive();
        let floored = match self {
            Self::Minute => day.and_hms_opt(time.hour(), time.minute(), 0),
            Self::Hour => day.and_hms_opt(time.hour(), 0, 0),
            Self::Day => Some(day.and_time(NaiveTime::MIN)),
            Self::Month => day.with_day(1).map(|first| first.and_time(NaiveTime::MIN)),
        };
        floored.map_or(time, |floored| floored.and_utc())
    }

    fn next(self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Minute => time.checked_add_signed(Duration::minutes(1)),
            Self::Hour => time.checked_add_signed(Duration::hours(1)),
            Self::Day => time.checked_add_days(Days::new(1)),
            Self::Month => time.checked_add_months(Months::new(1)),
        }
    }
}

impl Period {
    /// Parses `period` = `1h|1d|1mo|1y` up to now, or `from` and `to`.
    ///
    /// # Errors
    /// 400 for an unknown period, a malformed time, or too many buckets.
    pub fn try_new(period: Option<&str>, from: Option<&str>, to: Option<&str>, now_us: i64) -> Result<Self, ReadError> {
        let now = at(now_us);
        let time = |field, text: &str| {
            parse_rfc3339(text).map(at).ok_or_else(|| ReadError::bad(field, "it must be a time such as 2026-01-31T00:00:00Z"))
        };
        let (start, end, bucket) = match (period, from) {
            (Some(_), Some(_)) => return Err(ReadError::bad("period", "give either period, or from and to")),
            (None, Some(from)) => {
                let (start, end) = (time("from", from)?, to.map_or(Ok(now), |to| time("to", to))?);
                (start, end, width(end - start))
            }
            (Some("1h"), None) => (now - Duration::hours(1), now, Bucket::Minute),
            (None | Some("1d"), None) => (now - Duration::days(1), now, Bucket::Hour),
            (Some("1mo"), None) => (now.checked_sub_months(Months::new(1)).unwrap_or(now), now, Bucket::Day),
            (Some("1y"), None) => (now.checked_sub_months(Months::new(12)).unwrap_or(now), now, Bucket::Month),
            (Some(_), None) => return Err(ReadError::bad("period", "it must be 1h, 1d, 1mo or 1y")),
        };
        if end <= start {
            return Err(ReadError::bad("to", "it must be later than from"));
        }
        let mut edges_us = vec![];
        let mut edge = if from.is_some() { start } else { bucket.floor(start) };
        while edge < end {
            edges_us.push(edge.timestamp_micros());
            if edges_us.len() > BUCKETS_MAX {
                return Err(ReadError::bad("from", "the time is too long for one report"));
            }
            edge = bucket.next(bucket.floor(edge)).unwrap_or(end);
        }
        edges_us.push(if from.is_some() { end.timestamp_micros() } else { edge.timestamp_micros() });
        Ok(Self { edges_us })
    }

    /// Returns the start and the end, in microseconds since 1970.
    #[must_use]
    pub fn bounds(&self) -> (i64, i64) {
        (self.edges_us.first().copied().unwrap_or_default(), self.edges_us.last().copied().unwrap_or_default())
    }

    /// Iterates over the buckets as pairs of start and end, in microseconds since 1970.
    pub fn buckets(&self) -> impl Iterator<Item = (i64, i64)> {
        self.edges_us.windows(2).map(|pair| (pair[0], pair[1]))
    }
}

/// Returns the bucket width for a period with a freely chosen length.
fn width(length: Duration) -> Bucket {
    if length <= Duration::hours(2) {
        Bucket::Minute
    } else if length <= Duration::days(3) {
        Bucket::Hour
    } else if length <= Duration::days(100) {
        Bucket::Day
    } else {
        Bucket::Month
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_as_documented_and_without_gaps() {
        let now = parse_rfc3339("2026-03-15T10:20:30Z").unwrap();
        for (period, count) in [("1h", 61), ("1d", 25), ("1mo", 29), ("1y", 13)] {
            let period = Period::try_new(Some(period), None, None, now).unwrap();
            assert_eq!(period.buckets().count(), count);
            assert!(period.bounds().1 > now && period.buckets().all(|(start, end)| start < end));
        }
    }

    #[test]
    fn chosen_bounds_are_kept_to_the_microsecond() {
        let period = Period::try_new(None, Some("2026-01-01T00:30:00Z"), Some("2026-01-01T03:00:00Z"), 0).unwrap();
        assert_eq!(period.bounds(), (parse_rfc3339("2026-01-01T00:30:00Z").unwrap(), parse_rfc3339("2026-01-01T03:00:00Z").unwrap()));
        assert_eq!(period.buckets().count(), 3);
    }

    #[test]
    fn bad_periods_are_refused() {
        assert!(Period::try_new(Some("1w"), None, None, 0).is_err());
        assert!(Period::try_new(None, Some("x"), None, 0).is_err());
        assert!(Period::try_new(None, Some("2026-01-02T00:00:00Z"), Some("2026-01-01T00:00:00Z"), 0).is_err());
    }
}
