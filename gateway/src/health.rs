//! `GET /readyz`: whether requests can be served, and what is away.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use eventlog::{Asker, Log};
use events::ask::CountAccounts;
use http::StatusCode;
use serde_json::json;

use crate::spool::Spool;

/// What readiness depends on.
#[derive(Clone)]
pub struct Health {
    /// The log.
    pub log: Log,
    /// The ledger.
    pub ledger: Asker,
    /// The spool.
    pub spool: Arc<Spool>,
}

/// 200 when requests can be served, else 503; `{status, nats, ledger, spool}` either way. With NATS away requests go on.
pub async fn ready(State(health): State<Health>) -> Response {
    let ledger = health.ledger.ask(&CountAccounts {}, Duration::from_secs(2)).await.is_ok();
    let spool = health.spool.reserve().is_ok();
    let word = |well: bool| if well { "ok" } else { "away" };
    let status = if ledger && spool { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": if status == StatusCode::OK { "ready" } else { "not ready" },
        "nats": word(health.log.is_connected()),
        "ledger": word(ledger),
        "spool": if spool { "ok" } else { "full" },
    });
    (status, Json(body)).into_response()
}
