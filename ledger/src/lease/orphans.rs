//! Requests of a gateway that never came back. They started and have no end, so nobody knows what they cost: when the lease that paid
//! for them has been frozen long enough, the ledger ends them by a rule, with the same events that their gateway would have recorded.
//! Those are read and posted like all others; then the lease is settled.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use eventlog::{Log, LogError, Outgoing, Record};
use events::envelope::RawEnvelope;
use events::request::{RequestFinished, RequestProgress, RequestStarted};
use events::subject::{Stream, partition, subject};
use events::usage_recorded::UsageRecorded;
use events::{CostStatus, Draft, Nanos, Payload, Source};
use sha2::{Digest, Sha256};
use sqlx::{Any, Row};

use super::{Lease, Orphans};
use crate::process::Ledger;
use crate::readers;

/// How far back requests of a lease are looked for whose id does not tell when it was opened.
const LOOK_BACK_US: i64 = 24 * 3_600 * 1_000_000;
/// How long to wait until usage that is in the log is posted, before asking again.
const POSTED_PATIENCE: Duration = Duration::from_secs(5);

/// Why it is not known what became of requests.
#[derive(Debug, thiserror::Error)]
pub enum OrphansError {
    /// NATS failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The database failed.
    #[error("the ledger's database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// An event cannot be written.
    #[error("an event cannot be written: {0}")]
    Event(#[from] serde_json::Error),
}

/// Requests that started and have no end.
#[derive(Debug, Default)]
struct Unfinished(BTreeMap<String, (RequestStarted, Option<RequestProgress>)>);

impl Unfinished {
    /// Notes an event of the stream `REQUESTS`; those of other leases leave nothing.
    fn note(&mut self, envelope: &RawEnvelope<'_>, lease: &str) {
        match envelope.kind {
            RequestStarted::KIND => {
                if let Ok(started) = envelope.payload::<RequestStarted>()
                    && started.lease.as_str() == lease
                {
                    // A long one is recorded again and again: it is still the same.
                    self.0.entry(started.request.to_string()).or_insert((started, None));
                }
            }
            RequestProgress::KIND => {
                if let (Some((_, known)), Ok(progress)) = (self.0.get_mut(envelope.subject), envelope.payload::<RequestProgress>())
                    && known.as_ref().is_none_or(|known| known.cost_nanos <= progress.cost_nanos)
                {
                    *known = Some(progress);
                }
            }
            RequestFinished::KIND => {
                self.0.remove(envelope.subject);
            }
            _ => {}
        }
    }
}

/// Whether no request of a lease waits for its end. Ends those that do; ask again until they are posted.
///
/// # Errors
/// When NATS or the database is away.
pub async fn are_settled(ledger: &Ledger, log: &Log, lease: &Lease) -> Result<bool, OrphansError> {
    let frozen_at_us = lease.expires_at_us - ledger.terms.frozen_us();
    let source = Source(format!("/ledger/{}/lease/{}", node(ledger).await?, lease.id));
    let all = format!("arouter.v1.request.{}.{}.*", partition(&lease.account), lease.account);
    let mut unfinished = Unfinished::default();
    let usage = log.last_sequence(Stream::Usage).await?;
    log.scan(Stream::Requests, all, opened_at_us(&lease.id).unwrap_or(frozen_at_us - LOOK_BACK_US), |record: &Record| {
        if let Ok(envelope) = RawEnvelope::parse(&record.payload)
            // What was ended here waits to be posted: it is written again, the same.
            && envelope.source != source.0
        {
            unfinished.note(&envelope, &lease.id);
        }
    })
    .await?;
    let count = u64::try_from(unfinished.0.len()).unwrap_or(u64::MAX);
    let mut connection = ledger.store.reads.acquire().await?;
    if eventlog::sources::watermark(&mut connection, &source.0, readers::POSTINGS).await? >= count {
        return Ok(is_posted(ledger, usage).await?);
    }
    let mut events = Vec::new();
    for (sequence, (started, progress)) in (1..).zip(unfinished.0.values()) {
        tracing::warn!(
            request = %started.request,
            lease = lease.id,
            holder = lease.holder,
            "request {} never ended and its gateway never came back: it is ended by the rule leases.orphans",
            started.request
        );
        let usage = ended(started, progress.as_ref(), ledger.terms.orphans, frozen_at_us);
        events.push(outgoing(&source, sequence, started, frozen_at_us, &usage)?);
        events.push(outgoing(&source, sequence, started, frozen_at_us, &usage.end())?);
    }
    log.append(events).await?;
    Ok(false)
}

/// When a lease was opened, microseconds since 1970: its id is a UUIDv7.
fn opened_at_us(lease: &str) -> Option<i64> {
    let (seconds, nanos) = uuid::Uuid::parse_str(lease).ok()?.get_timestamp()?.to_unix();
    i64::try_from(seconds).ok()?.checked_mul(1_000_000)?.checked_add(i64::from(nanos / 1_000))
}

/// Whether usage up to a place in the log is posted: a gateway that came back may have shipped what its lease pays for.
async fn is_posted(ledger: &Ledger, usage: u64) -> Result<bool, sqlx::Error> {
    let since = Instant::now();
    while since.elapsed() < POSTED_PATIENCE {
        let checkpoint = eventlog::checkpoint::checkpoint(&ledger.store, readers::POSTINGS).await?;
        if checkpoint.map_or(0, |checkpoint| checkpoint.sequence) >= usage {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(false)
}

/// The charge of a request that never ended.
fn ended(started: &RequestStarted, progress: Option<&RequestProgress>, rule: Orphans, frozen_at_us: i64) -> UsageRecorded {
    let latency_us = u64::try_from(frozen_at_us - started.admitted_at_us).unwrap_or_default();
    let usage = UsageRecorded::unfinished(started, progress, latency_us);
    match rule {
        Orphans::ChargeProgress => usage,
        Orphans::Release => UsageRecorded { cost_status: CostStatus::Waived, cost_nanos: Nanos::ZERO, ..usage },
        Orphans::ChargeHold => UsageRecorded { cost_status: CostStatus::Priced, cost_nanos: started.hold_nanos, ..usage },
    }
}

/// An event that is the same whenever it is made: nothing in it depends on when that is.
fn outgoing<P: Payload>(
    source: &Source,
    sequence: u64,
    started: &RequestStarted,
    time_us: i64,
    payload: &P,
) -> Result<Outgoing, serde_json::Error> {
    let (account, about) = (started.account.as_str(), started.request.as_str());
    let hash = Sha256::digest(format!("{} {about} {}", source.0, P::KIND));
    let id = uuid::Builder::from_custom_bytes(std::array::from_fn(|index| hash[index])).into_uuid();
    let mut bytes = Vec::new();
    Draft { id, time_us, account, subject: about, traceparent: None, payload }.write(source, sequence, &mut bytes)?;
    Ok(Outgoing { stream: P::STREAM, subject: subject::<P>(account, about), id: id.to_string(), payload: bytes.into() })
}

async fn node(ledger: &Ledger) -> Result<String, sqlx::Error> {
    let row = sqlx::query::<Any>("SELECT node FROM outbox_state WHERE one = 1").fetch_one(&ledger.store.reads).await?;
    row.try_get("node")
}

#[cfg(test)]
mod tests {
    use events::Tokens;
    use events::request::Format;

    use super::*;

    fn started() -> RequestStarted {
        RequestStarted {
            request: "r".into(),
            account: "a".into(),
            key: "k".into(),
            lease: "l".into(),
            hold_nanos: Nanos(90),
            model: "m".into(),
            user: None,
            app: None,
            format: Format::Chat,
            streamed: true,
            admitted_at_us: 5,
        }
    }

    #[test]
    fn each_rule_charges_what_it_says() {
        let progress = RequestProgress {
            request: "r".into(),
            model: "m".into(),
            provider: "p".into(),
            tokens: Tokens { output: 3, ..Tokens::default() },
            price_version: "1".into(),
            unit_prices: events::UnitPrices::default(),
            cost_nanos: Nanos(30),
        };
        let cost = |progress, rule| {
            let usage = ended(&started(), progress, rule, 12);
            (usage.cost_nanos.0, usage.cost_status, usage.latency_us)
        };
        assert_eq!(cost(Some(&progress), Orphans::ChargeProgress), (30, CostStatus::Priced, 7));
        assert_eq!(cost(None, Orphans::ChargeProgress), (0, CostStatus::Waived, 7));
        assert_eq!(cost(Some(&progress), Orphans::Release), (0, CostStatus::Waived, 7));
        assert_eq!(cost(None, Orphans::ChargeHold), (90, CostStatus::Priced, 7));
    }

    #[test]
    fn the_id_of_a_lease_tells_when_it_was_opened() {
        assert_eq!(opened_at_us("01920000-0000-7000-8000-000000000001"), Some(0x0192_0000_0000 * 1_000));
        assert_eq!(opened_at_us("lease"), None);
    }

    #[test]
    fn the_same_end_is_the_same_event() {
        let usage = ended(&started(), None, Orphans::Release, 12);
        let source = Source("/ledger/n/lease/l".to_owned());
        let make = || outgoing(&source, 1, &started(), 12, &usage).map(|event| (event.id, event.payload)).unwrap();
        assert_eq!(make(), make());
    }
}
