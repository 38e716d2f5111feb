//! The provider key object of the API, the input fields that create and update share, and how a state is recorded.

use std::sync::Arc;

use events::clock::rfc3339;
use events::provider_key::{ProviderKey, ProviderKeyChanged};
use events::sealed::SealError;
use events::{AccountId, Nanos};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wire::openapi::Usd;

use crate::admin::body::{present, usd, wrong};
use crate::admin::{Admin, text};
use crate::error::GatewayError;
use crate::route::{Endpoint, provider};

const KEY_BYTES_MAX: usize = 8_192;
const URL_BYTES_MAX: usize = 2_048;
const WEIGHT_MAX: u32 = 1_000;
const RPM_MAX: u64 = 1_000_000;
const MODELS_MAX: (usize, usize) = (256, 128);
/// The least characters of a credential of which a hint shows some, and the number of shown ones at its start and its end.
const HINTED_MIN: usize = 20;
const HINT_CHARS: usize = 4;

/// The provider key object of the API.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ProviderKey)]
pub struct ProviderKeyBody {
    id: String,
    provider: String,
    label: String,
    /// Some characters of the credential, which itself is never shown.
    hint: String,
    disabled: bool,
    /// Whether the operator's credentials are never used instead.
    always_use: bool,
    weight: u32,
    rpm_limit: Option<u64>,
    base_url: Option<String>,
    region: Option<String>,
    /// Patterns such as `openai/*`; null for all.
    models: Option<Vec<String>>,
    #[serde(serialize_with = "events::money::as_usd_or_null")]
    #[schema(value_type = Option<Usd>)]
    daily_budget_usd: Option<Nanos>,
    #[serde(serialize_with = "events::money::as_usd_or_null")]
    #[schema(value_type = Option<Usd>)]
    monthly_budget_usd: Option<Nanos>,
    created_at: String,
    updated_at: Option<String>,
}

/// The options of a provider key. An absent one keeps its value; null removes a limit.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = ProviderKeyOptions)]
pub struct OptionsBody {
    /// The provider's slug, such as `openai`: needed for a new key, and never changed.
    pub provider: Option<String>,
    /// The credential: needed for a new key.
    #[schema(max_length = 8192)]
    pub key: Option<String>,
    #[schema(min_length = 1, max_length = 256)]
    pub label: Option<String>,
    disabled: Option<bool>,
    /// Whether the operator's credentials are never used instead.
    always_use: Option<bool>,
    /// The share of the requests, from 1 to 1000; by default 1.
    weight: Option<u32>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<u64>)]
    rpm_limit: Option<Option<u64>>,
    /// The address of the provider's API on a public host; by default the operator's. A change of it needs `key` again.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    base_url: Option<Option<String>>,
    /// The region of the endpoints that the key serves.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    region: Option<Option<String>>,
    /// Patterns such as `openai/*`; null and none for all.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    models: Option<Option<Vec<String>>>,
    /// The most of the list price in a UTC day.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<f64>)]
    daily_budget_usd: Option<Option<Box<RawValue>>>,
    /// The most of the list price in a UTC month.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<f64>)]
    monthly_budget_usd: Option<Option<Box<RawValue>>>,
}

impl ProviderKeyBody {
    #[must_use]
    pub fn new(key: &ProviderKey) -> Self {
        Self {
            id: key.id.clone(),
            provider: key.provider.clone(),
            label: key.label.clone(),
            hint: key.hint.clone(),
            disabled: key.disabled,
            always_use: key.always_use,
            weight: key.weight,
            rpm_limit: key.rpm_limit,
            base_url: key.base_url.clone(),
            region: key.region.clone(),
            models: (!key.models.is_empty()).then(|| key.models.clone()),
            daily_budget_usd: key.daily_budget_nanos,
            monthly_budget_usd: key.monthly_budget_nanos,
            created_at: rfc3339(key.created_at_us),
            updated_at: key.updated_at_us.map(rfc3339),
        }
    }
}

impl Admin {
    /// Returns a provider key of an account.
    ///
    /// # Errors
    /// Returns 404 if there is none, or if it belongs to another account.
    pub fn provider_key_of(&self, account: &AccountId, id: &str) -> Result<Arc<ProviderKey>, GatewayError> {
        let key = self.directory.provider_key(id).filter(|key| key.account == *account);
        key.ok_or_else(|| GatewayError::NotFound("No provider key of this account has that id.".to_owned()))
    }

    /// Returns the endpoint that stands for a provider.
    ///
    /// # Errors
    /// Returns 400 if this gateway has no such provider.
    pub fn provider_named(&self, slug: &str) -> Result<Arc<Endpoint>, GatewayError> {
        let unknown = || wrong("provider", "this gateway has no such provider; GET /api/v1/providers lists those that it has");
        self.routes.now().unmetered(slug).cloned().ok_or_else(unknown)
    }

