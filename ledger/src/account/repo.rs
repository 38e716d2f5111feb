//! Accounts in the database: read, and written back only if nobody else moved them meanwhile.

use events::Nanos;
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, Row};

use super::Account;

fn account(row: &AnyRow) -> Result<Account, sqlx::Error> {
    Ok(Account {
        id: row.try_get("id")?,
        version: row.try_get("version")?,
        available: Nanos(row.try_get("available_nanos")?),
        held: Nanos(row.try_get("held_nanos")?),
        spent: Nanos(row.try_get("spent_nanos")?),
        bought: Nanos(row.try_get("bought_nanos")?),
    })
}

/// The account of that id.
///
/// # Errors
/// When the database is away.
pub async fn find(connection: &mut AnyConnection, id: &str) -> Result<Option<Account>, sqlx::Error> {
    let row = sqlx::query::<Any>("SELECT id, version, available_nanos, held_nanos, spent_nanos, bought_nanos FROM accounts WHERE id = $1")
        .bind(id.to_owned())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(account).transpose()
}

/// Makes an account without money, or brings the name of a known one up to date.
///
/// # Errors
/// When the database is away.
pub async fn upsert(connection: &mut AnyConnection, id: &str, name: &str, created_at_us: i64, revision: i64) -> Result<(), sqlx::Error> {
    sqlx::query::<Any>(
        "INSERT INTO accounts (id, name, created_at_us, revision, version, available_nanos, held_nanos, spent_nanos, bought_nanos)
         VALUES ($1, $2, $3, $4, 0, 0, 0, 0, 0)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, created_at_us = excluded.created_at_us, revision = excluded.revision
         WHERE accounts.revision < excluded.revision",
    )
    .bind(id.to_owned())
    .bind(name.to_owned())
    .bind(created_at_us)
    .bind(revision)
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes an account that was read at `from_version`.
///
/// # Errors
/// When the database is away, or somebody else moved the account: then nothing of the transaction may stand.
pub async fn save(connection: &mut AnyConnection, account: &Account, from_version: i64) -> Result<(), sqlx::Error> {
    let done = sqlx::query::<Any>(
        "UPDATE accounts SET version = $1, available_nanos = $2, held_nanos = $3, spent_nanos = $4, bought_nanos = $5 WHERE id = $6 AND version = $7",
    )
    .bind(account.version)
    .bind(account.available.0)
    .bind(account.held.0)
    .bind(account.spent.0)
    .bind(account.bought.0)
    .bind(account.id.clone())
    .bind(from_version)
    .execute(connection)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}
