//! The key object of the API, and the input fields that create and update share.

use events::Nanos;
use events::clock::rfc3339;
use events::control::{Key, LimitReset};
use events::ids::KeyKind;
use events::rpc::{GetKeySpend, KeySpend};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use wire::openapi::Usd;

use crate::admin::body::{usd, wrong};
use crate::admin::{Admin, RPC_TIMEOUT, text};
use crate::error::GatewayError;

/// The maximum number of entries in `allowed_models`, and the maximum bytes of each.
const MODELS_MAX: (usize, usize) = (256, 128);
/// The maximum number of entries in `allowed_providers`, and the maximum bytes of each.
const PROVIDERS_MAX: (usize, usize) = (64, 64);

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
    created_at: String,
    updated_at: Option<String>,
    expires_at: Option<String>,
}

/// Returns the rest of a key's limit in the current window, never below zero. `None` means that the key has no limit.
#[must_use]
pub fn remaining(key: &Key, spend: &KeySpend) -> Option<Nanos> {
    let used = match key.limit_reset {
        Some(LimitReset::Daily) => spend.daily,
        Some(LimitReset::Weekly) => spend.weekly,
        Some(LimitReset::Monthly) => spend.monthly,
        None => spend.total,
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
            created_at: rfc3339(key.created_at_us),
            updated_at: key.updated_at_us.map(rfc3339),
            expires_at: key.expires_at_us.map(rfc3339),
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
