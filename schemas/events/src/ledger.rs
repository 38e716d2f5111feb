//! The ledger's facts, as events of the internal stream `LEDGER`, in the order in which the ledger acted. Together with the usage events
//! that they name, they suffice to rebuild its books byte for byte.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, KeyHash, LeaseId};
use crate::money::Nanos;
use crate::payload::payload;

/// The reason for a change of credit other than usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreditKind {
    /// Credit given by the operator.
    Grant,
    /// A correction by the operator; may be negative.
    Adjustment,
    /// Credit that was paid for.
    #[serde(rename = "credit")]
    Purchase,
    /// The platform's fee for a purchase.
    Fee,
    /// The unspent part of a purchase, paid back.
    Refund,
    /// The unspent part of a grant at its expiry.
    Expiry,
}

impl CreditKind {
    /// Returns the word that events, tables and responses use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Adjustment => "adjustment",
            Self::Purchase => "credit",
            Self::Fee => "fee",
            Self::Refund => "refund",
            Self::Expiry => "expiry",
        }
    }
}

/// A change of an account's credit other than by usage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreditPosted {
    /// The command's id; the same id is applied once.
    pub id: String,
    /// The account whose credit changes.
    pub account: AccountId,
    /// The reason for the change.
    pub kind: CreditKind,
    /// The change of the credit, nano-USD.
    pub amount_nanos: Nanos,
    /// A description for people.
    pub description: String,
    /// The fingerprint of the command's content, which reveals the same id with other content.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub content: String,
    /// The terms under which incoming credit is kept; absent if no credit came in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grant: Option<GrantTerms>,
    /// The id of the grant that the credit was taken from, unless it was taken from all grants in their order.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub taken_from: Option<String>,
    /// The number of this transaction among the account's transactions.
    pub version: i64,
    /// The time of the posting, microseconds since 1970.
    pub posted_at_us: i64,
}

/// The terms on which incoming credit is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantTerms {
    /// The priority: grants with lower values are spent first.
    pub priority: i64,
    /// The time at which the unspent part expires, microseconds since 1970; absent = never.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_at_us: Option<i64>,
}

/// The state of a lease in its life cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// The gateway takes holds from it.
    Open,
    /// The gateway takes no more holds; usage that it reported is on its way.
    Closing,
    /// The gateway vanished; the rest of the lease waits for late usage.
    Frozen,
    /// Settled.
    Closed,
}

impl LeaseState {
    /// Returns the word in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Frozen => "frozen",
            Self::Closed => "closed",
        }
    }

    /// Returns the state with this word. An unknown word means closed, which lends nothing.
    #[must_use]
    pub fn named(word: &str) -> Self {
        [Self::Open, Self::Closing, Self::Frozen].into_iter().find(|state| state.as_str() == word).unwrap_or(Self::Closed)
    }
}

/// A lease was opened, grew, shrank or changed its state. Amounts are totals since it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseChanged {
    /// The id of the lease.
    pub lease: LeaseId,
    /// The account whose credit is lent.
    pub account: AccountId,
    /// The gateway that holds the lease: its event source.
    pub holder: String,
    /// The window of the key whose limit the lease counts against.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub window: Option<LeaseWindow>,
    /// The state of the lease.
    pub state: LeaseState,
    /// The total ever granted to it, nano-USD.
    pub granted_nanos: Nanos,
    /// The total consumed by usage, nano-USD.
    pub consumed_nanos: Nanos,
    /// The total returned to the account, nano-USD.
    pub returned_nanos: Nanos,
    /// The number of the account's last transaction at that time, including the transactions of this change.
    pub version: i64,
    /// The time of the change, microseconds since 1970.
    pub changed_at_us: i64,
}

/// The window of a key's limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseWindow {
    /// The id of the key.
    pub key: KeyHash,
    /// The period: `daily`, `weekly`, `monthly` or `lifetime`.
    pub period: String,
    /// The start of the window, microseconds since 1970.
    pub starts_at_us: i64,
}

/// Usage was charged: the events of the stream `USAGE` that were posted, in order. There is one such event for each transaction of the
/// ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsagePosted {
    /// The charges by account.
    pub accounts: Vec<AccountPosted>,
}

/// The charges of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountPosted {
    /// The account that pays.
    pub account: AccountId,
    /// The number of the first of these transactions among the account's transactions; the others follow.
    pub first_version: i64,
    /// The ids of the charged events.
    pub events: Vec<String>,
}

payload!(CreditPosted, Ledger, "ledger", "credit_posted", "v1");
payload!(LeaseChanged, Ledger, "ledger", "lease_changed", "v1");
payload!(UsagePosted, Ledger, "ledger", "usage_posted", "v1");
