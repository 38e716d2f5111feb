//! The call to a provider of an admitted request: its usage if it is abandoned, and its result for the health of the endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use events::{Provenance, Tokens};
use routing::health::{self, BreakerChange, Permit, Sample};

use super::admitted::Served;
use crate::meter::Measured;
use crate::route::reports::Reports;

/// A call to a provider whose response has not arrived yet.
pub(super) struct CurrentAttempt {
    pub(super) served: Served,
    /// The estimated number of prompt tokens.
    pub(super) prompt_tokens: u64,
    /// A flag that is set once bytes of the call may have reached the provider.
    pub(super) sent: Arc<AtomicBool>,
    pub(super) since: Instant,
    /// The time from the start of the call to the first piece of the response.
    pub(super) ttft_us: Option<u64>,
    pub(super) access: Access,
}

/// The terms on which an endpoint is called.
#[derive(Debug)]
pub enum Access {
    /// Its breaker let the call through.
    Permitted(Permit),
    /// Its breaker lets nothing through, but no other endpoint is left.
    LastResort,
    /// The call is the caller's own. Its result says nothing about the endpoint.
    Proxied,
    /// The result of the call is recorded.
    Judged,
}

impl CurrentAttempt {
    /// Records the result of the call in the health of its endpoint, and tells other gateways if that moves its breaker. A call that is dropped without one says nothing about it.
    pub(super) fn record(&mut self, (now_us, reports): (i64, &Reports), outcome: health::Outcome, output_tokens: u64) {
        let sample = Sample { outcome, ttft_us: self.ttft_us, output_tokens, duration_us: micros(self.since) };
        let change = match std::mem::replace(&mut self.access, Access::Judged) {
            Access::Permitted(permit) => permit.finish(now_us, &sample),
            Access::LastResort => match &self.served.own {
                Some(own) => own.health.record(now_us, &sample),
                None => self.served.endpoint.health.record(now_us, &sample),
            },
            Access::Proxied | Access::Judged => None,
        };
        if self.served.own.is_some() {
            // The breaker of an account's own key is not the operator's concern.
            return;
        }
        let endpoint = &self.served.endpoint;
        let (provider, model) = (&endpoint.provider.slug, &endpoint.model.id);
        if let Some(change) = change {
            reports.tell(endpoint, change, now_us);
        }
        match change {
            Some(BreakerChange::Opened { .. }) => {
                tracing::warn!(%provider, %model, "{model} at {provider} has failed repeatedly, and is left alone for a while");
            }
            Some(BreakerChange::Closed) => tracing::info!(%provider, %model, "{model} at {provider} answers again"),
            None => {}
        }
    }

    /// Records the failure of the call. Nothing is charged for it, whatever happens before the next one.
    pub(super) fn failed(&mut self, now: (i64, &Reports), outcome: health::Outcome) {
        self.sent = Arc::default();
        self.record(now, outcome, 0);
    }

    /// Returns the usage of a call that was abandoned: a provider that has received the prompt bills it.
    pub(super) fn abandoned(&self) -> Measured {
        if !self.sent.load(Ordering::Relaxed) {
            return Measured::UNKNOWN;
        }
        let tokens = Tokens { input: self.prompt_tokens, ..Tokens::default() };
        Measured { tokens, provenance: Provenance::Estimated }
    }
}

/// Returns the time since an instant, in microseconds.
pub(super) fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