    /// Applies options to a state, and seals the credential.
    ///
    /// # Errors
    /// Returns 400 for a bad option.
    pub fn apply_options(&self, key: &mut ProviderKey, options: OptionsBody) -> Result<(), GatewayError> {
        let provider = Arc::clone(&self.provider_named(&key.provider)?.provider);
        if let Some(base_url) = options.base_url {
            let base_url = base_url.map(|url| base_url_of(url, self.byok.base_url_at_private_addresses)).transpose()?;
            if base_url != key.base_url && options.key.is_none() {
                return Err(wrong(
                    "base_url",
                    "a change of it needs the key again, so that nobody sends the key elsewhere who does not have it",
                ));
            }
            key.base_url = base_url;
        }
        key.label = options.label.map(label).transpose()?.unwrap_or_else(|| key.label.clone());
        key.disabled = options.disabled.unwrap_or(key.disabled);
        key.always_use = options.always_use.unwrap_or(key.always_use);
        key.weight = options.weight.unwrap_or(key.weight);
        if !(1..=WEIGHT_MAX).contains(&key.weight) {
            return Err(wrong("weight", "it must be a whole number from 1 to 1000"));
        }
        key.rpm_limit = options.rpm_limit.unwrap_or(key.rpm_limit);
        if key.rpm_limit.is_some_and(|rpm| !(1..=RPM_MAX).contains(&rpm)) {
            return Err(wrong("rpm_limit", "it must be null or a whole number from 1 to 1000000"));
        }
        key.region = options.region.map(|region| region.map(label).transpose()).transpose()?.unwrap_or_else(|| key.region.clone());
        if let Some(models) = options.models {
            key.models = text::list("models", models.unwrap_or_default(), MODELS_MAX)?;
        }
        let budget = |field, raw: Option<Box<RawValue>>| raw.map(|raw| usd(field, &raw)).transpose();
        if let Some(raw) = options.daily_budget_usd {
            key.daily_budget_nanos = budget("daily_budget_usd", raw)?;
        }
        if let Some(raw) = options.monthly_budget_usd {
            key.monthly_budget_nanos = budget("monthly_budget_usd", raw)?;
        }
        let Some(secret) = options.key else { return Ok(()) };
        let is_sendable = (1..=KEY_BYTES_MAX).contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_sendable || provider::credential(provider.format, &secret).is_err() {
            return Err(wrong("key", "it must have 1 to 8192 visible ASCII characters"));
        }
        let shown = [Some(&key.label), key.base_url.as_ref(), key.region.as_ref()];
        if shown.into_iter().flatten().chain(&key.models).any(|text| text.contains(&secret)) {
            return Err(wrong("key", "another field contains it, and would show it"));
        }
        key.hint = hint(&secret);
        key.sealed_key = self.master_keys.seal(&key.place(), &secret, &*self.ids).map_err(|error| sealing(&error))?;
        Ok(())
    }

    /// Records a state of a provider key.
    ///
    /// # Errors
    /// Returns 503 if nothing can be recorded.
    pub async fn record_provider_key(&self, key: &ProviderKey) -> Result<(), GatewayError> {
        self.record(key.account.as_str(), &key.id, &ProviderKeyChanged { provider_key: key.clone() }).await
    }

    /// Applies a change to the newest state of an account's provider key, records it, and returns the new state.
    ///
    /// # Errors
    /// Returns 404 for a key of another account, the error of `change`, or 503 if nothing can be recorded.
    pub async fn change_provider_key(
        &self,
        account: &AccountId,
        id: &str,
        change: impl FnOnce(&mut ProviderKey) -> Result<(), GatewayError>,
    ) -> Result<ProviderKey, GatewayError> {
        let _alone = self.lock_keys(account).await;
        let mut key = (*self.provider_key_of(account, id)?).clone();
        change(&mut key)?;
        key.revision += 1;
        key.updated_at_us = Some(self.clock.now_us());
        self.record_provider_key(&key).await?;
        Ok(key)
    }
}

/// Returns the error for a credential that the master keys cannot seal or open. The log tells the operator.
pub fn sealing(error: &SealError) -> GatewayError {
    tracing::error!(%error, "a provider key cannot be sealed or opened: {error}");
    GatewayError::Conflict(
        "The provider key is sealed with a master key that this gateway does not have: its operator must add it to secrets.master_key, or set the key again.".to_owned(),
    )
}

fn label(text: String) -> Result<String, GatewayError> {
    text::name(text).map_err(|_| wrong("label", "it must have 1 to 256 characters, and no control characters"))
}

/// Checks the address of a provider's API. A host name is checked again at each connection.
fn base_url_of(url: String, has_private: bool) -> Result<String, GatewayError> {
    let is_right = |parsed: &Url| {
        let is_http = matches!(parsed.scheme(), "http" | "https") && parsed.has_host();
        let is_plain =
            parsed.username().is_empty() && parsed.password().is_none() && parsed.query().is_none() && parsed.fragment().is_none();
        is_http && is_plain && (has_private || outbound::is_public_host(parsed))
    };
    let is_right = url.len() <= URL_BYTES_MAX && text::is_clean(&url) && Url::parse(&url).is_ok_and(|parsed| is_right(&parsed));
    let what = "it must be an http or https address on a public host, without user name, query and fragment, of at most 2048 bytes";
    if is_right { Ok(url) } else { Err(wrong("base_url", what)) }
}

/// Returns some characters of a credential, if it has enough of them.
fn hint(secret: &str) -> String {
    let (first, last) = (secret.get(..HINT_CHARS), secret.get(secret.len().saturating_sub(HINT_CHARS)..));
    match first.zip(last) {
        Some((first, last)) if secret.len() >= HINTED_MIN => format!("{first}...{last}"),
        _ => "...".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_hints_reveal_nothing() {
        let url = |url: &str, has_private| base_url_of(url.to_owned(), has_private).is_ok();
        assert!(url("https://example.com/v1", false) && url("http://127.0.0.1:1/v1", true));
        for bad in [
            "http://127.0.0.1:1/v1",
            "https://10.0.0.1",
            "https://u:p@example.com",
            "https://example.com/v1?key=x",
            "ftp://example.com",
            "x",
        ] {
            assert!(!url(bad, false), "{bad}");
        }
        assert_eq!((hint("sk-abcdefghijklmnopqrst"), hint("short-secret")), ("sk-a...qrst".to_owned(), "...".to_owned()));
    }
}
