//! The endpoints as rows: their newest states, and those that were given up.

use std::collections::{BTreeMap, BTreeSet};

use eventlog::store::{from_db, placeholders, to_db};
use events::rpc::webhook::FailedWebhook;
use events::webhook::Webhook;
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Row};

/// Stores a state of an endpoint unless a newer one is known. A deletion is final, and removes the endpoint's deliveries.
pub async fn put(connection: &mut AnyConnection, webhook: &Webhook, is_deleted: bool) -> Result<(), sqlx::Error> {
    let (revision, changed_at_us) = webhook.order();
    let content = if is_deleted { String::new() } else { serde_json::to_string(webhook).unwrap_or_default() };
    sqlx::query::<Any>(
        "INSERT INTO webhooks (id, account, revision, changed_at_us, deleted, content) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, changed_at_us = excluded.changed_at_us,
             deleted = excluded.deleted, content = excluded.content
         WHERE webhooks.deleted = 0 AND (excluded.deleted = 1 OR webhooks.revision < excluded.revision
             OR (webhooks.revision = excluded.revision AND webhooks.changed_at_us < excluded.changed_at_us))",
    )
    .bind(webhook.id.clone())
    .bind(webhook.account.to_string())
    .bind(to_db(revision)?)
    .bind(changed_at_us)
    .bind(i64::from(is_deleted))
    .bind(content)
    .execute(&mut *connection)
    .await?;
    if is_deleted {
        for table in ["deliveries", "webhook_failures"] {
            let sql = format!("DELETE FROM {table} WHERE webhook = $1");
            sqlx::query::<Any>(AssertSqlSafe(sql)).bind(webhook.id.clone()).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

fn content(row: &AnyRow) -> Result<Option<Webhook>, sqlx::Error> {
    Ok(serde_json::from_str(row.try_get("content")?).ok())
}

/// Reads the endpoints of some accounts, by account.
pub async fn of_accounts(connection: &mut AnyConnection, accounts: &BTreeSet<&str>) -> Result<BTreeMap<String, Vec<Webhook>>, sqlx::Error> {
    let mut found: BTreeMap<String, Vec<Webhook>> = BTreeMap::new();
    let accounts: Vec<&str> = accounts.iter().copied().collect();
    for portion in accounts.chunks(500) {
        let sql = format!("SELECT content FROM webhooks WHERE deleted = 0 AND account IN {}", placeholders(connection, 1, portion.len()));
        let mut query = sqlx::query::<Any>(AssertSqlSafe(sql));
        for account in portion {
            query = query.bind((*account).to_owned());
        }
        for row in query.fetch_all(&mut *connection).await? {
            if let Some(webhook) = content(&row)? {
                found.entry(webhook.account.to_string()).or_default().push(webhook);
            }
        }
    }
    Ok(found)
}

/// Reads an endpoint of an account; `None` if it is unknown or deleted.
pub async fn find(pool: &AnyPool, account: &str, id: &str) -> Result<Option<Webhook>, sqlx::Error> {
    let row = sqlx::query::<Any>("SELECT content FROM webhooks WHERE id = $1 AND account = $2 AND deleted = 0")
        .bind(id.to_owned())
        .bind(account.to_owned())
        .fetch_optional(pool)
        .await?;
    row.map_or(Ok(None), |row| content(&row))
}

/// Reads the working endpoints that have a delivery to be sent now.
pub async fn with_due(pool: &AnyPool, now_us: i64) -> Result<Vec<Webhook>, sqlx::Error> {
    let rows = sqlx::query::<Any>(
        "SELECT content FROM webhooks WHERE deleted = 0
         AND NOT EXISTS (SELECT 1 FROM webhook_failures f WHERE f.webhook = webhooks.id AND f.revision >= webhooks.revision)
         AND EXISTS (SELECT 1 FROM deliveries d WHERE d.webhook = webhooks.id AND d.state = 'pending' AND d.next_at_us <= $1)",
    )
    .bind(now_us)
    .fetch_all(pool)
    .await?;
    let webhooks: Result<Vec<Option<Webhook>>, sqlx::Error> = rows.iter().map(content).collect();
    Ok(webhooks?.into_iter().flatten().filter(|webhook| !webhook.disabled).collect())
}

/// Records that an endpoint is given up until its owner changes it.
pub async fn give_up(connection: &mut AnyConnection, webhook: &Webhook, reason: &str) -> Result<(), sqlx::Error> {
    sqlx::query::<Any>(
        "INSERT INTO webhook_failures (webhook, revision, reason) VALUES ($1, $2, $3)
         ON CONFLICT (webhook) DO UPDATE SET revision = excluded.revision, reason = excluded.reason
         WHERE webhook_failures.revision < excluded.revision",
    )
    .bind(webhook.id.clone())
    .bind(to_db(webhook.revision)?)
    .bind(reason.to_owned())
    .execute(connection)
    .await?;
    Ok(())
}

/// Reads the endpoints that are given up in their newest revision.
pub async fn failed(pool: &AnyPool) -> Result<Vec<FailedWebhook>, sqlx::Error> {
    let rows = sqlx::query::<Any>(
        "SELECT w.account, w.id, f.revision, f.reason FROM webhook_failures f JOIN webhooks w ON w.id = f.webhook
         WHERE w.deleted = 0 AND f.revision >= w.revision",
    )
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(FailedWebhook {
                account: row.try_get::<String, _>("account")?.into(),
                webhook: row.try_get("id")?,
                revision: from_db(row.try_get("revision")?)?,
                reason: row.try_get("reason")?,
            })
        })
        .collect()
}
