//! The deletion of old rows, by the time of their events, so that a rebuild from the log deletes the same.

use std::ops::Range;

use eventlog::store::{placeholders, portions};
use events::Clock;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};

/// The most rows that one transaction deletes from a table; a little more if many have the same time. It is more than a batch inserts.
const ROWS_MAX: usize = 12_000;

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

/// The times of sums that are kept only for a while. An account's old rows are deleted with its next event, by their primary key: an
/// index by time would have to be written and deleted with each row.
#[derive(Debug, Clone, Copy)]
pub struct AccountRetention {
    pub table: &'static str,
    /// The columns of the primary key.
    pub key: &'static str,
    /// The SQL condition of the rows that age; it has all columns of the key between the account and the start.
    pub ages: &'static str,
    /// The time for which a row is kept, in microseconds.
    pub kept_us: i64,
}

impl AccountRetention {
    /// Deletes rows of some accounts: all in a span of time, and some of those before it, which a pause of the account has left.
    pub async fn trim(&self, connection: &mut AnyConnection, accounts: &[&str], span_us: Range<i64>) -> Result<(), sqlx::Error> {
        let Self { table, key, ages, .. } = self;
        let Range { start, end } = span_us;
        for portion in portions(accounts) {
            let of_accounts = format!("account IN {} AND {ages}", placeholders(connection, 1, portion.len()));
            let in_span = format!("DELETE FROM {table} WHERE {of_accounts} AND start_us >= {start} AND start_us < {end}");
            let before = format!(
                "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {of_accounts} AND start_us < {start} LIMIT {ROWS_MAX})"
            );
            let has_before = format!("SELECT start_us FROM {table} WHERE {of_accounts} AND start_us < {start} LIMIT 1");
            let query = |sql: String| {
                let query = sqlx::query::<Any>(AssertSqlSafe(sql)).persistent(false);
                portion.iter().fold(query, |query, account| query.bind((*account).to_owned()))
            };
            query(in_span).execute(&mut *connection).await?;
            if query(has_before).fetch_optional(&mut *connection).await?.is_some() {
                query(before).execute(&mut *connection).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use eventlog::Store;

    use super::*;

    const TRIMMED: AccountRetention = AccountRetention {
        table: "usage_latencies",
        key: "account, width, start_us, model, provider, kind, bucket",
        ages: "width = 1",
        kept_us: 0,
    };

    #[tokio::test]
    async fn old_rows_of_the_accounts_go_whether_in_the_span_or_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite://{}", folder.path().join("x.db").display()), crate::MIGRATIONS).await.unwrap();
        let mut transaction = store.begin_exclusive().await.unwrap();
        for (account, width, start_us) in
            [("a", 1, 5), ("a", 1, 10), ("a", 1, 19), ("a", 1, 20), ("a", 2, 5), ("b", 1, 10), ("c", 1, 5), ("c", 1, 15)]
        {
            let sql = "INSERT INTO usage_latencies VALUES ($1, $2, $3, 'm', 'p', 0, 0, 1)";
            let query = sqlx::query::<Any>(sql).bind(account).bind(width).bind(start_us);
            query.execute(&mut *transaction).await.unwrap();
        }
        TRIMMED.trim(&mut transaction, &["a", "c"], 10..20).await.unwrap();
        let rows = sqlx::query::<Any>("SELECT account, width, start_us FROM usage_latencies ORDER BY 1, 2, 3");
        let kept: Vec<(String, i64, i64)> =
            rows.fetch_all(&mut *transaction).await.unwrap().iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
        assert_eq!(kept, [("a".to_owned(), 1, 20), ("a".to_owned(), 2, 5), ("b".to_owned(), 1, 10)]);
    }
}
