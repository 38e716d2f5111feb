//! Grants in the database.

use eventlog::store::{placeholders, portions};
use events::Nanos;
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Row};

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

/// Returns the account's grants that have something left.
pub async fn of_account(connection: &mut AnyConnection, account: &str) -> Result<Grants, sqlx::Error> {
    Ok(Grants::new(of_accounts(connection, &[account]).await?))
}

/// Returns these accounts' grants that have something left.
pub async fn of_accounts(connection: &mut AnyConnection, accounts: &[&str]) -> Result<Vec<Grant>, sqlx::Error> {
    let mut found = Vec::with_capacity(accounts.len());
    for portion in portions(accounts) {
        let sql = format!(
            "SELECT id, account, kind, priority, expires_at_us, created_at_us, amount_nanos, remaining_nanos FROM grants
             WHERE account IN {} AND remaining_nanos > 0",
            placeholders(connection, 1, portion.len())
        );
        let query = portion.iter().fold(sqlx::query::<Any>(AssertSqlSafe(sql)), |query, id| query.bind((*id).to_owned()));
        for row in query.fetch_all(&mut *connection).await? {
            found.push(grant(&row)?);
        }
    }
    Ok(found)
}

/// Returns the sum of the credit that an account has ever bought.
pub async fn purchased(pool: &AnyPool, account: &str) -> Result<Nanos, sqlx::Error> {
    let row = sqlx::query::<Any>(
        "SELECT CAST(COALESCE(SUM(amount_nanos), 0) AS BIGINT) AS bought FROM grants WHERE account = $1 AND kind = 'credit'",
    )
    .bind(account.to_owned())
    .fetch_one(pool)
    .await?;
    Ok(Nanos(row.try_get("bought")?))
}

/// Returns at most `most` accounts that have available credit and an expired grant with something left.
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

/// Inserts or updates grants; only the remaining amount of a grant ever changes.
pub async fn save(connection: &mut AnyConnection, grants: &[&Grant]) -> Result<(), sqlx::Error> {
    for portion in portions(grants) {
        let sql = format!(
            "INSERT INTO grants (id, account, kind, priority, expires_at_us, created_at_us, amount_nanos, remaining_nanos)
             VALUES {} ON CONFLICT (id) DO UPDATE SET remaining_nanos = excluded.remaining_nanos",
            placeholders(connection, portion.len(), 8)
        );
        let mut query = sqlx::query::<Any>(AssertSqlSafe(sql));
        for grant in portion {
            query = query
                .bind(grant.id.clone())
                .bind(grant.account.clone())
                .bind(grant.origin.as_str())
                .bind(grant.priority)
                .bind(grant.expires_at_us)
                .bind(grant.created_at_us)
                .bind(grant.amount.0)
                .bind(grant.remaining.0);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}
