//! The names of keys, for reports, and the endpoints of webhooks. The highest revision wins, whatever the order of events.

use eventlog::digest::Table;
use eventlog::store::to_db;
use eventlog::{Applied, Event, Fold, Pace, ReaderId, Rejected};
use events::control::{ControlEvent, Key};
use events::subject::Stream;
use sqlx::{Any, AnyConnection};

use super::Projection;
use crate::webhook::deliveries::WithDeliveries;
use crate::webhook::endpoints;

/// The reader of `CONTROL`, whose rows other projections need.
pub const READER: ReaderId = ReaderId { name: "key_names", stream: Stream::Control };

/// The projection of key names and webhooks.
pub const PROJECTION: Projection = Projection {
    reader: READER,
    fold: &WithDeliveries(&KeyNames),
    tables: &[
        Table::new("key_names", &["hash", "account", "name", "label", "revision"]),
        Table::new("webhooks", &["id", "account", "revision", "changed_at_us", "deleted", "content"]),
    ],
    pace: Pace::PROMPT,
    behind: None,
};

/// The fold of `CONTROL`.
pub struct KeyNames;

impl Fold for KeyNames {
    fn apply<'a, 'e: 'a>(&'a self, connection: &'a mut AnyConnection, events: &'e [Event<'e>]) -> Applied<'a, 'e> {
        Box::pin(async move {
            let mut rejected = Vec::new();
            for event in events {
                match ControlEvent::read(&event.envelope) {
                    Ok(Some(ControlEvent::Key(key) | ControlEvent::KeyDeleted(key))) => put(connection, &key).await?,
                    Ok(Some(ControlEvent::Webhook(webhook))) => endpoints::put(connection, &webhook, false).await?,
                    Ok(Some(ControlEvent::WebhookDeleted(webhook))) => endpoints::put(connection, &webhook, true).await?,
                    Ok(Some(
                        ControlEvent::Account(_) | ControlEvent::UserErased(_) | ControlEvent::Catalog(_) | ControlEvent::ProviderKey(_),
                    )) => {}
                    Ok(None) => rejected.push(Rejected::new(event, format!("unknown type {}", event.envelope.kind))),
                    Err(error) => rejected.push(Rejected::new(event, error.to_string())),
                }
            }
            Ok(rejected)
        })
    }
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
    .bind(to_db(key.revision)?)
    .execute(connection)
    .await?;
    Ok(())
}
