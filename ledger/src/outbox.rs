//! The outbox: the ledger's own events are written in the transaction of their effect and published afterwards, and again if NATS loses
//! them.

use std::collections::BTreeMap;
use std::time::Duration;

use eventlog::store::{from_db, placeholders, portions, to_db};
use eventlog::{Log, LogError, Outgoing, Record, Throttle};
use events::envelope::RawEnvelope;
use events::ledger::{CreditPosted, LeaseChanged, UsagePosted};
use events::subject::{Stream, subject};
use events::{Draft, Failpoint, Payload, SigningKeys, Source, failpoint};
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::decide::Fact;
use crate::process::Ledger;

/// Events published in one batch.
const BATCH: i64 = 500;
/// The placeholder for the account of an event that concerns many accounts.
const MANY: &str = "many";
/// The wait if nothing is unpublished or NATS is unavailable.
const PAUSE: Duration = Duration::from_millis(200);

/// An event in the form that the log takes.
#[derive(Debug, Clone)]
pub struct Message {
    pub event_id: String,
    /// The NATS subject.
    pub subject: String,
    /// The event as JSON text.
    pub payload: String,
}

/// Writes facts to the outbox, in the transaction of their effect.
pub async fn write(connection: &mut AnyConnection, ledger: &Ledger, facts: &[Fact]) -> Result<(), sqlx::Error> {
    if facts.is_empty() {
        return Ok(());
    }
    let count = i64::try_from(facts.len()).unwrap_or(i64::MAX);
    let row = sqlx::query::<Any>("UPDATE outbox_state SET written = written + $1 WHERE one = 1 RETURNING written, node")
        .bind(count)
        .fetch_one(&mut *connection)
        .await?;
    let first = from_db(row.try_get::<i64, _>("written")? - count + 1)?;
    let source = Source(format!("/ledger/{}", row.try_get::<String, _>("node")?));
    let mut messages = Vec::with_capacity(facts.len());
    for (sequence, fact) in (first..).zip(facts) {
        messages.push((sequence, message(ledger, &source, sequence, fact).map_err(|error| sqlx::Error::Encode(Box::new(error)))?));
    }
    insert(connection, &messages).await
}

fn message(ledger: &Ledger, source: &Source, sequence: u64, fact: &Fact) -> Result<Message, serde_json::Error> {
    match fact {
        Fact::LeaseChanged(payload) => of(ledger, source, sequence, payload.account.as_str(), payload.lease.as_str(), payload),
        Fact::CreditPosted(payload) => of(ledger, source, sequence, payload.account.as_str(), &payload.id, payload),
        Fact::UsagePosted(payload) => of(ledger, source, sequence, MANY, MANY, payload),
    }
}

/// Returns the NATS subject of a fact.
#[must_use]
pub fn subject_of(fact: &Fact) -> String {
    match fact {
        Fact::LeaseChanged(payload) => subject::<LeaseChanged>(payload.account.as_str(), payload.lease.as_str()),
        Fact::CreditPosted(payload) => subject::<CreditPosted>(payload.account.as_str(), &payload.id),
        Fact::UsagePosted(_) => subject::<UsagePosted>(MANY, MANY),
    }
}

fn of<P: Payload>(
    ledger: &Ledger,
    source: &Source,
    sequence: u64,
    account: &str,
    about: &str,
    payload: &P,
) -> Result<Message, serde_json::Error> {
    let id = ledger.ids.uuid(&*ledger.clock);
    let draft = Draft { id, time_us: ledger.clock.now_us(), account, subject: about, traceparent: None, payload };
    let mut bytes = Vec::new();
    draft.write(source, sequence, &mut bytes)?;
    ledger.keys.sign(&mut bytes);
    let payload = String::from_utf8(bytes).unwrap_or_default();
    Ok(Message { event_id: id.to_string(), subject: subject::<P>(account, about), payload })
}

/// Stores events that are in the log already, and marks all events up to `last` as published.
pub async fn keep(connection: &mut AnyConnection, last: u64, messages: &[(u64, Message)]) -> Result<(), sqlx::Error> {
    insert(connection, messages).await?;
    sqlx::query::<Any>("UPDATE outbox_state SET written = $1, published = $1 WHERE one = 1").bind(to_db(last)?).execute(connection).await?;
    Ok(())
}

