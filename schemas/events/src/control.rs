//! Changes of accounts and keys by admins and operators, as events of the stream `CONTROL`.
//!
//! Each event contains the whole new state and its revision, so that a reader folds a *set* of events: the highest revision wins.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::{EnvelopeError, RawEnvelope};
use crate::ids::{AccountId, KeyHash, KeyKind};
use crate::money::Nanos;
use crate::payload::{Payload, payload};
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
}

/// An account was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountCreated {
    /// The new account.
    pub account: Account,
}

payload!(AccountCreated, Control, "account", "created", "v1");

/// An account was suspended by the operator, or resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountUpdated {
    /// The account after the change.
    pub account: Account,
}

payload!(AccountUpdated, Control, "account", "updated", "v1");

/// A control event as the readers of the stream apply it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlEvent {
    /// An account was created or changed.
    Account(Account),
    /// A key was created or changed.
    Key(Box<Key>),
    /// A key was deleted; the last state of it.
    KeyDeleted(Box<Key>),
    /// A webhook was created or changed.
    Webhook(Box<Webhook>),
    /// A webhook was deleted; the last state of it.
    WebhookDeleted(Box<Webhook>),
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
            WebhookChanged::KIND => Self::Webhook(Box::new(envelope.payload::<WebhookChanged>()?.webhook)),
            WebhookDeleted::KIND => Self::WebhookDeleted(Box::new(envelope.payload::<WebhookDeleted>()?.webhook)),
            _ => return Ok(None),
        }))
    }
}
