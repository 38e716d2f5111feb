//! What admins and operators change: accounts and keys, as events of the stream `CONTROL`.
//!
//! Each event carries the whole new state and its revision, so that a reader folds a *set* of events: the highest revision wins.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, KeyHash, KeyKind};
use crate::money::Nanos;
use crate::payload::payload;

/// When a key's limit starts over, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitReset {
    /// At 00:00.
    Daily,
    /// On Monday at 00:00.
    Weekly,
    /// On the 1st at 00:00.
    Monthly,
}

/// A key as everybody but its owner knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Key {
    /// The key's id: SHA-256 of its secret.
    pub hash: KeyHash,
    /// Whose money.
    pub account: AccountId,
    /// What it may be used for.
    pub kind: KeyKind,
    /// The owner's name for it.
    pub name: String,
    /// What is shown of the secret.
    pub label: String,
    /// Refused while true.
    pub disabled: bool,
    /// Most it may spend in a window; absent = no limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit_nanos: Option<Nanos>,
    /// The window; absent = the key's whole life.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit_reset: Option<LimitReset>,
    /// Model patterns; absent = all, empty = none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub allowed_models: Option<Vec<String>>,
    /// Provider slugs; absent = all, empty = none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub allowed_providers: Option<Vec<String>>,
    /// Refused from then on, microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_at_us: Option<i64>,
    /// Microseconds since 1970.
    pub created_at_us: i64,
    /// Microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub updated_at_us: Option<i64>,
    /// Counts the changes from 1.
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
    /// A key was made.
    KeyCreated, "created"
}
key_event! {
    /// A key's name, limit or restrictions changed, or it was enabled again.
    KeyUpdated, "updated"
}
key_event! {
    /// A key was switched off.
    KeyDisabled, "disabled"
}
key_event! {
    /// A key was deleted for good.
    KeyDeleted, "deleted"
}

/// An account: owns money and keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// The account's id.
    pub id: AccountId,
    /// Its name.
    pub name: String,
    /// Microseconds since 1970.
    pub created_at_us: i64,
    /// Counts the changes from 1.
    pub revision: u64,
    /// Its keys are refused while true.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub suspended: bool,
}

/// An account was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountCreated {
    /// The account.
    pub account: Account,
}

payload!(AccountCreated, Control, "account", "created", "v1");

/// The operator suspended an account, or let it go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountUpdated {
    /// The account after the change.
    pub account: Account,
}

payload!(AccountUpdated, Control, "account", "updated", "v1");