async fn insert(connection: &mut AnyConnection, messages: &[(u64, Message)]) -> Result<(), sqlx::Error> {
    for portion in portions(messages) {
        let sql =
            format!("INSERT INTO outbox (sequence, event_id, subject, payload) VALUES {}", placeholders(connection, portion.len(), 4));
        let mut query = sqlx::query::<Any>(AssertSqlSafe(sql));
        for (sequence, message) in portion {
            query =
                query.bind(to_db(*sequence)?).bind(message.event_id.clone()).bind(message.subject.clone()).bind(message.payload.clone());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Returns the number of facts in the books. Empty books take over the node name under which their log was written.
pub async fn adopt(ledger: &Ledger, source: &str) -> Result<u64, sqlx::Error> {
    let mut transaction = ledger.store.begin_shared().await?;
    sqlx::query::<Any>("UPDATE outbox_state SET node = $1 WHERE one = 1 AND written = 0")
        .bind(source.trim_start_matches("/ledger/").to_owned())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    written(ledger).await
}

/// Returns the number of facts in the books.
pub async fn written(ledger: &Ledger) -> Result<u64, sqlx::Error> {
    written_in(&mut *ledger.store.reads.acquire().await?).await
}

/// Returns the number of facts in the books, as seen by a transaction.
pub async fn written_in(connection: &mut AnyConnection) -> Result<u64, sqlx::Error> {
    let row = sqlx::query::<Any>("SELECT written FROM outbox_state WHERE one = 1").fetch_one(connection).await?;
    from_db(row.try_get("written")?)
}

/// Returns the id of the event at a sequence in the outbox.
pub async fn event_at(ledger: &Ledger, sequence: u64) -> Result<Option<String>, sqlx::Error> {
    let row = sqlx::query::<Any>("SELECT event_id FROM outbox WHERE sequence = $1")
        .bind(to_db(sequence)?)
        .fetch_optional(&ledger.store.reads)
        .await?;
    row.map(|row| row.try_get("event_id")).transpose()
}

/// Returns the first sequence at which the books have another event id than the one published; `None` if all agree.
pub async fn differs(ledger: &Ledger, published: &BTreeMap<u64, String>) -> Result<Option<u64>, sqlx::Error> {
    let (Some((first, _)), Some((last, _))) = (published.first_key_value(), published.last_key_value()) else { return Ok(None) };
    let rows = sqlx::query::<Any>("SELECT sequence, event_id FROM outbox WHERE sequence BETWEEN $1 AND $2 ORDER BY sequence")
        .bind(to_db(*first)?)
        .bind(to_db(*last)?)
        .fetch_all(&ledger.store.reads)
        .await?;
    for row in rows {
        let sequence = from_db(row.try_get("sequence")?)?;
        let id: &str = row.try_get("event_id")?;
        if published.get(&sequence).is_some_and(|published| published != id) {
            return Ok(Some(sequence));
        }
    }
    Ok(None)
}

/// The last fact in the log that is signed with one of the ledger's keys.
pub struct LastFact {
    /// The id in the event's envelope, not the message id under which it was published.
    pub event_id: String,
    /// The source of the event.
    pub source: String,
    /// The fact's sequence number among the ledger's facts.
    pub sequence: u64,
}

/// Returns the last fact in the log that is signed with one of the ledger's keys, and the stream's last sequence.
pub async fn last_fact(ledger: &Ledger, log: &Log) -> Result<(Option<LastFact>, u64), LogError> {
    let (last, end) = log.last_event_of(Stream::Ledger, |record| envelope(&ledger.keys, record).is_some()).await?;
    if last.as_ref().map_or(0, |last| last.sequence) < end {
        let foreign = end - last.as_ref().map_or(0, |last| last.sequence);
        tracing::error!(
            foreign,
            "stream LEDGER ends with {foreign} events that no ledger of ours signed: they are skipped; find out who wrote them"
        );
    }
    let fact = |record: Record| {
        let envelope = envelope(&ledger.keys, &record)?;
        let (event_id, source) = (envelope.id.to_owned(), envelope.source.to_owned());
        Some(LastFact { event_id, source, sequence: envelope.sequence_number().ok()? })
    };
    Ok((last.and_then(fact), end))
}

/// Returns the envelope of a record of the stream `LEDGER` if one of the ledger's keys accepts it.
#[must_use]
pub fn envelope<'a>(keys: &SigningKeys, record: &'a Record) -> Option<RawEnvelope<'a>> {
    let envelope = RawEnvelope::parse(&record.payload).ok()?;
    let sequence = envelope.sequence_number().ok()?;
    keys.accepts(&record.payload, sequence).then_some(envelope)
}

/// Publishes facts while this ledger is the first of those that share the books. After `stop` it publishes the rest and returns.
pub async fn relay(ledger: &Ledger, log: &Log, is_first: watch::Receiver<bool>, stop: CancellationToken) {
    let mut connects = log.connects();
    // The end of the stream, once it is known. It is unknown again after a reconnect, an error or a time in which another ledger was first.
    let mut tail = None;
    let troubles = Throttle::new();
    loop {
        if connects.has_changed().unwrap_or(false) {
            connects.mark_unchanged();
            tail = None;
        }
        let (known, mut pause) = (tail.take(), PAUSE);
        if *is_first.borrow() {
            match advance(ledger, log, known).await {
                Ok((end, is_all)) => {
                    troubles.succeeded();
                    tail = Some(end);
                    if !is_all {
                        continue;
                    }
                }
                // The process ends because of this error.
                Err(error @ RelayError::Unknown(_)) => tracing::error!(%error, "{error}"),
                Err(error) => {
                    let (wait, report) = troubles.failed();
                    if let Some(unsaid) = report {
                        tracing::warn!(%error, unsaid, "the ledger's events wait in the outbox: {error}");
                    }
                    pause = wait;
                }
            }
        }
        if stop.is_cancelled() {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("stream LEDGER ends with {0}, which the books do not have: they are older than the log, or another's")]
    Unknown(String),
}

/// Publishes the next events after the stream's last one. Returns the new end of the stream, and whether nothing was left to publish.
async fn advance(ledger: &Ledger, log: &Log, tail: Option<u64>) -> Result<(u64, bool), RelayError> {
    let tail = match tail {
        Some(tail) => tail,
        None => find_tail(ledger, log).await?,
    };
    let end = publish(ledger, log, tail).await?;
    Ok((end, end == tail))
}

/// Returns the stream's last sequence, and sets `published` to its last fact.
/// The stream may have lost its tail, or end with facts that a ledger published just before it died. So publishing continues after the last
/// fact in the stream.
/// If the books lack that fact, they have lost rows, or another ledger with the same key wrote it. Then the database is fenced, and the
/// next start finds out which.
/// Events without a valid signature are ignored: anybody may have written them.
async fn find_tail(ledger: &Ledger, log: &Log) -> Result<u64, RelayError> {
    let (last, tail) = last_fact(ledger, log).await?;
    let has = match last {
        None => 0,
        Some(last) => {
            let row = sqlx::query::<Any>("SELECT sequence FROM outbox WHERE event_id = $1").bind(last.event_id.clone());
            let Some(row) = row.fetch_optional(&ledger.store.reads).await? else {
                ledger.store.fence();
                return Err(RelayError::Unknown(last.event_id));
            };
            row.try_get::<i64, _>("sequence")?
        }
    };
    let mut transaction = ledger.store.begin_shared().await?;
    sqlx::query::<Any>("UPDATE outbox_state SET published = $1 WHERE one = 1 AND published <> $1")
        .bind(has)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(tail)
}

/// Publishes the next events after the stream's sequence `tail`; returns the new end of the stream.
async fn publish(ledger: &Ledger, log: &Log, tail: u64) -> Result<u64, RelayError> {
    let rows = sqlx::query::<Any>(
        "SELECT sequence, event_id, subject, payload FROM outbox
         WHERE sequence > (SELECT published FROM outbox_state WHERE one = 1) ORDER BY sequence LIMIT $1",
    )
    .bind(BATCH)
    .fetch_all(&ledger.store.reads)
    .await?;
    let sequence = |row: Option<&AnyRow>| row.map(|row| row.try_get::<i64, _>("sequence")).transpose();
    let (Some(first), Some(last)) = (sequence(rows.first())?, sequence(rows.last())?) else { return Ok(tail) };
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        events.push(Outgoing {
            stream: Stream::Ledger,
            subject: row.try_get("subject")?,
            id: row.try_get("event_id")?,
            payload: row.try_get::<String, _>("payload")?.into(),
        });
    }
    let end = log.append_behind(tail, events).await?;
    failpoint(Failpoint::OutboxSent);
    let mut transaction = ledger.store.begin_shared().await?;
    // Leaves `published` alone if another ledger has set it back meanwhile because the stream lost its tail.
    sqlx::query::<Any>("UPDATE outbox_state SET published = $1 WHERE one = 1 AND published = $2")
        .bind(last)
        .bind(first - 1)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(end)
}
