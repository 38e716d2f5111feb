//! Histograms of times. Each bucket is a row with a count, so adding rows merges histograms: the database does it, whatever the period and
//! the groups, and a rebuild makes the same rows. A sketch in one column would have to be read, merged and written again for each batch.
//!
//! A bucket is a sixteenth of a power of two wide, so that a quantile is at most 1/32 off.

use std::collections::{BTreeMap, HashMap};

use eventlog::store::{placeholders, portions};
use events::usage_recorded::UsageRecorded;
use sqlx::{Any, AnyConnection, AssertSqlSafe};

use super::width::{DAY_US, HOUR_US, Width};

/// The time for which histograms of hours are kept.
pub const HOURS_KEPT_US: i64 = 3 * DAY_US;
/// The widths that have histograms.
const WIDTHS: [Width; 3] = [Width::Hour, Width::Day, Width::Month];
/// The binary digits of a time that a bucket distinguishes, after the first one.
const DIGITS: u32 = 4;
const COLUMNS: [&str; 8] = ["account", "width", "start_us", "model", "provider", "kind", "bucket", "requests"];

/// A time of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// From admission to the end.
    Whole,
    /// From admission to the first piece.
    FirstPiece,
}

impl Kind {
    /// Returns the number that the table contains.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Whole => 0,
            Self::FirstPiece => 1,
        }
    }
}

/// Returns the bucket of a time in microseconds.
#[must_use]
pub fn bucket(time_us: u64) -> i64 {
    let shift = (u64::BITS - time_us.leading_zeros()).saturating_sub(DIGITS + 1);
    let place = (u64::from(shift) << DIGITS) + (time_us >> shift);
    i64::try_from(place).unwrap_or(i64::MAX)
}

/// Returns the time in the middle of a bucket, in microseconds.
#[must_use]
pub fn middle_us(bucket: i64) -> u64 {
    let place = u64::try_from(bucket).unwrap_or_default();
    let shift = (place >> DIGITS).saturating_sub(1).min(63 - u64::from(DIGITS));
    let digits = place - (shift << DIGITS);
    (digits << shift) + ((1 << shift) >> 1)
}

/// The counts that a batch adds, by row of an hour.
#[derive(Default)]
pub struct Added<'a>(HashMap<Row<'a>, i64>);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Row<'a> {
    account: &'a str,
    width: Width,
    start_us: i64,
    model: &'a str,
    provider: &'a str,
    kind: Kind,
    bucket: i64,
}

impl<'a> Added<'a> {
    /// Counts the times of a request.
    pub fn count(&mut self, account: &'a str, usage: &'a UsageRecorded) {
        let (width, start_us) = (Width::Hour, Width::Hour.floor_us(usage.admitted_at_us));
        for (kind, time_us) in [(Kind::Whole, Some(usage.latency_us)), (Kind::FirstPiece, usage.ttft_us)] {
            let Some(time_us) = time_us else { continue };
            let (model, provider) = (usage.model.as_str(), usage.provider.as_str());
            *self.0.entry(Row { account, width, start_us, model, provider, kind, bucket: bucket(time_us) }).or_default() += 1;
        }
    }

    /// Adds the counts to the rows of the table; to those of hours only from `hours_us` on.
    pub async fn write(self, connection: &mut AnyConnection, hours_us: i64) -> Result<(), sqlx::Error> {
        let mut rows: BTreeMap<Row<'_>, i64> = BTreeMap::new();
        for (hour, requests) in self.0 {
            for width in WIDTHS {
                if width != Width::Hour || hour.start_us >= hours_us {
                    *rows.entry(Row { width, start_us: width.floor_us(hour.start_us), ..hour }).or_default() += requests;
                }
            }
        }
        let (keys, rows) = (COLUMNS[..COLUMNS.len() - 1].join(", "), Vec::from_iter(rows));
        for portion in portions(&rows) {
            let sql = format!(
                "INSERT INTO usage_latencies ({}) VALUES {} ON CONFLICT ({keys}) DO UPDATE SET requests = usage_latencies.requests + excluded.requests",
                COLUMNS.join(", "),
                placeholders(connection, portion.len(), COLUMNS.len()),
            );
            let mut query = sqlx::query::<Any>(AssertSqlSafe(sql));
            for (row, requests) in portion {
                query = query
                    .bind(row.account.to_owned())
                    .bind(row.width.code())
                    .bind(row.start_us)
                    .bind(row.model.to_owned())
                    .bind(row.provider.to_owned())
                    .bind(row.kind.code())
                    .bind(row.bucket)
                    .bind(*requests);
            }
            query.execute(&mut *connection).await?;
        }
        Ok(())
    }
}

/// The age up to which the rows of hours are the same in every rebuild: an hour begins up to an hour before its newest request.
pub const HOURS_COMPARED_US: i64 = HOURS_KEPT_US - HOUR_US;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_without_gaps_and_their_middles_are_close() {
        let mut last = -1;
        for time_us in 0..100_000_u64 {
            let place = bucket(time_us);
            assert!(place == last || place == last + 1, "{time_us}");
            last = place;
        }
        let mut time_us = 1_u64;
        while time_us < 1 << 62 {
            for near in [time_us - 1, time_us, time_us + time_us / 3, time_us + time_us / 2 + 1] {
                let middle = middle_us(bucket(near));
                assert!(middle.abs_diff(near) * 32 <= near.max(1), "{near} is in a bucket around {middle}");
                assert_eq!(bucket(middle), bucket(near));
            }
            time_us *= 2;
        }
        assert_eq!(bucket(u64::MAX), bucket(u64::MAX - 1));
    }
}
