//! The webhook object of the API, the input fields that create and update share, and how a state is recorded.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use events::AccountId;
use events::clock::rfc3339;
use events::sealed::{Place, SealError};
use events::webhook::{EVENT_TYPES, SAMPLING_ALL, Webhook, WebhookChanged, short_type};
use http::{HeaderName, HeaderValue};
use reqwest::Url;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::admin::body::wrong;
use crate::admin::{Admin, text};
use crate::auth::directory::WebhookEntry;
use crate::error::GatewayError;

/// The maximum number of own headers, and the maximum bytes of their names and values.
const HEADERS_MAX: usize = 20;
const HEADER_BYTES_MAX: usize = 4_096;
const URL_BYTES_MAX: usize = 2_048;
const KEYS_MAX: (usize, usize) = (256, 64);
/// Headers that the sender or the connection sets.
const RESERVED: [&str; 8] = ["host", "content-length", "content-type", "connection", "transfer-encoding", "upgrade", "te", "trailer"];

/// The webhook object of the API.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Webhook)]
pub struct WebhookBody {
    id: String,
    uid: String,
    name: String,
    url: String,
    #[schema(value_type = String)]
    method: events::webhook::WebhookMethod,
    headers: BTreeMap<String, String>,
    privacy_mode: bool,
    sampling_rate: f64,
    #[schema(value_type = Vec<String>)]
    api_key_ids: Vec<events::KeyHash>,
    event_types: Vec<String>,
    disabled: bool,
    disabled_reason: Option<String>,
    created_at: String,
    updated_at: Option<String>,
}

impl Admin {
    /// Returns the object of a webhook.
    ///
    /// # Errors
    /// Returns 500 if the secrets were sealed with a master key that is not here.
    pub fn webhook_body(&self, webhook: &Webhook) -> Result<WebhookBody, GatewayError> {
        let sealed = webhook.sealed_headers.as_ref();
        let headers = sealed.map(|sealed| self.master_keys.open(&webhook.headers_place(), sealed)).transpose().map_err(unsealed)?;
        Ok(WebhookBody {
            id: webhook.id.clone(),
            uid: webhook.id.clone(),
            name: webhook.name.clone(),
            url: webhook.url.clone(),
            method: webhook.method,
            headers: headers.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
            privacy_mode: webhook.privacy_mode,
            sampling_rate: f64::from(webhook.sampling_ppm) / f64::from(SAMPLING_ALL),
            api_key_ids: webhook.api_key_ids.clone(),
            event_types: webhook.event_types.clone(),
            disabled: webhook.disabled,
            disabled_reason: webhook.disabled_reason.clone(),
            created_at: rfc3339(webhook.created_at_us),
            updated_at: webhook.updated_at_us.map(rfc3339),
        })
    }

    /// Returns a webhook of an account.
    ///
    /// # Errors
    /// Returns 404 if there is no such webhook, or if it belongs to another account.
    pub fn webhook_of(&self, account: &AccountId, id: &str) -> Result<Arc<WebhookEntry>, GatewayError> {
        let entry = self.directory.webhook(id).filter(|entry| entry.webhook.account == *account);
        entry.ok_or_else(|| GatewayError::NotFound("No webhook of this account has that id.".to_owned()))
    }

    /// Applies a change to the newest state of an account's webhook, records it, and returns the new state. Of two concurrent changes on
    /// two gateways, the later one wins.
    ///
    /// # Errors
    /// Returns 404 for a webhook of another account, the error of `change`, or 503 if nothing can be recorded.
    pub async fn change_webhook(
        &self,
        account: &AccountId,
        id: &str,
        change: impl FnOnce(&mut Webhook) -> Result<(), GatewayError>,
    ) -> Result<Webhook, GatewayError> {
        let _alone = self.lock_keys(account).await;
        let mut webhook = self.webhook_of(account, id)?.webhook.clone();
        change(&mut webhook)?;
        webhook.revision += 1;
        webhook.updated_at_us = Some(self.clock.now_us());
        self.record(account.as_str(), id, &WebhookChanged { webhook: webhook.clone() }).await?;
        Ok(webhook)
    }

    /// Returns a new secret in clear and sealed.
    ///
    /// # Errors
    /// Returns 500 if it cannot be sealed.
    pub fn new_webhook_secret(&self, place: &Place<'_>) -> Result<(String, String), GatewayError> {
        let mut random = [0_u8; 32];
        self.ids.fill(&mut random);
        let secret = format!("whsec_{}", STANDARD.encode(random));
        let sealed = self.seal(place, &secret)?;
        Ok((secret, sealed))
    }

    /// Returns headers as sealed text; `None` for no headers.
    ///
    /// # Errors
    /// Returns 500 if they cannot be sealed.
    pub fn seal_headers(&self, place: &Place<'_>, headers: &BTreeMap<String, String>) -> Result<Option<String>, GatewayError> {
        if headers.is_empty() {
            return Ok(None);
        }
        let text = serde_json::to_string(headers).map_err(|_| GatewayError::Internal)?;
        self.seal(place, &text).map(Some)
    }

