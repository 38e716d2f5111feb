//! The key object of the API, and the input fields that create and update share.

use events::Nanos;
use events::clock::{parse_rfc3339, rfc3339};
use events::control::{Key, LimitReset, RateLimit};
use events::ids::KeyKind;
use events::rpc::{GetKeySpend, KeySpend};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use wire::openapi::Usd;

use crate::admin::body::{usd, wrong};
use crate::admin::{Admin, RPC_TIMEOUT, text};
use crate::error::GatewayError;
use crate::openapi::RateBounds;

/// The maximum number of entries in `allowed_models`, and the maximum bytes of each.
const MODELS_MAX: (usize, usize) = (256, 128);
/// The maximum number of entries in `allowed_providers`, and the maximum bytes of each.
const PROVIDERS_MAX: (usize, usize) = (64, 64);
/// The largest bound in `rate_limit`.
const RATE_MAX: u64 = 1_000_000_000;

/// The key object of the API; amounts are in USD.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub struct KeyBody {
    hash: String,
    name: String,
    label: String,
    key_type: &'static str,
    disabled: bool,
    #[serde(serialize_with = "events::money::as_usd_or_null")]
    #[schema(value_type = Option<Usd>)]
    limit: Option<Nanos>,
    #[serde(serialize_with = "events::money::as_usd_or_null")]
    #[schema(value_type = Option<Usd>)]
    limit_remaining: Option<Nanos>,
    /// `daily`, `weekly` or `monthly`; null if the limit never resets.
    #[schema(value_type = Option<String>)]
    limit_reset: Option<LimitReset>,
    allowed_providers: Option<Vec<String>>,
    allowed_models: Option<Vec<String>>,
    #[serde(serialize_with = "events::money::as_usd")]
    #[schema(value_type = Usd)]
    usage: Nanos,
    #[serde(serialize_with = "events::money::as_usd")]
    #[schema(value_type = Usd)]
    usage_daily: Nanos,
    #[serde(serialize_with = "events::money::as_usd")]
    #[schema(value_type = Usd)]
    usage_weekly: Nanos,
    #[serde(serialize_with = "events::money::as_usd")]
    #[schema(value_type = Usd)]
    usage_monthly: Nanos,
    /// The list price of requests with the account's own provider keys.
    #[serde(serialize_with = "events::money::as_usd")]
    #[schema(value_type = Usd)]
    byok_usage: Nanos,
    #[serde(serialize_with = "events::money::as_usd")]
    #[schema(value_type = Usd)]
    byok_usage_daily: Nanos,
    #[serde(serialize_with = "events::money::as_usd")]
    #[schema(value_type = Usd)]
    byok_usage_weekly: Nanos,
    #[serde(serialize_with = "events::money::as_usd")]
    #[schema(value_type = Usd)]
    byok_usage_monthly: Nanos,
    include_byok_in_limit: bool,
    enforce_zdr: bool,
    #[schema(value_type = Option<RateBounds>)]
    rate_limit: Option<RateLimitBody>,
    created_at: String,
    updated_at: Option<String>,
    expires_at: Option<String>,
    /// The hash of the management key that created this one.
    created_by: Option<String>,
    /// The account, which is what OpenRouter calls a workspace.
    workspace_id: String,
    /// Fields of OpenRouter that have no value here.
    creator_user_id: Option<String>,
    external_user: Option<String>,
    last_used_at: Option<String>,
}

/// The bounds of a key on requests and tokens, as the API reads and writes them. Absent and null bounds are none.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RateLimit)]
pub struct RateLimitBody {
    #[serde(default)]
    requests_per_minute: Option<u64>,
    #[serde(default)]
    requests_per_day: Option<u64>,
    #[serde(default)]
    tokens_per_minute: Option<u64>,
}

impl RateLimitBody {
    /// Returns the bounds of a body; an absent body has none.
    ///
    /// # Errors
    /// Returns 400 if a bound is 0 or too large.
    pub fn bounds(body: Option<Self>) -> Result<RateLimit, GatewayError> {
        let Some(Self { requests_per_minute, requests_per_day, tokens_per_minute }) = body else { return Ok(RateLimit::default()) };
        for bound in [requests_per_minute, requests_per_day, tokens_per_minute] {
            if bound.is_some_and(|bound| !(1..=RATE_MAX).contains(&bound)) {
                return Err(wrong("rate_limit", "a bound must be null or a whole number from 1 to 1000000000"));
            }
        }
        Ok(RateLimit { requests_per_minute, requests_per_day, tokens_per_minute })
    }

    fn of(bounds: &RateLimit) -> Option<Self> {
        let RateLimit { requests_per_minute, requests_per_day, tokens_per_minute } = *bounds;
        (!bounds.is_none()).then_some(Self { requests_per_minute, requests_per_day, tokens_per_minute })
    }
}

