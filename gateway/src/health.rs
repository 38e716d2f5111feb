//! `GET /readyz`: whether requests can be served, and what is away. It tests what it promises: a write of the ledger's database, and that
//! events leave for the log.

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

/// How long an answer is good for.
const CACHED: Duration = Duration::from_secs(1);
/// How long the ledger may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The age of the oldest event that ledger and projector do not have, from which on something is wrong behind the gateway.
const UNSHIPPED_MAX: Duration = Duration::from_mins(1);

/// What readiness depends on.
pub struct Health {
    log: Log,
    ledger: rpc::Client,
    spool: Arc<Spool>,
    is_open: AtomicBool,
    last: Mutex<Option<(Instant, Report)>>,
}

/// The body of the answer.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    status: &'static str,
    nats: &'static str,
    ledger: &'static str,
    log: &'static str,
    spool: &'static str,
    /// The age of the oldest event that ledger and projector do not have.
    oldest_unshipped_ms: u64,
}

impl Health {
    /// Not ready until [`Self::open`].
    #[must_use]
    pub fn new(log: Log, ledger: rpc::Client, spool: Arc<Spool>) -> Self {
        Self { log, ledger, spool, is_open: AtomicBool::new(false), last: Mutex::default() }
    }

    /// The first request can come: accounts and keys are there.
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
        // With NATS away requests go on, and wait in the spool: that is well as long as it is short.
        let log = self.log.takes_writes() && unshipped < UNSHIPPED_MAX;
        let is_open = self.is_open.load(Ordering::Acquire);
        let word = |well: bool| if well { "ok" } else { "away" };
        let report = Report {
            status: match (is_open, ledger && spool && log) {
                (false, _) => "starting",
                (true, true) => "ready",
                (true, false) => "not ready",
            },
            nats: word(self.log.is_connected()),
            ledger: word(ledger),
            log: if log { "ok" } else { "behind" },
            spool: if spool { "ok" } else { "full" },
            oldest_unshipped_ms: u64::try_from(unshipped.as_millis()).unwrap_or(u64::MAX),
        };
        *last = is_open.then(|| (Instant::now(), report.clone()));
        report
    }
}

/// 200 when requests can be served, else 503; `{status, nats, ledger, log, spool, oldest_unshipped_ms}` either way.
pub async fn ready(State(health): State<Arc<Health>>) -> Response {
    let report = health.report().await;
    let status = if report.status == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}
