//! The outbox: the ledger's own events are written with their effect and published afterwards, again and again if NATS loses them.

use std::collections::BTreeMap;
use std::time::Duration;

use eventlog::store::{placeholders, portions};
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

/// Events published at once.
const BATCH: i64 = 500;
/// Stands where an event has an account, when it is about many.
const MANY: &str = "many";
/// How long to wait when there is nothing to publish, or NATS is away.
const PAUSE: Duration = Duration::from_millis(200);

/// An event as the log takes it.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its id.
    pub event_id: String,
    /// Where to.
    pub subject: String,
    /// The event.
    pub payload: String,
}

/// Writes facts in the transaction of their effect.
///
/// # Errors
/// When the database is away.
pub async fn write(connection: &mut AnyConnection, ledger: &Ledger, facts: &[Fact]) -> Result<(), sqlx::Error> {
    if facts.is_empty() {
        return Ok(());
    }
    let count = i64::try_from(facts.len()).unwrap_or(i64::MAX);
    let row = sqlx::query::<Any>("UPDATE outbox_state SET written = written + $1 WHERE one = 1 RETURNING written, node")
        .bind(count)
        .fetch_one(&mut *connection)
        .await?;
    let first = (row.try_get::<i64, _>("written")? - count + 1).unsigned_abs();
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

/// Where a fact goes in the log.
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

/// Keeps events that are in the log already, up to the last of them.
///
/// # Errors
/// When the database is away.
pub async fn keep(connection: &mut AnyConnection, last: u64, messages: &[(u64, Message)]) -> Result<(), sqlx::Error> {
    insert(connection, messages).await?;
    sqlx::query::<Any>("UPDATE outbox_state SET written = $1, published = $1 WHERE one = 1")
        .bind(i64::try_from(last).unwrap_or(i64::MAX))
        .execute(connection)
        .await?;
    Ok(())
}

async fn insert(connection: &mut AnyConnection, messages: &[(u64, Message)]) -> Result<(), sqlx::Error> {
    for portion in portions(messages) {
        let sql =
            format!("INSERT INTO outbox (sequence, event_id, subject, payload) VALUES {}", placeholders(connection, portion.len(), 4));
        let mut query = sqlx::query::<Any>(AssertSqlSafe(sql));
        for (sequence, message) in portion {
            query = query
                .bind(i64::try_from(*sequence).unwrap_or(i64::MAX))
                .bind(message.event_id.clone())
                .bind(message.subject.clone())
                .bind(message.payload.clone());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// How many facts the books have. Empty ones take the name over that their log was written under.
///
/// # Errors
/// When the database is away.
pub async fn adopt(ledger: &Ledger, source: &str) -> Result<u64, sqlx::Error> {
    let mut transaction = ledger.store.begin_shared().await?;
    sqlx::query::<Any>("UPDATE outbox_state SET node = $1 WHERE one = 1 AND written = 0")
        .bind(source.trim_start_matches("/ledger/").to_owned())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    written(ledger).await
}

/// How many facts the books have.
///
/// # Errors
/// When the database is away.
pub async fn written(ledger: &Ledger) -> Result<u64, sqlx::Error> {
    written_in(&mut *ledger.store.reads.acquire().await?).await
}

/// How many facts the books have, as a transaction sees it.
///
/// # Errors
/// When the database is away.
pub async fn written_in(connection: &mut AnyConnection) -> Result<u64, sqlx::Error> {
    let row = sqlx::query::<Any>("SELECT written FROM outbox_state WHERE one = 1").fetch_one(connection).await?;
    row.try_get::<i64, _>("written").map(i64::unsigned_abs)
}

/// The id of the event at a place.
///
/// # Errors
/// When the database is away.
pub async fn event_at(ledger: &Ledger, sequence: u64) -> Result<Option<String>, sqlx::Error> {
    let row = sqlx::query::<Any>("SELECT event_id FROM outbox WHERE sequence = $1")
        .bind(i64::try_from(sequence).unwrap_or(i64::MAX))
        .fetch_optional(&ledger.store.reads)
        .await?;
    row.map(|row| row.try_get("event_id")).transpose()
}

/// The first place at which the books have another event than is published, by place and id.
///
/// # Errors
/// When the database is away.
pub async fn differs(ledger: &Ledger, published: &BTreeMap<u64, String>) -> Result<Option<u64>, sqlx::Error> {
    let (Some((first, _)), Some((last, _))) = (published.first_key_value(), published.last_key_value()) else { return Ok(None) };
    let number = |sequence: u64| i64::try_from(sequence).unwrap_or(i64::MAX);
    let rows = sqlx::query::<Any>("SELECT sequence, event_id FROM outbox WHERE sequence BETWEEN $1 AND $2 ORDER BY sequence")
        .bind(number(*first))
        .bind(number(*last))
        .fetch_all(&ledger.store.reads)
        .await?;
    for row in rows {
        let sequence = row.try_get::<i64, _>("sequence")?.unsigned_abs();
        let id: &str = row.try_get("event_id")?;
        if published.get(&sequence).is_some_and(|published| published != id) {
            return Ok(Some(sequence));
        }
    }
    Ok(None)
}

/// A fact of ours at the end of the log.
pub struct LastFact {
    /// The event's id: its own, not the one it was published under.
    pub event_id: String,
    /// Whose.
    pub source: String,
    /// Its place among the ledger's facts.
    pub sequence: u64,
}

/// The last fact in the log that is signed with a key of ours, and the stream's last sequence.
///
/// # Errors
/// When NATS or the archive is away.
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

/// The envelope of a record of the stream `LEDGER`, when a ledger with our keys wrote it.
#[must_use]
pub fn envelope<'a>(keys: &SigningKeys, record: &'a Record) -> Option<RawEnvelope<'a>> {
    let envelope = RawEnvelope::parse(&record.payload).ok()?;
    let sequence = envelope.sequence_number().ok()?;
    keys.accepts(&record.payload, sequence).then_some(envelope)
}

/// Publishes until `stop`, and then what is left, while this ledger is the first of those that share the books.
pub async fn relay(ledger: &Ledger, log: &Log, is_first: watch::Receiver<bool>, stop: CancellationToken) {
    let mut connects = log.connects();
    // Where the stream ends, once that is known. What it was before a connection, an error or another first ledger says nothing.
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
                // The process ends because of it.
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

/// Publishes the next events behind the stream's last one; gives back where the stream ends now, and whether nothing was left.
async fn advance(ledger: &Ledger, log: &Log, tail: Option<u64>) -> Result<(u64, bool), RelayError> {
    let tail = match tail {
        Some(tail) => tail,
        None => find_tail(ledger, log).await?,
    };
    let end = publish(ledger, log, tail).await?;
    Ok((end, end == tail))
}

/// Where the stream ends. It may have lost its tail, or have what a ledger published just before it died: what comes next is what
/// follows its last fact. One that the books do not have was decided on what they have lost, or by another ledger with our key; the next
/// start finds out which. What no key of ours has signed is passed over: anybody may have written it.
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

/// Publishes the next events behind the stream's event number `tail`; gives back where it ends now.
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
    // Not where another ledger has gone back meanwhile, because the stream has lost its tail.
    sqlx::query::<Any>("UPDATE outbox_state SET published = $1 WHERE one = 1 AND published = $2")
        .bind(last)
        .bind(first - 1)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(end)
}
