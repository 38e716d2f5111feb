//! The outbox: the ledger's own events are written with their effect and published afterwards, again and again if NATS loses them.

use std::time::Duration;

use eventlog::{Log, Outgoing};
use events::subject::{Stream, subject};
use events::{Draft, KillPoint, Payload, Source, kill_point};
use sqlx::{Any, AnyConnection, Row};
use tokio_util::sync::CancellationToken;

use crate::process::Ledger;

/// Events published at once.
const BATCH: i64 = 500;
/// How long to wait when there is nothing to publish, or NATS is away.
const PAUSE: Duration = Duration::from_millis(200);

/// Writes an event in the transaction of its effect.
///
/// # Errors
/// When the database is away.
pub async fn write<P: Payload>(
    connection: &mut AnyConnection,
    ledger: &Ledger,
    account: &str,
    about: &str,
    payload: &P,
) -> Result<(), sqlx::Error> {
    let row = sqlx::query::<Any>("UPDATE outbox_state SET written = written + 1 WHERE one = 1 RETURNING written, node")
        .fetch_one(&mut *connection)
        .await?;
    let sequence: i64 = row.try_get("written")?;
    let source = Source(format!("/ledger/{}", row.try_get::<String, _>("node")?));
    let id = ledger.ids.uuid(&*ledger.clock);
    let draft = Draft { id, time_us: ledger.clock.now_us(), account, subject: about, traceparent: None, payload };
    let mut bytes = Vec::new();
    draft.write(&source, u64::try_from(sequence).unwrap_or_default(), &mut bytes).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    sqlx::query::<Any>("INSERT INTO outbox (sequence, event_id, subject, payload) VALUES ($1, $2, $3, $4)")
        .bind(sequence)
        .bind(id.to_string())
        .bind(subject::<P>(account, about))
        .bind(String::from_utf8(bytes).unwrap_or_default())
        .execute(connection)
        .await?;
    Ok(())
}

/// Publishes until `stop`.
pub async fn relay(ledger: &Ledger, log: &Log, stop: CancellationToken) {
    let mut connects = log.connects();
    let mut verified = false;
    loop {
        if connects.has_changed().unwrap_or(false) {
            connects.mark_unchanged();
            verified = false;
        }
        let moved = async {
            if !verified {
                rewind(ledger, log).await?;
            }
            publish(ledger, log).await
        };
        match moved.await {
            Ok(moved) => {
                verified = true;
                if moved {
                    continue;
                }
            }
            Err(error) => tracing::warn!(%error, "the ledger's events wait in the outbox: {error}"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Log(#[from] eventlog::LogError),
}

/// After a connection the stream may have lost its tail: go back to the last event it still has.
async fn rewind(ledger: &Ledger, log: &Log) -> Result<(), RelayError> {
    let last = log.last_event_id(Stream::Ledger).await?.unwrap_or_default();
    let row = sqlx::query::<Any>("SELECT sequence FROM outbox WHERE event_id = $1").bind(last).fetch_optional(&ledger.store.reads).await?;
    let has = row.map_or(Ok(0), |row| row.try_get::<i64, _>("sequence"))?;
    let mut transaction = ledger.store.begin().await?;
    sqlx::query::<Any>("UPDATE outbox_state SET published = $1 WHERE one = 1 AND published > $1")
        .bind(has)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

/// Publishes the next events; false when there were none.
async fn publish(ledger: &Ledger, log: &Log) -> Result<bool, RelayError> {
    let rows = sqlx::query::<Any>(
        "SELECT sequence, event_id, subject, payload FROM outbox
         WHERE sequence > (SELECT published FROM outbox_state WHERE one = 1) ORDER BY sequence LIMIT $1",
    )
    .bind(BATCH)
    .fetch_all(&ledger.store.reads)
    .await?;
    let Some(last) = rows.last().map(|row| row.try_get::<i64, _>("sequence")).transpose()? else {
        return Ok(false);
    };
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        events.push(Outgoing {
            stream: Stream::Ledger,
            subject: row.try_get("subject")?,
            id: row.try_get("event_id")?,
            payload: row.try_get::<String, _>("payload")?.into(),
        });
    }
    log.append(events).await?;
    kill_point(KillPoint::OutboxSent);
    let mut transaction = ledger.store.begin().await?;
    sqlx::query::<Any>("UPDATE outbox_state SET published = $1 WHERE one = 1 AND published < $1")
        .bind(last)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(true)
}
