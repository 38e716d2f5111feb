//! Leases in the database. They have no version of their own: the version of their account guards every write.

use eventlog::store::{placeholders, portions};
use events::Nanos;
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};

use super::{Lease, State};
use crate::key::Period;
use crate::key::repo::WindowId;

const COLUMNS: &str = "id, account, key_hash, period, window_starts_at_us, holder, state, granted_nanos, consumed_nanos, returned_nanos, spent_nanos, expires_at_us";

fn lease(row: &AnyRow) -> Result<Lease, sqlx::Error> {
    let key: Option<String> = row.try_get("key_hash")?;
    let period: Option<String> = row.try_get("period")?;
    let starts: i64 = row.try_get("window_starts_at_us")?;
    Ok(Lease {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        window: key.zip(period).map(|(key, period)| (key, Period::named(&period), starts)),
        holder: row.try_get("holder")?,
        state: State::named(row.try_get("state")?),
        granted: Nanos(row.try_get("granted_nanos")?),
        consumed: Nanos(row.try_get("consumed_nanos")?),
        returned: Nanos(row.try_get("returned_nanos")?),
        spent: Nanos(row.try_get("spent_nanos")?),
        expires_at_us: row.try_get("expires_at_us")?,
    })
}

/// Returns those of the given leases that exist.
pub async fn find_all(connection: &mut AnyConnection, ids: &[&str]) -> Result<Vec<Lease>, sqlx::Error> {
    let mut found = Vec::with_capacity(ids.len());
    for portion in portions(ids) {
        let sql = format!("SELECT {COLUMNS} FROM leases WHERE id IN {}", placeholders(connection, 1, portion.len()));
        let query = portion.iter().fold(sqlx::query::<Any>(AssertSqlSafe(sql)), |query, id| query.bind((*id).to_owned()));
        for row in query.fetch_all(&mut *connection).await? {
            found.push(lease(&row)?);
        }
    }
    Ok(found)
}

/// Returns the leases of one holder that are not closed.
pub async fn of_holder(connection: &mut AnyConnection, holder: &str) -> Result<Vec<Lease>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM leases WHERE holder = $1 AND state <> 'closed' ORDER BY id");
    let rows = sqlx::query::<Any>(AssertSqlSafe(sql)).bind(holder.to_owned()).fetch_all(connection).await?;
    rows.iter().map(lease).collect()
}

/// Returns at most `most` leases whose time is over, oldest first.
pub async fn expired(connection: &mut AnyConnection, now_us: i64, most: i64) -> Result<Vec<Lease>, sqlx::Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM leases WHERE state IN ('open', 'closing', 'frozen') AND expires_at_us < $1 ORDER BY expires_at_us LIMIT $2"
    );
    let rows = sqlx::query::<Any>(AssertSqlSafe(sql)).bind(now_us).bind(most).fetch_all(connection).await?;
    rows.iter().map(lease).collect()
}

/// Counts the gateways, except `holder`, that hold open leases of an account.
pub async fn other_holders(connection: &mut AnyConnection, account: &str, holder: &str) -> Result<i64, sqlx::Error> {
    let row =
        sqlx::query::<Any>("SELECT COUNT(DISTINCT holder) AS holders FROM leases WHERE account = $1 AND state = 'open' AND holder <> $2")
            .bind(account.to_owned())
            .bind(holder.to_owned())
            .fetch_one(connection)
            .await?;
    row.try_get("holders")
}

/// Sums [`Lease::unposted`] over all leases except `besides`, of an account or of one window of a key.
pub async fn unposted(
    connection: &mut AnyConnection,
    account: &str,
    window: Option<&WindowId>,
    besides: &str,
) -> Result<Nanos, sqlx::Error> {
    let (key, period, starts) = window.map_or(("", "", 0), |(key, period, starts)| (key.as_str(), period.as_str(), *starts));
    let row = sqlx::query::<Any>(
        "SELECT CAST(COALESCE(SUM(CASE WHEN state = 'closing' THEN granted_nanos - consumed_nanos - returned_nanos
         WHEN spent_nanos > consumed_nanos THEN spent_nanos - consumed_nanos ELSE 0 END), 0) AS BIGINT) AS unposted
         FROM leases WHERE account = $1 AND state IN ('open', 'closing', 'frozen')
         AND ($2 = '' OR (key_hash = $2 AND period = $3 AND window_starts_at_us = $4)) AND id <> $5",
    )
    .bind(account.to_owned())
    .bind(key.to_owned())
    .bind(period.to_owned())
    .bind(starts)
    .bind(besides.to_owned())
    .fetch_one(connection)
    .await?;
    row.try_get("unposted").map(Nanos)
}

/// Inserts or updates leases.
pub async fn save(connection: &mut AnyConnection, leases: &[&Lease]) -> Result<(), sqlx::Error> {
    for portion in portions(leases) {
        let sql = format!(
            "INSERT INTO leases ({COLUMNS}) VALUES {}
             ON CONFLICT (id) DO UPDATE SET state = excluded.state, granted_nanos = excluded.granted_nanos,
             consumed_nanos = excluded.consumed_nanos, returned_nanos = excluded.returned_nanos, spent_nanos = excluded.spent_nanos, expires_at_us = excluded.expires_at_us",
            placeholders(connection, portion.len(), 12)
        );
        let mut query = sqlx::query::<Any>(AssertSqlSafe(sql));
        for lease in portion {
            query = query
                .bind(lease.id.clone())
                .bind(lease.account.clone())
                .bind(lease.window.as_ref().map(|(key, _, _)| key.clone()))
                .bind(lease.period().map(Period::as_str))
                .bind(lease.window.as_ref().map_or(0, |(_, _, starts)| *starts))
                .bind(lease.holder.clone())
                .bind(lease.state.as_str())
                .bind(lease.granted.0)
                .bind(lease.consumed.0)
                .bind(lease.returned.0)
                .bind(lease.spent.0)
                .bind(lease.expires_at_us);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}
