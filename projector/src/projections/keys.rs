//! The names of keys, for reports. The highest revision wins, whatever the order of events.

use eventlog::{Applied, Event, Fold, Pace, ReaderId, Rejected};
use events::Payload;
use events::control::{AccountCreated, AccountUpdated, Key, KeyCreated, KeyDeleted, KeyDisabled, KeyUpdated};
use events::subject::Stream;
use sqlx::{Any, AnyConnection};

use super::Projection;

/// The projection of key names.
pub const PROJECTION: Projection = Projection {
    reader: ReaderId { name: "key_names", stream: Stream::Control },
    fold: &KeyNames,
    tables: &[("key_names", &["hash", "account", "name", "label", "revision"])],
    pace: Pace::PROMPT,
};

/// The fold of `CONTROL`.
pub struct KeyNames;

impl Fold for KeyNames {
    fn apply<'a, 'e: 'a>(&'a self, connection: &'a mut AnyConnection, events: &'e [Event<'e>]) -> Applied<'a, 'e> {
        Box::pin(async move {
            let mut rejected = Vec::new();
            for event in events {
                match key(event) {
                    Ok(Some(key)) => put(connection, &key).await?,
                    Ok(None) => {}
                    Err(reason) => rejected.push(Rejected { record: event.record, reason, freezes_account: None }),
                }
            }
            Ok(rejected)
        })
    }
}

fn key(event: &Event<'_>) -> Result<Option<Key>, String> {
    let envelope = &event.envelope;
    let read = match envelope.kind {
        AccountCreated::KIND | AccountUpdated::KIND => return Ok(None),
        KeyCreated::KIND => envelope.payload::<KeyCreated>().map(|event| event.key),
        KeyUpdated::KIND => envelope.payload::<KeyUpdated>().map(|event| event.key),
        KeyDisabled::KIND => envelope.payload::<KeyDisabled>().map(|event| event.key),
        KeyDeleted::KIND => envelope.payload::<KeyDeleted>().map(|event| event.key),
        other => return Err(format!("unknown type {other}")),
    };
    read.map(Some).map_err(|error| error.to_string())
}

async fn put(connection: &mut AnyConnection, key: &Key) -> Result<(), sqlx::Error> {
    sqlx::query::<Any>(
        "INSERT INTO key_names (hash, account, name, label, revision) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (hash) DO UPDATE SET name = excluded.name, label = excluded.label, revision = excluded.revision
         WHERE key_names.revision < excluded.revision",
    )
    .bind(key.hash.to_string())
    .bind(key.account.to_string())
    .bind(key.name.clone())
    .bind(key.label.clone())
    .bind(i64::try_from(key.revision).unwrap_or(i64::MAX))
    .execute(connection)
    .await?;
    Ok(())
}
