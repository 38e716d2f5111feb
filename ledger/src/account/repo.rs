//! Accounts in the database: read, and written back only if no other process changed them meanwhile.

use eventlog::store::{for_update, placeholders, portions};
use events::Nanos;
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};

use super::Account;

fn account(row: &AnyRow) -> Result<Account, sqlx::Error> {
    Ok(Account {
        id: row.try_get("id")?,
        version: row.try_get("version")?,
        available: Nanos(row.try_get("available_nanos")?),
        held: Nanos(row.try_get("held_nanos")?),
        spent: Nanos(row.try_get("spent_nanos")?),
        credited: Nanos(row.try_get("credited_nanos")?),
    })
}

pub async fn find(connection: &mut AnyConnection, id: &str) -> Result<Option<Account>, sqlx::Error> {
    Ok(find_all(connection, &[id]).await?.pop())
}

/// Returns those of the given accounts that exist.
async fn find_all(connection: &mut AnyConnection, ids: &[&str]) -> Result<Vec<Account>, sqlx::Error> {
    select(connection, ids, "").await
}

/// Returns those of the given accounts that exist, and locks them and all their rows until the transaction ends.
/// The ids must be sorted, so that two transactions that lock the same accounts cannot deadlock.
pub async fn lock_all(connection: &mut AnyConnection, ids: &[&str]) -> Result<Vec<Account>, sqlx::Error> {
    let lock = for_update(connection);
    select(connection, ids, lock).await
}

async fn select(connection: &mut AnyConnection, ids: &[&str], lock: &str) -> Result<Vec<Account>, sqlx::Error> {
    let mut found = Vec::with_capacity(ids.len());
    for portion in portions(ids) {
        let sql = format!(
            "SELECT id, version, available_nanos, held_nanos, spent_nanos, credited_nanos FROM accounts WHERE id IN {} ORDER BY id {lock}",
            placeholders(connection, 1, portion.len())
        );
        let query = portion.iter().fold(sqlx::query::<Any>(AssertSqlSafe(sql)), |query, id| query.bind((*id).to_owned()));
        for row in query.fetch_all(&mut *connection).await? {
            found.push(account(&row)?);
        }
    }
    Ok(found)
}

/// Creates an account without money, or updates the name of a known one if the revision is newer.
pub async fn upsert(connection: &mut AnyConnection, id: &str, name: &str, created_at_us: i64, revision: i64) -> Result<(), sqlx::Error> {
    sqlx::query::<Any>(
        "INSERT INTO accounts (id, name, created_at_us, revision, version, available_nanos, held_nanos, spent_nanos, credited_nanos)
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

/// Writes accounts, each only if it still has the version at which it was read.
///
/// # Errors
/// Returns `RowNotFound` if another process changed one of them concurrently; the caller must roll back and retry.
pub async fn save(connection: &mut AnyConnection, accounts: &[(&Account, i64)]) -> Result<(), sqlx::Error> {
    for portion in portions(accounts) {
        let sql = format!(
            "WITH new (id, read_at, version, available, held, spent, credited) AS (VALUES {})
             UPDATE accounts SET version = new.version, available_nanos = new.available, held_nanos = new.held, spent_nanos = new.spent, credited_nanos = new.credited
             FROM new WHERE accounts.id = new.id AND accounts.version = new.read_at",
            placeholders(connection, portion.len(), 7)
        );
        let mut query = sqlx::query::<Any>(AssertSqlSafe(sql));
        for (account, read_at) in portion {
            query = query
                .bind(account.id.clone())
                .bind(*read_at)
                .bind(account.version)
                .bind(account.available.0)
                .bind(account.held.0)
                .bind(account.spent.0)
                .bind(account.credited.0);
        }
        if query.execute(&mut *connection).await?.rows_affected() != portion.len() as u64 {
            return Err(sqlx::Error::RowNotFound);
        }
    }
    Ok(())
}
