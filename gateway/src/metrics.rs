//! Metrics for Prometheus: counters updated by the stages, and gauges measured on each scrape. No account and no key is a label.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use eventlog::rpc;
use events::request::Outcome;
use events::rpc::ListQuarantine;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::admission::in_flight_quota::Quotas;
use crate::admission::{Admission, Budgets};
use crate::endpoint_metrics::EndpointMetrics;
use crate::route::CurrentRoutes;
use crate::serve::open::Open;
use crate::spool::Spool;

/// The longest wait for a reader's list of quarantined events.
const PATIENCE: Duration = Duration::from_secs(2);
const NANOS_PER_USD: f64 = 1e9;

/// The counters that requests update.
#[derive(Clone)]
pub struct Counts {
    finished: Counter,
    failed: Counter,
    cancelled: Counter,
    aborted: Counter,
    /// The requests that were rejected before they were sent to a provider, by code.
    pub refused: Family<CodeLabel, Counter>,
    /// The failures of providers.
    pub failures: Family<FailureLabels, Counter>,
    /// The seconds from admission to the first piece of the response.
    pub ttft: Histogram,
    /// The seconds from the request's head to the call of its first provider.
    pub added: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CodeLabel {
    code: String,
}

/// A provider, and the kind of its failure.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FailureLabels {
    provider: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReaderLabel {
    reader: &'static str,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            finished: Counter::default(),
            failed: Counter::default(),
            cancelled: Counter::default(),
            aborted: Counter::default(),
            refused: Family::default(),
            failures: Family::default(),
            // The buckets cover 1 ms to 2 min, and 10 us to 10 s.
            ttft: Histogram::new(exponential_buckets(0.001, 2.0, 18)),
            added: Histogram::new(exponential_buckets(0.000_01, 2.0, 20)),
        }
    }
}

impl Counts {
    const fn of(&self, outcome: Outcome) -> &Counter {
        match outcome {
            Outcome::Finished => &self.finished,
            Outcome::Failed => &self.failed,
            Outcome::Cancelled => &self.cancelled,
            Outcome::Aborted => &self.aborted,
        }
    }

    /// Counts the end of an admitted request.
    pub fn ended(&self, outcome: Outcome, ttft_us: Option<u64>) {
        self.of(outcome).inc();
        if let Some(us) = ttft_us {
            self.ttft.observe(Duration::from_micros(us).as_secs_f64());
        }
    }

    /// Counts a rejected request.
    pub fn refused(&self, code: String) {
        self.refused.get_or_create(&CodeLabel { code }).inc();
    }

    /// Counts a failure of a provider.
    pub fn failed(&self, provider: &str, kind: &'static str) {
        self.failures.get_or_create(&FailureLabels { provider: provider.to_owned(), kind }).inc();
    }
}

type Figure = Gauge<f64, AtomicU64>;

/// The gauges that are measured on each scrape.
#[derive(Default)]
struct Figures {
    spool_bytes: Figure,
    oldest_unshipped: Figure,
    backpressure: Figure,
    open_requests: Figure,
    connections: Figure,
    requests: Figure,
    body_bytes: Figure,
    leases: Figure,
    lent: Figure,
    held: Figure,
    behind: Family<ReaderLabel, Figure>,
    quarantined: Family<ReaderLabel, Figure>,
}

/// All metrics of a gateway.
pub struct Metrics {
    registry: Registry,
    figures: Figures,
    pub sources: Sources,
}

/// The objects that the gauges are measured from.
pub struct Sources {
    pub spool: Arc<Spool>,
    pub open: Arc<Open>,
    pub quotas: Arc<Quotas>,
    /// The admission, for its leases.
    pub admission: Arc<Admission>,
    /// The endpoints, for their health.
    pub routes: Arc<CurrentRoutes>,
    /// The readers that store the log in tables.
    pub readers: [rpc::Client; 2],
}

