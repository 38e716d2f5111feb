//! `GET /readyz`: tells whether requests can be served, and which component is unavailable. It probes the real dependencies: a write to the
//! ledger's database, and delivery of events to the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use eventlog::{Log, rpc};
use events::rpc::ProbeWrite;
use http::StatusCode;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::spool::Spool;

/// The time for which a report is cached.
const CACHED: Duration = Duration::from_secs(1);
/// The longest wait for the ledger.
const PATIENCE: Duration = Duration::from_secs(2);
/// The age of the oldest event not taken over by the ledger and the projector, from which on the gateway is not ready.
const UNSHIPPED_MAX: Duration = Duration::from_mins(1);

/// The components on which readiness depends.
pub struct Health {
    log: Log,
    ledger: rpc::Client,
    spool: Arc<Spool>,
    is_open: AtomicBool,
    last: Mutex<Option<(Instant, Report)>>,
}

/// The body of the response.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Report {
    status: &'static str,
    nats: &'static str,
    ledger: &'static str,
    log: &'static str,
    spool: &'static str,
    /// The age of the oldest event that the ledger and the projector do not both have.
    oldest_unshipped_ms: u64,
}

impl Health {
    /// Creates a health check that is not ready until [`Self::open`].
    #[must_use]
    pub fn new(log: Log, ledger: rpc::Client, spool: Arc<Spool>) -> Self {
        Self { log, ledger, spool, is_open: AtomicBool::new(false), last: Mutex::default() }
    }

    /// Allows readiness: accounts and keys exist, so the first request can come.
    pub fn open(&self) {
        self.is_open.store(true, Ordering::Release);
    }

    async fn report(&self) -> Report {
        let mut last = self.last.lock().await;
        if let Some((_, report)) = last.as_ref().filter(|(at, _)| at.elapsed() < CACHED) {
            return report.clone();
        }
        let ledger = self.ledger.call(&ProbeWrite {}, PATIENCE).await.is_ok();
        let spool = self.spool.reserve().is_ok();
        let unshipped = self.spool.oldest_unshipped();
        // Requests continue while NATS is unavailable, and their events wait in the spool. That is healthy only for a short time.
        let log = self.log.takes_writes() && unshipped < UNSHIPPED_MAX;
        let is_open = self.is_open.load(Ordering::Acquire);
        let state_word = |well: bool| if well { "ok" } else { "away" };
        let report = Report {
            status: match (is_open, ledger && spool && log) {
                (false, _) => "starting",
                (true, true) => "ready",
                (true, false) => "not ready",
            },
            nats: state_word(self.log.is_connected()),
            ledger: state_word(ledger),
            log: if log { "ok" } else { "behind" },
            spool: if spool { "ok" } else { "full" },
            oldest_unshipped_ms: u64::try_from(unshipped.as_millis()).unwrap_or(u64::MAX),
        };
        *last = is_open.then(|| (Instant::now(), report.clone()));
        report
    }
}

/// Returns 200 if requests can be served, otherwise 503; the body is `{status, nats, ledger, log, spool, oldest_unshipped_ms}` in both
/// cases.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "Health",
    summary = "Whether requests can be served",
    security(()),
    responses((status = 200, description = "They can.", body = Report), (status = 503, description = "They cannot; the body names the component.", body = Report))
)]
pub async fn ready(State(health): State<Arc<Health>>) -> Response {
    let report = health.report().await;
    let status = if report.status == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}
