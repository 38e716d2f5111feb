//! The reader of `USAGE`: tells new charges from known ones and from forgeries, and posts the new ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eventlog::store::{placeholders, portions};
use eventlog::{Applied, Event, Fold, Rejected};
use events::Payload;
use events::damaged::UsageDamaged;
use events::envelope::RawEnvelope;
use events::usage_recorded::UsageRecorded;
use sha2::{Digest, Sha256};
use sqlx::error::DatabaseError;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};

use super::charge::{self, Charge};
use crate::process::Ledger;

/// A fold that posts usage.
/// It looks up earlier postings only while there is reason to expect some. Otherwise it relies on the unique keys of the tables, which cost
/// nothing if nothing is posted twice.
pub struct PostUsage {
    ledger: Arc<Ledger>,
    doubts: AtomicBool,
}

impl PostUsage {
    /// Creates the fold for a ledger that has just started to read; its first events may already be posted.
    #[must_use]
    pub const fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger, doubts: AtomicBool::new(true) }
    }
}

/// The highest cost that a request can have, in nano-USD: ten million USD. Sums of many such costs still fit in an i64.
const COST_NANOS_MAX: i64 = 10_000_000 * 1_000_000_000;

/// Postings that exist already, by event id and by request.
#[derive(Debug, Clone, Default)]
pub struct Known {
    hash_of_event: HashMap<String, String>,
    event_of_request: HashMap<String, String>,
}

impl Known {
    pub fn add(&mut self, event: &str, hash: &str, request: &str) {
        self.hash_of_event.insert(event.to_owned(), hash.to_owned());
        self.event_of_request.insert(request.to_owned(), event.to_owned());
    }

    /// Returns whether a charge is new, and remembers it.
    ///
    /// # Errors
    /// Fails with one sentence if the event was posted with other content, or the request was charged by another event.
    pub fn admit(&mut self, charge: &Charge) -> Result<bool, String> {
        let (id, request) = (charge.event_id.as_str(), charge.usage.request.as_str());
        if let Some(hash) = self.hash_of_event.get(id) {
            return if *hash == charge.fingerprint { Ok(false) } else { Err(format!("event {id} was posted before with other content")) };
        }
        if let Some(other) = self.event_of_request.get(request) {
            return Err(format!("request {request} was charged before by event {other}"));
        }
        self.add(id, &charge.fingerprint, request);
        Ok(true)
    }
}

impl Fold for PostUsage {
    fn owes<'e>(&self, event: &RawEnvelope<'e>) -> Option<&'e str> {
        Some(event.account)
    }

    fn apply<'a, 'e: 'a>(&'a self, connection: &'a mut AnyConnection, events: &'e [Event<'e>]) -> Applied<'a, 'e> {
        Box::pin(async move {
            let mut rejected = Vec::new();
            let mut charges = Vec::with_capacity(events.len());
            for event in events {
                match read(event) {
                    Ok(charge) => charges.push((event, charge)),
                    // `UsageDamaged` replaces a charge that was damaged on a gateway's disk. Its account cannot be trusted, so it freezes
                    // none. Any other event that cannot be read may be a charge that its account owes.
                    Err(reason) => {
                        let freezes_account = (event.envelope.kind != UsageDamaged::KIND).then_some(event.envelope.account);
                        rejected.push(Rejected { record: event.record, reason, freezes_account });
                    }
                }
            }
            let doubts = self.doubts.load(Ordering::Relaxed);
            let mut known = if doubts { known(connection, &charges).await? } else { Known::default() };
            let read = charges.len();
            let mut fresh = Vec::with_capacity(charges.len());
            for (event, charge) in charges {
                match known.admit(&charge) {
                    Ok(true) => fresh.push(charge),
                    Ok(false) => {}
                    Err(reason) => rejected.push(Rejected { record: event.record, reason, freezes_account: None }),
                }
            }
            let posted = charge::post(connection, &self.ledger, &fresh).await;
            // Some of these charges are posted already: the retry with the same events looks them up first.
            let is_known = posted.as_ref().is_err_and(|error| error.as_database_error().is_some_and(DatabaseError::is_unique_violation));
            self.doubts.store(is_known || (doubts && fresh.len() < read), Ordering::Relaxed);
            posted.map(|()| rejected)
        })
    }
}

