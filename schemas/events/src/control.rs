//! Changes of accounts and keys by admins and operators, as events of the stream `CONTROL`.
//!
//! Each event contains the whole new state and its revision, so that a reader folds a *set* of events: the highest revision wins.

use hmac::{Hmac, KeyInit, Mac};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::catalog::{CatalogChanged, CatalogVersion};
use crate::envelope::{EnvelopeError, RawEnvelope};
use crate::ids::{AccountId, KeyHash, KeyKind, hex};
use crate::money::Nanos;
use crate::payload::{Payload, payload};
use crate::provider_key::{ProviderKey, ProviderKeyChanged};
use crate::webhook::{Webhook, WebhookChanged, WebhookDeleted};

/// The time at which a key's limit starts over, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitReset {
    /// Every day at 00:00.
    Daily,
    /// Every Monday at 00:00.
    Weekly,
    /// Every 1st of the month at 00:00.
    Monthly,
}

/// The most that a key may request in any sliding window; an absent bound is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RateLimit {
    /// Requests in any 60 s.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requests_per_minute: Option<u64>,
    /// Requests in any 24 h.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requests_per_day: Option<u64>,
    /// Prompt and completion tokens of the requests admitted in any 60 s.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tokens_per_minute: Option<u64>,
}

impl RateLimit {
    /// Returns whether no bound is set.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// The call that created a key, if it carried an `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreatingCall {
    /// The SHA-256 of the call's body, in lower-case hex.
    pub body_sha256: String,
}

/// A key as everybody but its owner knows it, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Key {
    /// The key's id: SHA-256 of its secret.
    pub hash: KeyHash,
    /// The account that pays.
    pub account: AccountId,
    /// The purpose of the key.
    pub kind: KeyKind,
    /// The owner's name for the key.
    pub name: String,
    /// The part of the secret that is shown.
    pub label: String,
    /// Whether the key is refused.
    pub disabled: bool,
    /// The most that the key may spend in a window, nano-USD; absent = no limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit_nanos: Option<Nanos>,
    /// The window of the limit; absent = the key's whole life.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit_reset: Option<LimitReset>,
    /// Patterns of allowed models; absent = all, empty = none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub allowed_models: Option<Vec<String>>,
    /// Slugs of allowed providers; absent = all, empty = none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub allowed_providers: Option<Vec<String>>,
    /// The most requests and tokens in a window; absent = no bound of its own.
    #[serde(skip_serializing_if = "RateLimit::is_none", default)]
    pub rate_limit: RateLimit,
    /// Whether only providers that retain no data may serve the key.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub enforce_zdr: bool,
    /// Whether usage of the account's own provider keys counts towards the limit.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub include_byok_in_limit: bool,
    /// The management key that created the key; absent if the operator did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created_by: Option<KeyHash>,
    /// The call that created the key; absent if it carried no `Idempotency-Key`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub creating_call: Option<CreatingCall>,
    /// The time from which on the key is refused, microseconds since 1970; absent = never.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_at_us: Option<i64>,
    /// The time of creation, microseconds since 1970.
    pub created_at_us: i64,
    /// The time of the last change, microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub updated_at_us: Option<i64>,
    /// The revision, which counts the changes from 1.
    pub revision: u64,
}

macro_rules! key_event {
    ($(#[$doc:meta])* $name:ident, $verb:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            /// The key after the change.
            pub key: Key,
        }
        payload!($name, Control, "key", $verb, "v1");
    };
}

key_event! {
    /// A key was created.
    KeyCreated, "created"
}
key_event! {
    /// A key's name, limit or restrictions changed, or it was enabled again.
    KeyUpdated, "updated"
}
key_event! {
    /// A key was disabled.
    KeyDisabled, "disabled"
}
key_event! {
    /// A key was deleted for good.
    KeyDeleted, "deleted"
}

