//! The period that a report covers and the buckets into which it is divided, in UTC.

use std::iter;

use chrono::{Duration, Months};
use events::clock::{at, parse_rfc3339};
use read_api::ReadError;

use crate::projections::usage::width::Width;

/// The most buckets in one report.
const BUCKETS_MAX: usize = 2_000;
/// The most starts in a statement: ten years of days.
const STARTS_MAX: usize = 3_660;

/// The period that a report covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    /// The width of every bucket; the first and the last may be cut.
    pub width: Width,
    /// The starts of the buckets, in microseconds since 1970, and the end of the last one.
    pub edges_us: Vec<i64>,
}

/// Rows of one width whose sums make up a part of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub width: Width,
    pub from_us: i64,
    pub to_us: i64,
}

impl Segment {
    /// Returns the starts of the rows as a list for SQL; `None` if there are too many for a statement.
    #[must_use]
    pub fn starts(&self) -> Option<String> {
        let next = |start_us: &i64| Some(self.width.end_us(*start_us));
        let starts = iter::successors(Some(self.from_us), next).take_while(|start_us| *start_us < self.to_us);
        let starts: Vec<String> = starts.take(STARTS_MAX + 1).map(|start_us| start_us.to_string()).collect();
        (starts.len() <= STARTS_MAX).then(|| starts.join(", "))
    }
}

impl Period {
    /// Parses `period` = `1h|1d|1mo|1y` up to now, or `from` and `to`. Sums are kept for full hours: `from` is moved back to one, and `to`
    /// forward.
    ///
    /// # Errors
    /// 400 for an unknown period, a malformed time, or too many buckets.
    pub fn try_new(period: Option<&str>, from: Option<&str>, to: Option<&str>, now_us: i64) -> Result<Self, ReadError> {
        let now = at(now_us);
        let (start, width) = match (period, from) {
            (Some(_), Some(_)) => return Err(ReadError::bad("period", "give either period, or from and to")),
            (None, Some(from)) => {
                let to_us = to.map_or(Ok(now_us), |to| time("to", to))?;
                return Self::between(time("from", from)?, to_us, None);
            }
            (Some("1h"), None) => (now - Duration::hours(1), Width::Minute),
            (None | Some("1d"), None) => (now - Duration::days(1), Width::Hour),
            (Some("1mo"), None) => (now.checked_sub_months(Months::new(1)).unwrap_or(now), Width::Day),
            (Some("1y"), None) => (now.checked_sub_months(Months::new(12)).unwrap_or(now), Width::Month),
            (Some(_), None) => return Err(ReadError::bad("period", "it must be 1h, 1d, 1mo or 1y")),
        };
        if to.is_some() {
            return Err(ReadError::bad("to", "it needs from"));
        }
        Self::divided(width.floor_us(start.timestamp_micros()), width.ceil_us(now_us), width)
    }

    /// The period between two times, widened to full hours. Without a width, the length determines it.
    ///
    /// # Errors
    /// 400 if it is empty or has too many buckets.
    pub fn between(from_us: i64, to_us: i64, width: Option<Width>) -> Result<Self, ReadError> {
        if to_us <= from_us {
            return Err(ReadError::bad("to", "it must be later than from"));
        }
        let (from_us, to_us) = (Width::Hour.floor_us(from_us), Width::Hour.ceil_us(to_us));
        let length = Duration::microseconds(to_us.saturating_sub(from_us));
        let of_length = if length <= Duration::days(3) {
            Width::Hour
        } else if length <= Duration::days(100) {
            Width::Day
        } else {
            Width::Month
        };
        Self::divided(from_us, to_us, width.unwrap_or(of_length))
    }

    fn divided(from_us: i64, to_us: i64, width: Width) -> Result<Self, ReadError> {
        let mut edges_us = vec![];
        let mut next_us = from_us;
        while next_us < to_us {
            edges_us.push(next_us);
            if edges_us.len() > BUCKETS_MAX {
                return Err(ReadError::bad("from", "the time is too long for one report"));
            }
            next_us = width.end_us(width.floor_us(next_us));
        }
        edges_us.push(to_us);
        Ok(Self { width, edges_us })
    }

    /// Returns the start and the end, in microseconds since 1970.
    #[must_use]
    pub fn bounds(&self) -> (i64, i64) {
        (self.edges_us.first().copied().unwrap_or_default(), self.edges_us.last().copied().unwrap_or_default())
    }

    /// Returns the number of buckets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.edges_us.len().saturating_sub(1)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the start and the end of a bucket, in microseconds since 1970.
    #[must_use]
    pub fn bucket(&self, index: usize) -> Option<(i64, i64)> {
        Some((*self.edges_us.get(index)?, *self.edges_us.get(index + 1)?))
    }

    /// Iterates over the buckets as pairs of start and end, in microseconds since 1970.
    pub fn buckets(&self) -> impl Iterator<Item = (i64, i64)> {
        (0..self.len()).filter_map(|index| self.bucket(index))
    }

