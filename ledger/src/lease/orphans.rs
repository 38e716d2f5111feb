//! Ends requests whose gateway crashed and never came back. They have no end event, so their cost is unknown.
//! After their lease has been frozen long enough, the ledger ends them by the rule [`Orphans`]. It appends the same events that their
//! gateway would have recorded. They are posted like all others; then the lease is settled.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use eventlog::{Log, LogError, Outgoing, Record};
use events::envelope::RawEnvelope;
use events::request::{RequestFinished, RequestProgress, RequestStarted};
use events::subject::{Stream, partition, subject};
use events::usage_recorded::UsageRecorded;
use events::{CostStatus, Draft, Nanos, OpenRequest, Payload, Source};
use sha2::{Digest, Sha256};
use sqlx::{Any, Row};

use super::{Lease, Orphans};
use crate::process::Ledger;
use crate::readers;

/// The time before the freeze, in microseconds, from which requests are scanned if the lease's id does not tell its opening time.
const LOOK_BACK_US: i64 = 24 * 3_600 * 1_000_000;
/// The longest wait for usage in the log to be posted, before the next sweep checks again.
const POSTED_PATIENCE: Duration = Duration::from_secs(5);

/// An error that leaves the outcome of requests unknown.
#[derive(Debug, thiserror::Error)]
pub enum OrphansError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the ledger's database failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error("an event cannot be written: {0}")]
    Event(#[from] serde_json::Error),
}

/// Requests of one lease that started and have no end event, by request id.
#[derive(Debug, Default)]
struct OpenRequests(BTreeMap<String, OpenRequest>);

impl OpenRequests {
    /// Takes account of an event of the stream `REQUESTS`; ignores the events of other leases.
    fn note(&mut self, envelope: &RawEnvelope<'_>, lease: &str) {
        match envelope.kind {
            RequestStarted::KIND => {
                if let Ok(started) = envelope.payload::<RequestStarted>()
                    && started.lease.as_str() == lease
                {
                    // A long request repeats its start event; the first one is enough.
                    self.0.entry(started.request.to_string()).or_insert_with(|| OpenRequest::new(started));
                }
            }
            RequestProgress::KIND => {
                if let (Some(open), Ok(progress)) = (self.0.get_mut(envelope.subject), envelope.payload::<RequestProgress>()) {
                    open.note_progress(progress);
                }
            }
            RequestFinished::KIND => {
                self.0.remove(envelope.subject);
            }
            _ => {}
        }
    }
}

/// Returns whether all requests of a lease have ended and are posted. Ends those that have not; the caller calls again until this is true.
pub async fn are_settled(ledger: &Ledger, log: &Log, lease: &Lease) -> Result<bool, OrphansError> {
    let frozen_at_us = lease.expires_at_us - ledger.terms.frozen_us();
    let source = Source(format!("/ledger/{}/lease/{}", node(ledger).await?, lease.id));
    let all = format!("arouter.v1.request.{}.{}.*", partition(&lease.account), lease.account);
    let mut open = OpenRequests::default();
    let usage = log.last_sequence(Stream::Usage).await?;
    log.scan(Stream::Requests, all, opened_at_us(&lease.id).unwrap_or(frozen_at_us - LOOK_BACK_US), |record: &Record| {
        if let Ok(envelope) = RawEnvelope::parse(&record.payload)
            // Skips the events that an earlier call appended: a request must stay in the set, so that it is written again with the same id.
            && envelope.source != source.0
        {
            open.note(&envelope, &lease.id);
        }
    })
    .await?;
    let count = u64::try_from(open.0.len()).unwrap_or(u64::MAX);
    let mut connection = ledger.store.reads.acquire().await?;
    if eventlog::sources::watermark(&mut connection, &source.0, readers::POSTINGS).await? >= count {
        return Ok(is_posted(ledger, usage).await?);
    }
    let mut events = Vec::new();
    for (sequence, request) in (1..).zip(open.0.values()) {
        let started = &request.started;
        tracing::warn!(
            request = %started.request,
            lease = lease.id,
            holder = lease.holder,
            "request {} never ended and its gateway never came back: it is ended by the rule leases.orphans",
            started.request
        );
        let usage = ended(request, ledger.terms.orphans, frozen_at_us);
        events.push(outgoing(&source, sequence, started, frozen_at_us, &usage)?);
        events.push(outgoing(&source, sequence, started, frozen_at_us, &usage.end())?);
    }
    log.append(events).await?;
    Ok(false)
}

/// Reads the opening time of a lease, in microseconds since 1970, from its id, a UUIDv7.
fn opened_at_us(lease: &str) -> Option<i64> {
    let (seconds, nanos) = uuid::Uuid::parse_str(lease).ok()?.get_timestamp()?.to_unix();
    i64::try_from(seconds).ok()?.checked_mul(1_000_000)?.checked_add(i64::from(nanos / 1_000))
}

/// Waits until usage is posted up to a sequence in the log. A gateway that came back may have shipped charges against the lease.
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

/// Returns the charge for a request that never ended.
fn ended(request: &OpenRequest, rule: Orphans, frozen_at_us: i64) -> UsageRecorded {
    let latency_us = u64::try_from(frozen_at_us - request.started.admitted_at_us).unwrap_or_default();
    let usage = request.charge(latency_us);
    match rule {
        Orphans::ChargeProgress => usage,
        Orphans::Release => UsageRecorded { cost_status: CostStatus::Waived, cost_nanos: Nanos::ZERO, ..usage },
        // A request with an own provider key never costs the hold, which is for the operator's credential.
        Orphans::ChargeHold if usage.is_byok => usage,
        Orphans::ChargeHold => UsageRecorded { cost_status: CostStatus::Priced, cost_nanos: request.started.hold_nanos, ..usage },
    }
}

/// Builds an event that is byte-identical on every call: its id and time do not depend on when it is made.
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

    fn open() -> OpenRequest {
        OpenRequest::new(RequestStarted {
            request: "r".into(),
            account: "a".into(),
            key: "k".into(),
            lease: "l".into(),
            hold_nanos: Nanos(90),
            model: "m".into(),
            user: None,
            app: None,
            experiment: None,
            format: Format::Chat,
            streamed: true,
            admitted_at_us: 5,
        })
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
            byok: None,
        };
        let cost = |progress: Option<&RequestProgress>, rule| {
            let mut open = open();
            progress.cloned().into_iter().for_each(|progress| open.note_progress(progress));
            let usage = ended(&open, rule, 12);
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
        let usage = ended(&open(), Orphans::Release, 12);
        let source = Source("/ledger/n/lease/l".to_owned());
        let make = || outgoing(&source, 1, &open().started, 12, &usage).map(|event| (event.id, event.payload)).unwrap();
        assert_eq!(make(), make());
    }
}
