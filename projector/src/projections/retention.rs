//! The deletion of old rows, by the time of their events, so that a rebuild from the log deletes the same.

use events::Clock;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};

/// The most rows that one transaction deletes from a table; a little more if many have the same time. It is more than a batch inserts.
const ROWS_MAX: usize = 6_000;

/// The times of a table that keeps rows only for a while.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    pub table: &'static str,
    /// The column with the time of a row; it has an index.
    pub column: &'static str,
    /// The SQL condition of the rows that age.
    pub ages: &'static str,
    /// The time for which a row is kept, in microseconds.
    pub kept_us: i64,
}

impl Retention {
    /// Returns the time before which rows are deleted: `kept_us` before the newest one, or before now if that is in the future.
    pub async fn horizon_us(&self, connection: &mut AnyConnection, clock: &dyn Clock, newest_us: i64) -> Result<i64, sqlx::Error> {
        let sql = format!("SELECT MAX({}) AS newest FROM {} WHERE {}", self.column, self.table, self.ages);
        let row = sqlx::query::<Any>(AssertSqlSafe(sql)).fetch_one(connection).await?;
        let newest_us = row.try_get::<Option<i64>, _>("newest")?.map_or(newest_us, |stored| stored.max(newest_us));
        Ok(newest_us.min(clock.now_us()).saturating_sub(self.kept_us))
    }

    /// Deletes the oldest rows before a time.
    pub async fn trim(&self, connection: &mut AnyConnection, horizon_us: i64) -> Result<(), sqlx::Error> {
        let Self { table, column, ages, .. } = self;
        let sql = format!(
            "DELETE FROM {table} WHERE {ages} AND {column} < $1 AND {column} <= COALESCE((SELECT {column} FROM {table}
             WHERE {ages} AND {column} < $1 ORDER BY {column} LIMIT 1 OFFSET {ROWS_MAX}), $1)"
        );
        sqlx::query::<Any>(AssertSqlSafe(sql)).bind(horizon_us).execute(connection).await?;
        Ok(())
    }
}
