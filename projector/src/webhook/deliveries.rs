//! The fold that makes a delivery for each matching endpoint and event. It runs behind the fold of a projection, in its transaction.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use eventlog::store::{placeholders, portions};
use eventlog::{Applied, Event, Fold};
use events::clock::parse_rfc3339;
use events::ids::hex;
use events::webhook::{Webhook, short_type};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};

use super::endpoints;
use crate::projections::erasures::{Pseudonyms, renamed};

const COLUMNS: [&str; 9] = ["id", "webhook", "event_id", "event_type", "event_time_us", "body", "state", "attempts", "next_at_us"];

/// A fold that also makes deliveries.
pub struct WithDeliveries(pub &'static dyn Fold);

impl Fold for WithDeliveries {
    fn apply<'a, 'e: 'a>(&'a self, connection: &'a mut AnyConnection, events: &'e [Event<'e>]) -> Applied<'a, 'e> {
        Box::pin(async move {
            let rejected = self.0.apply(connection, events).await?;
            make(connection, events).await?;
            Ok(rejected)
        })
    }
}

/// A row of `deliveries` that waits for its first attempt.
#[derive(Debug)]
pub struct NewDelivery<'a> {
    pub webhook: &'a str,
    pub event_id: &'a str,
    pub event_type: &'a str,
    pub event_time_us: i64,
    /// The event.
    pub body: Cow<'a, str>,
}

impl NewDelivery<'_> {
    /// Returns the delivery's id, which is the same whenever the event is read.
    #[must_use]
    pub fn id(&self) -> String {
        let digest = Sha256::new().chain_update(self.webhook).chain_update([0]).chain_update(self.event_id).finalize();
        format!("dlv_{}", hex(digest.get(..16).unwrap_or_default()))
    }
}

/// The part of a payload that names the key that the event is about.
#[derive(Deserialize)]
struct About<'a> {
    #[serde(borrow, default)]
    key: Option<KeyName<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum KeyName<'a> {
    Hash(&'a str),
    Whole { hash: &'a str },
}

impl<'a> About<'a> {
    fn key(&self) -> Option<&'a str> {
        self.key.as_ref().map(|key| match key {
            KeyName::Hash(hash) | KeyName::Whole { hash } => *hash,
        })
    }
}

async fn make(connection: &mut AnyConnection, events: &[Event<'_>]) -> Result<(), sqlx::Error> {
    let accounts: BTreeSet<&str> =
        events.iter().filter(|event| short_type(event.envelope.kind).is_some()).map(|event| event.envelope.account).collect();
    let webhooks = endpoints::of_accounts(connection, &accounts).await?;
    if webhooks.is_empty() {
        return Ok(());
    }
    let since_us = floor(connection).await?;
    let pseudonyms = Pseudonyms::load(connection).await?;
    let mut made = Vec::new();
    for event in events {
        let account = event.envelope.account;
        let Some(webhooks) = webhooks.get(account) else { continue };
        let deliveries = matching(event, webhooks, since_us);
        let body = deliveries.first().filter(|_| pseudonyms.has(account));
        let renamed = body.and_then(|of| renamed(&of.body, |name| pseudonyms.token(account, name).cloned()));
        made.extend(deliveries.into_iter().map(|delivery| match &renamed {
            Some(body) => NewDelivery { body: Cow::Owned(body.clone()), ..delivery },
            None => delivery,
        }));
    }
    insert(connection, &made).await
}

fn matching<'a>(event: &'a Event<'a>, webhooks: &'a [Webhook], since_us: i64) -> Vec<NewDelivery<'a>> {
    let envelope = &event.envelope;
    let Some(event_time_us) = parse_rfc3339(envelope.time).filter(|time_us| *time_us >= since_us) else { return Vec::new() };
    let Ok(body) = std::str::from_utf8(&event.record.payload) else { return Vec::new() };
    // A payload of an unexpected shape was set aside by the projection's own fold.
    let about: Option<About<'_>> = serde_json::from_str(envelope.data.get()).ok();
    let key = about.and_then(|about| about.key());
    let wanting = webhooks.iter().filter(|webhook| webhook.wants(envelope.id, envelope.kind, event_time_us, key));
    let delivery = |webhook: &'a Webhook| NewDelivery {
        webhook: &webhook.id,
        event_id: envelope.id,
        event_type: envelope.kind,
        event_time_us,
        body: body.into(),
    };
    wanting.map(delivery).collect()
}

/// Returns the time from which on events make deliveries.
async fn floor(connection: &mut AnyConnection) -> Result<i64, sqlx::Error> {
    let row = sqlx::query::<Any>("SELECT since_us FROM delivery_floor WHERE one = 1").fetch_optional(connection).await?;
    row.map_or(Ok(i64::MIN), |row| row.try_get("since_us"))
}

/// Stores the time from which on events make deliveries.
pub async fn set_floor(connection: &mut AnyConnection, since_us: i64) -> Result<(), sqlx::Error> {
    sqlx::query::<Any>(
        "INSERT INTO delivery_floor (one, since_us) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET since_us = excluded.since_us",
    )
    .bind(since_us)
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes deliveries, except those that exist.
pub async fn insert(connection: &mut AnyConnection, made: &[NewDelivery<'_>]) -> Result<(), sqlx::Error> {
    // One statement must not touch a row twice.
    let made: Vec<(String, &NewDelivery<'_>)> =
        made.iter().map(|delivery| (delivery.id(), delivery)).collect::<BTreeMap<_, _>>().into_iter().collect();
    for portion in portions(&made) {
        let sql = format!(
            "INSERT INTO deliveries ({}) VALUES {} ON CONFLICT (id) DO NOTHING",
            COLUMNS.join(", "),
            placeholders(connection, portion.len(), COLUMNS.len()),
        );
        let mut query = sqlx::query::<Any>(AssertSqlSafe(sql));
        for (id, delivery) in portion {
            query = query
                .bind(id.clone())
                .bind(delivery.webhook.to_owned())
                .bind(delivery.event_id.to_owned())
                .bind(delivery.event_type.to_owned())
                .bind(delivery.event_time_us)
                .bind(delivery.body.clone().into_owned())
                .bind("pending")
                .bind(0_i64)
                // It is due at once, and in the order of events.
                .bind(delivery.event_time_us);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}
