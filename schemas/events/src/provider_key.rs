//! Own provider keys: credentials with which an account uses a provider at its own expense, as events of the stream `CONTROL`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::AccountId;
use crate::money::Nanos;
use crate::payload::payload;
use crate::sealed::Place;

/// A provider key of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProviderKey {
    /// The id of the provider key.
    pub id: String,
    /// The account that owns it.
    pub account: AccountId,
    /// The slug of the provider.
    pub provider: String,
    /// The owner's name for it.
    pub label: String,
    /// The sealed credential; empty once the key is deleted.
    pub sealed_key: String,
    /// The characters of the credential that lists show, such as `sk-a...wxyz`.
    pub hint: String,
    /// Whether it is not used.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub disabled: bool,
    /// Whether the provider is never used with the operator's credentials instead.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub always_use: bool,
    /// The share of the requests, relative to the account's other keys for the provider.
    pub weight: u32,
    /// The most requests in a minute; absent = no limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rpm_limit: Option<u64>,
    /// The address of the provider's API; absent = the operator's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub base_url: Option<String>,
    /// The region of the endpoints that it serves; absent = any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub region: Option<String>,
    /// The patterns of the models that it serves; empty = all.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub models: Vec<String>,
    /// The most of the list price in a UTC day, nano-USD; absent = no limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub daily_budget_nanos: Option<Nanos>,
    /// The most of the list price in a UTC month, nano-USD; absent = no limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub monthly_budget_nanos: Option<Nanos>,
    /// The time of creation, microseconds since 1970.
    pub created_at_us: i64,
    /// The time of the last change, microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub updated_at_us: Option<i64>,
    /// The revision, which counts the changes from 1.
    pub revision: u64,
    /// Whether it is deleted, for ever.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub deleted: bool,
}

/// A provider key was created, changed or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProviderKeyChanged {
    /// The provider key after the change.
    pub provider_key: ProviderKey,
}

payload!(ProviderKeyChanged, Control, "provider_key", "changed", "v1");

impl ProviderKey {
    /// Returns the place of the credential.
    #[must_use]
    pub fn place(&self) -> Place<'_> {
        Place { account: self.account.as_str(), purpose: "provider_key", id: &self.id }
    }

    /// Returns whether this state replaces another one of the same key. A deleted key stays deleted.
    #[must_use]
    pub fn replaces(&self, known: &Self) -> bool {
        let order = |key: &Self| (key.revision, key.updated_at_us.unwrap_or(key.created_at_us));
        !known.deleted && (self.deleted || order(self) > order(known))
    }
}