/// An account, which owns money and keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// The account's id.
    pub id: AccountId,
    /// The account's name.
    pub name: String,
    /// The time of creation, microseconds since 1970.
    pub created_at_us: i64,
    /// The revision, which counts the changes from 1.
    pub revision: u64,
    /// Whether the account's keys are refused.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub suspended: bool,
    /// The model of requests that name none; absent = such requests are refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub default_model: Option<String>,
}

/// An account was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountCreated {
    /// The new account.
    pub account: Account,
}

payload!(AccountCreated, Control, "account", "created", "v1");

/// An account was suspended by the operator or resumed, or its default model changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountUpdated {
    /// The account after the change.
    pub account: Account,
}

payload!(AccountUpdated, Control, "account", "updated", "v1");

/// The name of an end user was erased: reports show a token in its place, for requests before this event and after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserErased {
    /// The account whose end user it is.
    pub account: AccountId,
    /// The HMAC-SHA-256 of the name, keyed with the account's id; lower-case hex.
    pub user_hash: String,
    /// The text that replaces the name.
    pub token: String,
}

payload!(UserErased, Control, "account", "user_erased", "v1");

impl UserErased {
    /// Creates the erasure of a name. The same name always gets the same token, so that it does no harm to repeat it.
    #[must_use]
    pub fn new(account: AccountId, user: &str) -> Self {
        let user_hash = Self::hash(account.as_str(), user);
        let token = format!("erased-{}", Self::hash(&user_hash, "token").get(..24).unwrap_or_default());
        Self { account, user_hash, token }
    }

    /// Returns the keyed hash of a name.
    #[must_use]
    pub fn hash(account: &str, user: &str) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(account.as_bytes()) else { return String::new() };
        mac.update(user.as_bytes());
        hex(&mac.finalize().into_bytes())
    }
}

/// A control event as the readers of the stream apply it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlEvent {
    /// An account was created or changed.
    Account(Account),
    /// A key was created or changed.
    Key(Box<Key>),
    /// A key was deleted; the last state of it.
    KeyDeleted(Box<Key>),
    /// The name of an end user was erased.
    UserErased(UserErased),
    /// A webhook was created or changed.
    Webhook(Box<Webhook>),
    /// A webhook was deleted; the last state of it.
    WebhookDeleted(Box<Webhook>),
    /// The operator's catalogue of models was replaced.
    Catalog(Box<CatalogVersion>),
    /// An account's own provider key was created, changed or deleted.
    ProviderKey(Box<ProviderKey>),
}

impl ControlEvent {
    /// Reads a control event. Returns `None` for an unknown type.
    ///
    /// # Errors
    /// The payload is malformed.
    pub fn read(envelope: &RawEnvelope<'_>) -> Result<Option<Self>, EnvelopeError> {
        let key = |key| Self::Key(Box::new(key));
        Ok(Some(match envelope.kind {
            AccountCreated::KIND => Self::Account(envelope.payload::<AccountCreated>()?.account),
            AccountUpdated::KIND => Self::Account(envelope.payload::<AccountUpdated>()?.account),
            KeyCreated::KIND => key(envelope.payload::<KeyCreated>()?.key),
            KeyUpdated::KIND => key(envelope.payload::<KeyUpdated>()?.key),
            KeyDisabled::KIND => key(envelope.payload::<KeyDisabled>()?.key),
            KeyDeleted::KIND => Self::KeyDeleted(Box::new(envelope.payload::<KeyDeleted>()?.key)),
            UserErased::KIND => Self::UserErased(envelope.payload()?),
            WebhookChanged::KIND => Self::Webhook(Box::new(envelope.payload::<WebhookChanged>()?.webhook)),
            WebhookDeleted::KIND => Self::WebhookDeleted(Box::new(envelope.payload::<WebhookDeleted>()?.webhook)),
            CatalogChanged::KIND => Self::Catalog(Box::new(envelope.payload::<CatalogChanged>()?.catalog)),
            ProviderKeyChanged::KIND => Self::ProviderKey(Box::new(envelope.payload::<ProviderKeyChanged>()?.provider_key)),
            _ => return Ok(None),
        }))
    }
}
