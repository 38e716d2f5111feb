//! Metrics of endpoints for Prometheus, measured on each scrape: attempts, successes, breakers, percentiles. Only endpoints of the catalogue
//! that were called have any, so that the number of series has a bound.

use std::fmt;
use std::sync::Arc;

use events::Clock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use routing::health::{Attempts, BreakerState, HealthView, Percentiles};

use crate::route::{CurrentRoutes, Endpoint};

/// The collector of these metrics.
pub struct EndpointMetrics {
    pub routes: Arc<CurrentRoutes>,
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for EndpointMetrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("EndpointMetrics").finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    provider: String,
    model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    provider: String,
    model: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QuantileLabels {
    provider: String,
    model: String,
    quantile: &'static str,
}

impl Labels {
    fn of(endpoint: &Endpoint) -> Self {
        Self { provider: endpoint.provider.slug.clone(), model: endpoint.model.id.clone() }
    }
}

impl Collector for EndpointMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let now_us = self.clock.now_us();
        let routes = self.routes.now();
        let endpoints = routes.all().flat_map(|model| &model.endpoints);
        let called: Vec<(Labels, HealthView)> =
            endpoints.map(|endpoint| (Labels::of(endpoint), endpoint.health.view(now_us))).filter(|(_, health)| is_known(health)).collect();
        attempts(&mut encoder, &called)?;
        gauges(&mut encoder, &called, "endpoint_success_ratio", "Share of successful attempts in the last 5 minutes", |health| {
            health.uptime_5m_bp.map(|share| f64::from(share) / 10_000.0)
        })?;
        gauges(&mut encoder, &called, "endpoint_breaker", "The circuit breaker: 0 closed, 1 half open or probing, 2 open", |health| {
            Some(breaker(health.breaker))
        })?;
        let ttft = ("endpoint_time_to_first_token_seconds", "Time to the first piece of a stream in the last 30 minutes", 1e6);
        quantiles(&mut encoder, &called, ttft, |health| health.ttft_us)?;
        let latency = ("endpoint_latency_seconds", "Time to the end of the answer in the last 30 minutes", 1e6);
        quantiles(&mut encoder, &called, latency, |health| health.latency_us)?;
        let throughput = ("endpoint_throughput_tokens_per_second", "Output tokens a second in the last 30 minutes", 1e3);
        quantiles(&mut encoder, &called, throughput, |health| health.throughput_milli)
    }
}

/// Returns whether an endpoint was called, or its breaker was opened by a report.
fn is_known(health: &HealthView) -> bool {
    health.attempts != Attempts::default() || health.opening.is_some()
}

const fn breaker(state: BreakerState) -> f64 {
    match state {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen | BreakerState::Probing => 1.0,
        BreakerState::Open { .. } => 2.0,
    }
}

fn attempts(encoder: &mut DescriptorEncoder<'_>, called: &[(Labels, HealthView)]) -> fmt::Result {
    let mut metric = encoder.encode_descriptor("endpoint_attempts", "Attempts by endpoint and outcome", None, MetricType::Counter)?;
    for (labels, health) in called {
        for (outcome, number) in health.attempts.by_outcome() {
            let labels = OutcomeLabels { provider: labels.provider.clone(), model: labels.model.clone(), outcome };
            ConstCounter::new(number).encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    called: &[(Labels, HealthView)],
    name: &str,
    help: &str,
    of: impl Fn(&HealthView) -> Option<f64>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, health) in called {
        if let Some(value) = of(health) {
            metric.encode_family(labels)?.encode_gauge(&value)?;
        }
    }
    Ok(())
}

/// Writes percentiles as gauges. `scale` is the number of measured units in the shown one.
fn quantiles(
    encoder: &mut DescriptorEncoder<'_>,
    called: &[(Labels, HealthView)],
    (name, help, scale): (&str, &str, f64),
    of: impl Fn(&HealthView) -> Option<Percentiles>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, health) in called {
        let Some(measured) = of(health) else { continue };
        for (quantile, value) in [("0.5", measured.p50), ("0.75", measured.p75), ("0.9", measured.p90), ("0.99", measured.p99)] {
            let labels = QuantileLabels { provider: labels.provider.clone(), model: labels.model.clone(), quantile };
            #[expect(clippy::cast_precision_loss, reason = "a gauge's number is a float")]
            metric.encode_family(&labels)?.encode_gauge(&(value as f64 / scale))?;
        }
    }
    Ok(())
}
