//! The reader of `USAGE`: tells new charges from known ones and from forgeries, and posts the new ones.

use std::collections::HashMap;
use std::sync::Arc;

use eventlog::store::placeholders;
use eventlog::{Event, Fold, Rejected};
use events::Payload;
use events::usage_recorded::UsageRecorded;
use sha2::{Digest, Sha256};
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};

use super::batch::{Batch, Charge};
use crate::process::Ledger;

/// Posts usage.
pub struct PostUsage(pub Arc<Ledger>);

/// What is posted already, by event id and by request.
#[derive(Default)]
struct Known {
    hash_of_event: HashMap<String, String>,
    event_of_request: HashMap<String, String>,
}

impl Known {
    fn add(&mut self, event: &str, hash: &str, request: &str) {
        self.hash_of_event.insert(event.to_owned(), hash.to_owned());
        self.event_of_request.insert(request.to_owned(), event.to_owned());
    }
}

impl Fold for PostUsage {
    async fn apply<'e>(&self, connection: &mut AnyConnection, events: &'e [Event<'e>]) -> Result<Vec<Rejected<'e>>, sqlx::Error> {
        let mut rejected = Vec::new();
        let mut charges = Vec::with_capacity(events.len());
        for event in events {
            match charge(event) {
                Ok(charge) => charges.push((event, charge)),
                Err(reason) => rejected.push(Rejected { record: event.record, reason }),
            }
        }
        let mut known = known(connection, &charges).await?;
        let mut fresh = Vec::with_capacity(charges.len());
        for (event, charge) in charges {
            let (id, request) = (charge.event_id.as_str(), charge.usage.request.as_str());
            if let Some(hash) = known.hash_of_event.get(id) {
                if *hash != charge.content_hash {
                    rejected.push(Rejected { record: event.record, reason: format!("event {id} was posted before with other content") });
                }
            } else if let Some(other) = known.event_of_request.get(request) {
                rejected.push(Rejected { record: event.record, reason: format!("request {request} was charged before by event {other}") });
            } else {
                known.add(id, &charge.content_hash, request);
                fresh.push(charge);
            }
        }
        Batch::post(connection, &self.0, &fresh).await?;
        Ok(rejected)
    }
}

fn charge(event: &Event<'_>) -> Result<Charge, String> {
    if event.envelope.kind != UsageRecorded::KIND {
        return Err(format!("unknown type {}", event.envelope.kind));
    }
    let usage: UsageRecorded = event.envelope.payload().map_err(|error| error.to_string())?;
    if usage.cost_nanos.0 < 0 {
        return Err("a negative cost".to_owned());
    }
    Ok(Charge {
        event_id: event.envelope.id.to_owned(),
        account: event.envelope.account.to_owned(),
        content_hash: events::ids::hex(&Sha256::digest(&event.record.payload)[..16]),
        usage,
    })
}

async fn known(connection: &mut AnyConnection, charges: &[(&Event<'_>, Charge)]) -> Result<Known, sqlx::Error> {
    let mut known = Known::default();
    if charges.is_empty() {
        return Ok(known);
    }
    for column in ["id", "request"] {
        let sql =
            format!("SELECT id, content_hash, request FROM transactions WHERE {column} IN {}", placeholders(connection, 1, charges.len()));
        let mut query = sqlx::query::<Any>(AssertSqlSafe(sql)).persistent(false);
        for (_, charge) in charges {
            query = query.bind(if column == "id" { charge.event_id.clone() } else { charge.usage.request.to_string() });
        }
        for row in query.fetch_all(&mut *connection).await? {
            let request: Option<String> = row.try_get("request")?;
            known.add(row.try_get("id")?, row.try_get("content_hash")?, &request.unwrap_or_default());
        }
    }
    Ok(known)
}
