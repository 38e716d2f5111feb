//! Webhooks: endpoints of an account that get its events by HTTP, as events of the stream `CONTROL`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::{AccountId, KeyHash};
use crate::payload::payload;
use crate::sealed::Place;

/// The event types that endpoints may ask for, without `arouter.` and version.
pub const EVENT_TYPES: [&str; 9] = [
    "usage.recorded",
    "request.started",
    "request.progress",
    "request.finished",
    "request.refused",
    "key.created",
    "key.updated",
    "key.disabled",
    "key.deleted",
];
/// The event type that only endpoints that ask for it get, because a stream makes one each second.
const ON_DEMAND: &str = "request.progress";
/// The event type of test events.
pub const TEST_TYPE: &str = "arouter.webhook.test.v1";
/// The share of all events, in millionths.
pub const SAMPLING_ALL: u32 = 1_000_000;

/// The HTTP method of deliveries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum WebhookMethod {
    #[default]
    Post,
    Put,
}

/// A secret that was replaced and is still used for signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreviousSecret {
    /// The sealed secret.
    pub sealed: String,
    /// The time until which deliveries are signed with it too, microseconds since 1970.
    pub valid_until_us: i64,
}

/// An endpoint of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Webhook {
    /// The endpoint's id.
    pub id: String,
    /// The account whose events it gets.
    pub account: AccountId,
    /// The owner's name for the endpoint.
    pub name: String,
    /// The address that deliveries go to.
    pub url: String,
    /// The HTTP method of deliveries.
    pub method: WebhookMethod,
    /// The owner's own headers, a sealed JSON object; absent = none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sealed_headers: Option<String>,
    /// The sealed secret that signs deliveries.
    pub sealed_secret: String,
    /// The secret before the last rotation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub previous_secret: Option<PreviousSecret>,
    /// Whether deliveries hide key names and reasons of failures.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub privacy_mode: bool,
    /// The share of events that are delivered, in millionths.
    pub sampling_ppm: u32,
    /// The keys whose events are delivered; empty = all.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub api_key_ids: Vec<KeyHash>,
    /// The event types that are delivered, such as `usage.recorded`; empty = all but `request.progress`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub event_types: Vec<String>,
    /// Whether nothing is delivered.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub disabled: bool,
    /// The reason why the endpoint was disabled without its owner.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub disabled_reason: Option<String>,
    /// The time of creation, microseconds since 1970. Events from before are not delivered.
    pub created_at_us: i64,
    /// The time of the last change, microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub updated_at_us: Option<i64>,
    /// The revision, which counts the changes from 1.
    pub revision: u64,
}

/// An endpoint was created or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookChanged {
    /// The endpoint after the change.
    pub webhook: Webhook,
}

/// An endpoint was deleted for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookDeleted {
    /// The last state of the endpoint.
    pub webhook: Webhook,
}

payload!(WebhookChanged, Control, "webhook", "changed", "v1");
payload!(WebhookDeleted, Control, "webhook", "deleted", "v1");

impl Webhook {
    /// Returns the place of the endpoint's secrets.
    #[must_use]
    pub fn secret_place(&self) -> Place<'_> {
        Place { account: self.account.as_str(), purpose: "webhook.secret", id: &self.id }
    }

    /// Returns the place of the endpoint's headers.
    #[must_use]
    pub fn headers_place(&self) -> Place<'_> {
        Place { account: self.account.as_str(), purpose: "webhook.headers", id: &self.id }
    }

    /// Returns the order of two states of one endpoint: the greater one is newer.
    #[must_use]
    pub fn order(&self) -> (u64, i64) {
        (self.revision, self.updated_at_us.unwrap_or(self.created_at_us))
    }

    /// Returns whether the endpoint gets an event of its account. `kind` is the whole type, and `key` the key that the event is about.
    #[must_use]
    pub fn wants(&self, event_id: &str, kind: &str, time_us: i64, key: Option<&str>) -> bool {
        let Some(kind) = short_type(kind) else { return false };
        let is_wanted = if self.event_types.is_empty() { kind != ON_DEMAND } else { self.event_types.iter().any(|wanted| wanted == kind) };
        let is_of_key = self.api_key_ids.is_empty() || key.is_some_and(|key| self.api_key_ids.iter().any(|wanted| wanted.as_str() == key));
        !self.disabled && time_us >= self.created_at_us && is_wanted && is_of_key && is_sampled(event_id, self.sampling_ppm)
    }
}

/// Returns a type without `arouter.` and version, if endpoints may get it: `arouter.usage.recorded.v1` becomes `usage.recorded`.
#[must_use]
pub fn short_type(kind: &str) -> Option<&'static str> {
    let short = kind.strip_prefix("arouter.").unwrap_or(kind);
    let short = short.strip_suffix(".v1").unwrap_or(short);
    EVENT_TYPES.into_iter().find(|known| *known == short)
}

/// Returns whether an event belongs to the share that is delivered. It is the same for every endpoint and at every time.
fn is_sampled(event_id: &str, sampling_ppm: u32) -> bool {
    let digest = Sha256::digest(event_id.as_bytes());
    let number = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    number % u64::from(SAMPLING_ALL) < u64::from(sampling_ppm)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook() -> Webhook {
        Webhook {
            id: "wh_1".into(),
            account: "a".into(),
            name: "n".into(),
            url: "https://example.com".into(),
            method: WebhookMethod::Post,
            sealed_headers: None,
            sealed_secret: String::new(),
            previous_secret: None,
            privacy_mode: false,
            sampling_ppm: SAMPLING_ALL,
            api_key_ids: Vec::new(),
            event_types: Vec::new(),
            disabled: false,
            disabled_reason: None,
            created_at_us: 100,
            updated_at_us: None,
            revision: 1,
        }
    }

    #[test]
    fn filters_decide_by_type_key_time_and_switch() {
        let usage = "arouter.usage.recorded.v1";
        let all = webhook();
        assert!(all.wants("e", usage, 100, Some("k")) && !all.wants("e", usage, 99, Some("k")));
        assert!(!all.wants("e", "arouter.request.progress.v1", 100, None), "only on demand");
        assert!(!all.wants("e", "arouter.account.created.v1", 100, None) && !all.wants("e", "arouter.webhook.changed.v1", 100, None));
        let some = Webhook { event_types: vec!["request.progress".into()], api_key_ids: vec!["k".into()], ..webhook() };
        assert!(some.wants("e", "arouter.request.progress.v1", 100, Some("k")) && !some.wants("e", usage, 100, Some("k")));
        assert!(!some.wants("e", "arouter.request.progress.v1", 100, Some("other")) && !some.wants("e", "request.progress", 100, None));
        assert!(!Webhook { disabled: true, ..webhook() }.wants("e", usage, 100, None));
    }

    #[test]
    fn a_share_of_events_is_sampled_and_always_the_same() {
        let ids: Vec<String> = (0..20_000).map(|number| format!("event-{number}")).collect();
        let sampled = |ppm| ids.iter().filter(|id| is_sampled(id, ppm)).count();
        assert_eq!((sampled(0), sampled(SAMPLING_ALL)), (0, ids.len()));
        assert!((4_700..5_300).contains(&sampled(250_000)), "{}", sampled(250_000));
        assert!(ids.iter().all(|id| !is_sampled(id, 100_000) || is_sampled(id, 250_000)), "a larger share contains a smaller one");
    }
}
