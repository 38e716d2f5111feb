//! Reports of breakers among gateways: a change here is told to the others, and theirs are applied here as hints.

use std::sync::Arc;

use eventlog::Log;
use eventlog::rpc::Signer;
use events::clock::Clock;
use routing::BreakerChange;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::current::CurrentRoutes;
use super::table::Endpoint;

/// The name of the notices.
const NAME: &str = "breaker";
/// The number of changes that wait to be told; further ones are not told.
const WAITING_MAX: usize = 256;

/// A change of an endpoint's breaker at one gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The boot of the gateway.
    gateway: String,
    provider: String,
    model: String,
    /// The time for which the breaker is open, in milliseconds; absent if it has closed. Clocks of gateways may differ, so it is no point in
    /// time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    open_ms: Option<u32>,
}

/// The place where changes of breakers are told. Nothing waits for it.
#[derive(Debug, Clone)]
pub struct Reports {
    gateway: Arc<str>,
    changes: mpsc::Sender<Report>,
}

impl Reports {
    /// Creates the place for a boot of a gateway, with the queue of the changes.
    #[must_use]
    pub fn new(gateway: &str) -> (Self, mpsc::Receiver<Report>) {
        let (changes, told) = mpsc::channel(WAITING_MAX);
        (Self { gateway: gateway.into(), changes }, told)
    }

    /// Tells a change of an endpoint's breaker.
    pub fn tell(&self, endpoint: &Endpoint, change: BreakerChange, now_us: i64) {
        let open_ms = match change {
            BreakerChange::Opened { until_us } => Some(u32::try_from(until_us.saturating_sub(now_us) / 1_000).unwrap_or_default()),
            BreakerChange::Closed => None,
        };
        let report = Report {
            gateway: self.gateway.to_string(),
            provider: endpoint.provider.slug.clone(),
            model: endpoint.model.id.clone(),
            open_ms,
        };
        if self.changes.try_send(report).is_err() {
            tracing::debug!("a change of a breaker is not told: too many wait");
        }
    }
}

/// The exchange of reports with the other gateways.
pub struct Exchange {
    pub routes: Arc<CurrentRoutes>,
    pub log: Log,
    pub signer: Signer,
    pub clock: Arc<dyn Clock>,
    /// The boot of this gateway, whose own reports are passed over.
    pub gateway: String,
}

impl Exchange {
    /// Tells changes and applies those of other gateways, until `stop`.
    pub async fn run(self, mut told: mpsc::Receiver<Report>, stop: CancellationToken) {
        self.log.exchange(NAME, &self.signer, &mut told, |report| self.apply(&report), &stop).await;
    }

    fn apply(&self, report: &Report) {
        if report.gateway == self.gateway {
            return;
        }
        let routes = self.routes.now();
        let Some(endpoint) = routes.endpoint(&report.provider, &report.model) else { return };
        let now_us = self.clock.now_us();
        let change = report.open_ms.map_or(BreakerChange::Closed, |open_ms| BreakerChange::Opened {
            until_us: now_us.saturating_add(i64::from(open_ms).saturating_mul(1_000)),
        });
        tracing::debug!(gateway = report.gateway, provider = report.provider, model = report.model, "another gateway tells {change:?}");
        endpoint.health.apply_remote(now_us, change);
    }
}