    /// Returns the index of the bucket that contains a time.
    #[must_use]
    pub fn index(&self, time_us: i64) -> usize {
        self.edges_us.partition_point(|edge_us| *edge_us <= time_us).saturating_sub(1)
    }
}

/// Parses a time of a query.
///
/// # Errors
/// 400 naming the field.
pub fn time(field: &'static str, text: &str) -> Result<i64, ReadError> {
    parse_rfc3339(text).ok_or_else(|| ReadError::bad(field, "it must be a time such as 2026-01-31T00:00:00Z"))
}

/// Returns the fewest segments that make up a time between two full hours, or full minutes if `widest` is [`Width::Minute`]; none is
/// wider than `widest`.
#[must_use]
pub fn segments(from_us: i64, to_us: i64, widest: Width) -> Vec<Segment> {
    let narrower = match widest {
        Width::Month => Width::Day,
        Width::Day => Width::Hour,
        Width::Hour | Width::Minute => return vec![Segment { width: widest, from_us, to_us }],
    };
    let (first_us, last_us) = (widest.ceil_us(from_us), widest.floor_us(to_us));
    if first_us >= last_us {
        return segments(from_us, to_us, narrower);
    }
    let mut all = if from_us < first_us { segments(from_us, first_us, narrower) } else { Vec::new() };
    all.push(Segment { width: widest, from_us: first_us, to_us: last_us });
    if last_us < to_us {
        all.extend(segments(last_us, to_us, narrower));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(text: &str) -> i64 {
        parse_rfc3339(text).unwrap()
    }

    #[test]
    fn buckets_are_as_documented_and_without_gaps() {
        let now = us("2026-03-15T10:20:30Z");
        for (period, count) in [("1h", 61), ("1d", 25), ("1mo", 29), ("1y", 13)] {
            let period = Period::try_new(Some(period), None, None, now).unwrap();
            assert_eq!(period.buckets().count(), count);
            assert!(period.bounds().1 > now && period.buckets().all(|(start, end)| start < end));
        }
    }

    #[test]
    fn chosen_bounds_are_widened_to_full_hours() {
        let period = Period::try_new(None, Some("2026-01-01T00:30:00Z"), Some("2026-01-01T02:00:00.000001Z"), 0).unwrap();
        assert_eq!(period.bounds(), (us("2026-01-01T00:00:00Z"), us("2026-01-01T03:00:00Z")));
        assert_eq!((period.len(), period.width), (3, Width::Hour));
        let cut = Period::try_new(None, Some("2026-01-01T05:00:00Z"), Some("2026-01-09T07:00:00Z"), 0).unwrap();
        assert_eq!((cut.len(), cut.width), (9, Width::Day));
        assert_eq!(cut.bucket(0), Some((us("2026-01-01T05:00:00Z"), us("2026-01-02T00:00:00Z"))));
        assert_eq!((cut.index(us("2026-01-02T00:00:00Z")), cut.index(us("2026-01-09T06:59:59Z"))), (1, 8));
    }

    #[test]
    fn segments_cover_a_time_without_gap_or_overlap() {
        let (from_us, to_us) = (us("2026-01-30T22:00:00Z"), us("2026-04-02T03:00:00Z"));
        let all = segments(from_us, to_us, Width::Month);
        let widths: Vec<Width> = all.iter().map(|segment| segment.width).collect();
        assert_eq!(widths, [Width::Hour, Width::Day, Width::Month, Width::Day, Width::Hour]);
        assert!(all.windows(2).all(|pair| pair[0].to_us == pair[1].from_us));
        assert_eq!((all[0].from_us, all[4].to_us), (from_us, to_us));
        assert_eq!(segments(from_us, to_us, Width::Hour).len(), 1);
        assert_eq!(
            segments(from_us, from_us + 3_600_000_000, Width::Month),
            [Segment { width: Width::Hour, from_us, to_us: from_us + 3_600_000_000 }]
        );
    }

    #[test]
    fn starts_are_listed_unless_they_are_too_many() {
        let day = |day: i64| day * 86_400_000_000;
        assert_eq!(Segment { width: Width::Day, from_us: 0, to_us: day(2) }.starts(), Some("0, 86400000000".to_owned()));
        assert!(Segment { width: Width::Day, from_us: 0, to_us: day(3_660) }.starts().is_some());
        assert_eq!(Segment { width: Width::Day, from_us: 0, to_us: day(3_661) }.starts(), None);
    }

    #[test]
    fn bad_periods_are_refused() {
        assert!(Period::try_new(Some("1w"), None, None, 0).is_err());
        assert!(Period::try_new(None, Some("x"), None, 0).is_err());
        assert!(Period::try_new(None, None, Some("2026-01-02T00:00:00Z"), 0).is_err());
        assert!(Period::try_new(None, Some("2026-01-02T00:00:00Z"), Some("2026-01-01T00:00:00Z"), 0).is_err());
    }
}