/// Returns the rest of a key's limit in the current window, never below zero. `None` means that the key has no limit.
#[must_use]
pub fn remaining(key: &Key, spend: &KeySpend) -> Option<Nanos> {
    let used = match key.limit_reset {
        Some(LimitReset::Daily) => spend.daily.saturating_sub(spend.exempt.daily),
        Some(LimitReset::Weekly) => spend.weekly.saturating_sub(spend.exempt.weekly),
        Some(LimitReset::Monthly) => spend.monthly.saturating_sub(spend.exempt.monthly),
        None => spend.total.saturating_sub(spend.exempt.total),
    };
    key.limit_nanos.map(|limit| limit.saturating_sub(used).max(Nanos::ZERO))
}

impl KeyBody {
    /// Builds the object of a key from its state and its spending.
    #[must_use]
    pub fn new(key: &Key, spend: &KeySpend) -> Self {
        Self {
            hash: key.hash.to_string(),
            name: key.name.clone(),
            label: key.label.clone(),
            key_type: match key.kind {
                KeyKind::Regular => "regular",
                KeyKind::Management => "management",
            },
            disabled: key.disabled,
            limit: key.limit_nanos,
            limit_remaining: remaining(key, spend),
            limit_reset: key.limit_reset,
            allowed_providers: key.allowed_providers.clone(),
            allowed_models: key.allowed_models.clone(),
            usage: spend.total,
            usage_daily: spend.daily,
            usage_weekly: spend.weekly,
            usage_monthly: spend.monthly,
            byok_usage: spend.byok.total,
            byok_usage_daily: spend.byok.daily,
            byok_usage_weekly: spend.byok.weekly,
            byok_usage_monthly: spend.byok.monthly,
            include_byok_in_limit: key.include_byok_in_limit,
            enforce_zdr: key.enforce_zdr,
            rate_limit: RateLimitBody::of(&key.rate_limit),
            created_at: rfc3339(key.created_at_us),
            updated_at: key.updated_at_us.map(rfc3339),
            expires_at: key.expires_at_us.map(rfc3339),
            created_by: key.created_by.as_ref().map(ToString::to_string),
            workspace_id: key.account.to_string(),
            creator_user_id: None,
            external_user: None,
            last_used_at: None,
        }
    }
}

impl Admin {
    /// Returns the objects of keys, which must all belong to one account, with their spending.
    ///
    /// # Errors
    /// Returns 503 if the ledger does not reply.
    pub async fn bodies(&self, keys: &[&Key]) -> Result<Vec<KeyBody>, GatewayError> {
        let Some(first) = keys.first() else { return Ok(Vec::new()) };
        let ask = GetKeySpend { account: first.account.clone(), keys: keys.iter().map(|key| key.hash.clone()).collect() };
        let spending = self.ledger.call(&ask, RPC_TIMEOUT).await?;
        Ok(keys.iter().map(|key| KeyBody::new(key, &spending.get(&key.hash).copied().unwrap_or_default())).collect())
    }
}

/// Reads `daily`, `weekly` or `monthly`; `"never"` and `null` mean no reset.
///
/// # Errors
/// Fails for any other word.
pub fn reset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<LimitReset>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        Daily,
        Weekly,
        Monthly,
        Never,
    }
    Ok(Some(match Option::<Word>::deserialize(deserializer)? {
        None | Some(Word::Never) => None,
        Some(Word::Daily) => Some(LimitReset::Daily),
        Some(Word::Weekly) => Some(LimitReset::Weekly),
        Some(Word::Monthly) => Some(LimitReset::Monthly),
    }))
}

/// Returns the limit, which the input accepts under three names.
///
/// # Errors
/// Returns 400 if several names are given, or if the amount is invalid.
pub fn limit(given: [(&'static str, &Option<Option<Box<RawValue>>>); 3]) -> Result<Option<Option<Nanos>>, GatewayError> {
    let mut found = given.into_iter().filter_map(|(field, value)| value.as_ref().map(|value| (field, value)));
    let Some((field, value)) = found.next() else { return Ok(None) };
    if let Some((other, _)) = found.next() {
        return Err(wrong(other, &format!("'{field}' says the same; give one of them")));
    }
    value.as_ref().map(|raw| usd(field, raw)).transpose().map(Some)
}

/// Reads the time at which a key expires.
///
/// # Errors
/// Returns 400 if it is malformed, or not after `now_us`.
pub fn expires_at(text: Option<&str>, now_us: i64) -> Result<Option<i64>, GatewayError> {
    let Some(text) = text else { return Ok(None) };
    let at = parse_rfc3339(text).ok_or_else(|| wrong("expires_at", "it must be a time such as 2026-12-31T00:00:00Z"))?;
    if at > now_us { Ok(Some(at)) } else { Err(wrong("expires_at", "it must lie in the future")) }
}

/// Checks the model patterns that a key may use.
///
/// # Errors
/// Returns 400 if they are too many or too long.
pub fn models(list: Option<Vec<String>>) -> Result<Option<Vec<String>>, GatewayError> {
    list.map(|list| text::list("allowed_models", list, MODELS_MAX)).transpose()
}

/// Checks the providers that a key may use.
///
/// # Errors
/// Returns 400 if they are too many or too long.
pub fn providers(list: Option<Vec<String>>) -> Result<Option<Vec<String>>, GatewayError> {
    list.map(|list| text::list("allowed_providers", list, PROVIDERS_MAX)).transpose()
}