/// Converts an event to a charge.
///
/// # Errors
/// Fails with one sentence if the event is not a valid charge.
pub fn read(event: &Event<'_>) -> Result<Charge, String> {
    if event.envelope.kind == UsageDamaged::KIND {
        return Err(format!("a charge was damaged on the disk of {}: a request may be uncharged", event.envelope.source));
    }
    if event.envelope.kind != UsageRecorded::KIND {
        return Err(format!("unknown type {}", event.envelope.kind));
    }
    let usage: UsageRecorded = event.envelope.payload().map_err(|error| error.to_string())?;
    if !(0..=COST_NANOS_MAX).contains(&usage.cost_nanos.0) {
        return Err(format!("a cost of {} nano-USD, which no request can have", usage.cost_nanos.0));
    }
    let list = usage.byok.as_ref().map_or(0, |byok| byok.list_cost_nanos.0);
    if !(0..=COST_NANOS_MAX).contains(&list) {
        return Err(format!("a list price of {list} nano-USD, which no request can have"));
    }
    Ok(Charge {
        event_id: event.envelope.id.to_owned(),
        account: event.envelope.account.to_owned(),
        fingerprint: events::ids::hex(&Sha256::digest(&event.record.payload)[..16]),
        usage,
    })
}

async fn known(connection: &mut AnyConnection, charges: &[(&Event<'_>, Charge)]) -> Result<Known, sqlx::Error> {
    let mut known = Known::default();
    for column in ["id", "request"] {
        for portion in portions(charges) {
            let sql = format!(
                "SELECT id, fingerprint, request FROM transactions WHERE {column} IN {}",
                placeholders(connection, 1, portion.len())
            );
            let mut query = sqlx::query::<Any>(AssertSqlSafe(sql));
            for (_, charge) in portion {
                query = query.bind(if column == "id" { charge.event_id.clone() } else { charge.usage.request.to_string() });
            }
            for row in query.fetch_all(&mut *connection).await? {
                let request: Option<String> = row.try_get("request")?;
                known.add(row.try_get("id")?, row.try_get("fingerprint")?, &request.unwrap_or_default());
            }
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use eventlog::Store;
    use events::Nanos;

    use super::*;
    use crate::journal::{self, Kind, Posting, Transaction};

    fn transaction(id: &str, version: i64, request: &str) -> Transaction {
        Transaction {
            id: id.into(),
            fingerprint: "h".into(),
            account: "a".into(),
            version,
            kind: Kind::Usage,
            amount: Nanos(-1),
            balance_after: Nanos(0),
            description: String::new(),
            created_at_us: 0,
            request: Some(request.into()),
            key_hash: None,
            lease: None,
            byok: None,
            posting: Posting::default(),
        }
    }

    #[test]
    fn an_event_or_a_request_that_is_posted_is_told_from_a_forgery() {
        let mut known = Known::default();
        known.add("e1", "h1", "r1");
        let charge = |event: &str, hash: &str, request: &str| {
            let text = serde_json::json!({"request": request, "key": "k", "lease": "l", "model": "m", "provider": "p", "format": "chat",
                "streamed": false, "outcome": "finished", "tokens": {}, "provenance": "reported", "price_version": "1", "unit_prices": {},
                "cost_status": "priced", "cost_nanos": 1, "admitted_at_us": 0, "latency_us": 0});
            let usage = serde_json::from_value(text).unwrap();
            Charge { event_id: event.into(), account: "a".into(), fingerprint: hash.into(), usage }
        };
        assert_eq!(known.admit(&charge("e1", "h1", "r1")), Ok(false));
        assert!(known.admit(&charge("e1", "h2", "r1")).is_err(), "the same event with other content");
        assert!(known.admit(&charge("e2", "h1", "r1")).is_err(), "the same request by another event");
        assert_eq!(known.admit(&charge("e2", "h1", "r2")), Ok(true));
        assert_eq!(known.admit(&charge("e2", "h1", "r2")), Ok(false));
    }

    #[tokio::test]
    async fn the_database_itself_refuses_a_second_posting() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite://{}", folder.path().join("x.db").display()), crate::MIGRATIONS).await.unwrap();
        let post = async |transaction: Transaction| {
            let mut connection = store.begin_exclusive().await.unwrap();
            journal::write(&mut connection, &[transaction]).await?;
            connection.commit().await
        };
        post(transaction("e1", 1, "r1")).await.unwrap();
        assert!(post(transaction("e1", 2, "r2")).await.is_err(), "the same event");
        assert!(post(transaction("e2", 2, "r1")).await.is_err(), "the same request");
        assert!(post(transaction("e2", 1, "r2")).await.is_err(), "the same place in the history");
        let unbalanced = Transaction { posting: Posting { credit: Nanos(-1), ..Posting::default() }, ..transaction("e2", 2, "r2") };
        assert!(post(unbalanced).await.is_err(), "posting that do not sum to zero");
        post(transaction("e2", 2, "r2")).await.unwrap();
    }
}
