//! The sums of a row as JSON, and the metric to which an answer is limited.

use read_api::Usd;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::projections::usage::sums::Sums;

/// A metric of the activity report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    Spend,
    Tokens,
    Requests,
}

/// The sums of a row; of one metric, or of all.
#[derive(Debug, Clone, Copy)]
pub struct SumsBody {
    pub sums: Sums,
    pub metric: Option<Metric>,
}

/// The sums as the answer has them: all, or those of one metric.
#[derive(utoipa::ToSchema)]
#[schema(as = ActivitySums)]
#[expect(dead_code, reason = "a shape for OpenAPI")]
pub struct SumsShape {
    spend_usd: Option<Usd>,
    byok_spend_est_usd: Option<Usd>,
    requests: Option<u64>,
    errors: Option<u64>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

impl Serialize for SumsBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let has = |metric| self.metric.is_none_or(|only| only == metric);
        let (sums, mut map) = (&self.sums, serializer.serialize_map(None)?);
        if has(Metric::Spend) {
            map.serialize_entry("spend_usd", &sums.spend.to_json())?;
            map.serialize_entry("byok_spend_est_usd", &sums.byok_estimate.to_json())?;
        }
        if has(Metric::Requests) {
            map.serialize_entry("requests", &sums.requests)?;
            map.serialize_entry("errors", &sums.errors)?;
        }
        if has(Metric::Tokens) {
            map.serialize_entry("prompt_tokens", &sums.prompt_tokens)?;
            map.serialize_entry("completion_tokens", &sums.completion_tokens)?;
            map.serialize_entry("reasoning_tokens", &sums.reasoning_tokens)?;
            map.serialize_entry("cached_tokens", &sums.cached_tokens)?;
            map.serialize_entry("cache_write_tokens", &sums.cache_write_tokens)?;
            map.serialize_entry("total_tokens", &sums.total_tokens())?;
        }
        map.end()
    }
}