    fn seal(&self, place: &Place<'_>, plain: &str) -> Result<String, GatewayError> {
        self.master_keys.seal(place, plain, &*self.ids).map_err(unsealed)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that map_err needs")]
fn unsealed(error: SealError) -> GatewayError {
    tracing::error!(%error, "a secret of a webhook cannot be used: {error}");
    GatewayError::Internal
}

/// Checks the address of an endpoint. Whether its host is public is checked at each delivery.
///
/// # Errors
/// Returns 400 if it is no http or https address, or has a user name.
pub fn url(url: String) -> Result<String, GatewayError> {
    let parsed = Url::parse(&url).ok().filter(|parsed| {
        let is_http = matches!(parsed.scheme(), "http" | "https") && parsed.has_host();
        is_http && parsed.username().is_empty() && parsed.password().is_none()
    });
    if parsed.is_some() && url.len() <= URL_BYTES_MAX && text::is_clean(&url) {
        return Ok(url);
    }
    Err(wrong("url", "it must be an address that begins with https:// or http://, without a user name, of at most 2048 bytes"))
}

/// Checks an owner's own headers.
///
/// # Errors
/// Returns 400 if they are too many, too long, malformed, or reserved.
pub fn headers(headers: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, GatewayError> {
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
        return Err(wrong("headers", "it must have at most 20 headers of together 4096 bytes"));
    }
    for (name, value) in &headers {
        let lower = name.to_ascii_lowercase();
        let is_reserved = RESERVED.contains(&lower.as_str()) || lower.starts_with("webhook-") || lower.starts_with("svix-");
        if is_reserved || HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err() {
            return Err(wrong("headers", &format!("{name:?} is reserved, or its name or value is no header")));
        }
    }
    Ok(headers)
}

/// Reads a share from 0 to 1 as millionths; 0 and null mean all.
///
/// # Errors
/// Returns 400 for any other value.
pub fn sampling(rate: Option<&RawValue>) -> Result<u32, GatewayError> {
    let share = rate.map_or("0", RawValue::get);
    let share: f64 = if share == "null" { 0.0 } else { share.parse().unwrap_or(f64::NAN) };
    if !(0.0..=1.0).contains(&share) {
        return Err(wrong("sampling_rate", "it must be a number from 0 to 1"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the share is from 0 to 1")]
    let ppm = (share * f64::from(SAMPLING_ALL)).round() as u32;
    Ok(if share == 0.0 { SAMPLING_ALL } else { ppm.max(1) })
}

/// Checks the keys of a filter, which need not exist any more.
///
/// # Errors
/// Returns 400 if they are too many or too long.
pub fn keys(list: Vec<String>) -> Result<Vec<events::KeyHash>, GatewayError> {
    Ok(text::list("api_key_ids", list, KEYS_MAX)?.into_iter().map(Into::into).collect())
}

/// Reads the event types of a filter: types such as `usage.recorded`, or families such as `usage` and `usage.*`.
///
/// # Errors
/// Returns 400 for an unknown type.
pub fn event_types(list: &[String]) -> Result<Vec<String>, GatewayError> {
    let mut types = Vec::new();
    for given in list {
        let family = given.strip_suffix(".*").unwrap_or(given);
        let of_family = EVENT_TYPES.into_iter().filter(|known| known.split_once('.').is_some_and(|(first, _)| first == family));
        let found: Vec<&str> = short_type(given).into_iter().chain(of_family).collect();
        if found.is_empty() {
            return Err(wrong("event_types", &format!("{given:?} is none of {}", EVENT_TYPES.join(", "))));
        }
        types.extend(found);
    }
    types.sort_unstable();
    types.dedup();
    Ok(types.into_iter().map(str::to_owned).collect())
}

/// Returns whether a call came by an address of ARouter's SDK.
#[must_use]
pub fn is_sdk(uri: &http::Uri) -> bool {
    uri.path().starts_with("/api/webhooks/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_strictly() {
        let types = |list: &[&str]| event_types(&list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        assert_eq!(types(&["usage", "arouter.usage.recorded.v1"]).unwrap(), ["usage.recorded"]);
        assert_eq!(types(&["key.*"]).unwrap().len(), 4);
        assert!(types(&["ledger"]).is_err() && types(&["webhook.changed"]).is_err());
        assert!(url("https://example.com/x".into()).is_ok() && url("http://127.0.0.1:1/".into()).is_ok());
        for bad in ["", "ftp://example.com", "https://user@example.com", "https://u:p@example.com", "example.com", "https://a\n"] {
            assert!(url(bad.to_owned()).is_err(), "{bad}");
        }
        let one = |name: &str, value: &str| headers([(name.to_owned(), value.to_owned())].into());
        assert!(one("X-Token", "a").is_ok());
        assert!(one("Host", "a").is_err() && one("Webhook-Id", "a").is_err() && one("x", "a\nb").is_err() && one("a b", "").is_err());
        let rate = |text: &str| sampling(Some(&RawValue::from_string(text.to_owned()).unwrap()));
        assert_eq!([rate("0").unwrap(), rate("null").unwrap(), rate("0.25").unwrap()], [SAMPLING_ALL, SAMPLING_ALL, 250_000]);
        assert!(rate("1.5").is_err() && rate("-1").is_err() && rate("\"1\"").is_err() && sampling(None).unwrap() == SAMPLING_ALL);
    }
}
