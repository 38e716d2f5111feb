//! `usage.recorded`: the usage and the cost of one request. The ledger posts it, and it contains the whole charge.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{KeyHash, LeaseId, RequestId};
use crate::money::Nanos;
use crate::payload::payload;
use crate::request::{Attempt, Experiment, Format, Outcome, RequestFinished, RequestProgress, RequestStarted, SkippedEndpoint};
use crate::usage::{Byok, CostStatus, Provenance, Tokens, UnitPrices};

/// The usage of a request, the applied prices and the cost. There is one for each request that was sent to a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsageRecorded {
    /// The id of the request.
    pub request: RequestId,
    /// The key that the request used.
    pub key: KeyHash,
    /// The lease that pays.
    pub lease: LeaseId,
    /// The model that answered, such as `openai/gpt-5.4`.
    pub model: String,
    /// The provider's slug.
    pub provider: String,
    /// The end user as the caller named it, at most 256 characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user: Option<String>,
    /// The calling application's name (`X-Title`) or URL (`HTTP-Referer`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub app: Option<String>,
    /// The variant that answered, or else the drawn one; absent if the requested model has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub experiment: Option<Experiment>,
    /// The format of the client's request.
    pub format: Format,
    /// Whether the response was a stream.
    pub streamed: bool,
    /// The outcome of the request.
    pub outcome: Outcome,
    /// The HTTP status that the client got; absent if the client left before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// The provider's finish reason, or `length` for a stream that was ended at its hold.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finish_reason: Option<String>,
    /// The token counts.
    pub tokens: Tokens,
    /// The origin of the token counts.
    pub provenance: Provenance,
    /// The version of the price list.
    pub price_version: String,
    /// The applied prices, pico-USD per unit.
    pub unit_prices: UnitPrices,
    /// The kind of cost.
    pub cost_status: CostStatus,
    /// The charge, nano-USD; at most the hold. With an own provider key, it is the fee.
    pub cost_nanos: Nanos,
    /// The cost of the provider's count beyond the hold, nano-USD; never charged.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub beyond_hold_nanos: Nanos,
    /// Whether the account's own provider key was used.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub is_byok: bool,
    /// The use of the account's own provider key; absent if the operator's credential was used.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub byok: Option<Byok>,
    /// The time of the request's admission, microseconds since 1970.
    pub admitted_at_us: i64,
    /// The time from admission to the end, microseconds.
    pub latency_us: u64,
    /// The time from admission to the first piece of the response, microseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ttft_us: Option<u64>,
    /// The attempts in order, at most 20. Absent if the gateway ended before the request did.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub attempts: Vec<Attempt>,
    /// The endpoints that did not fit the request, or that were left alone because they had failed (`broken`), at most 20.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub skipped: Vec<SkippedEndpoint>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(amount: &Nanos) -> bool {
    *amount == Nanos::ZERO
}

impl UsageRecorded {
    /// Creates the charge of a request whose gateway ended before the request did. It covers the tokens relayed by the last progress event,
    /// and nothing without one.
    #[must_use]
    pub fn unfinished(started: &RequestStarted, progress: Option<&RequestProgress>, latency_us: u64) -> Self {
        Self {
            request: started.request.clone(),
            key: started.key.clone(),
            lease: started.lease.clone(),
            model: progress.map_or(&started.model, |progress| &progress.model).clone(),
            provider: progress.map_or_else(String::new, |progress| progress.provider.clone()),
            user: started.user.clone(),
            app: started.app.clone(),
            experiment: started.experiment.clone(),
            format: started.format,
            streamed: started.streamed,
            outcome: Outcome::Aborted,
            status: None,
            finish_reason: None,
            tokens: progress.map_or_else(Tokens::default, |progress| progress.tokens),
            provenance: if progress.is_some() { Provenance::Measured } else { Provenance::Unknown },
            price_version: progress.map_or_else(String::new, |progress| progress.price_version.clone()),
            unit_prices: progress.map_or_else(UnitPrices::default, |progress| progress.unit_prices),
            cost_status: if progress.is_some() { CostStatus::Priced } else { CostStatus::Waived },
            cost_nanos: progress.map_or(Nanos::ZERO, |progress| progress.cost_nanos.min(started.hold_nanos)),
            beyond_hold_nanos: Nanos::ZERO,
            is_byok: progress.is_some_and(|progress| progress.byok.is_some()),
            byok: progress.and_then(|progress| progress.byok.clone()),
            admitted_at_us: started.admitted_at_us,
            latency_us,
            ttft_us: None,
            attempts: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// Returns the use of an own provider key of a request whose cost counts: it is one of the requests of its month.
    #[must_use]
    pub fn counted_byok(&self) -> Option<&Byok> {
        self.byok.as_ref().filter(|_| self.cost_status == CostStatus::Priced)
    }

    /// Returns the end event that belongs to this charge.
    #[must_use]
    pub fn end(&self) -> RequestFinished {
        RequestFinished {
            request: self.request.clone(),
            key: self.key.clone(),
            model: self.model.clone(),
            outcome: self.outcome,
            status: self.status,
            finish_reason: self.finish_reason.clone(),
            admitted_at_us: self.admitted_at_us,
            latency_us: self.latency_us,
            ttft_us: self.ttft_us,
            attempts: Vec::new(),
            skipped: Vec::new(),
            experiment: self.experiment.clone(),
        }
    }
}

payload!(UsageRecorded, Usage, "usage", "recorded", "v1");
