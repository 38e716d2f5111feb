//! Grants in the database.

use events::Nanos;
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, Row};

use super::entity::Origin;
use super::{Grant, Grants};

fn grant(row: &AnyRow) -> Result<Grant, sqlx::Error> {
    Ok(Grant {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        origin: Origin::named(&row.try_get::<String, _>("kind")?),
        priority: row.try_get("priority")?,
        expires_at_us: row.try_get("expires_at_us")?,
        created_at_us: row.try_get("created_at_us")?,
        amount: Nanos(row.try_get("amount_nanos")?),
        remaining: Nanos(row.try_get("remaining_nanos")?),
    })
}

/// The account's grants that have something left.
///
/// # Errors
/// When the database is away.
pub async fn of_account(connection: &mut AnyConnection, account: &str) -> Result<Grants, sqlx::Error> {
    let rows = sqlx::query::<Any>(
        "SELECT id, account, kind, priority, expires_at_us, created_at_us, amount_nanos, remaining_nanos FROM grants
         WHERE account = $1 AND remaining_nanos > 0",
    )
    .bind(account.to_owned())
    .fetch_all(connection)
    .await?;
    rows.iter().map(grant).collect::<Result<_, _>>().map(Grants::new)
}

/// Accounts that have something left of a grant whose time is over.
///
/// # Errors
/// When the database is away.
pub async fn expired(connection: &mut AnyConnection, now_us: i64, most: i64) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query::<Any>(
        "SELECT DISTINCT g.account FROM grants g JOIN accounts a ON a.id = g.account
         WHERE g.remaining_nanos > 0 AND g.expires_at_us <= $1 AND a.available_nanos > 0 LIMIT $2",
    )
    .bind(now_us)
    .bind(most)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| row.try_get("account")).collect()
}

/// Writes a grant; only what is left of it ever changes.
///
/// # Errors
/// When the database is away.
pub async fn save(connection: &mut AnyConnection, grant: &Grant) -> Result<(), sqlx::Error> {
    sqlx::query::<Any>(
        "INSERT INTO grants (id, account, kind, priority, expires_at_us, created_at_us, amount_nanos, remaining_nanos)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET remaining_nanos = excluded.remaining_nanos",
    )
    .bind(grant.id.clone())
    .bind(grant.account.clone())
    .bind(grant.origin.as_str())
    .bind(grant.priority)
    .bind(grant.expires_at_us)
    .bind(grant.created_at_us)
    .bind(grant.amount.0)
    .bind(grant.remaining.0)
    .execute(connection)
    .await?;
    Ok(())
}
