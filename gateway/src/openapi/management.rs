//! The bodies of management routes that the handlers build by hand, and the header that makes a POST repeatable.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use wire::openapi::Usd;

use super::bodies::ModelBody;
use crate::admin::key::object::KeyBody;
use crate::admin::webhook::object::WebhookBody;

/// The header of calls that have no second effect if they are repeated.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IdempotencyKey {
    /// A name for the call, for 24 hours. A repeated request to a model is refused with 409 and is not charged; a repeated change by
    /// management has the first answer again. With another body, 409.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255)]
    pub idempotency_key: Option<String>,
}

/// The bounds of a key on requests and tokens; null is none. `GET /api/v1/key` adds `requests` and `interval` for OpenRouter's SDK.
#[derive(ToSchema)]
pub struct RateBounds {
    pub requests_per_minute: Option<u64>,
    pub requests_per_day: Option<u64>,
    pub tokens_per_minute: Option<u64>,
}

/// The key that makes the call.
#[derive(ToSchema)]
pub struct OwnKey {
    #[serde(flatten)]
    pub key: KeyBody,
    pub is_management_key: bool,
    pub is_provisioning_key: bool,
    /// Whether the account has never bought credit.
    pub is_free_tier: bool,
    /// Requests for free models in the last 24 hours; -1 stands for no limit.
    pub free_model_daily_requests: BTreeMap<String, i64>,
}

/// The erasure of an end user's name.
#[derive(ToSchema)]
pub struct ErasedUser {
    pub erased: bool,
    /// The text that stands in reports instead of the name.
    pub token: String,
}

/// A new webhook with its secret, which is shown once.
#[derive(ToSchema)]
pub struct CreatedWebhook {
    pub data: WebhookBody,
    pub secret: String,
}

/// The secret of a webhook.
#[derive(ToSchema)]
pub struct WebhookSecret {
    pub secret: String,
}

/// The delivery of a test event.
#[derive(ToSchema)]
pub struct TestedWebhook {
    pub delivery_id: String,
    pub event_id: String,
}

/// Deliveries that are sent again.
#[derive(ToSchema)]
pub struct ReplayedWebhook {
    pub replayed: u64,
}

/// The outcome of a test event to an address.
#[derive(ToSchema)]
pub struct ProbedAddress {
    /// Whether there was an HTTP response of any status.
    pub reachable: bool,
    pub status_code: Option<u16>,
    pub error: Option<String>,
}

/// The number of models.
#[derive(ToSchema)]
pub struct ModelCount {
    pub count: u64,
}

/// A provider.
#[derive(ToSchema)]
#[schema(as = Provider)]
pub struct ProviderBody {
    pub id: String,
    pub name: String,
    pub slug: String,
    pub model_count: u64,
    pub is_byok_supported: bool,
    pub is_zdr: bool,
    pub collects_data: bool,
    pub region: Option<String>,
}

/// A model with its endpoints.
#[derive(ToSchema)]
pub struct ModelEndpoints {
    #[serde(flatten)]
    pub model: ModelBody,
    pub endpoints: Vec<EndpointBody>,
}

/// The prices of an endpoint, in USD per token.
#[derive(ToSchema)]
pub struct EndpointPrices {
    pub prompt: Usd,
    pub completion: Usd,
    pub input_cache_read: Option<Usd>,
    pub input_cache_write: Option<Usd>,
}

/// A model at a provider. Latencies are in milliseconds, throughputs in tokens per second.
#[derive(ToSchema)]
#[schema(as = Endpoint)]
pub struct EndpointBody {
    pub provider_id: String,
    pub provider_name: String,
    pub name: String,
    pub tag: String,
    pub model_id: String,
    pub model_name: String,
    pub context_length: Option<u64>,
    pub max_completion_tokens: Option<u64>,
    pub pricing: EndpointPrices,
    pub price_version: String,
    pub quantization: String,
    pub input_modalities: Vec<String>,
    pub supported_parameters: Vec<String>,
    pub is_zdr: bool,
    pub collects_data: bool,
    pub region: Option<String>,
    pub supports_implicit_caching: bool,
    /// 0 if it answers, negative if it is degraded or left alone.
    pub status: i32,
    /// The share of successes in percent.
    pub uptime_last_5m: Option<f64>,
    pub uptime_last_30m: Option<f64>,
    pub uptime_last_1d: Option<f64>,
    /// Percentiles `p50`, `p75`, `p90` and `p99`.
    pub latency_last_30m: Option<Value>,
    pub throughput_last_30m: Option<Value>,
}
