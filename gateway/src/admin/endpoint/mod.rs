//! The health of endpoints, for the operator. Each gateway has its own.

pub mod list;
pub mod reset;

use events::clock::rfc3339;
use routing::health::{BreakerState, HealthView};
use serde_json::{Value, json};

use crate::route::Endpoint;

/// Returns an endpoint with its health. Times are RFC 3339.
fn object(endpoint: &Endpoint, now_us: i64) -> Value {
    let health = endpoint.health.view(now_us);
    let attempts = serde_json::Map::from_iter(health.attempts.by_outcome().map(|(outcome, number)| (outcome.to_owned(), number.into())));
    json!({
        "provider": endpoint.provider.slug,
        "model": endpoint.model.id,
        "breaker": state(&health),
        "cause": health.opening.map(|opening| opening.cause.as_str()),
        "since": health.opening.map(|opening| rfc3339(opening.since_us)),
        "until": if let BreakerState::Open { until_us } = health.breaker { Some(rfc3339(until_us)) } else { None },
        "has_outage": health.has_outage,
        "attempts": attempts,
        "uptime_last_5m": health.uptime_5m_bp.map(percent),
        "uptime_last_30m": health.uptime_30m_bp.map(percent),
        "uptime_last_1d": health.uptime_1d_bp.map(percent),
    })
}

fn percent(basis_points: u32) -> f64 {
    f64::from(basis_points) / 100.0
}

const fn state(health: &HealthView) -> &'static str {
    match health.breaker {
        BreakerState::Closed => "closed",
        BreakerState::Open { .. } => "open",
        BreakerState::HalfOpen => "half_open",
        BreakerState::Probing => "probing",
    }
}