impl Metrics {
    /// Registers the metrics of a gateway.
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        let (mut registry, figures) = (Registry::with_prefix("arouter"), Figures::default());
        let counts = &sources.admission.counts;
        for (outcome, counter) in
            [("finished", &counts.finished), ("failed", &counts.failed), ("cancelled", &counts.cancelled), ("aborted", &counts.aborted)]
        {
            let labelled = registry.sub_registry_with_label(("outcome".into(), outcome.into()));
            labelled.register("requests", "Admitted requests by outcome", counter.clone());
        }
        registry.register("requests_refused", "Requests refused before they were sent anywhere, by code", counts.refused.clone());
        registry.register("provider_failures", "Failed attempts by provider and kind", counts.failures.clone());
        registry.register("time_to_first_byte_seconds", "From admission to the first piece of the answer", counts.ttft.clone());
        registry.register("added_latency_seconds", "From a request's head to the call of its first provider", counts.added.clone());
        for (name, help, figure) in [
            ("spool_bytes", "Bytes of the spool's files", &figures.spool_bytes),
            ("spool_oldest_unshipped_seconds", "Age of the oldest event that ledger and projector lack", &figures.oldest_unshipped),
            ("spool_backpressure_seconds", "Wait of each request, because the spool fills faster than it is read", &figures.backpressure),
            ("spool_open_requests", "Requests whose end is not on the disk yet", &figures.open_requests),
            ("connections", "Open connections", &figures.connections),
            ("requests_in_flight", "Requests in flight", &figures.requests),
            ("body_bytes_in_flight", "Bytes of the bodies of requests in flight", &figures.body_bytes),
            ("leases", "Leases that holds are taken from", &figures.leases),
            ("leases_free_usd", "Credit that is lent and free", &figures.lent),
            ("leases_held_usd", "Credit that requests in flight hold", &figures.held),
        ] {
            registry.register(name, help, figure.clone());
        }
        registry.register("reader_behind_events", "Events of this gateway that a reader does not have yet", figures.behind.clone());
        registry.register(
            "quarantined_events",
            "Events that a reader has set aside and nobody has decided about",
            figures.quarantined.clone(),
        );
        let (routes, clock) = (Arc::clone(&sources.routes), Arc::clone(&sources.admission.clock));
        registry.register_collector(Box::new(EndpointMetrics { routes, clock }));
        Self { registry, figures, sources }
    }

    /// Measures the gauges and returns all metrics in the text format of OpenMetrics.
    pub async fn to_text(&self) -> String {
        self.measure();
        for reader in &self.sources.readers {
            let label = ReaderLabel { reader: reader.who().as_str() };
            // A reader that does not reply has no value, rather than a zero.
            match reader.call(&ListQuarantine { event_id: None }, PATIENCE).await {
                Ok(waiting) => {
                    self.figures.quarantined.get_or_create(&label).set(count(waiting.len()));
                }
                Err(_) => {
                    self.figures.quarantined.remove(&label);
                }
            }
        }
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            let _infallible = writeln!(text, "# {error}");
        }
        text
    }

    fn measure(&self) {
        let (figures, sources) = (&self.figures, &self.sources);
        let (bytes, open) = sources.spool.in_use();
        figures.spool_bytes.set(number(bytes));
        figures.open_requests.set(count(open));
        figures.oldest_unshipped.set(sources.spool.oldest_unshipped().as_secs_f64());
        figures.backpressure.set(sources.spool.backpressure().as_secs_f64());
        figures.connections.set(count(sources.open.len()));
        let (requests, body_bytes) = sources.quotas.in_flight();
        figures.requests.set(count(requests));
        figures.body_bytes.set(count(body_bytes));
        let (leases, free, held) = lent(&sources.admission.budgets.lock().unwrap_or_else(PoisonError::into_inner));
        figures.leases.set(count(leases));
        figures.lent.set(free);
        figures.held.set(held);
        for (reader, behind) in sources.spool.behind() {
            figures.behind.get_or_create(&ReaderLabel { reader }).set(number(behind));
        }
    }
}

/// Returns the number of leases, and their free and held amounts in USD.
fn lent(budgets: &Budgets) -> (usize, f64, f64) {
    let local_leases: Vec<_> = budgets.values().filter_map(|budget| budget.local_lease()).collect();
    #[expect(clippy::cast_precision_loss, reason = "a gauge may be off by a few nanos")]
    let usd = |nanos: i64| nanos as f64 / NANOS_PER_USD;
    (
        local_leases.len(),
        local_leases.iter().map(|local_lease| usd(local_lease.free().0)).sum(),
        local_leases.iter().map(|local_lease| usd(local_lease.held().0)).sum(),
    )
}

fn count(of: usize) -> f64 {
    number(u64::try_from(of).unwrap_or(u64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "a gauge's number is a float")]
fn number(of: u64) -> f64 {
    of as f64
}
