//! `/metrics`, served at an address of its own because it is for Prometheus and not for callers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use gateway::metrics::Metrics;
use gateway::serve;
use gateway::serve::connection::Timeouts;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The content type of the OpenMetrics text format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TIMEOUTS: Timeouts = Timeouts { read: Duration::from_secs(10), write: Duration::from_secs(10), keep_alive: Duration::from_secs(75) };

/// Serves the metrics until `stop`, if an address is configured. Returns the address.
pub async fn serve(
    listen: Option<SocketAddr>,
    metrics: Arc<Metrics>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Option<String>> {
    let Some(listen) = listen else { return Ok(None) };
    let listener = serve::bind(listen).await.with_context(|| format!("cannot serve metrics on {listen}: choose another metrics.listen"))?;
    let url = format!("http://{}/metrics", listener.local_addr()?);
    let router = Router::new().route("/metrics", get(figures)).with_state(metrics);
    tasks.spawn(serve::serve(listener, router, TIMEOUTS, stop.clone()));
    Ok(Some(url))
}

async fn figures(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, OPEN_METRICS)], metrics.to_text().await)
}
