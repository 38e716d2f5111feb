//! Idempotency keys of model requests: the table's primary key decides which of several requests may be sent, on whatever gateway they are.

use events::Nanos;
use events::rpc::idempotency::REMEMBERED_US;
use events::rpc::{ClaimIdempotencyKey, IdempotencyClaim, ReleaseIdempotencyKey};
use sqlx::{Any, Row};

use crate::process::Ledger;

/// Grants a key to a request unless another request has had it within 24 hours.
///
/// # Errors
/// Returns `RowNotFound` if the earlier claim was released meanwhile; the caller retries.
pub async fn claim(ledger: &Ledger, claim: &ClaimIdempotencyKey) -> Result<IdempotencyClaim, sqlx::Error> {
    let now_us = ledger.clock.now_us();
    let mut transaction = ledger.store.begin_shared().await?;
    let claimed = sqlx::query::<Any>(
        "INSERT INTO idempotency_keys (id, content, request, claimed_at_us) VALUES ($1, $2, $3, $4)
         ON CONFLICT (id) DO UPDATE SET content = excluded.content, request = excluded.request, claimed_at_us = excluded.claimed_at_us
         WHERE idempotency_keys.claimed_at_us <= $5",
    )
    .bind(claim.id.clone())
    .bind(claim.content.clone())
    .bind(claim.request.to_string())
    .bind(now_us)
    .bind(now_us - REMEMBERED_US)
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if claimed > 0 {
        transaction.commit().await?;
        return Ok(IdempotencyClaim::Granted);
    }
    let row = sqlx::query::<Any>(
        "SELECT k.content, k.request, t.amount_nanos FROM idempotency_keys k LEFT JOIN transactions t ON t.request = k.request WHERE k.id = $1",
    )
    .bind(claim.id.clone())
    .fetch_one(&mut *transaction)
    .await?;
    let request: String = row.try_get("request")?;
    if request == claim.request.as_str() {
        // The reply to this very claim was lost.
        return Ok(IdempotencyClaim::Granted);
    }
    let is_same = row.try_get::<String, _>("content")? == claim.content;
    let cost_nanos = row.try_get::<Option<i64>, _>("amount_nanos")?.map(|amount| Nanos(amount.saturating_neg()));
    Ok(IdempotencyClaim::Taken { request: request.into(), is_same, cost_nanos })
}

/// Returns a key whose request was not sent.
pub async fn release(ledger: &Ledger, release: &ReleaseIdempotencyKey) -> Result<bool, sqlx::Error> {
    let mut transaction = ledger.store.begin_shared().await?;
    sqlx::query::<Any>("DELETE FROM idempotency_keys WHERE id = $1 AND request = $2")
        .bind(release.id.clone())
        .bind(release.request.to_string())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(true)
}

/// Deletes the keys that are older than 24 hours.
pub async fn sweep(ledger: &Ledger) -> Result<(), sqlx::Error> {
    let before_us = ledger.clock.now_us() - REMEMBERED_US;
    let old = sqlx::query::<Any>("SELECT id FROM idempotency_keys WHERE claimed_at_us <= $1 LIMIT 1").bind(before_us);
    if old.fetch_optional(&ledger.store.reads).await?.is_none() {
        return Ok(());
    }
    let mut transaction = ledger.store.begin_shared().await?;
    sqlx::query::<Any>("DELETE FROM idempotency_keys WHERE claimed_at_us <= $1").bind(before_us).execute(&mut *transaction).await?;
    transaction.commit().await
}
