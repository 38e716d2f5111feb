//! The ledger's own facts, as events of the internal stream `LEDGER`: what it did, in the order in which it did it. Together with the
//! usage that they name they are enough to make its books again, byte for byte.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, KeyHash, LeaseId};
use crate::money::Nanos;
use crate::payload::payload;

/// Why credit came or went other than by usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreditKind {
    /// Given by the operator.
    Grant,
    /// Corrected by the operator; may be negative.
    Adjustment,
    /// Paid for.
    #[serde(rename = "credit")]
    Purchase,
    /// The platform's fee for a purchase.
    Fee,
    /// The unspent part of a purchase, given back.
    Refund,
    /// What was left of a grant at its expiry.
    Expiry,
}

impl CreditKind {
    /// The word that events, tables and answers use.
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

/// Credit came or went other than by usage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreditPosted {
    /// The command's id; the same id is applied once.
    pub id: String,
    /// Whose credit.
    pub account: AccountId,
    /// Why.
    pub kind: CreditKind,
    /// How much, nano-USD.
    pub amount_nanos: Nanos,
    /// For people.
    pub description: String,
    /// What tells the same id with other content.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub content: String,
    /// What it is kept as, when it came in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grant: Option<GrantTerms>,
    /// The grant that it was taken from, where not from all in their order.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub taken_from: Option<String>,
    /// The number of this transaction among the account's.
    pub version: i64,
    /// When, microseconds since 1970.
    pub posted_at_us: i64,
}

/// How credit that came in is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantTerms {
    /// Lower ones burn first.
    pub priority: i64,
    /// When what is left of it goes, microseconds since 1970; absent = never.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_at_us: Option<i64>,
}

/// Where a lease is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// The gateway takes holds from it.
    Open,
    /// The gateway takes no more; usage that it reported is on its way.
    Closing,
    /// The gateway vanished; what remains waits for late usage.
    Frozen,
    /// Settled.
    Closed,
}

impl LeaseState {
    /// The word in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Frozen => "frozen",
            Self::Closed => "closed",
        }
    }

    /// The state of that word; anything unknown is closed, which lends nothing.
    #[must_use]
    pub fn named(word: &str) -> Self {
        [Self::Open, Self::Closing, Self::Frozen].into_iter().find(|state| state.as_str() == word).unwrap_or(Self::Closed)
    }
}

/// A lease was opened, grew, shrank or moved on in its life; amounts are totals since it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseChanged {
    /// The lease.
    pub lease: LeaseId,
    /// Whose credit.
    pub account: AccountId,
    /// The gateway: its source.
    pub holder: String,
    /// The window of the key whose limit it counts against.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub window: Option<LeaseWindow>,
    /// Where it is in its life.
    pub state: LeaseState,
    /// All that was ever granted to it, nano-USD.
    pub granted_nanos: Nanos,
    /// What usage consumed, nano-USD.
    pub consumed_nanos: Nanos,
    /// What went back to the account, nano-USD.
    pub returned_nanos: Nanos,
    /// The number of the account's last transaction then, those that this is about included.
    pub version: i64,
    /// When, microseconds since 1970.
    pub changed_at_us: i64,
}

/// The window of a key's limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseWindow {
    /// The key.
    pub key: KeyHash,
    /// `daily`, `weekly`, `monthly` or `lifetime`.
    pub period: String,
    /// When it began, microseconds since 1970.
    pub starts_at_us: i64,
}

/// Usage was charged: which events of the stream `USAGE`, in which order. One for each transaction of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsagePosted {
    /// By account.
    pub accounts: Vec<AccountPosted>,
}

/// The charges of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountPosted {
    /// Whose money.
    pub account: AccountId,
    /// The number of the first of these transactions among the account's; the others follow.
    pub first_version: i64,
    /// The events' ids.
    pub events: Vec<String>,
}

payload!(CreditPosted, Ledger, "ledger", "credit_posted", "v1");
payload!(LeaseChanged, Ledger, "ledger", "lease_changed", "v1");
payload!(UsagePosted, Ledger, "ledger", "usage_posted", "v1");
