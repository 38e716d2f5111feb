//! The quarantine of events that could not be applied. They wait until an operator has them applied again, or discards them.

use events::clock::rfc3339;
use events::envelope::RawEnvelope;
use std::sync::Arc;

use events::rpc::{DecideQuarantine, DecideReply, Decision, Quarantined};
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, Row};

use crate::fold::{Event, Fold, Rejected};
use crate::reader_id::ReaderId;
use crate::record::Record;
use crate::store::{Store, from_db, is_data_error, to_db};

/// The maximum number of listed events.
const LIST_MAX: i64 = 1_000;

pub async fn set_aside(connection: &mut AnyConnection, reader: ReaderId, rejected: &Rejected<'_>, now_us: i64) -> Result<(), sqlx::Error> {
    sqlx::query::<Any>(
        "INSERT INTO quarantine (reader, stream, sequence, event_id, reason, payload, quarantined_at_us, freezes_account) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (reader, sequence, event_id) DO NOTHING",
    )
    .bind(reader.name)
    .bind(reader.stream.name())
    .bind(to_db(rejected.record.sequence)?)
    .bind(storable(&rejected.record.id))
    .bind(storable(&rejected.reason))
    .bind(storable(&String::from_utf8_lossy(&rejected.record.payload)))
    .bind(now_us)
    .bind(rejected.freezes_account.map(storable))
    .execute(connection)
    .await?;
    Ok(())
}

/// Replaces NUL characters, which PostgreSQL cannot store.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Returns whether an undecided event keeps an account from getting new leases.
pub async fn is_frozen(store: &Store, account: &str) -> Result<bool, sqlx::Error> {
    let row = sqlx::query::<Any>("SELECT 1 AS one FROM quarantine WHERE freezes_account = $1 AND decision IS NULL LIMIT 1")
        .bind(account.to_owned())
        .fetch_optional(&store.reads)
        .await?;
    Ok(row.is_some())
}

/// Lists the undecided events, oldest first, without their payloads. With `event_id`, lists only that event, with its payload.
pub async fn list(store: &Store, event_id: Option<&str>) -> Result<Vec<Quarantined>, sqlx::Error> {
    let rows = sqlx::query::<Any>(
        "SELECT reader, stream, sequence, event_id, reason, CASE WHEN $1 = '' THEN NULL ELSE payload END AS payload, quarantined_at_us, freezes_account FROM quarantine
         WHERE decision IS NULL AND ($1 = '' OR event_id = $1) ORDER BY quarantined_at_us, reader, sequence LIMIT $2",
    )
    .bind(event_id.unwrap_or_default().to_owned())
    .bind(LIST_MAX)
    .fetch_all(&store.reads)
    .await?;
    rows.iter().map(quarantined).collect()
}

fn quarantined(row: &AnyRow) -> Result<Quarantined, sqlx::Error> {
    Ok(Quarantined {
        event_id: row.try_get("event_id")?,
        projection: row.try_get("reader")?,
        stream: row.try_get("stream")?,
        sequence: from_db(row.try_get("sequence")?)?,
        reason: row.try_get("reason")?,
        freezes_account: row.try_get("freezes_account")?,
        quarantined_at: rfc3339(row.try_get("quarantined_at_us")?),
        payload: row.try_get("payload")?,
    })
}

/// Decides about an event for every reader that set it aside: applies it again with the reader's fold, or discards it.
///
/// # Errors
/// Fails if the database is unavailable, or another process changed the same rows meanwhile: repeat the call.
pub async fn decide(
    store: &Store,
    command: &DecideQuarantine,
    now_us: i64,
    fold_of: impl Fn(&str) -> Option<Arc<dyn Fold>>,
) -> Result<DecideReply, sqlx::Error> {
    let waiting = list(store, Some(&command.event_id)).await?;
    if waiting.is_empty() {
        return Ok(DecideReply::Unknown);
    }
    let mut rejected = None;
    for event in &waiting {
        match (command.decision, fold_of(&event.projection)) {
            (Decision::Discard, _) => discard(store, event, now_us).await?,
            (Decision::Release, Some(fold)) => rejected = release(store, &*fold, event, now_us).await?.or(rejected),
            (Decision::Release, None) => rejected = Some(format!("this version has no reader {}", event.projection)),
        }
    }
    Ok(rejected.map_or(DecideReply::Done, |reason| DecideReply::Rejected { reason }))
}

/// Applies an event again, in one transaction with the decision. Returns the reason if it still cannot be applied.
async fn release(store: &Store, fold: &dyn Fold, event: &Quarantined, now_us: i64) -> Result<Option<String>, sqlx::Error> {
    let record = Record {
        sequence: event.sequence,
        id: event.event_id.clone(),
        payload: event.payload.clone().unwrap_or_default().into_bytes().into(),
    };
    let envelope = match RawEnvelope::parse(&record.payload) {
        Ok(envelope) => envelope,
        Err(error) => return Ok(Some(error.to_string())),
    };
    let mut transaction = store.begin_exclusive().await?;
    let events = [Event { record: &record, envelope, is_repeat: false }];
    match fold.apply(&mut transaction, &events).await {
        Ok(mut rejected) => {
            if let Some(rejected) = rejected.pop() {
                return Ok(Some(rejected.reason));
            }
        }
        Err(error) if is_data_error(&error) => return Ok(Some(format!("the database refuses it: {error}"))),
        Err(error) => return Err(error),
    }
    note(&mut transaction, event, Decision::Release, now_us).await?;
    transaction.commit().await?;
    Ok(None)
}

async fn discard(store: &Store, event: &Quarantined, now_us: i64) -> Result<(), sqlx::Error> {
    let mut transaction = store.begin_exclusive().await?;
    note(&mut transaction, event, Decision::Discard, now_us).await?;
    transaction.commit().await
}

async fn note(connection: &mut AnyConnection, event: &Quarantined, decision: Decision, now_us: i64) -> Result<(), sqlx::Error> {
    sqlx::query::<Any>(
        "UPDATE quarantine SET decision = $1, decided_at_us = $2 WHERE reader = $3 AND sequence = $4 AND event_id = $5 AND decision IS NULL",
    )
    .bind(decision.as_str())
    .bind(now_us)
    .bind(event.projection.clone())
    .bind(to_db(event.sequence)?)
    .bind(event.event_id.clone())
    .execute(connection)
    .await?;
    Ok(())
}
